"""The guest's memory in the batch engine: `memory.GuestMemory`, by numbers alone.

Pages of one class in one chunk share their chances, so these are computed once a part. Functions here run as Python
and compile as they are (`batch_compile`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from migsim.engine.batch_state import NEVER, Dirty, Floats, Ram
from migsim.models.dirty_log import reported_pages
from migsim.models.guest_work import worked_s
from migsim.models.page_stream import (
    ITERATE_BYTES,
    NORMAL_PAGE_BYTES,
    SECTION_BYTES,
    ZERO_PAGE_BYTES,
    mean_page_s,
)
from migsim.models.page_writes import arc_fraction, drawn_pages, guest_seconds, random_fraction
from migsim.models.rate_limit import ITERATE_MAX_S, WINDOW_S

__all__ = ["begin", "full_window", "page_s_of", "run_s", "send", "send_windows", "sync_memory"]

NOTHING = 1e-6
"""Fewer pages than this are none: what adding up left."""


def begin(ram: Ram, dirty: Dirty, s: Any, c: Any) -> None:
    """Make all of RAM dirty; data pages go for the first time, up to `fresh_pages` of them to memory unseen."""
    before = 0.0
    s.remaining, s.first_left, s.zero_left = 0.0, 0.0, 0.0
    for i in range(len(ram.pages)):
        pages = ram.pages[i]
        dirty.unsent[i] = pages
        dirty.sent[i] = 0.0
        dirty.first[i] = 0.0 if ram.is_zero[i] else pages
        dirty.fresh[i] = min(max(c.fresh_pages - before, 0.0), dirty.first[i])
        before += dirty.first[i]
        s.remaining += pages
        s.zero_left += pages - dirty.first[i]
    s.first_left = before
    dirty.cleared[:] = NEVER
    s.cursor = 0


def run_s(s: Any, c: Any, now: float) -> float:
    """Work that the guest has done by `now`, as its clock has it."""
    return s.run + worked_s(s.backlog, s.speed, c.load, now - s.since)


def sync_memory(
    ram: Ram, dirty: Dirty, s: Any, c: Any, chunked: bool, rates: Floats, rng: Any, now: float
) -> float:
    """Publish what was written; returns the pages that are newly dirty."""
    run = run_s(s, c, now)
    seconds = chances(ram, dirty, s, c, chunked, rates, run - s.synced_at)
    new = 0.0
    if rng is None:
        for r in range(len(ram.run_part)):
            part = ram.run_part[r]
            since_sync, since_clear = dirty.since_sync[part], dirty.since_clear[part]
            for i in range(ram.run_begin[r], ram.run_end[r]):
                unsent = dirty.unsent[i]
                expected = reported_pages(ram.pages[i], unsent, dirty.sent[i], since_sync, since_clear)
                new += expected - unsent
                dirty.unsent[i] = expected
                dirty.sent[i] = 0.0
    else:
        new = draw(ram, dirty, rng)
    s.guest_s += seconds
    s.synced_at = run
    dirty.cleared[:] = NEVER
    s.remaining = max(s.remaining + new, 0.0)
    return new


def draw(ram: Ram, dirty: Dirty, rng: Any) -> float:
    """Publish what was written, drawn about its expectation."""
    new = 0.0
    deviates = rng.standard_normal(len(ram.pages))
    for r in range(len(ram.run_part)):
        part = ram.run_part[r]
        for i in range(ram.run_begin[r], ram.run_end[r]):
            unsent = dirty.unsent[i]
            expected = reported_pages(
                ram.pages[i], unsent, dirty.sent[i], dirty.since_sync[part], dirty.since_clear[part]
            )
            room = ram.pages[i] - unsent
            drawn = drawn_pages(expected - unsent, room, deviates[i], ram.part_sweeps[part])
            new += drawn
            dirty.unsent[i] = unsent + drawn
            dirty.sent[i] = 0.0
    return new


def chances(ram: Ram, dirty: Dirty, s: Any, c: Any, chunked: bool, rates: Floats, wall: float) -> float:
    """Set each part's chances of having been written, and return the guest time that passed."""
    dirty.part_unsent[:] = 0.0
    dirty.part_sent[:] = 0.0
    for r in range(len(ram.run_part)):
        unsent, sent = 0.0, 0.0
        for i in range(ram.run_begin[r], ram.run_end[r]):
            unsent += dirty.unsent[i]
            sent += dirty.sent[i]
        dirty.part_unsent[ram.run_part[r]] += unsent
        dirty.part_sent[ram.run_part[r]] += sent
    seconds = wall
    for _ in range(3):
        new = 0.0
        for p in range(len(ram.part_class)):
            rate = rates[ram.part_class[p]]
            cleared = dirty.cleared[ram.part_chunk[p]]
            late = 0.0
            if chunked and wall > 0 and cleared != NEVER:
                late = min(max((cleared - s.synced_at) / wall, 0.0), 1.0) * seconds
            if ram.part_sweeps[p]:
                at, length, end = ram.part_offset[p], ram.part_length[p], rate * (s.guest_s + seconds)
                since_sync = arc_fraction(at, length, rate * s.guest_s, end)
                since_clear = arc_fraction(at, length, rate * (s.guest_s + late), end)
            else:
                if p and ram.part_class[p - 1] == ram.part_class[p]:
                    since_sync = dirty.since_sync[p - 1]
                else:
                    since_sync = random_fraction(rate, seconds)
                since_clear = random_fraction(rate, seconds - late) if late else since_sync
            dirty.since_sync[p], dirty.since_clear[p] = since_sync, since_clear
            unsent, sent = dirty.part_unsent[p], dirty.part_sent[p]
            new += reported_pages(ram.part_pages[p], unsent, sent, since_sync, since_clear) - unsent
        if not c.dirty_fault_s:
            break
        seconds = guest_seconds(wall, new, c.dirty_fault_s)
    return seconds


