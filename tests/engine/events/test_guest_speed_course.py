"""The speed of a simulated guest over time: its integral is the work that the engine reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.errors import ParameterError
from migsim.models.guest.speed import WHY, GuestMark, SpeedPiece, speed_pieces, work_s
from migsim.models.throttle.cpu_throttle import run_fraction
from migsim.models.users.speed_course import SpeedCourse
from migsim.profiles.terms import HOST_TERMS, RING_TERMS
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.workload import Workload, WorkloadClass

PAGE = 4096
GIB = 1 << 30
TERMS = dict.fromkeys((*HOST_TERMS, *RING_TERMS), 0.0) | {
    "connect_s": 0.004,
    "setup_base_s": 0.012,
    "setup_s_per_gib": 0.003,
    "sync_base_s": 0.001,
    "sync_s_per_gib": 0.0002,
    "normal_page_s": 2e-6,
    "cold_page_s": 3e-6,
    "fresh_page_s": 4e-6,
    "burst_page_s": 2e-6,
    "burst_cold_page_s": 3e-6,
    "burst_fresh_page_s": 4e-6,
    "zero_page_s": 2e-7,
    "switch_gap_s": 0.002,
    "stop_s": 0.001,
    "device_state_s": 0.006,
    "load_s": 0.009,
    "dirty_fault_s": 3e-6,
    "guest_speed": 1.0,
    "ring_entries_per_write": 0.9,
}
SLOW, FAST = 20_000_000, 400_000_000


def run(*on: str, hot: int = 8000, writes_per_s: float = 100_000, **given: Any) -> MigrationResult:
    fields = {name: given.pop(name) for name in ("deadline_s", "dirty_ring_size", "vcpus") if name in given}
    load, seed = given.pop("load", 1.0), given.pop("seed", None)
    workload = Workload(
        ram_bytes=GIB,
        ram_total_bytes=GIB,
        zero_pages=GIB // PAGE - 40_000,
        classes=(
            WorkloadClass(pages=hot, writes_per_page_per_s=writes_per_s / hot, extents=((0, hot),)),
            WorkloadClass(pages=40_000 - hot, writes_per_page_per_s=0.0, extents=((hot, 40_000 - hot),)),
        ),
        load_fraction=load,
    )
    return simulate(
        SimulationInput(
            workload=workload,
            terms=TERMS,
            version=QemuVersion.parse("10.0"),
            parameters={name.replace("_", "-"): value for name, value in given.items()},
            capabilities=dict.fromkeys(on, True),
            **{"deadline_s": 60.0} | fields,
        ),
        seed=seed,
    )


def integral(made: MigrationResult, column: str = "work_per_s") -> float:
    pieces = made.guest_speed
    return float(((pieces["until_s"] - pieces["t_s"]) * pieces[column]).sum())


def end_s(made: MigrationResult) -> float:
    return float(made.guest_speed["until_s"].iloc[-1])


RUNS: dict[str, dict[str, Any]] = {
    "plain": {"max_bandwidth": FAST, "downtime_limit": 300},
    "drawn": {"max_bandwidth": FAST, "downtime_limit": 30, "seed": 3},
    "hopeless": {"max_bandwidth": SLOW, "downtime_limit": 1},
    "given up in the first pass": {"max_bandwidth": SLOW, "downtime_limit": 1, "deadline_s": 3.0},
    "cut off": {"max_bandwidth": SLOW, "downtime_limit": 1, "deadline_s": 9.0, "seed": 1},
    "throttled": {"on": ["auto-converge"], "max_bandwidth": SLOW, "downtime_limit": 100, "deadline_s": 90.0},
    "throttled in vain": {"on": ["auto-converge"], "max_bandwidth": SLOW, "downtime_limit": 1},
    "by the clock": {
        "on": ["auto-converge"],
        "max_bandwidth": SLOW,
        "downtime_limit": 100,
        "load": 0.5,
        "deadline_s": 90.0,
    },
    "limited": {
        "on": ["dirty-limit"],
        "max_bandwidth": SLOW,
        "downtime_limit": 300,
        "dirty_ring_size": 1024,
        "vcpus": 2,
    },
}


@pytest.fixture(scope="module", params=RUNS, ids=list(RUNS))
def made(request: pytest.FixtureRequest) -> MigrationResult:
    keywords = dict(RUNS[request.param])
    return run(*keywords.pop("on", []), **keywords)


def test_the_integral_of_the_work_is_what_the_engine_reports(made):
    assert end_s(made) - integral(made) == pytest.approx(made.costs["guest-lost-s"], abs=1e-9)


def test_pieces_follow_each_other_from_the_command_on(made):
    pieces = made.guest_speed
    assert pieces["t_s"].iloc[0] == 0.0
    np.testing.assert_allclose(pieces["t_s"].iloc[1:], pieces["until_s"].iloc[:-1], rtol=0, atol=1e-9)
    assert (pieces["until_s"] > pieces["t_s"]).all()
    assert set(pieces["why"]) <= set(WHY)
    assert pieces["speed_fraction"].between(0, 1 + 1e-9).all()


def test_it_ends_where_the_guest_runs_again_or_the_migration_is_given_up(made):
    total_s = made.total_time_ms / 1000
    if made.outcome.status == "completed":
        assert end_s(made) == pytest.approx(total_s + TERMS["load_s"], abs=1e-3)
        last = made.guest_speed.iloc[-1]
        assert (last["why"], last["speed_fraction"]) == ("blackout", 0.0)
        assert last["until_s"] - last["t_s"] == pytest.approx(made.blackout_ms / 1000, abs=1e-9)
    else:
        assert end_s(made) == pytest.approx(total_s, abs=1e-3)


def test_work_at_the_samples_of_the_timeline_is_the_timelines_but_for_the_rounds_faults(made):
    """The timeline learns of a round's faults at the sync that ends it."""
    pieces = [SpeedPiece(**row) for row in made.guest_speed.to_dict("records")]
    line = made.timeline
    ours = work_s(pieces, line["t_s"])
    faults_s = TERMS["dirty_fault_s"] * made.iterations["dirty_pages"].max()
    assert (line["guest_s"] - ours).between(-1e-9, faults_s + 1e-9).all()


