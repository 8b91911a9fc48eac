"""Recording an idle guest, whose source begins to switch over again and again: a played QEMU 7.2."""

import time

import numpy as np
import pytest

from migsim.errors import QemuError
from migsim.trace import Trace, TraceMeta, TraceWriter
from migsim.tracer.stream.collector import StreamCollector
from tests.tracer.played_qemu import PlayedQemu


def record(qemu, path, duration_s, stop=lambda: False):
    meta = TraceMeta(collector="stream", qemu_version="7.2", ram_bytes=50 * 4096)
    before = qemu.query_migrate_parameters({}), qemu.query_migrate_capabilities({})
    try:
        with TraceWriter(path, meta) as writer:
            StreamCollector().record(qemu, writer, duration_s=duration_s, progress=lambda *_: None, stop=stop)
    finally:
        qemu.thread.join(10.0)
        assert not qemu.thread.is_alive()
    assert (qemu.query_migrate_parameters({}), qemu.query_migrate_capabilities({})) == before
    return Trace.open(path)


def test_a_migration_whose_cancel_qemu_lost_is_woken_up(tmp_path):
    qemu = PlayedQemu([[31, 32]], loses_cancel=True)
    trace = record(qemu, tmp_path / "a.trace", 1.0)
    assert qemu.woken >= 1
    check = trace.meta.self_check
    assert check["guest_running_at_end"] and check["settings_restored"]
    assert 50 <= check["guest_stopped_ms"] / qemu.woken < 1000


def test_recording_goes_on_in_a_new_migration_until_the_time_is_over(tmp_path):
    qemu = PlayedQemu([[31, 32], [33], [31, 34]])
    begun = time.monotonic()
    trace = record(qemu, tmp_path / "a.trace", 2.0)
    assert 2.0 < time.monotonic() - begun < 30.0
    assert trace.meta.complete
    assert qemu.migrations >= 2
    switchovers = sum(event.name == "STOP" for event in qemu.events)
    times = "once" if switchovers == 1 else f"{switchovers} times"
    assert times in trace.meta.note and "stood still for" in trace.meta.note
    check = trace.meta.self_check
    assert check["guest_running_at_end"] and check["settings_restored"]
    assert check["guest_stopped_ms"] > 0
    assert trace.meta.zero_pages == 30
    assert sum(trace.meta.data_map.data_pages) == trace.meta.total_pages - 30
    # All rounds of a migration are written, also the last one, which no later section closed.
    pages = [trace.pages(number).tolist() for number in trace.intervals["interval"]]
    assert pages[:3] == [[31, 32], [33], [31, 34]]
    assert len(pages) >= 3 * (switchovers - 1)
    assert all(np.isin(found, [31, 32, 33, 34]).all() for found in pages)
    starts, ends = trace.intervals["start_s"].to_numpy(), trace.intervals["end_s"].to_numpy()
    assert (starts[1:] >= ends[:-1] - 1e-9).all()


def test_pauses_between_migrations_grow_while_the_guest_stays_idle(tmp_path):
    qemu = PlayedQemu([])
    trace = record(qemu, tmp_path / "a.trace", 4.0)
    assert 2 <= qemu.migrations <= 3
    assert trace.meta.complete
    assert "switch over" in trace.meta.note


def test_a_guest_that_does_not_run_again_ends_the_recording(tmp_path):
    qemu = PlayedQemu([[31]], stays_stopped=True)
    trace = record(qemu, tmp_path / "a.trace", 60.0)
    assert qemu.migrations == 1
    assert not trace.meta.self_check["guest_running_at_end"]


def test_stopping_in_a_pause_between_migrations(tmp_path):
    qemu = PlayedQemu([])
    until = time.monotonic() + 2.0
    record(qemu, tmp_path / "a.trace", 60.0, stop=lambda: time.monotonic() > until)
    assert time.monotonic() < until + 30.0  # half of what it would go on for


def test_after_a_broken_migration_no_other_is_started(tmp_path):
    qemu = PlayedQemu([[31], [32], [33]], dies=True)
    with pytest.raises(QemuError, match="ended by itself"):
        record(qemu, tmp_path / "a.trace", 60.0)
    assert qemu.migrations == 1
    trace = Trace.open(tmp_path / "a.trace")
    assert not trace.meta.complete
    assert len(trace.intervals) >= 1
