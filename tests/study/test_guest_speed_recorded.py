"""The guest's work over time, predicted from its trace, against what recorded guests counted themselves."""

from __future__ import annotations

import pytest

from migsim.models.guest.speed import SpeedPiece, work_s
from migsim.results import MigrationResult
from migsim.study.guest_progress import guest_progress
from migsim.study.matching import matching_profile, matching_trace, predict_record
from validation.places import HOSTS, RECORDS, TRACES


@pytest.mark.parametrize(
    "name",
    [
        "kvm-throttle-hot-4g-700mbps-q100-2",
        "kvm-throttle-max50-hot-4g-500mbps-q72-1",
        "kvm-throttle-steep-hot-4g-700mbps-q100-2",
        "kvm-dirty-limit-steady-2g-10-ring1024-q100-1",
    ],
)
def test_work_over_time_is_a_recorded_guests(name):
    """At every line that the guest wrote on the source; 10 % of what it has lost by the end."""
    run = MigrationResult.load(RECORDS / f"{name}.json")
    trace, host = (
        matching_trace(run, TRACES),
        matching_profile(run, HOSTS),
    )
    made = predict_record(run, trace, host, draws=1).example_run
    pieces = [SpeedPiece(**row) for row in made.guest_speed.to_dict("records")]
    seen = guest_progress(run)
    seen = seen[seen["side"] == "source"]
    lost_s = float(seen["t_s"].iloc[-1] - seen["work_s"].iloc[-1])
    apart_s = float((seen["work_s"] - work_s(pieces, seen["t_s"])).abs().max())
    assert lost_s > 4.0
    assert apart_s < 0.1 * lost_s
