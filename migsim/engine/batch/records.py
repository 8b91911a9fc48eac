"""What the batch engine's compiled loop reads and writes: records of numbers.

A *kind* is what all cells of one call have in common (release, capabilities), a *cell* is one migration, *memory* is
how its guest's RAM is cut and what is dirty of it. None holds anything but numbers, so that a compiler can lay them
out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch.result import COLUMNS

__all__ = [
    "ABSENT",
    "CELL",
    "DATA",
    "ENDED",
    "EXTENT",
    "FIGURES",
    "KIND",
    "NEVER",
    "PART",
    "STATE",
    "SYNC",
    "UNKNOWN",
    "WHY",
    "ZERO",
    "Memory",
    "Notes",
    "record",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Records = NDArray[Any]

UNKNOWN = -1.0
"""Stands for an `expected-downtime` that no window has refreshed."""

NEVER = -1.0
"""A chunk that was not cleared since the last sync."""

DATA, ZERO = -1, -2
"""Stand for the part of a segment that nobody writes to: data, and pages that are zero."""


def record(floats: str, integers: str = "") -> np.dtype[np.void]:
    """Make a type of records with fields of these names."""
    fields = [(name, "f8") for name in floats.split()] + [(name, "i8") for name in integers.split()]
    return np.dtype(fields)


KIND = record(
    "tick_s overflow_counts encoding_counts deviations",
    "charged_when_queued all_stream inclusive chunked throttled coded fixed_form acts_on needs_previous_rate "
    "steady_rounds many_rounds hits_are_pages apart multifd zero_pages waits_in_calls waits_at_end flush_bytes "
    "byte_split",
)
"""What the cells of one call have in common; `overflow_counts` and `encoding_counts` are what `xbzrle-cache.bytes`
counts of a page that overflows, and beside an encoding."""

CELL = record(
    "downtime_limit_ms switchover_bytes_per_s deadline_s fresh_pages connect_s setup_s sync_s switch_gap_s stop_s "
    "normal_page_s cold_page_s fresh_page_s zero_page_s dirty_fault_s wake_up_s load guest_s fixed_speed "
    "xbzrle_hit_s xbzrle_miss_s raw_bytes zero_bytes window_bytes channels zero_lost_s "
    "page_s_0 page_s_1 page_s_2 lost_s_0 lost_s_1 lost_s_2 "
    "burst_page_s burst_cold_page_s burst_fresh_page_s burst_zero_page_s device_state_s load_s device_state_bytes",
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
    "lowest deviation trend long_trend full_page_s full_page_bytes full_pages full_s full_stream full_threshold "
    f"coded_quota {XBZRLE} before_pages before_miss before_target before_bytes "
    "multifd_stream queued_pages window_lost_s allowed share",
    "cursor syncs tests percentage fixed_sleeps bad_periods dirtied_before syncs_at_tick full_calls started",
)
"""One migration while it runs; the `full_` fields are a whole window of pages of one cost."""

SYNC = 10
"""Columns noted at each sync: when it began, normal pages, guest seconds lost, RAM records' bytes, other bytes;
XBZRLE's pages, misses, overflows and bytes; bytes of multifd's channels."""

ENDED = record(
    "now guest_worked_s guest_lost_s setup_s ram_stream other_stream normal duplicate remaining again first fresh zero "
    "dirty_sync_count dirty_pages_rate mbps pages_per_second expected_downtime_ms threshold percentage "
    "middle_count middle_start middle_normal middle_lost middle_ram middle_other gap_s tests last_test least_test "
    f"coded_raw coded_bytes coded_extra_s {XBZRLE} middle_pages middle_miss middle_overflow middle_bytes "
    "multifd_stream middle_multifd blackout_bytes completed steady coded"
)
"""One migration at its end, the blackout still to come; `middle_` is what was noted at the sync halfway."""

FIGURES = record(" ".join(COLUMNS))
"""What becomes of one migration, by the names of `batch_result.COLUMNS`."""

ABSENT = -np.inf
"""Stands for a figure that `query-migrate` does not have."""

WHY = record("pages flush_s now gap_s last_test least_test threshold completed steady tests")
"""What a reason is made of: pages left and how long they took, or what the last exact tests found."""

EXTENT = record("first_page pages rate passed cycle", "pieces together sweeps of_class")
"""What is to be cut into segments: `segments.Extent`."""

PART = record("pages unsent sent since_sync since_clear clearing offset length", "of_class chunk sweeps")
"""The segments of one class in one chunk, whose pages share their chances; each segment of a sweep is a part."""


class Memory(NamedTuple):
    """A guest's RAM, in segments.

    Of each where it begins, its pages and how many of them are not zero (`data`) and lie before it (`before`), its
    chunk, its extent, its part, and where the few segments of its chunk end that it is sent with. Then what is dirty
    and not sent, sent since the last sync and before it, and of what is dirty the pages that never went so far
    (`first`), to memory that the destination has yet to find (`fresh`). Records of `PART`, runs (begin, end, part) of
    segments of one part, when each chunk was cleared, and for each class its rate and the part that was `opened` last.
    """

    first_page: Floats
    pages: Floats
    data: Floats
    before: Floats
    chunk: Ints
    extent: Ints
    part: Ints
    block_end: Ints
    unsent: Floats
    sent: Floats
    last_sent: Floats
    first: Floats
    fresh: Floats
    parts: Records
    runs: Ints
    cleared: Floats
    rates: Floats
    opened: Ints


class Notes(NamedTuple):
    """What is noted of one migration: `SYNC` at each sync, what each exact test found, and its running sums."""

    syncs: Floats
    tests: Floats
    sums: Floats
