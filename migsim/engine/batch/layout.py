"""A guest's RAM in the batch engine: extents cut into segments, and segments gathered into parts.

The compiled loop calls `lay_out`; all functions but `extent_records` and `memory_of` are compiled, and run as Python
too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any

import numpy as np

from migsim.engine.batch.ram import DATA_PART, EXTENT, NEVER, PART, STRETCH, ZERO_PART, Memory
from migsim.engine.batch.records import empty_records
from migsim.engine.segments import ZERO_CLASS, Extent, cut_extent, most_segments
from migsim.models.dirty.log import CHUNK_PAGES

__all__ = ["SEGMENTS_TOGETHER", "extent_records", "lay_out", "memory_of"]

SEGMENTS_TOGETHER = 32
"""Most segments of a block: segments of one chunk that are looked at together."""


def extent_records(extents: list[Extent]) -> Any:
    """Make records of `EXTENT`."""
    return np.array(extents, EXTENT)


def memory_of(extents: list[Extent], classes: int) -> Memory:
    """Allocate empty segment arrays for `extents`; `lay_out` fills them.

    Parameters
    ----------
    extents : list of Extent
    classes : int
        Number of page classes of the workload.
    """
    room = sum(map(most_segments, extents))
    first_page, pages, data, before, unsent, sent, last_sent, first, fresh, cleared = np.zeros((10, room))
    chunk, extent, part, block_end = np.zeros((4, room), np.int64)
    return Memory(
        first_page=first_page,
        pages=pages,
        data=data,
        before=before,
        chunk=chunk,
        extent=extent,
        part=part,
        block_end=block_end,
        unsent=unsent,
        sent=sent,
        last_sent=last_sent,
        first=first,
        fresh=fresh,
        parts=empty_records(room, PART),
        stretches=empty_records(room, STRETCH),
        cleared=cleared,
        rates=np.zeros(classes),
        opened=np.zeros(classes, np.int64),
    )


def lay_out(room: Memory, extents: Sequence[Extent], keep_apart: bool) -> Memory:
    """Cut the extents into segments, and return the memory without the unused end of its arrays.

    Unwritten segments side by side are joined to one, unless all segments are to be kept apart.
    """
    count = cut_all(room, extents)
    put_in_order(room, extents, count)
    chunks = number_chunks(room, count)
    parts = gather_parts(room, extents, count)
    if not keep_apart:
        count = join_unwritten(room, count, chunks, parts)
    stretches = find_stretches(room, count)
    set_sums(room, count)
    return Memory(
        room.first_page[:count],
        room.pages[:count],
        room.data[:count],
        room.before[:count],
        room.chunk[:count],
        room.extent[:count],
        room.part[:count],
        room.block_end[:count],
        room.unsent[:count],
        room.sent[:count],
        room.last_sent[:count],
        room.first[:count],
        room.fresh[:count],
        room.parts[:parts],
        room.stretches[:stretches],
        room.cleared[:chunks],
        room.rates,
        room.opened,
    )


def cut_all(memory: Memory, extents: Sequence[Extent]) -> int:
    """Cut the extents into segments, and return how many segments there are."""
    count = 0
    for e in range(len(extents)):
        extent, begin = extents[e], count
        count = cut_extent(
            extent.first_page,
            extent.pages,
            extent.pieces,
            extent.together > 0,
            memory.first_page,
            memory.pages,
            begin,
        )
        for i in range(begin, count):
            memory.extent[i] = e
    return count


def put_in_order(memory: Memory, extents: Sequence[Extent], count: int) -> None:
    """Sort the segments as `migsim.engine.segments.cut` does; extents may overlap."""
    gap, swapped = count, False
    for i in range(count - 1):
        swapped = swapped or comes_later(memory, extents, i, i + 1)
    while swapped or 1 < gap < count:  # a comb sort
        gap, swapped = max(gap * 10 // 13, 1), False
        for i in range(count - gap):
            k = i + gap
            if comes_later(memory, extents, i, k):
                first_page, pages, extent = memory.first_page, memory.pages, memory.extent
                first_page[i], first_page[k] = first_page[k], first_page[i]
                pages[i], pages[k] = pages[k], pages[i]
                extent[i], extent[k] = extent[k], extent[i]
                swapped = True


def comes_later(memory: Memory, extents: Sequence[Extent], i: int, k: int) -> bool:
    """Whether segment `i` belongs behind segment `k`."""
    if memory.first_page[i] != memory.first_page[k]:
        return bool(memory.first_page[i] > memory.first_page[k])
    if memory.pages[i] != memory.pages[k]:
        return bool(memory.pages[i] > memory.pages[k])
    one, other = extents[memory.extent[i]], extents[memory.extent[k]]
    if one.rate != other.rate:
        return bool(one.rate > other.rate)
    if one.sweeps != other.sweeps:
        return bool(one.sweeps > other.sweeps)
    return bool(one.of_class > other.of_class)


def number_chunks(memory: Memory, count: int) -> int:
    """Number the chunks that have segments, and return how many there are."""
    chunks, last = 0, -1.0
    for i in range(count):
        address = floor(memory.first_page[i] / CHUNK_PAGES)
        if address > last:
            last = address
            chunks += 1
        memory.chunk[i] = chunks - 1
    return chunks


def gather_parts(memory: Memory, extents: Sequence[Extent], count: int) -> int:
    """Gather segments of one class in one chunk into parts, and return how many; each segment of a sweep is a part."""
    parts, first_of_chunk = 0, 0
    memory.opened[:] = -1
    for i in range(count):
        if i == 0 or memory.chunk[i] != memory.chunk[i - 1]:
            first_of_chunk = parts
        extent = extents[memory.extent[i]]
        if not extent.rate > 0:
            memory.part[i] = ZERO_PART if extent.of_class == ZERO_CLASS else DATA_PART
            continue
        if extent.sweeps or memory.opened[extent.of_class] < first_of_chunk:
            memory.opened[extent.of_class] = parts
            part = memory.parts[parts]
            part.pages = part.unsent = part.sent = part.since_sync = part.since_clear = part.clearing = 0.0
            part.of_class, part.chunk, part.sweeps = extent.of_class, memory.chunk[i], extent.sweeps
            part.offset = (extent.passed + memory.first_page[i] - extent.first_page) / extent.cycle
            part.length = memory.pages[i] / extent.cycle
            parts += 1
        memory.part[i] = memory.opened[extent.of_class]
        memory.parts[memory.part[i]].pages += memory.pages[i]
    return parts


def join_unwritten(memory: Memory, count: int, chunks: int, parts: int) -> int:
    """Join unwritten segments side by side, and return how many segments there are then.

    Segments of two chunks are joined only where nothing in either chunk is written: for written pages it matters when
    their chunk is cleared. `cleared` marks the written chunks meanwhile.
    """
    memory.cleared[:chunks] = NEVER
    for p in range(parts):
        memory.cleared[memory.parts[p].chunk] = 0.0
    kept, chunk = 0, 0
    for i in range(count):
        before, chunk = chunk, memory.chunk[i]
        written = memory.part[i] >= 0
        apart = chunk != before and (memory.cleared[chunk] != NEVER or memory.cleared[before] != NEVER)
        if kept and not written and memory.part[i] == memory.part[kept - 1] and not apart:
            memory.pages[kept - 1] += memory.pages[i]
            continue
        memory.first_page[kept], memory.pages[kept] = memory.first_page[i], memory.pages[i]
        memory.chunk[kept], memory.extent[kept] = chunk, memory.extent[i]
        memory.part[kept] = memory.part[i]
        kept += 1
    return kept


def find_stretches(memory: Memory, count: int) -> int:
    """Find the stretches of segments of one part, and return how many there are."""
    stretches = 0
    for i in range(count):
        if memory.part[i] < 0:
            continue
        if i == 0 or memory.part[i] != memory.part[i - 1]:
            memory.stretches[stretches].begin, memory.stretches[stretches].part = i, memory.part[i]
            stretches += 1
        memory.stretches[stretches - 1].end = i + 1
    return stretches


def set_sums(memory: Memory, count: int) -> None:
    """Set each segment's `data`, `before` and `block_end`, which follow from pages, chunks and parts."""
    before, end = 0.0, count
    for i in range(count):
        memory.data[i] = 0.0 if memory.part[i] == ZERO_PART else memory.pages[i]
        memory.before[i] = before
        before += memory.data[i]
    for i in range(count - 1, -1, -1):
        memory.block_end[i] = end
        if memory.chunk[i] != memory.chunk[i - 1] or i % SEGMENTS_TOGETHER == 0:
            end = i
