"""What the batch engine's compiled loop reads and writes: records of numbers, and arrays over segments of RAM.

A *kind* is what all cells of one call have in common (release, capabilities), a *cell* is one migration, *ram* is how
its memory is cut. None holds anything but numbers, so that a compiler can lay them out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from migsim.engine.segments import Segments

__all__ = ["CELL", "ENDED", "STATE", "SYNC", "Dirty", "Kind", "Ram", "dirty_of", "ram_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Records = NDArray[Any]

NEVER = -1.0
"""A chunk that was not cleared since the last sync."""

CELL = np.dtype(
    [
        *((name, "i8") for name in ("max_bandwidth", "rates_row", "threshold_percent")),
        *((name, "i8") for name in ("initial", "increment", "maximum", "tailslow")),
        *(
            (name, "f8")
            for name in ("downtime_limit_ms", "switchover_bytes_per_s", "deadline_s", "fresh_pages")
        ),
        *((name, "f8") for name in ("connect_s", "setup_s", "sync_s", "switch_gap_s", "stop_s")),
        *((name, "f8") for name in ("normal_page_s", "cold_page_s", "fresh_page_s", "zero_page_s")),
        *((name, "f8") for name in ("dirty_fault_s", "wake_up_s", "load", "guest_s", "fixed_speed")),
        *((name, "f8") for name in ("xbzrle_hit_s", "xbzrle_miss_s")),
    ]
)
"""One migration: its parameters in QAPI's units, its host's terms."""

STATE = np.dtype(
    [
        *((name, "f8") for name in ("now", "window_start", "window_stream", "window_pages", "quota")),
        *((name, "f8") for name in ("ram_stream", "other_stream", "normal", "duplicate")),
        *((name, "f8") for name in ("remaining", "first_left", "zero_left", "dirty_after_sync")),
        *((name, "f8") for name in ("dirty_pages_rate", "threshold", "mbps", "pages_per_second")),
        *((name, "f8") for name in ("expected_downtime_ms", "period_start", "period_pages")),
        *((name, "f8") for name in ("period_transferred", "guest_s", "guest_began_s", "guest_lost_s")),
        *(
            (name, "f8")
            for name in ("synced_at", "speed", "since", "run", "backlog", "changed_at", "next_tick")
        ),
        *((name, "f8") for name in ("lowest", "deviation", "trend", "long_trend")),
        *((name, "f8") for name in ("full_pages", "full_s", "full_stream", "full_threshold")),
        *((name, "i8") for name in ("cursor", "syncs", "tests", "percentage", "fixed_sleeps", "bad_periods")),
        *((name, "i8") for name in ("dirtied_before", "syncs_at_tick", "full_calls")),
    ]
)
"""One migration while it runs; the `full_` fields are a whole window of pages that go again."""

SYNC = 5
"""Columns noted at each sync: when it began, normal pages, guest seconds lost, RAM records' bytes, other bytes."""

ENDED = np.dtype(
    [
        *((name, "i1") for name in ("completed", "steady")),
        *((name, "f8") for name in ("now", "guest_worked_s", "guest_lost_s", "setup_s")),
        *((name, "f8") for name in ("ram_stream", "other_stream", "normal", "duplicate", "remaining")),
        *((name, "f8") for name in ("again", "first", "fresh", "zero")),
        *((name, "f8") for name in ("dirty_sync_count", "dirty_pages_rate", "mbps", "pages_per_second")),
        *((name, "f8") for name in ("expected_downtime_ms", "threshold", "percentage")),
        *((name, "f8") for name in ("middle_count", "middle_start", "middle_normal", "middle_lost")),
        *(
            (name, "f8")
            for name in ("middle_ram", "middle_other", "gap_s", "tests", "last_test", "least_test")
        ),
    ]
)
"""One migration at its end, the blackout still to come; `middle_` is what was noted at the sync halfway."""


class Kind(NamedTuple):
    """What the cells of one call have in common."""

    charged_at: str
    all_stream: bool  # transferred_counts == "stream"
    inclusive: bool
    chunked: bool
    throttled: bool
    fixed_form: bool
    acts_on: int
    needs_previous_rate: bool
    tick_s: float
    steady_rounds: int
    run_fractions: Floats  # by percentage


class Ram(NamedTuple):
    """How a guest's memory is cut: arrays over segments, over runs of segments of one part, over parts.

    A part is the segments of one class in one chunk, whose pages share their chances; each segment of a sweep is one.
    """

    pages: Floats
    chunk: Ints
    is_zero: NDArray[np.bool_]
    run_begin: Ints
    run_end: Ints
    run_part: Ints
    part_pages: Floats
    part_class: Ints
    part_chunk: Ints
    part_sweeps: NDArray[np.bool_]
    part_offset: Floats
    part_length: Floats


class Dirty(NamedTuple):
    """Dirty state of segments, chunks and parts."""

    unsent: Floats
    sent: Floats
    first: Floats
    fresh: Floats
    cleared: Floats
    part_unsent: Floats
    part_sent: Floats
    since_sync: Floats
    since_clear: Floats


def ram_of(segments: Segments, written: NDArray[np.bool_]) -> Ram:
    """Gather segments into parts; `written` says of each class whether it is written to at all."""
    parts: dict[tuple[int, int, int], int] = {}
    runs: list[list[int]] = []
    for i, (of_class, chunk, sweeps) in enumerate(
        zip(segments.of_class.tolist(), segments.chunk.tolist(), segments.is_sweep.tolist(), strict=True)
    ):
        if of_class < 0 or not written[of_class]:
            continue
        part = parts.setdefault((of_class, chunk, i if sweeps else -1), len(parts))
        if runs and runs[-1][1] == i and runs[-1][2] == part:
            runs[-1][1] = i + 1
        else:
            runs.append([i, i + 1, part])
    keys = np.array(list(parts), dtype=np.int64).reshape(-1, 3)
    lots = np.array(runs, dtype=np.int64).reshape(-1, 3)
    pages = np.zeros(len(keys))
    for begin, end, part in runs:
        pages[part] += segments.pages[begin:end].sum()
    sweeps = keys[:, 2] >= 0
    at = np.where(sweeps, keys[:, 2], 0)
    used, chunk = np.unique(segments.chunk, return_inverse=True)
    return Ram(
        pages=segments.pages,
        chunk=chunk.astype(np.int64),
        is_zero=segments.is_zero,
        run_begin=lots[:, 0].copy(),
        run_end=lots[:, 1].copy(),
        run_part=lots[:, 2].copy(),
        part_pages=pages,
        part_class=keys[:, 0].copy(),
        part_chunk=np.searchsorted(used, keys[:, 1]).astype(np.int64),
        part_sweeps=sweeps,
        part_offset=segments.offset[at],
        part_length=segments.length[at],
    )


def dirty_of(ram: Ram) -> Dirty:
    """Make room for the state of one migration."""
    segments, chunks, parts = len(ram.pages), int(ram.chunk.max(initial=0)) + 1, len(ram.part_pages)
    return Dirty(*(np.zeros(n) for n in (*[segments] * 4, chunks, *[parts] * 4)))
