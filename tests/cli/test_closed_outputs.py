"""Outputs that are closed or full: the exit code is the table's, and no traceback comes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import small_guest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("closed")
    small_guest().save(made / "guest.json")
    return made


def shell(folder: Path, words: str, redirected: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", f'"$0" -m migsim {words} {redirected}', sys.executable],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


PREDICT = "predict guest.json --qemu-version 10.0 --draws 1"


@pytest.mark.parametrize(
    "words",
    [PREDICT, f"{PREDICT} --format json", "--version", "--help", "predict --help", "calibrate --help"],
)
def test_a_closed_output_is_141(folder: Path, words: str) -> None:
    assert shell(folder, words, ">&-") == (141, "", "")


@pytest.mark.parametrize("redirected", ["2>&-", "<&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("words", "code"), [(PREDICT, 0), ("predict none.json", 3), ("predcit", 2), (f"{PREDICT} --load 2", 3)]
)
def test_messages_that_cannot_be_written_change_no_exit_code(
    folder: Path, words: str, code: int, redirected: str
) -> None:
    ended, out, said = shell(folder, words, redirected)
    assert (ended, said) == (code, "")
    assert bool(out) == (code == 0)


def test_all_three_closed(folder: Path) -> None:
    assert shell(folder, PREDICT, "<&- >&- 2>&-")[0] == 141
    assert shell(folder, "predict none.json", "<&- >&- 2>&-")[0] == 3


def test_a_file_is_written_where_nothing_can_be_printed(folder: Path) -> None:
    sweep = "sweep guest.json --qemu-version 10.0 --vary downtime-limit=50,300 --engine events -o made.csv"
    assert shell(folder, sweep, ">&- 2>&-")[0] == 141
    assert len((folder / "made.csv").read_text().splitlines()) >= 3


def test_a_full_output_is_the_hosts_fault(folder: Path) -> None:
    ended, _, said = shell(folder, PREDICT, ">/dev/full")
    assert ended == 3 and "No space left" in said and "Traceback" not in said
