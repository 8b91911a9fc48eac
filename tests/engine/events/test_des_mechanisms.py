"""XBZRLE, auto-converge and dirty-limit in the event engine, against closed forms and their own laws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from migsim.engine.events.precopy import simulate
from migsim.engine.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.models.dirty.ring import ring_fill_pages
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.models.loop.rate_limit import window_bytes
from migsim.models.throttle.cpu_throttle import run_fraction
from migsim.models.xbzrle.content import PageWrites, expected_encoding
from migsim.models.xbzrle.encoding import RECORD_BYTES
from migsim.profiles.terms import HOST_TERMS, RING_TERMS, XBZRLE_TERMS
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult, cache_hit_rate, throttle_steps
from migsim.workload import PageContent, Workload, WorkloadClass

GIB = 1 << 30
PAGE = 4096
TERMS = dict.fromkeys((*HOST_TERMS, *XBZRLE_TERMS, *RING_TERMS), 0.0) | {
    "normal_page_s": 2e-6,
    "cold_page_s": 2e-6,
    "fresh_page_s": 2e-6,
    "burst_page_s": 2e-6,
    "burst_cold_page_s": 2e-6,
    "burst_fresh_page_s": 2e-6,
    "zero_page_s": 2e-7,
    "xbzrle_hit_s": 1e-6,
    "xbzrle_miss_s": 1e-6,
    "guest_speed": 1.0,
    "ring_entries_per_write": 0.9,
}


def guest(hot: int, writes_per_s: float, *, data: int = 40_000, first: int = 0, **content: Any) -> Workload:
    """A guest of 1 GiB whose `hot` pages are written at random."""
    return Workload(
        ram_bytes=GIB,
        ram_total_bytes=GIB,
        zero_pages=GIB // PAGE - data,
        classes=(
            WorkloadClass(
                pages=hot,
                writes_per_page_per_s=writes_per_s / hot,
                extents=((first, hot),),
                content=PageContent(**content) if content else None,
            ),
            WorkloadClass(pages=data - hot, writes_per_page_per_s=0.0, extents=((first + hot, data - hot),)),
        ),
    )


def run(workload: Workload, *on: str, version: str = "10.0", **settings: Any) -> MigrationResult:
    fields = {
        name: settings.pop(name) for name in ("deadline_s", "dirty_ring_size", "vcpus") if name in settings
    }
    parameters = {name.replace("_", "-"): value for name, value in settings.items()}
    return simulate(
        SimulationInput(
            workload=workload,
            terms=TERMS,
            version=QemuVersion.parse(version),
            parameters=parameters,
            capabilities=dict.fromkeys(on, True),
            **{"deadline_s": 60.0} | fields,
        )
    )


# XBZRLE


def test_the_second_sweep_meets_an_empty_cache_and_later_ones_what_it_took_in():
    made = run(guest(8000, 100_000, bytes_a_write=8), "xbzrle", max_bandwidth=20_000_000, downtime_limit=100)
    rounds = made.iterations
    assert rounds["xbzrle_pages"].iloc[0] == 0
    assert rounds["cache_misses"].iloc[1] > 0.99 * rounds["normal"].iloc[1]
    assert made.outcome.status == "completed"
    assert (
        run(guest(8000, 100_000), max_bandwidth=20_000_000, downtime_limit=100).outcome.status
        == "not-converged"
    )


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_cache_smaller_than_the_hot_set_misses_what_it_does_not_hold(share):
    """Law book 4.6: a set written every generation misses 1 - C/w of its pages once the cache is warm."""
    hot, slots = 16_384, int(16_384 * share)
    made = run(
        guest(hot, 2_000_000, bytes_a_write=8),
        "xbzrle",
        max_bandwidth=20_000_000,
        downtime_limit=1,
        xbzrle_cache_size=slots * PAGE,
        deadline_s=40.0,
    )
    late = made.iterations.iloc[4:-1]
    missed = late["cache_misses"].sum() / (late["cache_misses"].sum() + late["xbzrle_pages"].sum())
    assert missed == pytest.approx(1 - share, abs=0.01)
    assert cache_hit_rate(made.info) is not None


def test_bytes_of_an_encoded_page_are_the_content_laws():
    """A set that the cache holds, limited so that rounds are long: each page costs 11 + e."""
    hot, writes = 4000, 400_000
    made = run(
        guest(hot, writes, bytes_a_write=8),
        "xbzrle",
        max_bandwidth=600_000,
        downtime_limit=1,
        deadline_s=400.0,
    )
    late = made.iterations.iloc[4:-1]
    assert late["cache_misses"].sum() < 0.01
    between_s = float(np.median(np.diff(late["start_s"])))
    each = late["transferred_bytes"].sum() / late["xbzrle_pages"].sum()
    law = expected_encoding(PageWrites(8, 512), writes / hot * between_s)
    assert each == pytest.approx(RECORD_BYTES + law.encoded_bytes, rel=0.03)


def test_pages_replaced_whole_overflow_and_go_raw():
    made = run(guest(6000, 200_000, bytes_a_write=PAGE, places=1, whole_fraction=1.0), "xbzrle",
               max_bandwidth=20_000_000, downtime_limit=1, deadline_s=30.0)  # fmt: skip
    cache = made.info["xbzrle-cache"]
    # What is written before it is sent and not since is dirty and unchanged: not sent at all.
    assert 0.9 * cache["pages"] < cache["overflow"] <= cache["pages"]
    assert cache["bytes"] == pytest.approx(cache["overflow"] * PAGE, rel=1e-4)
    plain = run(guest(6000, 200_000), max_bandwidth=20_000_000, downtime_limit=1, deadline_s=30.0)
    # Nothing is saved; windows of whole 32 KiB buffers are shorter than those of whole batches.
    copied, batches = (window_bytes(2_000_000.0, NORMAL_PAGE_BYTES, "flush", copied=c) for c in (True, False))
    assert copied / batches < made.transferred_bytes / plain.transferred_bytes < 1


# Auto-converge


def test_each_second_bad_period_throttles_further():
    made = run(
        guest(30_000, 120_000), "auto-converge", max_bandwidth=30_000_000, downtime_limit=100, version="7.2"
    )
    steps = throttle_steps(made.timeline)
    assert list(steps)[:3] == [20, 30, 40]
    starts = made.iterations["start_s"].to_numpy()
    # The periods of the first rounds are rounds: sync 3 acts, then every second one.
    for number, percentage in ((3, 20), (5, 30), (7, 40)):
        assert steps[percentage] == pytest.approx(starts[number - 1], abs=0.15)
    assert made.costs["guest-lost-s"] > 0


def test_what_the_guest_loses_is_what_the_percentages_take():
    made = run(guest(30_000, 120_000), "auto-converge", max_bandwidth=30_000_000, downtime_limit=1,
               max_cpu_throttle=30, deadline_s=40.0, version="7.2")  # fmt: skip
    steps = throttle_steps(made.timeline)
    lost = (steps[30] - steps[20]) * (1 - run_fraction(20)) + (40.0 - steps[30]) * (1 - run_fraction(30))
    assert made.costs["guest-lost-s"] == pytest.approx(lost, abs=0.2)


def test_a_long_round_is_cut_by_background_syncs_from_9_2_on():
    slow = {"max_bandwidth": 8_000_000, "downtime_limit": 100, "deadline_s": 120.0}
    new, old = (run(guest(30_000, 120_000), "auto-converge", version=v, **slow) for v in ("10.0", "7.2"))
    assert new.rounds > old.rounds
    assert max(throttle_steps(new.timeline)) > max(throttle_steps(old.timeline))
    assert np.diff(new.iterations["start_s"])[2:-2].max() < 10.5


def test_a_guest_by_the_clock_is_slowed_only_below_what_it_needs():
    clock = GuestClock(load=0.25)
    clock.set_speed(1.0, 0.5)
    assert clock.run_s(5.0) == pytest.approx(5.0)
    clock.set_speed(5.0, 0.125)
    assert clock.run_s(9.0) == pytest.approx(7.0)
    clock.set_speed(9.0, 1.0)  # half a second's worth waits; it catches up at four times its pace
    assert clock.run_s(9.0 + 0.5) == pytest.approx(9.0)
    assert clock.run_s(20.0) == pytest.approx(20.0)
    busy = guest(30_000, 60_000)
    settings = {"max_bandwidth": 30_000_000, "downtime_limit": 100, "deadline_s": 300.0}
    closed, by_clock = (run(busy.replace(load_fraction=f), "auto-converge", **settings) for f in (1.0, 0.25))
    assert by_clock.total_time_ms > closed.total_time_ms
    assert throttle_steps(by_clock.timeline).keys() >= {60, 70}


# dirty-limit


def limited(quota: int, ring: int, **more: Any) -> MigrationResult:
    return run(guest(60_000, 25_000, data=80_000), "dirty-limit", dirty_ring_size=ring, max_bandwidth=40_000_000,
               vcpu_dirty_limit=quota, **{"downtime_limit": 300} | more)  # fmt: skip


def test_a_sync_waits_for_a_vcpu_that_sleeps():
    made = limited(10, 4096)
    late = made.iterations.iloc[5:]
    sleep_s = made.timeline["dirty-limit-throttle-time-per-round"].max() * 1e-6
    assert 1.0 < sleep_s < 2.0
    assert late["sync_s"].max() == pytest.approx(sleep_s, rel=0.4)
    assert made.outcome.status == "not-converged"
    # The smaller the ring, the shorter the sleeps at the same rate.
    small = limited(10, 1024)
    assert small.outcome.status == "completed"
    assert small.iterations["sync_s"].max() < 0.5


def test_a_limited_vcpu_writes_a_ring_a_cycle():
    made = limited(10, 4096)
    late = made.iterations.iloc[8:-1]
    # At most one ring between two syncs that wait for its owner's sleep.
    assert late["dirty_pages"].max() <= ring_fill_pages(4096)
    assert made.costs["guest-lost-s"] > 0.5 * (60.0 - 20.0)


def test_the_work_of_a_limited_guest_is_known_between_syncs_too():
    line = limited(10, 4096).timeline
    steps = np.diff(line["guest_s"])
    assert steps.min() >= 0.0
    assert (steps <= np.diff(line["t_s"]) + 1e-9).all()


def test_a_host_that_logs_every_write_fills_the_ring_sooner():
    terms = TERMS | {"ring_entries_per_write": 1.2}
    migration = SimulationInput(
        workload=guest(60_000, 25_000, data=80_000),
        terms=terms,
        version=QemuVersion.parse("10.0"),
        parameters={"max-bandwidth": 40_000_000, "vcpu-dirty-limit": 10},
        capabilities={"dirty-limit": True},
        dirty_ring_size=4096,
        deadline_s=40.0,
    )
    each = simulate(migration).timeline["dirty-limit-ring-full-time"].dropna()
    first = simulate(replace(migration, terms=TERMS)).timeline["dirty-limit-ring-full-time"].dropna()
    assert each[each > 0].min() < 0.9 * first[first > 0].min()


def test_what_the_guest_loses_goes_on_to_the_deadline():
    """A standstill is not simulated to its end; its costs go on like its counters."""
    settings = {"max_bandwidth": 30_000_000, "downtime_limit": 1, "max_cpu_throttle": 30, "version": "7.2"}
    short, long = (
        run(guest(30_000, 120_000), "auto-converge", deadline_s=s, **settings) for s in (100.0, 1000.0)
    )
    assert long.timeline["t_s"].max() < 500  # simulated
    more_s = long.costs["guest-lost-s"] - short.costs["guest-lost-s"]
    assert more_s == pytest.approx(900 * (1 - run_fraction(30)), rel=0.02)
