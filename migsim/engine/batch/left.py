"""What is left to send of some segments in the batch engine: what it costs, and how it is taken.

Segments of a chunk are looked at together as long as they go whole, which is many times as fast. Functions here run as
Python and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from typing import Any, NamedTuple

from migsim.engine.batch.memory import NOTHING
from migsim.engine.batch.records import ZERO, Memory
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
    "whole",
]


def page_s_of(m: Memory, s: Any, c: Any, i: int) -> float:
    """Mean cost of a segment's pages."""
    if m.part[i] == ZERO:
        return c.zero_page_s
    if not s.first_left:
        return c.normal_page_s
    unsent = m.unsent[i]
    if m.fresh[i] >= unsent:
        return c.fresh_page_s
    first = min(m.first[i] / unsent, 1.0)
    fresh = min(m.fresh[i] / unsent, first)
    return mean_page_s(first, fresh, c.normal_page_s, c.cold_page_s, c.fresh_page_s)


def page_bytes_of(m: Memory, c: Any, i: int) -> float:
    """Bytes of a segment's page in the stream."""
    return c.zero_bytes if m.part[i] == ZERO else c.raw_bytes


class Left(NamedTuple):
    """What is left of some segments: pages that are not zero (`raw`), and zero ones.

    Of the first those that never went so far, and of these such as go to memory that is yet to be found.
    """

    raw: float
    first: float
    fresh: float
    zero: float


def left_in(m: Memory, begin: int, end: int) -> Left:
    """Add up segments from `begin` to before `end`."""
    unsent, first, fresh, part = (
        m.unsent[begin:end],
        m.first[begin:end],
        m.fresh[begin:end],
        m.part[begin:end],
    )
    pages, all_first, all_fresh, zero = 0.0, 0.0, 0.0, 0.0
    for k in range(len(unsent)):
        left = unsent[k]
        pages += left
        all_first += min(first[k], left)
        all_fresh += min(fresh[k], left)
        zero += left if part[k] == ZERO else 0.0
    return Left(pages - zero, all_first, all_fresh, zero)


def seconds_of(c: Any, left: Left) -> float:
    """How long it takes."""
    raw_s = raw_pages_s(left.raw, left.first, left.fresh, c.normal_page_s, c.cold_page_s, c.fresh_page_s)
    return raw_s + left.zero * c.zero_page_s


def bytes_of(c: Any, left: Left) -> float:
    """Bytes of it in the stream."""
    return left.raw * c.raw_bytes + left.zero * c.zero_bytes


def fits(c: Any, left: Left, seconds: float, size: float) -> bool:
    """Whether it goes in so much time and so many bytes."""
    return seconds_of(c, left) <= seconds and bytes_of(c, left) <= size


def whole(m: Memory, c: Any, begin: int, seconds: float, size: float) -> tuple[int, Left]:
    """Where the segments from `begin` on end that go whole, and what is left of them."""
    found, i = Left(0.0, 0.0, 0.0, 0.0), begin
    while i < m.block_end[begin]:
        unsent, zeros = m.unsent[i], 1.0 if m.part[i] == ZERO else 0.0
        more = Left(
            found.raw + (1.0 - zeros) * unsent,
            found.first + min(m.first[i], unsent),
            found.fresh + min(m.fresh[i], unsent),
            found.zero + zeros * unsent,
        )
        if not fits(c, more, seconds, size):
            break
        found = more
        i += 1
    return i, found


def take_whole(m: Memory, s: Any, begin: int, end: int, left: Left) -> None:
    """Take all that is left of segments from `begin` to before `end`."""
    unsent, sent, first, fresh = (
        m.unsent[begin:end],
        m.sent[begin:end],
        m.first[begin:end],
        m.fresh[begin:end],
    )
    for k in range(len(unsent)):
        sent[k] += unsent[k]
        unsent[k] = first[k] = fresh[k] = 0.0
    s.remaining -= left.raw + left.zero
    s.normal += left.raw
    s.duplicate += left.zero
    s.first_left = s.first_left - left.first if s.first_left - left.first > NOTHING else 0.0
    s.zero_left = s.zero_left - left.zero if s.zero_left - left.zero > NOTHING else 0.0


def take_some(m: Memory, s: Any, i: int, pages: float) -> None:
    """Take some pages of a segment: of those that never went as large a share as of all."""
    left = m.unsent[i]
    rest = left - pages if left - pages > NOTHING else 0.0
    m.unsent[i] = rest
    m.sent[i] += pages
    s.remaining -= pages
    if m.part[i] == ZERO:
        s.zero_left = s.zero_left - pages if s.zero_left - pages > NOTHING else 0.0
        s.duplicate += pages
        return
    s.normal += pages
    if s.first_left:
        first = s.first_left - m.first[i] * (1 - rest / left)
        s.first_left = first if first > NOTHING else 0.0
        m.first[i] *= rest / left
        m.fresh[i] *= rest / left
