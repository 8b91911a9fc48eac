"""Replay against the event engine on guests whose writing is known, against closed forms, and against itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.errors import ParameterError, TraceError
from migsim.models.loop.rate_limit import window_bytes
from migsim.profiles import HostProfile, Term
from migsim.profiles.terms import HOST_TERMS, RING_TERMS, XBZRLE_TERMS
from migsim.qapi import QemuVersion, validate_migration_info
from migsim.results import cache_hit_rate, throttle_steps
from migsim.scenario import MigrationSettings
from migsim.study.replay import replay
from migsim.trace import RamBlock, Trace, TraceMeta, TraceWriter
from tests.engine.pages.known_traces import stream_trace, workload

GIB_PAGES = 1 << 18
WINDOW_S = 0.1
TERMS = dict.fromkeys((*HOST_TERMS, *XBZRLE_TERMS, *RING_TERMS), 0.0) | {
    "connect_s": 0.001,
    "setup_base_s": 0.005,
    "normal_page_s": 3e-6,
    "cold_page_s": 4e-6,
    "fresh_page_s": 8e-6,
    "burst_page_s": 2e-6,
    "burst_cold_page_s": 4e-6,
    "burst_fresh_page_s": 8e-6,
    "zero_page_s": 3e-7,
    "sync_base_s": 2e-4,
    "stop_s": 1e-3,
    "device_state_s": 4e-3,
    "load_s": 3e-3,
    "device_state_bytes": 80_000.0,
    "guest_speed": 1.0,
    "xbzrle_hit_s": 2e-6,
    "xbzrle_miss_s": 1e-6,
    "ring_entries_per_write": 0.9,
}
HOST = HostProfile(
    terms={name: Term(median=value, spread=0.0) for name, value in TERMS.items()}, qemu_version="10.0"
)


def replayed(trace, *words, version="10.0", **options):
    settings = MigrationSettings.parse(words, version)
    return replay(
        trace, host=HOST, settings=settings, qemu_version=version, **({"deadline_s": 30.0} | options)
    )


def simulated(guest, *words, version="10.0", **options):
    settings = MigrationSettings.parse(words, version)
    return simulate(
        SimulationInput(
            guest,
            TERMS,
            QemuVersion.parse(version),
            settings.parameters,
            settings.capabilities,
            **({"deadline_s": 30.0} | options),
        )
    )


def both(folder, classes, zero_pages, *words, bytes_a_write=0, **options):
    trace = stream_trace(folder / "a.trace", classes, zero_pages=zero_pages, bytes_a_write=bytes_a_write)
    guest = workload(GIB_PAGES, classes, zero_pages, bytes_a_write)
    return replayed(trace, *words, **options), simulated(guest, *words, **options)


RANDOM = [(20_000, 20_000, 20_000.0, "random")]
TWO = [(20_000, 20_000, 30_000.0, "random"), (60_000, 100_000, 8000.0, "random")]
SWEEP = [(20_000, 30_000, 60_000.0, "sweep")]


@pytest.mark.parametrize(
    ("classes", "zero_pages", "words", "version"),
    [
        (RANDOM, 0, ["max-bandwidth=1Gbps"], "7.2"),
        (RANDOM, 100_000, ["max-bandwidth=0", "downtime-limit=50"], "10.0"),
        (TWO, 50_000, ["max-bandwidth=2Gbps"], "10.0"),
        (TWO, 0, ["max-bandwidth=2500Mbps", "downtime-limit=100"], "7.2"),
        (SWEEP, 100_000, ["max-bandwidth=3Gbps"], "10.0"),
    ],
)
def test_a_known_guest_migrates_as_in_the_event_engine(tmp_path, classes, zero_pages, words, version):
    exact, fluid = both(tmp_path, classes, zero_pages, *words, version=version)
    assert exact.outcome.status == fluid.outcome.status == "completed"
    assert exact.total_time_ms / 1000 == pytest.approx(
        fluid.total_time_ms / 1000, rel=0.01, abs=1.1 * WINDOW_S
    )
    # Of a sweep the replay knows an interval's pages, not their order.
    assert exact.transferred_bytes == pytest.approx(
        fluid.transferred_bytes, rel=0.03 if classes is SWEEP else 0.01
    )
    assert exact.downtime_ms == pytest.approx(fluid.downtime_ms, rel=0.2 if classes is SWEEP else 0.1, abs=2)
    assert abs(exact.rounds - fluid.rounds) <= 1
    assert exact.info["ram"]["duplicate"] == zero_pages
    validate_migration_info(exact.info)


@pytest.mark.parametrize("classes", [SWEEP, [(20_000, 30_000, 90_000.0, "random")]])
def test_a_known_guest_that_does_not_converge_stands_still_at_the_same_pace(tmp_path, classes):
    exact, fluid = both(tmp_path, classes, 100_000, "max-bandwidth=1Gbps")
    assert exact.outcome.status == fluid.outcome.status == "not-converged"
    assert exact.transferred_bytes == pytest.approx(fluid.transferred_bytes, rel=0.01)
    assert exact.rounds == pytest.approx(fluid.rounds, rel=0.15)


@pytest.mark.parametrize("cache", ["64MiB", "16MiB"])
def test_xbzrle_finds_and_encodes_as_many_pages_as_in_the_event_engine(tmp_path, cache):
    exact, fluid = both(
        tmp_path,
        [(20_000, 12_000, 60_000.0, "random")],
        200_000,
        "max-bandwidth=400Mbps",
        "xbzrle=on",
        f"xbzrle-cache-size={cache}",
        bytes_a_write=8,
    )
    assert exact.outcome.status == fluid.outcome.status
    assert exact.outcome.status == ("completed" if cache == "64MiB" else "not-converged")
    told = exact.info["xbzrle-cache"]
    assert cache_hit_rate(exact.info) == pytest.approx(cache_hit_rate(fluid.info), abs=0.02)
    assert told["bytes"] / told["pages"] == pytest.approx(
        fluid.info["xbzrle-cache"]["bytes"] / fluid.info["xbzrle-cache"]["pages"], rel=0.08
    )
    assert told["overflow"] == 0
    # Pages are counted one by one: what was sent raw since RAM was gone through missed.
    raw_at_first = exact.iterations["normal"].iloc[0]
    assert exact.info["ram"]["normal"] - raw_at_first == told["cache-miss"]
    assert exact.transferred_bytes == pytest.approx(fluid.transferred_bytes, rel=0.01)
    validate_migration_info(exact.info)


def test_auto_converge_throttles_a_replayed_guest(tmp_path):
    words = ["max-bandwidth=400Mbps", "auto-converge=on"]
    exact, fluid = both(
        tmp_path, [(20_000, 20_000, 60_000.0, "random")], 150_000, *words, version="7.2", deadline_s=60.0
    )
    assert exact.outcome.status == fluid.outcome.status == "completed"
    assert exact.total_time_ms == pytest.approx(fluid.total_time_ms, rel=0.03)
    steps, expected = throttle_steps(exact.timeline), throttle_steps(fluid.timeline)
    assert list(steps) == list(expected) and len(steps) >= 4
    for percentage, at in expected.items():
        assert steps[percentage] == pytest.approx(at, abs=1.0)
    assert exact.costs["guest-lost-s"] == pytest.approx(fluid.costs["guest-lost-s"], rel=0.06)


def test_dirty_limit_reckons_with_the_rates_of_the_trace(tmp_path):
    classes = [(20_000, 20_000, 20_000.0, "random")]
    words = ["max-bandwidth=100Mbps", "dirty-limit=on", "vcpu-dirty-limit=10"]
    exact, fluid = both(tmp_path, classes, 200_000, *words, dirty_ring_size=4096, deadline_s=90.0)
    assert exact.outcome.status == fluid.outcome.status
    assert exact.transferred_bytes == pytest.approx(fluid.transferred_bytes, rel=0.03)
    assert exact.costs["guest-lost-s"] == pytest.approx(fluid.costs["guest-lost-s"], rel=0.1)
    assert exact.costs["guest-lost-s"] > 5


# Closed forms


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_an_idle_guest_takes_its_bytes_over_the_quota(tmp_path, version):
    trace = stream_trace(tmp_path / "a.trace", [], zero_pages=100_000, laps=1)
    made = replayed(trace, "max-bandwidth=1Gbps", "downtime-limit=30", version=version)
    data = GIB_PAGES - 100_000
    per_window = window_bytes(12_500_000, 4104, "enqueue" if version == "7.2" else "flush")
    assert made.outcome.status == "completed"
    assert (made.info["ram"]["normal"], made.info["ram"]["duplicate"]) == (data, 100_000)
    assert made.info["ram"]["dirty-sync-count"] == 3
    expected_s = (data * 4104 + 100_000 * 9) / per_window * WINDOW_S
    assert made.total_time_ms / 1000 == pytest.approx(expected_s, abs=0.15)


def test_a_page_written_all_the_time_is_sent_in_every_round(tmp_path):
    """10,000 pages dirty in every interval: a round is their time, whatever the trace's intervals are."""
    trace = stream_trace(tmp_path / "a.trace", [(0, 10_000, 2e6, "random")], zero_pages=GIB_PAGES - 10_000)
    made = replayed(trace, "max-bandwidth=100Mbps", "downtime-limit=100", deadline_s=60.0)
    assert made.outcome.status == "not-converged"
    rounds = made.iterations.iloc[3:-1]
    per_window = window_bytes(1_250_000, 4104, "flush")
    # A sync comes when less than the threshold (1.25 MB) is left, so a round sends all pages but those.
    sent = 10_000 - 1_250_000 / 4096
    lasts = (rounds["end_s"] - rounds["start_s"]).mean()
    assert rounds["normal"].mean() == pytest.approx(10_000, rel=0.04)
    assert lasts == pytest.approx(sent * 4104 / per_window * WINDOW_S, rel=0.06)
    assert (rounds["remaining_bytes_after_sync"] > 9900 * 4096).all()


