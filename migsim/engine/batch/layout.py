"""How a guest's RAM lies in the batch engine: its extents cut into segments, these gathered into parts.

Functions here run as Python and compile as they are (`batch_compile`), but for `memory_of`.
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from math import floor
from typing import Any

import numpy as np

from migsim.engine.batch.records import DATA, EXTENT, NEVER, PART, ZERO, Memory, Records
from migsim.engine.segments import ZERO as NO_CLASS
from migsim.engine.segments import Extent, cut_extent, most_segments
from migsim.models.dirty.log import CHUNK_PAGES

__all__ = ["extent_records", "lay_out", "memory_of"]

BLOCK = 32
"""Segments that are looked at together."""


def extent_records(extents: list[Extent]) -> Records:
    """Records of `EXTENT`."""
    return np.array(extents, EXTENT)


def memory_of(extents: list[Extent], classes: int) -> Memory:
    """Room for the segments of some extents, for `lay_out` to fill; of the workload's classes there are so many."""
    room = sum(map(most_segments, extents))
    first_page, pages, data, before, unsent, sent, last_sent, first, fresh, cleared = np.zeros((10, room))
    chunk, extent, part, block_end = np.zeros((4, room), np.int64)
    return Memory(
        first_page, pages, data, before, chunk, extent, part, block_end, unsent, sent, last_sent, first, fresh,
        np.zeros(room, PART), np.zeros((room, 3), np.int64), cleared, np.zeros(classes), np.zeros(classes, np.int64),
    )  # fmt: skip


def lay_out(m: Memory, extents: Any, apart: bool) -> Memory:
    """Cut the extents, and return the memory without the room that is left.

    Unwritten segments side by side are one, unless all are to stay `apart`.
    """
    count = cut_all(m, extents)
    put_in_order(m, extents, count)
    chunks = number_chunks(m, count)
    parts = gather_parts(m, extents, count)
    if not apart:
        count = join(m, count, chunks, parts)
    runs = find_runs(m, count)
    add_up(m, count)
    return Memory(
        m.first_page[:count], m.pages[:count], m.data[:count], m.before[:count], m.chunk[:count], m.extent[:count],
        m.part[:count], m.block_end[:count], m.unsent[:count], m.sent[:count], m.last_sent[:count], m.first[:count],
        m.fresh[:count], m.parts[:parts], m.runs[:runs], m.cleared[:chunks], m.rates, m.opened,
    )  # fmt: skip


def cut_all(m: Memory, extents: Any) -> int:
    """Cut the extents into segments, and return how many these are."""
    count = 0
    for e in range(len(extents)):
        x, begin = extents[e], count
        count = cut_extent(x.first_page, x.pages, x.pieces, x.together > 0, m.first_page, m.pages, begin)
        for i in range(begin, count):
            m.extent[i] = e
    return count


def put_in_order(m: Memory, extents: Any, count: int) -> None:
    """Sort segments as `segments.cut` does: extents may lie one over the other."""
    gap, swapped = count, False
    for i in range(count - 1):
        swapped = swapped or comes_later(m, extents, i, i + 1)
    while swapped or 1 < gap < count:  # a comb sort
        gap, swapped = max(gap * 10 // 13, 1), False
        for i in range(count - gap):
            k = i + gap
            if comes_later(m, extents, i, k):
                m.first_page[i], m.first_page[k] = m.first_page[k], m.first_page[i]
                m.pages[i], m.pages[k] = m.pages[k], m.pages[i]
                m.extent[i], m.extent[k] = m.extent[k], m.extent[i]
                swapped = True


def comes_later(m: Memory, extents: Any, i: int, k: int) -> bool:
    """Whether segment `i` belongs behind segment `k`."""
    if m.first_page[i] != m.first_page[k]:
        return m.first_page[i] > m.first_page[k]
    if m.pages[i] != m.pages[k]:
        return m.pages[i] > m.pages[k]
    one, other = extents[m.extent[i]], extents[m.extent[k]]
    if one.rate != other.rate:
        return one.rate > other.rate
    if one.sweeps != other.sweeps:
        return one.sweeps > other.sweeps
    return one.of_class > other.of_class


def number_chunks(m: Memory, count: int) -> int:
    """Number the chunks that have segments, and return how many these are."""
    chunks, before = 0, -1.0
    for i in range(count):
        at = floor(m.first_page[i] / CHUNK_PAGES)
        if at > before:
            before = at
            chunks += 1
        m.chunk[i] = chunks - 1
    return chunks


def gather_parts(m: Memory, extents: Any, count: int) -> int:
    """Gather segments of one class in one chunk into parts, and return how many; each of a sweep is one by itself."""
    parts, first_here = 0, 0
    m.opened[:] = -1
    for i in range(count):
        if i == 0 or m.chunk[i] != m.chunk[i - 1]:
            first_here = parts
        x = extents[m.extent[i]]
        if not x.rate > 0:
            m.part[i] = ZERO if x.of_class == NO_CLASS else DATA
            continue
        if x.sweeps or m.opened[x.of_class] < first_here:
            m.opened[x.of_class] = parts
            part = m.parts[parts]
            part.pages = part.unsent = part.sent = part.since_sync = part.since_clear = part.clearing = 0.0
            part.of_class, part.chunk, part.sweeps = x.of_class, m.chunk[i], x.sweeps
            part.offset = (x.passed + m.first_page[i] - x.first_page) / x.cycle
            part.length = m.pages[i] / x.cycle
            parts += 1
        m.part[i] = m.opened[x.of_class]
        m.parts[m.part[i]].pages += m.pages[i]
    return parts


def join(m: Memory, count: int, chunks: int, parts: int) -> int:
    """Make unwritten segments side by side one, and return how many segments there are then.

    When a chunk is cleared matters where something in it is written: `cleared` holds meanwhile which chunks these are.
    """
    m.cleared[:chunks] = NEVER
    for p in range(parts):
        m.cleared[m.parts[p].chunk] = 0.0
    kept, chunk = 0, 0
    for i in range(count):
        before, chunk = chunk, m.chunk[i]
        written = m.part[i] >= 0
        far = chunk != before and (m.cleared[chunk] != NEVER or m.cleared[before] != NEVER)
        if kept and not written and m.part[i] == m.part[kept - 1] and not far:
            m.pages[kept - 1] += m.pages[i]
            continue
        m.first_page[kept], m.pages[kept], m.chunk[kept] = m.first_page[i], m.pages[i], chunk
        m.extent[kept], m.part[kept] = m.extent[i], m.part[i]
        kept += 1
    return kept


def find_runs(m: Memory, count: int) -> int:
    """Note where segments of one part lie side by side, and return how many such runs there are."""
    runs = 0
    for i in range(count):
        if m.part[i] < 0:
            continue
        if i == 0 or m.part[i] != m.part[i - 1]:
            m.runs[runs, 0], m.runs[runs, 2] = i, m.part[i]
            runs += 1
        m.runs[runs - 1, 1] = i + 1
    return runs


def add_up(m: Memory, count: int) -> None:
    """Set what follows from the segments' pages, chunks and parts."""
    before, end = 0.0, count
    for i in range(count):
        m.data[i] = 0.0 if m.part[i] == ZERO else m.pages[i]
        m.before[i] = before
        before += m.data[i]
    for i in range(count - 1, -1, -1):
        m.block_end[i] = end
        if m.chunk[i] != m.chunk[i - 1] or i % BLOCK == 0:
            end = i
