"""The guest's memory in the batch engine: `memory.GuestMemory`, by numbers alone.

Pages of one class in one chunk share their chances, so these are computed once a part. Functions here run as Python
and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from typing import Any

from migsim.engine.batch.records import NEVER, Memory
from migsim.models.dirty.log import reported_pages
from migsim.models.dirty.page_writes import arc_fraction, drawn_pages, guest_seconds, random_fraction
from migsim.models.guest.work import worked_s

__all__ = ["NOTHING", "begin", "run_s", "sync_memory"]

NOTHING = 1e-6
"""Fewer pages than this are none: what adding up left."""


def begin(m: Memory, s: Any, c: Any) -> None:
    """Make all of RAM dirty; data pages go for the first time, up to `fresh_pages` of them to memory unseen."""
    pages, data = 0.0, 0.0
    for i in range(len(m.pages)):
        m.unsent[i], m.sent[i], m.first[i] = m.pages[i], 0.0, m.data[i]
        m.fresh[i] = min(max(c.fresh_pages - m.before[i], 0.0), m.data[i])
        pages += m.pages[i]
        data += m.data[i]
    s.remaining, s.first_left, s.zero_left = pages, data, pages - data
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
    if c.dirty_fault_s:
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
        for p in range(len(m.parts)):
            set_chances(m, s, p, chunked, wall, seconds)
        if not c.dirty_fault_s:
            break
        new = 0.0
        for p in range(len(m.parts)):
            part = m.parts[p]
            new += (
                reported_pages(part.pages, part.unsent, part.sent, part.since_sync, part.since_clear)
                - part.unsent
            )
        seconds = guest_seconds(wall, new, c.dirty_fault_s)
    return seconds


def set_chances(m: Memory, s: Any, p: int, chunked: bool, wall: float, seconds: float) -> None:
    """Set a part's chances of having been written, where `seconds` of the time between two syncs were the guest's."""
    part = m.parts[p]
    rate, cleared = m.rates[part.of_class], m.cleared[part.chunk]
    part.clearing = 0.0
    if chunked and wall > 0 and cleared != NEVER:
        part.clearing = min(max((cleared - s.synced_at) / wall, 0.0), 1.0)
    late = part.clearing * seconds
    if part.sweeps:
        end = rate * (s.guest_s + seconds)
        part.since_sync = arc_fraction(part.offset, part.length, rate * s.guest_s, end)
        part.since_clear = arc_fraction(part.offset, part.length, rate * (s.guest_s + late), end)
        return
    if p and m.parts[p - 1].of_class == part.of_class:
        part.since_sync = m.parts[p - 1].since_sync
    else:
        part.since_sync = random_fraction(rate, seconds)
    part.since_clear = random_fraction(rate, seconds - late) if late else part.since_sync


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
        deviate = rng.standard_normal()
        if m.part[i] >= 0:
            part, pages, unsent = m.parts[m.part[i]], m.pages[i], m.unsent[i]
            expected = reported_pages(pages, unsent, m.sent[i], part.since_sync, part.since_clear)
            drawn = drawn_pages(expected - unsent, pages - unsent, deviate, part.sweeps)
            new += drawn
            m.unsent[i], m.sent[i] = unsent + drawn, 0.0
    return new
