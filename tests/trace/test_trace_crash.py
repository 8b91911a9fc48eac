"""A trace whose recording was cut off keeps all intervals up to the last whole one."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from migsim.errors import HostError, TraceError
from migsim.trace import Trace, TraceMeta, TraceWriter, journal, pack_part

META = TraceMeta(collector="stream", qemu_version="10.0.8", ram_bytes=1 << 30)


def part_of(tmp_path, intervals=3):
    writer = TraceWriter(tmp_path / "a.trace", META)
    for number in range(intervals):
        writer.add_events([number], [number], [0])
        writer.add_interval(number, number + 1, pages=[number, number + 10])
    return tmp_path / "a.trace.part"


def whole(trace):
    return [trace.pages(i).tolist() for i in range(len(trace.intervals))]


def test_every_truncation_of_a_packed_trace_is_refused(tmp_path):
    with TraceWriter(tmp_path / "a.trace", META) as writer:
        writer.add_interval(0, 1, pages=range(0, 1000, 3))
    data = (tmp_path / "a.trace").read_bytes()
    cut = tmp_path / "cut.trace"
    for length in range(0, len(data), 17):
        cut.write_bytes(data[:length])
        with pytest.raises(TraceError):
            Trace.open(cut)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    with TraceWriter(tmp_path / "a.trace", META) as writer:
        writer.add_interval(0, 1, pages=range(0, 1000, 3))
    data = (tmp_path / "a.trace").read_bytes()
    flipped = tmp_path / "flipped.trace"
    for position in range(0, len(data), 11):
        flipped.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        try:
            trace = Trace.open(flipped)
            assert trace.pages(0).tolist() == list(range(0, 1000, 3))
            assert trace.intervals["end_s"].tolist() == [1.0]
        except TraceError:
            pass


def test_a_piece_cut_at_any_byte_leaves_the_intervals_before_it(tmp_path):
    folder = part_of(tmp_path)
    for member in ("intervals", "runs", "events"):
        piece = folder / f"00000002-{member}.parquet"
        data = piece.read_bytes()
        for length in range(0, len(data), 61):
            piece.write_bytes(data[:length])
            trace = Trace.open(folder)
            assert whole(trace) == [[0, 10], [1, 11]]
            assert len(trace.events()) == 2
            assert not trace.meta.complete
            assert "cut off" in trace.meta.note
            assert trace.meta.duration_s == 2.0
        piece.write_bytes(data)
    assert len(whole(Trace.open(folder))) == 3


def test_an_interval_without_its_seal_does_not_count(tmp_path):
    folder = part_of(tmp_path)
    (folder / "00000002-intervals.parquet").unlink()
    trace = Trace.open(tmp_path / "a.trace")
    assert whole(trace) == [[0, 10], [1, 11]]
    assert len(trace.events()) == 2


def test_a_hole_in_the_middle_ends_the_trace(tmp_path):
    folder = part_of(tmp_path)
    for piece in folder.glob("00000001-*"):
        piece.unlink()
    assert whole(Trace.open(folder)) == [[0, 10]]


def test_a_left_over_folder_packs(tmp_path):
    folder = part_of(tmp_path)
    pack_part(folder, tmp_path / "b.trace")
    assert len(whole(Trace.open(tmp_path / "b.trace"))) == 3
    assert not folder.exists()


def test_a_killed_writer_leaves_whole_intervals(tmp_path):
    code = (
        "import sys\n"
        "from migsim.trace import TraceMeta, TraceWriter\n"
        "w = TraceWriter(sys.argv[1], TraceMeta(collector='stream', qemu_version='10.0', ram_bytes=1 << 30))\n"
        "for i in range(1000000):\n"
        "    w.add_interval(i, i + 1, pages=[i, i + 10])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.trace")])
    folder = tmp_path / "a.trace.part"
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*-intervals.parquet"))) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    found = whole(Trace.open(tmp_path / "a.trace"))
    assert len(found) >= 20
    assert found == [[i, i + 10] for i in range(len(found))]


def test_a_full_disk_keeps_what_was_whole(tmp_path, monkeypatch):
    class Full:
        def __init__(self, *_):
            raise OSError(errno.ENOSPC, "No space left on device")

    writer = TraceWriter(tmp_path / "a.trace", META)
    writer.add_interval(0, 1, pages=[1])
    monkeypatch.setattr(journal, "open_parquet_writer", Full)
    with pytest.raises(HostError, match=r"No space left.*Make room"):
        writer.add_interval(1, 2, pages=[2])
    monkeypatch.undo()
    assert whole(Trace.open(tmp_path / "a.trace")) == [[1]]
    writer.close(complete=False, note="disk full")
    trace = Trace.open(tmp_path / "a.trace")
    assert whole(trace) == [[1]]
    assert (trace.meta.complete, trace.meta.note) == (False, "disk full")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_really_full_disk(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(small)], check=False
    ).returncode:
        pytest.skip("mount is not permitted here")
    try:
        writer = TraceWriter(small / "a.trace", META)
        with pytest.raises(HostError, match="No space left"):
            for number in range(10_000):
                writer.add_interval(number, number + 1, pages=range(number, number + 500, 3))
        with pytest.raises(HostError, match="whole and readable"):
            writer.close(complete=False)
        trace = Trace.open(small / "a.trace")
        assert len(trace.intervals) == writer.intervals > 3
        assert not list(small.glob(".a.trace*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_exception_closes_the_trace_as_incomplete(tmp_path):
    with pytest.raises(KeyboardInterrupt), TraceWriter(tmp_path / "a.trace", META) as writer:
        writer.add_interval(0, 1, pages=[1])
        raise KeyboardInterrupt
    meta = Trace.open(tmp_path / "a.trace").meta
    assert (meta.complete, meta.note) == (False, "interrupted")


def test_an_exception_before_anything_was_recorded_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), TraceWriter(tmp_path / "a.trace", META):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
