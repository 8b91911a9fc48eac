"""Rounds of tens of milliseconds: a played source that cannot switch over, and one that can."""

import time

import numpy as np
import pytest

from migsim.errors import UsageError
from migsim.trace import Trace, TraceMeta, TraceWriter
from migsim.tracer.dirty_rate import DirtyRateCollector
from migsim.tracer.guest_settings import GuestSettings
from migsim.tracer.record import record_trace
from migsim.tracer.stream.collector import StreamCollector
from migsim.tracer.stream.hold_node import NODE
from migsim.tracer.stream.pacing import default_windows_s
from tests.tracer.played_qemu import monitor_of
from tests.tracer.stream.played_source import BLOCKS, PlayedSource

RAM_BYTES = BLOCKS[0][1] * 4096
WINDOWS_S = (*[0.02] * 6, *[0.06] * 4, 0.3)


def record(source, path, duration_s=4.0, stop=lambda: False, windows_s=WINDOWS_S):
    """Record a played source; it has to be left as it was."""
    before = source.query_migrate_parameters({}), source.query_migrate_capabilities({}), list(source.nodes)
    meta = TraceMeta(collector="stream", qemu_version=str(source.version), ram_bytes=RAM_BYTES)
    with TraceWriter(path, meta) as writer:
        StreamCollector(windows_s=windows_s).record(
            source, writer, duration_s=duration_s, progress=lambda *_: None, stop=stop
        )
    source.thread.join(10.0)
    assert not source.thread.is_alive()
    after = source.query_migrate_parameters({}), source.query_migrate_capabilities({}), source.nodes
    assert after == before
    trace = Trace.open(path)
    assert trace.meta.self_check["settings_restored"]
    return trace


def lengths_of(trace):
    return (trace.intervals["end_s"] - trace.intervals["start_s"]).to_numpy()


def written_in(source, first, last):
    """Pages that the source found dirty at the syncs from `first` to `last`."""
    return sorted(set().union(*source.found[first : last + 1]))


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_rounds_are_as_short_as_asked_for_and_hold_what_was_written_in_them(version, tmp_path):
    source = PlayedSource(version)
    trace = record(source, tmp_path / "a.trace")
    assert not any(event.name == "STOP" for event in source.events)
    assert trace.meta.note == ""
    lengths = lengths_of(trace)
    # A busy host makes rounds longer.
    assert ((lengths > 0.015) & (lengths < 0.2)).sum() >= 6, lengths
    assert (lengths > 0.25).any()
    # Every interval holds the very pages that its syncs found.
    syncs = [event.seconds for event in source.events if event.name == "MIGRATION_PASS"]
    begin_s = syncs[0] - trace.intervals["start_s"][0]  # the trace's time 0
    ends = trace.intervals["end_s"].to_numpy() + begin_s
    numbers = [int(np.abs(np.array(syncs) - end).argmin()) for end in ends]
    before = 0
    for interval, number in enumerate(numbers):
        found = trace.pages(interval).tolist()
        expected = written_in(source, before + 1, number)
        if version == "10.0":
            assert found == expected, (interval, lengths[interval])
        else:  # what is sent in a millisecond may be left for the next round
            assert len(set(found) ^ set(expected)) <= 0.1 * len(expected) + 60, (interval, lengths[interval])
        before = number


