"""The stream collector on real guests: it records the pages that were written, and leaves the guest unchanged."""

import os
import time

import numpy as np
import pytest

from migsim.errors import MigsimError
from migsim.lab.guest_log import log_of, wait_ready
from migsim.trace import Trace, TraceWriter
from migsim.tracer.preflight import describe_guest
from migsim.tracer.record import record_trace
from migsim.tracer.stream.collector import StreamCollector
from tests.live_guest import live_guest

pytestmark = pytest.mark.live
QEMUS = ["7.2", "10.0"]
BASE = 4096  # RAM page of workload page 0
BUSY = "-- touch=3000 class=1000:400:3:sweep:bytes=8 class=2000:100:1:random:page report=200 check=1"
CHECK_RECORDS = 3000 * 16 // 4096 + 2


def qemu(version, folder, append=BUSY):
    return live_guest(folder, version, append)


def settings(session):
    return session.execute("query-migrate-parameters"), session.execute("query-migrate-capabilities")


def record(guest, path, duration_s=3.0, stop=lambda: False, **options):
    writer = TraceWriter(path, describe_guest(guest.qmp, "stream"))
    with writer:
        StreamCollector(**options).record(
            guest.qmp, writer, duration_s=duration_s, progress=lambda *_: None, stop=stop
        )
    return Trace.open(path)


