"""How far guests got: lines of a made-up guest whose work is known, and simulated ones."""

import math

import pandas as pd
import pytest

from migsim.results import MigrationResult, Outcome
from migsim.study.guest_progress import guest_lost_s, guest_progress

PACE = 1000


def line(t_s, writes, side="source", timed=True):
    text = f"migsim-guest progress t_us={round(t_s * 1e6)} tsc=1 writes={writes} checked=0"
    return {"side": side, "line": text} | ({"t_s": t_s} if timed else {})


def run(*lines, workload=None):
    return MigrationResult(
        kind="measured",
        name="made up",
        qemu_version="10.0.2",
        accel="kvm",
        outcome=Outcome("completed", ""),
        scenario={"guest": {"workload": workload or {}}},
        guest_log=[{"side": "source", "line": "migsim-guest boot version=1"}, *lines],
    )


BEFORE = (line(1.0, 1 * PACE, timed=False), line(3.0, 3 * PACE, timed=False))


def slowed():
    """Full pace until 4 s, half of it until 8 s, at the destination from then on."""
    return run(
        *BEFORE,
        line(1.0, 4 * PACE),
        line(4.0, 7 * PACE),
        line(8.0, 9 * PACE),
        line(9.0, 9 * PACE + 500, side="destination"),
        line(11.0, 11 * PACE + 500, side="destination"),
    )


def test_work_counts_in_seconds_at_the_pace_before_the_migration():
    seen = guest_progress(slowed())
    assert seen["t_s"].tolist() == [1.0, 4.0, 8.0, 9.0, 11.0]
    assert seen["work_s"].tolist() == [1.0, 4.0, 6.0, 6.5, 8.5]
    assert seen["side"].tolist() == ["source"] * 3 + ["destination"] * 2


def test_what_is_lost_counts_until_the_first_line_at_the_destination():
    assert guest_lost_s(slowed()) == 2.5
    stuck = run(*BEFORE, line(1.0, 4 * PACE), line(9.0, 6 * PACE))
    assert guest_lost_s(stuck) == 6.0


def test_a_guest_by_the_clock_has_the_clocks_pace():
    """It was held up before the migration: its own pace then says nothing."""
    paced = run(*BEFORE, line(1.0, 3 * PACE), line(3.0, 7 * PACE), workload={"writes-per-s": 2 * PACE})
    assert guest_lost_s(paced) == 0.0


def test_lines_after_the_deadline_do_not_count_as_before():
    """They have no time, as those before the migration."""
    late = run(*BEFORE, line(1.0, 4 * PACE), line(5.0, 6 * PACE), line(99.0, 6 * PACE, timed=False))
    assert guest_lost_s(late) == 2.0


@pytest.mark.parametrize(
    "lines",
    [
        (),
        BEFORE,
        (BEFORE[0], line(1.0, 4 * PACE)),
        (*BEFORE, line(1.0, 4 * PACE, side="destination")),
    ],
)
def test_a_run_that_does_not_tell_has_no_rows(lines):
    assert guest_progress(run(*lines)).empty
    assert math.isnan(guest_lost_s(run(*lines)))


def test_a_simulated_guest_has_its_work_in_the_timeline():
    line_ = pd.DataFrame({"t_s": [1.0, 2.0], "guest_s": [1.0, 1.5], "status": "active"})
    simulated = run().replace(kind="simulated", timeline=line_)
    assert guest_progress(simulated)["work_s"].tolist() == [1.0, 1.5]
    assert guest_progress(simulated.replace(timeline=line_[["t_s"]])).empty
