"""Sending in the batch engine: `memory.GuestMemory.send`, by numbers alone, and a window that is full.

Functions here run as Python and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from math import floor, inf
from typing import Any, NamedTuple

from migsim.engine.batch.left import (
    bytes_of,
    fits,
    left_in,
    page_bytes_of,
    page_s_of,
    seconds_of,
    take_some,
    take_whole,
    whole,
)
from migsim.engine.batch.memory import NOTHING, run_s
from migsim.engine.batch.records import NEVER, Memory
from migsim.models.loop.page_stream import ITERATE_BYTES, SECTION_BYTES
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S

__all__ = ["Sent", "call", "end_call", "full_window", "note_chunk", "send"]


def note_chunk(m: Memory, s: Any, c: Any, i: int, seconds: float) -> None:
    """Note when a segment's chunk is cleared: with the first of its pages that goes, so much later than now."""
    if m.cleared[m.chunk[i]] == NEVER:
        m.cleared[m.chunk[i]] = run_s(s, c, s.now + seconds)


class Sent(NamedTuple):
    """What an iterate call has sent so far, and whether it used up its time or its bytes."""

    seconds: float
    stream_bytes: float
    full: bool


def send(
    m: Memory,
    s: Any,
    c: Any,
    budget_s: float,
    budget_bytes: float,
    window_pages: float,
    gap_s: float,
    once: bool,
) -> Sent:
    """Send pages as they are, from the cursor on, until time, bytes or the bitmap are used up.

    After each `window_pages` the sender waits for `gap_s`, which is no part of the time that it uses. With `once` it
    stops at RAM's end.
    """
    if not (s.first_left or s.zero_left):
        return send_again(m, s, c, budget_s, budget_bytes, window_pages, gap_s, once)
    seconds, size, gone, full = 0.0, 0.0, 0.0, False
    count, i, passed = len(m.unsent), s.cursor, 0
    while passed <= count and s.remaining > NOTHING:
        begin, end = i, m.block_end[i]
        block = left_in(m, begin, end)
        if not fits(c, block, budget_s - seconds, budget_bytes - size):  # as many of them as go whole
            end, block = whole(m, c, begin, budget_s - seconds, budget_bytes - size)
        if block.raw + block.zero > 0:
            if m.cleared[m.chunk[begin]] == NEVER:
                note_chunk(m, s, c, begin, seconds + floor(gone / window_pages + 1e-9) * gap_s)
            take_whole(m, s, begin, end, block)
            gone += block.raw + block.zero
            seconds += seconds_of(c, block)
            size += bytes_of(c, block)
        passed += end - begin
        i, full = end, end < m.block_end[begin]
        if full:
            page_s, page_bytes = page_s_of(m, s, c, i), page_bytes_of(m, c, i)
            in_time, in_bytes = (budget_s - seconds) / max(page_s, 1e-12), (budget_bytes - size) / page_bytes
            most = min(m.unsent[i], in_time, in_bytes)
            if most > 0:
                if m.cleared[m.chunk[i]] == NEVER:
                    note_chunk(m, s, c, i, seconds + floor(gone / window_pages + 1e-9) * gap_s)
                take_some(m, s, i, most)
                seconds += most * page_s
                size += most * page_bytes
            break
        if i == count:
            i = 0
            if once:
                break
    s.cursor = i
    return Sent(seconds, size, full)


def send_again(
    m: Memory,
    s: Any,
    c: Any,
    budget_s: float,
    budget_bytes: float,
    window_pages: float,
    gap_s: float,
    once: bool,
) -> Sent:
    """`send` where all that is left goes again, and so costs alike."""
    all_unsent, all_sent = m.unsent, m.sent
    room = min(budget_s / max(c.normal_page_s, 1e-12), budget_bytes / c.raw_bytes)
    gone, full = 0.0, False
    count, i, passed, wanted = len(all_unsent), s.cursor, 0, s.remaining - NOTHING
    while passed <= count and gone < wanted:
        begin, end, together = i, m.block_end[i], 0.0
        unsent = all_unsent[begin:end]
        for k in range(len(unsent)):
            together += unsent[k]
        if gone + together > room:  # as many of them as go whole
            end, together = begin, 0.0
            while end < m.block_end[begin] and gone + together + all_unsent[end] <= room:
                together += all_unsent[end]
                end += 1
        if together > 0 and m.cleared[m.chunk[i]] == NEVER:
            pauses_s = floor(gone / window_pages + 1e-9) * gap_s
            note_chunk(m, s, c, i, gone * c.normal_page_s + pauses_s)
        unsent, sent = all_unsent[begin:end], all_sent[begin:end]
        for k in range(len(unsent)):
            sent[k] += unsent[k]
            unsent[k] = 0.0
        gone += together
        passed += end - begin
        i = end
        if end < m.block_end[begin]:
            most, full = room - gone, True
            if most > 0:
                if m.cleared[m.chunk[i]] == NEVER:
                    pauses_s = floor(gone / window_pages + 1e-9) * gap_s
                    note_chunk(m, s, c, i, gone * c.normal_page_s + pauses_s)
                rest = all_unsent[i] - most
                all_unsent[i] = rest if rest > NOTHING else 0.0
                all_sent[i] += most
                gone += most
            break
        if i == count:
            i = 0
            if once:
                break
    s.cursor = i
    s.normal += gone
    s.remaining -= gone
    return Sent(gone * c.normal_page_s, gone * c.raw_bytes, full)


def call(m: Memory, s: Any, c: Any, budget_bytes: float) -> None:
    """One iterate call."""
    end_call(s, send(m, s, c, ITERATE_MAX_S, budget_bytes, inf, 0.0, False))


def end_call(s: Any, done: Sent) -> None:
    """Count an iterate call; a scan that found nothing more begins anew."""
    if not done.full:
        s.cursor, s.remaining = 0, 0.0
    s.now += done.seconds
    s.ram_stream += done.stream_bytes + ITERATE_BYTES
    s.other_stream += SECTION_BYTES


def full_window(
    quota: float, page_s: float, page_bytes: float, wake_up_s: float
) -> tuple[float, float, float, int]:
    """Pages, seconds, bytes and iterate calls of a window that never runs out of pages of one cost."""
    pages, seconds, size, calls = 0.0, 0.0, 0.0, 0
    while True:
        most = min(ITERATE_MAX_S / max(page_s, 1e-12), (quota - size) / page_bytes)
        pages += most
        seconds += most * page_s
        size += most * page_bytes + ITERATE_BYTES + SECTION_BYTES
        calls += 1
        if seconds >= WINDOW_S:
            return pages, seconds, size, calls
        if size >= quota:
            return pages, max(seconds, WINDOW_S + wake_up_s), size, calls