@pytest.mark.parametrize("version", QEMUS)
def test_pages_are_those_the_guest_writes_and_the_guest_runs_on(version, tmp_path):
    with qemu(version, tmp_path) as guest:
        wait_ready(guest, 60.0)
        before = settings(guest.qmp)
        trace = record(guest, tmp_path / "guest.trace", duration_s=7.0)
        writes = log_of(guest).progress[-1].writes
        time.sleep(1.5)
        log = log_of(guest)
        assert settings(guest.qmp) == before
    assert log.failed == 0
    assert log.progress[-1].writes > writes
    check = trace.meta.self_check
    assert check["guest_running_at_end"] and check["settings_restored"]
    assert check["guest_stopped_ms"] == 0.0
    assert not any(event.name == "STOP" for event in guest.qmp.events)
    total = sum(block.pages for block in trace.meta.ram_blocks)
    assert total - 8000 < trace.meta.zero_pages < total - 3000
    counts = np.array(trace.meta.data_map.data_pages)
    assert counts.sum() == total - trace.meta.zero_pages
    cells = np.zeros(len(counts), bool)
    cells[np.arange(BASE, BASE + 3000) // trace.meta.data_map.cell_pages] = True
    assert counts[cells].sum() >= 3000  # what the guest filled is where it lies
    assert len(trace.intervals) >= 2
    seen = np.unique(np.concatenate([trace.pages(number) for number in trace.intervals["interval"]]))
    sweep = np.arange(BASE + 1000, BASE + 1400)
    assert np.isin(sweep, seen).all()
    workload = seen[(seen >= BASE) & (seen < BASE + 3000)]
    assert np.isin(workload, np.r_[sweep, BASE + 2000 : BASE + 2100]).all()
    outside = seen[(seen < BASE) | (seen >= BASE + 3000)]
    assert len(outside) < CHECK_RECORDS + 30  # its own few pages, and the records of check=1
    swept = trace.content[trace.content["page"].isin(sweep)]
    assert len(swept) > 50
    # Each pass changes the next eight bytes of a page: one stretch of them, as long as passes fit into a round.
    said = log.progress
    passes_per_s = 0.75 * (said[-1].writes - said[0].writes) / ((said[-1].t_us - said[0].t_us) / 1e6) / 400
    longest_s = (trace.intervals["end_s"] - trace.intervals["start_s"]).max()
    assert swept["changed_bytes"].median() <= 8 * (1.3 * passes_per_s * longest_s + 1)
    assert swept["runs"].median() <= 3


@pytest.mark.parametrize("version", QEMUS)
def test_rounds_have_the_lengths_asked_for(version, tmp_path):
    with qemu(version, tmp_path) as guest:
        wait_ready(guest, 60.0)
        trace = record(guest, tmp_path / "guest.trace", duration_s=4.5, windows_s=(0.3, 1.0))
    lengths = (trace.intervals["end_s"] - trace.intervals["start_s"]).to_numpy()[1:]
    assert len(lengths) >= 2
    assert (lengths > 0.2).all()  # a loaded host may delay a sync; it never comes much too early
    assert lengths.max() > 0.9


@pytest.mark.parametrize("version", QEMUS)
def test_an_idle_guest_is_left_running(version, tmp_path):
    with qemu(
        version, tmp_path, "-- touch=100 class=0:1:1:sweep:bytes=8 pace=clock rate=1 report=60000"
    ) as guest:
        wait_ready(guest, 60.0)
        before = settings(guest.qmp)
        trace = record(guest, tmp_path / "guest.trace")
        assert guest.qmp.execute("query-status")["running"]
        assert settings(guest.qmp) == before
    assert trace.meta.self_check["guest_stopped_ms"] == 0.0
    assert trace.meta.note == ""


@pytest.mark.parametrize("version", QEMUS)
def test_rounds_of_tens_of_milliseconds(version, tmp_path):
    hot = "-- touch=8000 class=0:2000:1:random:bytes=8 pace=clock rate=20000 report=200"
    with qemu(version, tmp_path, hot) as guest:
        wait_ready(guest, 60.0)
        before = settings(guest.qmp), guest.qmp.execute("query-named-block-nodes", {"flat": True})
        windows_s = (*[0.03] * 12, *[0.08] * 6, 0.4)
        trace = record(guest, tmp_path / "guest.trace", duration_s=4.0, windows_s=windows_s)
        after = settings(guest.qmp), guest.qmp.execute("query-named-block-nodes", {"flat": True})
        assert after == before
        assert not any(event.name == "STOP" for event in guest.qmp.events)
    assert trace.meta.note == ""
    table = trace.intervals.iloc[1:]
    lengths = (table["end_s"] - table["start_s"]).to_numpy()
    # A busy host makes rounds longer; it makes none shorter but those that nobody held.
    assert ((lengths > 0.025) & (lengths < 0.2)).sum() >= 6, lengths
    # A window holds what is written in it, whatever its length. A guest that was late catches up in some of them.
    counts = table["dirty_pages"].to_numpy()
    short = (lengths > 0.025) & (lengths < 0.2)
    written = 2000 * -np.expm1(-20_000 * lengths / 2000)
    assert 0.4 < np.median(counts[short] / written[short]) < 1.4, (lengths, counts)


def test_disks_with_bitmaps_of_their_own_are_left_alone(tmp_path):
    with qemu("7.2", tmp_path) as guest:
        wait_ready(guest, 60.0)
        guest.qmp.execute("blockdev-add", {"driver": "null-co", "node-name": "disk", "size": 1 << 20})
        guest.qmp.execute("block-dirty-bitmap-add", {"node": "disk", "name": "own"})
        before = guest.qmp.execute("query-named-block-nodes", {"flat": True})
        trace = record(guest, tmp_path / "guest.trace", duration_s=2.0)
        assert guest.qmp.execute("query-named-block-nodes", {"flat": True}) == before
    assert "lock the dirty bitmaps" in trace.meta.note


def test_stopping_early_keeps_whole_intervals(tmp_path):
    with qemu("10.0", tmp_path) as guest:
        wait_ready(guest, 60.0)
        until = time.monotonic() + 3.0
        trace = record(guest, tmp_path / "guest.trace", 60.0, stop=lambda: time.monotonic() > until)
        assert time.monotonic() < until + 25.0  # half of what it would go on for
        assert guest.qmp.execute("query-migrate")["status"] == "cancelled"
    assert len(trace.intervals) >= 1


def test_qemu_killed_while_recording(tmp_path):
    path = tmp_path / "guest.trace"
    with qemu("10.0", tmp_path) as guest:
        wait_ready(guest, 60.0)
        begun = time.monotonic()

        def kill_later():
            if time.monotonic() > begun + 3.5:
                os.kill(guest.pid, 9)
            return False

        with pytest.raises(MigsimError):
            record(guest, path, 60.0, stop=kill_later)
    trace = Trace.open(path)
    assert not trace.meta.complete
    assert len(trace.intervals) >= 1


def test_refused_while_a_migration_is_active(tmp_path):
    with qemu("7.2", tmp_path) as guest:
        wait_ready(guest, 60.0)
        guest.qmp.execute("migrate-set-parameters", {"max-bandwidth": 1000})
        guest.qmp.execute("migrate", {"uri": "exec:sleep 60"})
        writer = TraceWriter(tmp_path / "guest.trace", describe_guest(guest.qmp, "stream"))
        with pytest.raises(MigsimError, match="under way"), writer:
            StreamCollector().record(
                guest.qmp, writer, duration_s=1.0, progress=lambda *_: None, stop=lambda: False
            )
        assert guest.qmp.execute("query-migrate")["status"] == "active"
        guest.qmp.execute("migrate_cancel")
    assert not (tmp_path / "guest.trace").exists()


def test_a_recording_through_the_front_door(tmp_path):
    with qemu("10.0", tmp_path) as guest:
        wait_ready(guest, 60.0)
        guest.qmp.close()
        done = record_trace(guest.socket_path, tmp_path / "a.trace", method="stream", duration_s=2.0)
    assert done.complete
    assert done.intervals >= 2
