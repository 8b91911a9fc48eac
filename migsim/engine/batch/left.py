"""What is left to send of some segments in the batch engine: its cost, and how it is taken.

Segments of one chunk are looked at together as long as all of them can be sent whole, which is many times as fast. The
functions are compiled, and run as Python too.
"""

from __future__ import annotations

from typing import NamedTuple

from migsim.engine.batch.memory import NO_PAGES
from migsim.engine.batch.ram import ZERO_PART, Memory
from migsim.engine.batch.records import Cell, State
from migsim.models.loop.page_stream import mean_page_s, raw_pages_s

__all__ = [
    "Left",
    "bytes_of",
    "fits",
    "left_in",
    "page_bytes_of",
    "page_s_of",
    "seconds_of",
    "take_some",
    "take_whole",
    "whole_segments",
]


def page_s_of(memory: Memory, state: State, cell: Cell, i: int) -> float:
    """Mean cost of the unsent pages of a segment."""
    if memory.part[i] == ZERO_PART:
        return cell.zero_page_s
    if not state.first_left:
        return cell.normal_page_s
    unsent = memory.unsent[i]
    if memory.fresh[i] >= unsent:
        return cell.fresh_page_s
    first = min(memory.first[i] / unsent, 1.0)
    fresh = min(memory.fresh[i] / unsent, first)
    return mean_page_s(first, fresh, cell.normal_page_s, cell.cold_page_s, cell.fresh_page_s)


def page_bytes_of(memory: Memory, cell: Cell, i: int) -> float:
    """Bytes of a segment's page in the stream."""
    return cell.zero_bytes if memory.part[i] == ZERO_PART else cell.raw_bytes


class Left(NamedTuple):
    """Pages left of some segments: `raw` pages that are not zero, and `zero` pages.

    Of the raw pages, `first` were never sent, and of these `fresh` need memory on the destination.
    """

    raw: float
    first: float
    fresh: float
    zero: float


def left_in(memory: Memory, begin: int, end: int) -> Left:
    """Add up segments from `begin` to before `end`."""
    unsent, first, fresh, part = (
        memory.unsent[begin:end],
        memory.first[begin:end],
        memory.fresh[begin:end],
        memory.part[begin:end],
    )
    pages, all_first, all_fresh, zero = 0.0, 0.0, 0.0, 0.0
    for k in range(len(unsent)):
        left = unsent[k]
        pages += left
        all_first += min(first[k], left)
        all_fresh += min(fresh[k], left)
        zero += left if part[k] == ZERO_PART else 0.0
    return Left(pages - zero, all_first, all_fresh, zero)


def seconds_of(cell: Cell, left: Left) -> float:
    """Time that it takes to send what is left."""
    raw_s = raw_pages_s(
        left.raw, left.first, left.fresh, cell.normal_page_s, cell.cold_page_s, cell.fresh_page_s
    )
    return raw_s + left.zero * cell.zero_page_s


def bytes_of(cell: Cell, left: Left) -> float:
    """Bytes of what is left in the stream."""
    return left.raw * cell.raw_bytes + left.zero * cell.zero_bytes


def fits(cell: Cell, left: Left, seconds: float, size: float) -> bool:
    """Whether what is left can be sent in this time and these bytes, but for rounding."""
    in_time = seconds_of(cell, left) <= seconds + NO_PAGES * cell.normal_page_s
    return in_time and bytes_of(cell, left) <= size + NO_PAGES * cell.raw_bytes


def whole_segments(memory: Memory, cell: Cell, begin: int, seconds: float, size: float) -> tuple[int, Left]:
    """Find the segments of a block that can be sent whole in this time and these bytes: their end, and what is left."""
    found, i = Left(0.0, 0.0, 0.0, 0.0), begin
    while i < memory.block_end[begin]:
        unsent, zeros = memory.unsent[i], 1.0 if memory.part[i] == ZERO_PART else 0.0
        more = Left(
            found.raw + (1.0 - zeros) * unsent,
            found.first + min(memory.first[i], unsent),
            found.fresh + min(memory.fresh[i], unsent),
            found.zero + zeros * unsent,
        )
        if not fits(cell, more, seconds, size):
            break
        found = more
        i += 1
    return i, found


def take_whole(memory: Memory, state: State, begin: int, end: int, left: Left) -> None:
    """Send all that is left of the segments from `begin` to before `end`."""
    unsent, sent, first, fresh = (
        memory.unsent[begin:end],
        memory.sent[begin:end],
        memory.first[begin:end],
        memory.fresh[begin:end],
    )
    for k in range(len(unsent)):
        sent[k] += unsent[k]
        unsent[k] = first[k] = fresh[k] = 0.0
    state.remaining -= left.raw + left.zero
    state.normal += left.raw
    state.duplicate += left.zero
    state.first_left = state.first_left - left.first if state.first_left - left.first > NO_PAGES else 0.0
    state.zero_left = state.zero_left - left.zero if state.zero_left - left.zero > NO_PAGES else 0.0


def take_some(memory: Memory, state: State, i: int, pages: float) -> None:
    """Send some pages of a segment; pages that were never sent have the same share in them as in the segment."""
    left = memory.unsent[i]
    rest = left - pages if left - pages > NO_PAGES else 0.0
    memory.unsent[i] = rest
    memory.sent[i] += pages
    state.remaining -= pages
    if memory.part[i] == ZERO_PART:
        state.zero_left = state.zero_left - pages if state.zero_left - pages > NO_PAGES else 0.0
        state.duplicate += pages
        return
    state.normal += pages
    if state.first_left:
        first = state.first_left - memory.first[i] * (1 - rest / left)
        state.first_left = first if first > NO_PAGES else 0.0
        memory.first[i] *= rest / left
        memory.fresh[i] *= rest / left