# Itself


def test_the_same_seed_gives_the_same_migration(tmp_path):
    trace = stream_trace(
        tmp_path / "a.trace", [(20_000, 12_000, 9000.0, "random")], zero_pages=200_000, bytes_a_write=8
    )
    words = ["max-bandwidth=400Mbps", "xbzrle=on"]
    one, same, other = (replayed(trace, *words, seed=seed) for seed in (5, 5, 6))
    assert json.dumps(one.info) == json.dumps(same.info)
    assert one.iterations.equals(same.iterations)
    assert one.info["xbzrle-cache"]["bytes"] != other.info["xbzrle-cache"]["bytes"]


def test_what_is_taken_for_granted_is_said(tmp_path):
    trace = stream_trace(tmp_path / "a.trace", RANDOM, zero_pages=100_000, laps=1, lengths_s=(0.5, 0.3))
    made = replayed(trace, "max-bandwidth=1Gbps", "xbzrle=on")
    notes = " ".join(made.scenario["assumptions"])
    assert "holds 0.8 s of the guest and was replayed for" in notes and "repeated from its start" in notes
    assert "whole pages changed" in notes
    assert made.scenario["trace"] == "a.trace" and made.kind == "simulated"
    short = replayed(trace, "max-bandwidth=0", "downtime-limit=2000")
    assert "repeated" not in " ".join(short.scenario["assumptions"])


