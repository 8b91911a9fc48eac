"""What the batch engine's compiled loop reads and writes: records of numbers.

A *kind* is what all cells of one call have in common (release, capabilities), a *cell* is one migration, *memory* is
how its guest's RAM is cut and what is dirty of it. None holds anything but numbers, so that a compiler can lay them
out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from migsim.engine.segments import Segments

__all__ = ["CELL", "ENDED", "KIND", "STATE", "SYNC", "UNKNOWN", "Memory", "Notes", "memory_of", "record"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Records = NDArray[Any]

UNKNOWN = -1.0
"""Stands for an `expected-downtime` that no window has refreshed."""

BLOCK = 32
"""Segments that are looked at together."""

NEVER = -1.0
"""A chunk that was not cleared since the last sync."""


def record(floats: str, integers: str = "") -> np.dtype[np.void]:
    """Make a type of records with fields of these names."""
    fields = [(name, "f8") for name in floats.split()] + [(name, "i8") for name in integers.split()]
    return np.dtype(fields)


KIND = record(
    "tick_s overflow_counts encoding_counts deviations",
    "charged_when_queued all_stream inclusive chunked throttled coded fixed_form acts_on needs_previous_rate "
    "steady_rounds many_rounds hits_are_pages multifd zero_pages waits_in_calls waits_at_end flush_bytes",
)
"""What the cells of one call have in common; `overflow_counts` and `encoding_counts` are what `xbzrle-cache.bytes`
counts of a page that overflows, and beside an encoding."""

CELL = record(
    "downtime_limit_ms switchover_bytes_per_s deadline_s fresh_pages connect_s setup_s sync_s switch_gap_s stop_s "
    "normal_page_s cold_page_s fresh_page_s zero_page_s dirty_fault_s wake_up_s load guest_s fixed_speed "
    "xbzrle_hit_s xbzrle_miss_s raw_bytes zero_bytes window_bytes channels zero_lost_s "
    "page_s_0 page_s_1 page_s_2 lost_s_0 lost_s_1 lost_s_2",
    "max_bandwidth rates_row threshold_percent cache_size initial increment maximum tailslow busy",
)
"""One migration: its parameters in QAPI's units, its host's terms. With multifd, `lost_s_` is what the guest loses of
its processors to a page that takes `page_s_`, ascending, and `busy` whether it uses them."""

XBZRLE = "xbzrle_pages cache_miss xbzrle_overflow xbzrle_bytes cache_miss_rate encoding_rate"

STATE = record(
    "now window_start window_stream window_pages quota ram_stream other_stream normal duplicate "
    "remaining first_left zero_left dirty_after_sync dirty_pages_rate threshold mbps pages_per_second "
    "expected_downtime_ms period_start period_pages period_transferred "
    "guest_s guest_before_s guest_began_s guest_lost_s synced_at speed since run backlog changed_at next_tick "
    "lowest deviation trend long_trend full_pages full_s full_stream full_threshold "
    f"coded_quota {XBZRLE} before_pages before_miss before_target before_bytes "
    "multifd_stream queued_pages window_lost_s allowed share",
    "cursor syncs tests percentage fixed_sleeps bad_periods dirtied_before syncs_at_tick full_calls started",
)
"""One migration while it runs; the `full_` fields are a whole window of pages that go again."""

SYNC = 10
"""Columns noted at each sync: when it began, normal pages, guest seconds lost, RAM records' bytes, other bytes;
XBZRLE's pages, misses, overflows and bytes; bytes of multifd's channels."""

ENDED = record(
    "now guest_worked_s guest_lost_s setup_s ram_stream other_stream normal duplicate remaining again first fresh zero "
    "dirty_sync_count dirty_pages_rate mbps pages_per_second expected_downtime_ms threshold percentage "
    "middle_count middle_start middle_normal middle_lost middle_ram middle_other gap_s tests last_test least_test "
    f"coded_raw coded_bytes coded_extra_s {XBZRLE} middle_pages middle_miss middle_overflow middle_bytes "
    "multifd_stream middle_multifd blackout_bytes",
    "completed steady coded",
)
"""One migration at its end, the blackout still to come; `middle_` is what was noted at the sync halfway."""

SEGMENT = record("first fresh", "part zero")
"""Pages of one class in one chunk: `first` never went so far, `fresh` to memory that the destination has yet to find.
`part` is -1 where nobody writes."""

PART = record("pages unsent sent since_sync since_clear clearing offset length", "of_class chunk sweeps")
"""The segments of one class in one chunk, whose pages share their chances; each segment of a sweep is a part."""


class Memory(NamedTuple):
    """A guest's RAM.

    Of each segment its pages, its chunk, the pages dirty and not sent, those sent since the last sync and before it, a
    record of `SEGMENT`, and where the few segments of its chunk end that it is sent with; records of `PART`, runs
    (begin, end, part) of segments of one part, when each chunk was cleared, and the rate of each class.
    """

    pages: Floats
    chunk: Ints
    unsent: Floats
    sent: Floats
    last_sent: Floats
    segments: Records
    block_end: Ints
    parts: Records
    runs: Ints
    cleared: Floats
    rates: Floats


class Notes(NamedTuple):
    """What is noted of one migration: `SYNC` at each sync, what each exact test found, and its running sums."""

    syncs: Floats
    tests: Floats
    sums: Floats


def memory_of(segments: Segments, written: NDArray[np.bool_]) -> Memory:
    """Gather segments into parts; `written` says of each class whether it is written to at all."""
    made = np.zeros(len(segments), SEGMENT)
    used, chunk = np.unique(segments.chunk, return_inverse=True)
    made["zero"], made["part"] = segments.is_zero, -1
    parts: dict[tuple[int, int, int], int] = {}
    runs: list[list[int]] = []
    rows = zip(segments.of_class.tolist(), chunk.tolist(), segments.is_sweep.tolist(), strict=True)
    for i, (of_class, at, sweeps) in enumerate(rows):
        if of_class < 0 or not written[of_class]:
            continue
        part = parts.setdefault((of_class, at, i if sweeps else -1), len(parts))
        made["part"][i] = part
        if runs and runs[-1][1] == i and runs[-1][2] == part:
            runs[-1][1] = i + 1
        else:
            runs.append([i, i + 1, part])
    gathered = np.zeros(len(parts), PART)
    for (of_class, at, alone), part in parts.items():
        place = max(alone, 0)
        row = (of_class, at, alone >= 0, segments.offset[place], segments.length[place])
        for name, value in zip(("of_class", "chunk", "sweeps", "offset", "length"), row, strict=True):
            gathered[name][part] = value
    for begin, end, part in runs:
        gathered["pages"][part] += segments.pages[begin:end].sum()
    lots = np.array(runs, dtype=np.int64).reshape(-1, 3)
    chunks, (unsent, sent, before) = chunk.astype(np.int64), np.zeros((3, len(segments)))
    cleared, rates = np.zeros(len(used)), np.zeros(len(written))
    ends = np.append(np.flatnonzero(np.diff(chunks)) + 1, len(segments))  # of the chunks
    at = np.arange(len(segments))
    block_end = np.minimum(ends[np.searchsorted(ends, at, side="right")], (at // BLOCK + 1) * BLOCK)
    return Memory(
        segments.pages, chunks, unsent, sent, before, made, block_end, gathered, lots, cleared, rates
    )