def test_the_reasons_are_those_that_were_asked_for():
    assert set(run(max_bandwidth=FAST).guest_speed["why"]) == {
        "running", "setup", "dirty-log faults", "blackout",
    }  # fmt: skip
    throttled = run(**{"max_bandwidth": SLOW, "downtime_limit": 1}, deadline_s=59.0).guest_speed
    assert "throttle" not in set(throttled["why"])
    throttled = run("auto-converge", max_bandwidth=SLOW, downtime_limit=1, deadline_s=59.0).guest_speed
    slow = throttled[throttled["why"] == "throttle"]
    # the speed is the duty's, less what log faults of the slower guest take
    assert (slow["speed_fraction"] <= run_fraction(20) + 1e-9).all()
    assert slow["speed_fraction"].min() < run_fraction(90)
    limited = run(
        "dirty-limit", max_bandwidth=SLOW, downtime_limit=300, dirty_ring_size=1024, vcpus=2
    ).guest_speed
    of_two = limited.loc[limited["why"] == "dirty-limit", "speed_fraction"]
    assert of_two.between(0, 0.5 + 1e-9).all()


def test_setup_is_where_the_setup_is():
    first = run(max_bandwidth=FAST).guest_speed.iloc[:2]
    assert first["why"].tolist() == ["running", "setup"]
    assert first["until_s"].tolist() == pytest.approx([0.004, 0.019])
    assert first["speed_fraction"].tolist() == [1.0, 1.0]


def test_log_faults_of_a_round_are_its_pages_times_their_cost():
    made = run(max_bandwidth=SLOW, downtime_limit=1, deadline_s=30.0)
    rounds, pieces = made.iterations, made.guest_speed
    begins = rounds["start_s"].to_numpy()
    third = pieces[(pieces["t_s"] >= begins[3] - 1e-9) & (pieces["until_s"] <= begins[4] + 1e-9)]
    lost = float(((third["until_s"] - third["t_s"]) * (1 - third["work_per_s"])).sum())
    assert lost == pytest.approx(TERMS["dirty_fault_s"] * rounds["dirty_pages"].iloc[4], rel=1e-3)


def test_a_record_keeps_it(tmp_path):
    made = run(max_bandwidth=FAST)
    made.save(tmp_path / "made.json")
    again = MigrationResult.load(tmp_path / "made.json").guest_speed
    assert again.equals(made.guest_speed)
    made.replace(guest_speed=made.guest_speed.iloc[:0]).save(tmp_path / "none.json")
    assert MigrationResult.load(tmp_path / "none.json").guest_speed.empty


# the law by itself


@given(
    speeds=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8),
    lengths=st.lists(st.floats(0.1, 5.0), min_size=8, max_size=8),
    load=st.floats(0.05, 1.0),
)
@settings(max_examples=100, deadline=None)
def test_work_of_a_guest_by_the_clock_is_what_small_steps_of_its_queue_give(speeds, lengths, load):
    """An oracle that walks the queue in steps of 1 ms."""
    starts = np.concatenate([[0.0], np.cumsum(lengths[: len(speeds) - 1])])
    until = float(starts[-1] + lengths[-1])
    pieces = speed_pieces(list(zip(starts.tolist(), speeds, strict=True)), [], until, load=load)
    waits = done = 0.0
    step = 1e-3
    for t in np.arange(0.0, until, step):
        length = min(step, until - t)
        speed = speeds[int(np.searchsorted(starts, t + 1e-12, side="right")) - 1]
        served = min(waits + load * length, speed * length)
        waits += load * length - served
        done += served / load
    assert float(work_s(pieces, until)) == pytest.approx(done, abs=2 * step * len(speeds) / load)


def test_syncs_at_one_time_count_once():
    marks = [
        GuestMark(0.0, 0.0, 5.0),
        GuestMark(1.0, 1.0, 5.5),
        GuestMark(1.0, 1.0, 5.5),
        GuestMark(2, 2, 6.5),
    ]
    pieces = speed_pieces([(0.0, 1.0)], marks, 2.0)
    assert [(p.until_s, p.speed_fraction) for p in pieces] == [(1.0, 0.5), (2.0, 1.0)]


@given(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=6), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_mean_speeds_of_a_grid_add_up_to_the_whole(lengths, intervals):
    ends = np.cumsum(lengths)
    speeds = np.linspace(1, 0, len(ends))
    begins = ends - lengths
    grid = np.linspace(-1.0, float(ends[-1]) + 1.0, intervals + 1)
    means = SpeedCourse(begins, ends, speeds).mean_speed(grid)
    assert float(means @ np.diff(grid)) == pytest.approx(2.0 + float(speeds @ np.array(lengths)))


def test_pieces_with_a_gap_are_refused():
    with pytest.raises(ParameterError, match="gaps up to 1 s"):
        SpeedCourse([0, 2], [1, 3], [1, 1])