# In a process of its own, whose resident memory no other test has filled.
MEASURED_REPLAY = """
import json, sys, time
from pathlib import Path
from migsim.trace import Trace
from tests.engine.pages.test_replay import replayed
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
replayed(Trace.open("traces/idle-1g.trace"), "xbzrle=on")  # what imports and caches take is not the guest's
trace = Trace.open(sys.argv[1])
Path("/proc/self/clear_refs").write_text("5")
before, begun = peak(), time.process_time()
made = replayed(trace, "max-bandwidth=0", "downtime-limit=1", "xbzrle=on", deadline_s=200.0)
spent_s = time.process_time() - begun  # not the clock's: other processes take none of it
print(json.dumps([made.info["total-time"], made.info["ram"]["normal"], spent_s, peak() - before]))
"""


def test_a_minute_of_a_128_gib_guest_takes_seconds_and_little_memory(tmp_path):
    """400 MiB hold it all: pages, queues, the trace's own table; 100,000 pages are dirty in each interval."""
    pages = 1 << 25
    rng = np.random.default_rng(1)
    meta = TraceMeta(
        collector="stream",
        qemu_version="10.0.2",
        ram_bytes=pages * 4096,
        ram_blocks=RamBlock.stack([("pc.ram", pages * 4096)]),
        zero_pages=pages - pages // 8,
    )
    with TraceWriter(tmp_path / "a.trace", meta) as writer:
        for second in range(60):
            writer.add_interval(second, second + 1.0, pages=np.sort(rng.integers(0, pages // 8, 100_000)))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_REPLAY, tmp_path / "a.trace"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},  # Arrow's own keeps what it was given back
    )
    length_ms, sent, spent_s, peak = json.loads(done.stdout)
    assert spent_s < 30
    assert length_ms > 30_000 and sent > pages // 8
    assert peak < 400 << 20


# Bad input


def test_what_cannot_be_replayed_is_refused(tmp_path):
    trace = stream_trace(tmp_path / "a.trace", RANDOM, laps=1, lengths_s=(0.5,))
    with pytest.raises(ParameterError, match="no dirty ring"):
        replayed(trace, "dirty-limit=on")
    with pytest.raises(ParameterError, match="powers of two"):
        replayed(trace, "xbzrle=on", "xbzrle-cache-size=100MiB")
    meta = TraceMeta(collector="dirty-rate", qemu_version="10.0.2", ram_bytes=1 << 30)
    with TraceWriter(tmp_path / "rate.trace", meta) as writer:
        writer.add_interval(0.0, 1.0, dirty_pages=500)
    with pytest.raises(TraceError, match="names no pages"):
        replayed(Trace.open(tmp_path / "rate.trace"))
