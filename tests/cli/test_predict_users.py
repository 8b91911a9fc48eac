"""`migsim predict --users`: what users lose, as a line and as JSON; options that do not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migsim.cli import main

TRACE = str(Path(__file__).parents[2] / "traces" / "hot-4g.trace")
GIVEN = ("--qemu-version", "10.0", "--set", "max-bandwidth=3Gbps", "--draws", "4")


def invoke(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.run(["predict", TRACE, *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_users_are_told_of_in_a_line_and_in_json(capsys):
    users = ("--users", "75", "--demand", "5ms")
    assert invoke(*GIVEN, *users) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "users: 74.4 transactions/s" in text
    assert "lost in" in text
    assert invoke(*GIVEN, *users, "--format", "json") == 0
    said = json.loads(capsys.readouterr().out)
    seen = said["guest-performance"]
    assert seen["transactions-per-s"] == pytest.approx(74.41, abs=0.01)
    assert seen["medians"]["lost"] > 0
    assert seen["medians"]["longest-response"] > said["medians"]["blackout"] / 1000 - 0.02
    assert seen["users"] == 75


def test_without_users_nothing_is_said_of_them(capsys):
    assert invoke(*GIVEN, "--format", "json") == 0
    assert "guest-performance" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--users", "75"), "--users is given without --demand"),
        (("--demand", "5ms"), "--demand is given without --users"),
        (("--users", "75", "--demand", "0s"), "--demand is '0s'"),
        (("--users", "0", "--demand", "5ms"), "--users"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(capsys, options, said):
    assert invoke(*options) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_time_without_a_unit_that_says_which_is_refused(capsys):
    assert invoke("--users", "75", "--demand", "5ms", "--think", "5m") == 3
    assert "--think" in capsys.readouterr().err