@pytest.mark.parametrize("writes_per_s", [0.0, 300.0])
@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_an_idle_guest_is_neither_stopped_nor_synced_without_end(version, writes_per_s, tmp_path):
    source = PlayedSource(version, writes_per_s=writes_per_s)
    trace = record(source, tmp_path / "a.trace")
    assert not any(event.name == "STOP" for event in source.events)
    assert len(source.found) < 100 * 4
    assert len(trace.intervals) >= 3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"version": "7.2", "own_bitmaps": True}, "lock the dirty bitmaps of the guest's disks"),
        ({"version": "7.2", "null_co": False}, "takes no null-co node with a dirty bitmap"),
        ({"version": "7.2", "announces": False}, "does not announce the dirty bitmap"),
        ({"version": "11.1"}, "QEMU 11.1 cannot be held before its syncs"),
        ({"version": "8.0"}, "QEMU 8.0 cannot be held before its syncs"),
    ],
)
def test_a_source_that_cannot_be_held_is_paced_and_the_trace_says_why(options, why, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(DirtyRateCollector, "record", lambda *_, **options: asked.append(options))
    source = PlayedSource(**options)
    trace = record(source, tmp_path / "a.trace", 4.0)
    assert why in trace.meta.note
    assert bool(asked) == (options["version"] == "11.1")  # others have no windows of milliseconds
    assert (lengths_of(trace) > 0.08).all()  # a window of QEMU, though 20 ms are asked for


def test_a_mapping_of_bitmaps_is_put_back_and_keeps_the_guests_own_out(tmp_path):
    source = PlayedSource("7.2", own_bitmaps=True)
    source.parameters["block-bitmap-mapping"] = mapping = [
        {"node-name": "disk0", "alias": "a", "bitmaps": []}
    ]
    seen = []

    def stop():
        seen.append(source.parameters["block-bitmap-mapping"])
        return False

    trace = record(source, tmp_path / "a.trace", 1.0, stop=stop)
    assert trace.meta.note == ""
    assert [[entry["node-name"] for entry in one] for one in (seen[-1], mapping)] == [[NODE], ["disk0"]]


def test_the_node_of_a_killed_recording_is_taken_over(tmp_path):
    source = PlayedSource("7.2")
    source.nodes.append({"node-name": NODE})
    meta = TraceMeta(collector="stream", qemu_version="7.2", ram_bytes=RAM_BYTES)
    with TraceWriter(tmp_path / "a.trace", meta) as writer:
        StreamCollector().record(source, writer, duration_s=0.3, progress=lambda *_: None, stop=lambda: False)
    assert [node["node-name"] for node in source.nodes] == ["disk0"]


def test_lengths_of_rounds_reach_the_stream_collector_and_no_other(tmp_path):
    source = PlayedSource("7.2")
    with monitor_of(source, tmp_path / "q"):
        with pytest.raises(UsageError, match="traced by dirty-rate"):
            record_trace(tmp_path / "q", tmp_path / "a.trace", method="dirty-rate", windows_s=[0.1])
        record_trace(
            tmp_path / "q", tmp_path / "a.trace", method="stream", duration_s=2.0, windows_s=[0.06, 0.3]
        )
    assert (lengths_of(Trace.open(tmp_path / "a.trace")) < 0.2).any()


def test_settings_that_are_put_back_take_the_node_with_them():
    source = PlayedSource("7.2")
    kept = GuestSettings(parameters=source.query_migrate_parameters({}))
    assert kept.put_back(source) == []
    source.nodes.append({"node-name": NODE})
    assert kept.put_back(source) == [f"block node {NODE} removed"]
    assert [node["node-name"] for node in source.nodes] == ["disk0"]


def test_short_rounds_of_a_guest_that_writes_faster_than_it_is_sent_end(tmp_path):
    source = PlayedSource("10.0", writes_per_s=200_000.0)
    begun = time.monotonic()
    meta = TraceMeta(collector="stream", qemu_version="10.0", ram_bytes=RAM_BYTES)
    with TraceWriter(tmp_path / "a.trace", meta) as writer:
        StreamCollector(windows_s=WINDOWS_S, max_bandwidth=2_000_000).record(
            source, writer, duration_s=3.0, progress=lambda *_: None, stop=lambda: False
        )
    assert time.monotonic() - begun < 60
    assert len(Trace.open(tmp_path / "a.trace").intervals) >= 1


@pytest.mark.parametrize("duration_s", [0.5, 6, 30, 600])
def test_the_ladder_goes_from_tens_of_ms_to_a_quarter_of_the_duration(duration_s):
    ladder = default_windows_s(duration_s)
    longest = max(ladder)
    assert min(ladder) <= 0.02
    assert 0.1 * min(duration_s, 120) <= longest <= max(0.25 * duration_s, 0.2)
    assert longest <= 30
    short_s = sum(length for length in ladder if length < 0.2)
    assert short_s <= max(0.35 * sum(ladder), 0.8)
