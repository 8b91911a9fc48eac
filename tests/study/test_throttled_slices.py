"""What a throttled guest's slices lack reaches an answer: its speed, its lost work, and what the answer says."""

from __future__ import annotations

import pytest

from migsim import predict
from migsim.models.throttle.cpu_throttle import run_fraction
from migsim.models.throttle.slices import throttled_speed
from migsim.profiles import Term
from migsim.study.question import Question
from tests.factories import host_profile, small_guest

LOST_S, COOLS_S = 2e-3, 0.01
SETTINGS = {
    "max-bandwidth": "100Mbps",
    "downtime-limit": "1ms",
    "auto-converge": "on",
    "cpu-throttle-initial": 50,
    "max-cpu-throttle": 50,
}


def asked(**terms):
    host = host_profile()
    host = host.replace(
        terms=host.terms | {name: Term(median=value, unit="s") for name, value in terms.items()}
    )
    return {"host": host, "settings": SETTINGS, "qemu_version": "10.0", "draws": 1, "deadline_s": 60.0}


def test_the_guest_runs_at_the_speed_of_the_law_while_it_is_throttled():
    guest = small_guest()
    whole = predict(guest, **asked())
    lacking = predict(guest, **asked(slice_lost_s=LOST_S, slice_cools_s=COOLS_S))
    for answer, speed in ((whole, 0.5), (lacking, throttled_speed(run_fraction(50), LOST_S, COOLS_S))):
        pieces = answer.example_run.guest_speed
        throttled = pieces[pieces["why"] == "throttle"]
        assert len(throttled)
        assert throttled["speed_fraction"].to_numpy() == pytest.approx(speed)


def test_only_an_answer_without_the_terms_says_that_slices_are_taken_as_whole():
    def says(**terms):
        return any("whole share" in note for note in Question(small_guest(), **asked(**terms)).assumptions)

    assert says()
    assert not says(slice_lost_s=LOST_S, slice_cools_s=COOLS_S)


def test_a_guest_that_is_not_throttled_needs_no_such_terms():
    asked_for = asked(slice_lost_s=LOST_S, slice_cools_s=COOLS_S)
    plain = {**asked_for, "settings": {**SETTINGS, "auto-converge": "off"}}
    assert "slice_lost_s" not in Question(small_guest(), **plain).migration().terms
    assert Question(small_guest(), **asked_for).migration().terms["slice_lost_s"] == LOST_S
