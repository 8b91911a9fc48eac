"""Multifd against recorded live migrations, with bounds that are met today; `validation/README.md` shows more."""

import numpy as np
import pytest

from validation.mechanisms import MULTIFD, guest_lost_s, mechanism_of
from validation.places import HOSTS, RECORDS, TRACES
from validation.scores import load_records, score


@pytest.fixture(scope="module")
def scored():
    runs = load_records(RECORDS)
    return [score(repeats, TRACES, HOSTS, draws=16) for name, repeats in runs.items() if "-multifd-" in name]


def relative_error(case, metric):
    return case.predicted(metric) / float(np.median(case.measured[metric])) - 1


def test_the_scenarios_are_of_multifd_and_every_verdict_is_right(scored):
    assert len(scored) >= 6
    assert {mechanism_of(case) for case in scored} == {MULTIFD}
    assert [case.name for case in scored if not case.right] == []


def test_times_are_met(scored):
    errors = [abs(relative_error(case, "total-time")) for case in scored]
    assert np.median(errors) < 0.10
    assert max(errors) < 0.20


def test_bytes_are_met(scored):
    errors = [abs(relative_error(case, "transferred")) for case in scored]
    assert np.median(errors) < 0.03
    assert max(errors) < 0.06


def test_downtimes_are_within_their_intervals(scored):
    ends = [case.prediction.intervals["downtime"] for case in scored]
    within = [
        low <= np.median(case.measured["downtime"]) <= high
        for case, (low, high) in zip(scored, ends, strict=True)
    ]
    assert np.mean(within) >= 0.8


def test_rounds_are_met(scored):
    errors = [abs(case.predicted("rounds") - np.median(case.measured["rounds"])) for case in scored]
    assert np.median(errors) <= 1


def test_the_guests_loss_is_met(scored):
    """In points of the migration's length, from the guest's own count of its writes."""
    for case in scored:
        lost = [guest_lost_s(r) for r in case.runs]
        length_s = np.median([r.info["total-time"] for r in case.runs]) / 1000
        assert abs(case.prediction.median("guest-lost") / 1000 - np.median(lost)) < 0.25 * length_s, case.name
