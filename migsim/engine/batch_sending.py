"""Sending in the batch engine: `memory.GuestMemory.send`, by numbers alone, and a window that is full.

Functions here run as Python and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from math import floor, inf
from typing import Any, NamedTuple

from migsim.engine.batch_memory import NOTHING, run_s
from migsim.engine.batch_state import NEVER, ZERO, Memory
from migsim.models.page_stream import ITERATE_BYTES, SECTION_BYTES, mean_page_s
from migsim.models.rate_limit import ITERATE_MAX_S, WINDOW_S

__all__ = ["Sent", "call", "end_call", "full_window", "note_chunk", "page_bytes_of", "page_s_of", "send"]


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


def note_chunk(m: Memory, s: Any, c: Any, i: int, seconds: float) -> None:
    """Note when a segment's chunk is cleared: with the first of its pages that goes, so much later than now."""
    if m.cleared[m.chunk[i]] == NEVER:
        m.cleared[m.chunk[i]] = run_s(s, c, s.now + seconds)


def note_taken(m: Memory, s: Any, i: int, pages: float, left_share: float) -> None:
    """Note pages taken of a segment: how many are zero, and how many of it never went so far."""
    s.remaining -= pages
    if m.part[i] == ZERO:
        s.zero_left = s.zero_left - pages if s.zero_left - pages > NOTHING else 0.0
        s.duplicate += pages
        return
    s.normal += pages
    if s.first_left:
        left = s.first_left - m.first[i] * (1 - left_share)
        s.first_left = left if left > NOTHING else 0.0
        m.first[i] *= left_share
        m.fresh[i] *= left_share


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
    all_unsent = m.unsent
    seconds, size, gone, full = 0.0, 0.0, 0.0, False
    count, i, passed = len(all_unsent), s.cursor, 0
    while passed <= count and s.remaining > NOTHING:
        left = all_unsent[i]
        if left > 0:
            page_s, page_bytes = page_s_of(m, s, c, i), page_bytes_of(m, c, i)
            most = left
            if seconds + left * page_s > budget_s or size + left * page_bytes > budget_bytes:
                in_time = (budget_s - seconds) / max(page_s, 1e-12)
                most = min(left, in_time, (budget_bytes - size) / page_bytes)
                full = most < left
                if most <= 0:
                    break
            if m.cleared[m.chunk[i]] == NEVER:
                note_chunk(m, s, c, i, seconds + floor(gone / window_pages + 1e-9) * gap_s)
            rest = left - most
            all_unsent[i] = rest if rest > NOTHING else 0.0
            m.sent[i] += most
            note_taken(m, s, i, most, rest / left if full else 0.0)
            gone += most
            seconds += most * page_s
            size += most * page_bytes
            if full:
                break
        i = i + 1 if i + 1 < count else 0
        passed += 1
        if once and i == 0:
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
        size = m.block_end[i] - i
        while size > 0:  # as many segments of the chunk as go whole
            unsent, sent, together = all_unsent[i : i + size], all_sent[i : i + size], 0.0
            for k in range(len(unsent)):
                together += unsent[k]
            if gone + together <= room:
                if together > 0 and m.cleared[m.chunk[i]] == NEVER:
                    pauses_s = floor(gone / window_pages + 1e-9) * gap_s
                    note_chunk(m, s, c, i, gone * c.normal_page_s + pauses_s)
                for k in range(len(unsent)):
                    sent[k] += unsent[k]
                    unsent[k] = 0.0
                gone += together
                break
            size //= 4
        if size > 0:
            passed += size
            i += size
            if i == count:
                i = 0
                if once:
                    break
            continue
        left = all_unsent[i]
        if left > 0:
            full = gone + left > room
            most = room - gone if full else left
            if most <= 0:
                break
            if m.cleared[m.chunk[i]] == NEVER:
                pauses_s = floor(gone / window_pages + 1e-9) * gap_s
                note_chunk(m, s, c, i, gone * c.normal_page_s + pauses_s)
            rest = left - most
            all_unsent[i] = rest if rest > NOTHING else 0.0
            all_sent[i] += most
            gone += most
            if full:
                break
        i = i + 1 if i + 1 < count else 0
        passed += 1
        if once and i == 0:
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
