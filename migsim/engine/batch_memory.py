"""The guest's memory in the batch engine: `memory.GuestMemory`, by numbers alone.

Pages of one class in one chunk share their chances, so these are computed once a part. Functions here run as Python
and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from math import floor, inf
from typing import Any, NamedTuple

from migsim.engine.batch_state import NEVER, Memory
from migsim.models.dirty_log import reported_pages
from migsim.models.guest_work import worked_s
from migsim.models.page_stream import (
    ITERATE_BYTES,
    SECTION_BYTES,
    mean_page_s,
)
from migsim.models.page_writes import arc_fraction, drawn_pages, guest_seconds, random_fraction
from migsim.models.rate_limit import ITERATE_MAX_S, WINDOW_S

__all__ = [
    "Sent",
    "begin",
    "call",
    "end_call",
    "full_window",
    "note_taken",
    "page_bytes_of",
    "page_s_of",
    "run_s",
    "send",
    "sync_memory",
]

NOTHING = 1e-6
"""Fewer pages than this are none: what adding up left."""


def begin(m: Memory, s: Any, c: Any) -> None:
    """Make all of RAM dirty; data pages go for the first time, up to `fresh_pages` of them to memory unseen."""
    before, remaining = 0.0, 0.0
    for i in range(len(m.pages)):
        g, pages = m.segments[i], m.pages[i]
        m.unsent[i], m.sent[i] = pages, 0.0
        g.first = 0.0 if g.zero else pages
        g.fresh = min(max(c.fresh_pages - before, 0.0), g.first)
        before += g.first
        remaining += pages
    s.remaining, s.first_left, s.zero_left = remaining, before, remaining - before
    if s.zero_left < NOTHING:
        s.zero_left = 0.0
    m.cleared[:] = NEVER
    s.cursor = 0


def run_s(s: Any, c: Any, now: float) -> float:
    """Work that the guest has done by `now`, as its clock has it."""
    return s.run + worked_s(s.backlog, s.speed, c.load, now - s.since)


def sync_memory(m: Memory, s: Any, c: Any, kind: Any, rng: Any, now: float) -> float:
    """Publish what was written; returns the pages that are newly dirty."""
    run = run_s(s, c, now)
    gather(m)
    seconds = chances(m, s, c, kind.chunked > 0, run - s.synced_at)
    if kind.coded:
        for i in range(len(m.sent)):
            m.last_sent[i] = m.sent[i]
    new = publish(m) if rng is None else draw(m, rng)
    s.guest_before_s = s.guest_s
    s.guest_s += seconds
    s.synced_at = run
    m.cleared[:] = NEVER
    s.remaining = max(s.remaining + new, 0.0)
    return new


def gather(m: Memory) -> None:
    """Add up what is unsent and sent of each part."""
    for p in range(len(m.parts)):
        m.parts[p].unsent = m.parts[p].sent = 0.0
    for r in range(len(m.runs)):
        all_unsent, all_sent = 0.0, 0.0
        unsent, sent = m.unsent[m.runs[r, 0] : m.runs[r, 1]], m.sent[m.runs[r, 0] : m.runs[r, 1]]
        for i in range(len(unsent)):
            all_unsent += unsent[i]
            all_sent += sent[i]
        part = m.parts[m.runs[r, 2]]
        part.unsent += all_unsent
        part.sent += all_sent


def chances(m: Memory, s: Any, c: Any, chunked: bool, wall: float) -> float:
    """Set each part's chances of having been written, and return the guest time that passed."""
    seconds = wall
    for _ in range(3):
        new = 0.0
        for p in range(len(m.parts)):
            part = m.parts[p]
            rate, cleared = m.rates[part.of_class], m.cleared[part.chunk]
            part.clearing = 0.0
            if chunked and wall > 0 and cleared != NEVER:
                part.clearing = min(max((cleared - s.synced_at) / wall, 0.0), 1.0)
            late = part.clearing * seconds
            if part.sweeps:
                end = rate * (s.guest_s + seconds)
                part.since_sync = arc_fraction(part.offset, part.length, rate * s.guest_s, end)
                begun = rate * (s.guest_s + late)
                part.since_clear = arc_fraction(part.offset, part.length, begun, end)
            else:
                if p and m.parts[p - 1].of_class == part.of_class:
                    part.since_sync = m.parts[p - 1].since_sync
                else:
                    part.since_sync = random_fraction(rate, seconds)
                part.since_clear = random_fraction(rate, seconds - late) if late else part.since_sync
            new += (
                reported_pages(part.pages, part.unsent, part.sent, part.since_sync, part.since_clear)
                - part.unsent
            )
        if not c.dirty_fault_s:
            break
        seconds = guest_seconds(wall, new, c.dirty_fault_s)
    return seconds


