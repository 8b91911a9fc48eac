"""The model against recorded live migrations: what `validation/README.md` shows, held here.

The bounds are the validation's aims where they are met, and what is met today where not; `validation/README.md` says
which. A prediction sees trace, profile, settings and deadline only.
"""

from pathlib import Path

import numpy as np
import pytest

from validation.scores import METRICS, load_records, score

ROOT = Path(__file__).parents[2]
RECORDS = load_records(ROOT / "validation" / "records")


@pytest.fixture(scope="module")
def scored():
    return [
        score(runs, ROOT / "traces", ROOT / "validation" / "hosts", replicates=24)
        for runs in RECORDS.values()
    ]


def test_there_is_a_record_of_every_scenario():
    declared = {p.stem for p in (ROOT / "validation" / "scenarios").glob("*.toml")}
    assert set(RECORDS) == declared
    assert len(RECORDS) >= 10


def test_no_verdict_is_wrong(scored):
    assert [s.name for s in scored if not s.right] == []


def test_bytes_are_met(scored):
    errors = [
        abs(s.predicted("transferred") / np.median(s.measured["transferred"]) - 1)
        for s in scored
        if s.converged
    ]
    assert np.median(errors) < 0.03


def test_rounds_are_met(scored):
    errors = [abs(s.predicted("rounds") - np.median(s.measured["rounds"])) for s in scored if s.converged]
    assert np.median(errors) <= 1


@pytest.mark.parametrize("rival", ["limit-as-downtime", "ram-over-bandwidth", "geometric-series", "gudkov"])
def test_each_rival_is_beaten_on_total_time_and_downtime(scored, rival):
    done = [s for s in scored if s.converged]
    for metric, answer in (("total-time", "total_time_ms"), ("downtime", "downtime_ms")):
        theirs = [getattr(s.rivals[rival], answer) for s in done]
        if all(value is None for value in theirs):
            continue
        measured = [float(np.median(s.measured[metric])) for s in done]
        error = [abs(v / m - 1) if v is not None else np.inf for v, m in zip(theirs, measured, strict=True)]
        ours = [abs(s.predicted(metric) / m - 1) for s, m in zip(done, measured, strict=True)]
        assert np.median(ours) < np.median(error)


def test_every_prediction_has_an_interval_around_it(scored):
    for s in scored:
        if s.prediction.result.outcome.status == "completed":
            for metric in METRICS:
                low, high = s.prediction.result.intervals[metric]
                assert low <= s.predicted(metric) <= high