def page_s_of(ram: Ram, dirty: Dirty, s: Any, c: Any, i: int) -> float:
    """Mean cost of a segment's pages."""
    if ram.is_zero[i]:
        return c.zero_page_s
    if not s.first_left:
        return c.normal_page_s
    left = dirty.unsent[i]
    return mean_page_s(
        dirty.first[i] / left, dirty.fresh[i] / left, c.normal_page_s, c.cold_page_s, c.fresh_page_s
    )


def take(ram: Ram, dirty: Dirty, s: Any, c: Any, i: int, pages: float, at: float) -> None:
    """Clear the bits of some pages of a segment, which are sent from `at` on."""
    left = dirty.unsent[i]
    rest = left - pages
    dirty.unsent[i] = rest if rest > NOTHING else 0.0
    dirty.sent[i] += pages
    if dirty.cleared[ram.chunk[i]] == NEVER:
        dirty.cleared[ram.chunk[i]] = run_s(s, c, at)
    s.remaining -= pages
    if ram.is_zero[i]:
        s.duplicate += pages
        s.zero_left -= pages
        if s.zero_left < NOTHING:
            s.zero_left = 0.0
        return
    s.normal += pages
    if s.first_left:
        share = rest / left
        s.first_left -= dirty.first[i] * (1 - share)
        dirty.first[i] *= share
        dirty.fresh[i] *= share
        if s.first_left < NOTHING:
            s.first_left = 0.0


def send(ram: Ram, dirty: Dirty, s: Any, c: Any, budget_bytes: float) -> None:
    """One iterate call from the cursor on, until time, quota or the bitmap is used up."""
    seconds, size = 0.0, 0.0
    count = len(ram.pages)
    i, passed = s.cursor, 0
    while passed <= count and s.remaining > NOTHING:
        left = dirty.unsent[i]
        if left > 0:
            page_s = page_s_of(ram, dirty, s, c, i)
            page_bytes = ZERO_PAGE_BYTES if ram.is_zero[i] else NORMAL_PAGE_BYTES
            most = left
            if seconds + left * page_s > ITERATE_MAX_S or size + left * page_bytes > budget_bytes:
                in_time = (ITERATE_MAX_S - seconds) / max(page_s, 1e-12)
                most = min(left, in_time, (budget_bytes - size) / page_bytes)
            if most <= 0:
                break
            take(ram, dirty, s, c, i, most, s.now + seconds)
            seconds += most * page_s
            size += most * page_bytes
            if most < left:
                break
        i = i + 1 if i + 1 < count else 0
        passed += 1
    s.cursor = i
    if passed > count or s.remaining <= NOTHING:
        s.cursor, s.remaining = 0, 0.0
    s.now += seconds
    s.ram_stream += size + ITERATE_BYTES
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


def send_windows(
    ram: Ram, dirty: Dirty, s: Any, c: Any, windows: float, pages: float, window_s: float, page_s: float
) -> None:
    """Send whole windows of `pages` that cost alike, the first of which begins now."""
    wanted, gone = windows * pages, 0.0
    count = len(ram.pages)
    i = s.cursor
    while True:
        left = dirty.unsent[i]
        if left > 0:
            most = min(left, wanted - gone)
            before = np.floor(gone / pages + 1e-9)
            take(ram, dirty, s, c, i, most, s.now + before * window_s + (gone - before * pages) * page_s)
            gone += most
            if most < left or gone >= wanted - NOTHING:
                break
        i = i + 1 if i + 1 < count else 0
    s.cursor = i