def publish(m: Memory) -> float:
    """Set the bits of what is expected to be written; returns the pages that are newly dirty."""
    new = 0.0
    for r in range(len(m.runs)):
        begin, end, part = m.runs[r, 0], m.runs[r, 1], m.parts[m.runs[r, 2]]
        since_sync, since_clear = part.since_sync, part.since_clear
        pages, unsent, sent = m.pages[begin:end], m.unsent[begin:end], m.sent[begin:end]
        for i in range(len(pages)):
            expected = reported_pages(pages[i], unsent[i], sent[i], since_sync, since_clear)
            new += expected - unsent[i]
            unsent[i], sent[i] = expected, 0.0
    return new


def draw(m: Memory, rng: Any) -> float:
    """Set as many bits as are drawn about the expectation; returns the pages that are newly dirty.

    Each segment has its deviate, in order, whether it is written to or not.
    """
    new = 0.0
    for i in range(len(m.pages)):
        deviate, p = rng.standard_normal(), m.segments[i].part
        if p >= 0:
            part, pages, unsent = m.parts[p], m.pages[i], m.unsent[i]
            expected = reported_pages(pages, unsent, m.sent[i], part.since_sync, part.since_clear)
            drawn = drawn_pages(expected - unsent, pages - unsent, deviate, part.sweeps)
            new += drawn
            m.unsent[i], m.sent[i] = unsent + drawn, 0.0
    return new


def page_s_of(g: Any, unsent: float, s: Any, c: Any) -> float:
    """Mean cost of a segment's pages."""
    if g.zero:
        return c.zero_page_s
    if not s.first_left:
        return c.normal_page_s
    first = min(g.first / unsent, 1.0)
    fresh = min(g.fresh / unsent, first)
    return mean_page_s(first, fresh, c.normal_page_s, c.cold_page_s, c.fresh_page_s)


def page_bytes_of(g: Any, c: Any) -> float:
    """Bytes of a segment's page in the stream."""
    return c.zero_bytes if g.zero else c.raw_bytes


def note_taken(g: Any, s: Any, pages: float, left_share: float) -> None:
    """Note pages taken of a segment: how many are zero, and how many of it never went so far."""
    s.remaining -= pages
    if g.zero:
        s.zero_left = s.zero_left - pages if s.zero_left - pages > NOTHING else 0.0
        s.duplicate += pages
        return
    s.normal += pages
    if s.first_left:
        left = s.first_left - g.first * (1 - left_share)
        s.first_left = left if left > NOTHING else 0.0
        g.first *= left_share
        g.fresh *= left_share


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
    all_unsent, cleared = m.unsent, m.cleared
    seconds, size, gone, full = 0.0, 0.0, 0.0, False
    count, i, passed = len(all_unsent), s.cursor, 0
    while passed <= count and s.remaining > NOTHING:
        left = all_unsent[i]
        if left > 0:
            g = m.segments[i]
            page_s, page_bytes = page_s_of(g, left, s, c), page_bytes_of(g, c)
            most = left
            if seconds + left * page_s > budget_s or size + left * page_bytes > budget_bytes:
                in_time = (budget_s - seconds) / max(page_s, 1e-12)
                most = min(left, in_time, (budget_bytes - size) / page_bytes)
                full = most < left
                if most <= 0:
                    break
            if cleared[m.chunk[i]] == NEVER:
                pauses = floor(gone / window_pages + 1e-9)
                cleared[m.chunk[i]] = run_s(s, c, s.now + seconds + pauses * gap_s)
            rest = left - most
            all_unsent[i] = rest if rest > NOTHING else 0.0
            m.sent[i] += most
            note_taken(g, s, most, rest / left)
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
    all_unsent, all_sent, all_chunks, cleared = m.unsent, m.sent, m.chunk, m.cleared
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
                if together > 0 and cleared[all_chunks[i]] == NEVER:
                    pauses = floor(gone / window_pages + 1e-9)
                    cleared[all_chunks[i]] = run_s(s, c, s.now + gone * c.normal_page_s + pauses * gap_s)
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
            if cleared[all_chunks[i]] == NEVER:
                pauses = floor(gone / window_pages + 1e-9)
                at = s.now + gone * c.normal_page_s + pauses * gap_s
                cleared[all_chunks[i]] = run_s(s, c, at)
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
