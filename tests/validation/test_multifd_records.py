"""Multifd against recorded live migrations: the bounds are what is met today; `validation/README.md` shows more."""

import numpy as np
import pytest

from validation.mechanisms import MULTIFD, guest_lost_s, mechanism_of
from validation.places import HOSTS, RECORDS, TRACES
from validation.scores import load_records, score


@pytest.fixture(scope="module")
def scored():
    runs = load_records(RECORDS)
    return [score(repeats, TRACES, HOSTS, draws=16) for name, repeats in runs.items() if "-multifd-" in name]


def off(s, metric):
    return s.predicted(metric) / float(np.median(s.measured[metric])) - 1


def test_the_scenarios_are_of_multifd_and_every_verdict_is_right(scored):
    assert len(scored) >= 6
    assert {mechanism_of(s) for s in scored} == {MULTIFD}
    assert [s.name for s in scored if not s.right] == []


def test_times_are_met(scored):
    errors = [abs(off(s, "total-time")) for s in scored]
    assert np.median(errors) < 0.10
    assert max(errors) < 0.20


def test_bytes_are_met(scored):
    errors = [abs(off(s, "transferred")) for s in scored]
    assert np.median(errors) < 0.03
    assert max(errors) < 0.06


def test_downtimes_are_within_their_intervals(scored):
    ends = [s.prediction.result.intervals["downtime"] for s in scored]
    within = [
        low <= np.median(s.measured["downtime"]) <= high for s, (low, high) in zip(scored, ends, strict=True)
    ]
    assert np.mean(within) >= 0.8


def test_rounds_are_met(scored):
    errors = [abs(s.predicted("rounds") - np.median(s.measured["rounds"])) for s in scored]
    assert np.median(errors) <= 1


def test_the_channels_take_from_the_guest_what_is_said(scored):
    """In points of the migration's length, from the guest's own count of its writes."""
    for s in scored:
        lost = [guest_lost_s(r) for r in s.runs]
        length_s = np.median([r.info["total-time"] for r in s.runs]) / 1000
        assert abs(s.prediction.median("guest-lost") / 1000 - np.median(lost)) < 0.25 * length_s, s.name
