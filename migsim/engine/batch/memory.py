"""The guest's memory in the batch engine: what `migsim.engine.events.memory.GuestMemory` does at a bitmap sync.

Pages of one class in one chunk share their chances of having been written, so the chances are computed once a part.
The functions are compiled, and run as Python too.
"""

# Laws that are declared for arrays get numbers here.
# mypy: disable-error-code="arg-type, assignment, return-value"
from __future__ import annotations

from typing import Any

from migsim.engine.batch.ram import NEVER, Memory
from migsim.engine.batch.records import Cell, Kind, State
from migsim.engine.guest_clock import run_s
from migsim.models.dirty.log import reported_pages
from migsim.models.dirty.page_writes import arc_fraction, drawn_pages, guest_seconds, random_fraction
from migsim.models.guest.activity import TIMES_S, activity, end_and_mean

__all__ = ["NO_PAGES", "begin", "begin_wandering", "sync_memory"]

NO_PAGES = 1e-6
"""Fewer pages than this are rounding errors of sums, not pages."""


def begin(memory: Memory, state: State, cell: Cell) -> None:
    """Make all of RAM dirty and never sent; the first `fresh_pages` data pages need memory on the destination."""
    pages, data = 0.0, 0.0
    for i in range(len(memory.pages)):
        memory.unsent[i], memory.sent[i], memory.first[i] = memory.pages[i], 0.0, memory.data[i]
        memory.fresh[i] = min(max(cell.fresh_pages - memory.before[i], 0.0), memory.data[i])
        pages += memory.pages[i]
        data += memory.data[i]
    state.remaining, state.first_left, state.zero_left = pages, data, pages - data
    if state.zero_left < NO_PAGES:
        state.zero_left = 0.0
    memory.cleared[:] = NEVER
    state.cursor = 0


def sync_memory(memory: Memory, state: State, cell: Cell, kind: Kind, rng: Any, now: float) -> float:
    """Set the bits of written pages, and return how many pages became dirty."""
    run = run_s(state, cell.load_fraction, now)
    if cell.dirty_fault_s:
        gather(memory)
    state.activity = draw_activity(state, kind, rng, run - state.synced_at)
    seconds = set_all_chances(memory, state, cell, kind.chunked > 0, run - state.synced_at)
    if kind.xbzrle:
        for i in range(len(memory.sent)):
            memory.last_sent[i] = memory.sent[i]
    new = publish(memory) if rng is None else draw(memory, rng)
    state.guest_s += seconds
    state.writing_before_s = state.writing_s
    state.writing_s += state.activity * seconds
    state.synced_at = run
    memory.cleared[:] = NEVER
    state.remaining = max(state.remaining + new, 0.0)
    return new


def begin_wandering(state: State, kind: Kind, rng: Any) -> None:
    """Draw the levels of the processes by which the guest's activity wanders."""
    state.activity = 1.0
    if kind.wanders and rng is not None:
        state.level_0, state.level_1 = rng.standard_normal(), rng.standard_normal()
        state.level_2 = rng.standard_normal()


def draw_activity(state: State, kind: Kind, rng: Any, wall: float) -> float:
    """Draw how fast the guest wrote since the last sync, relative to its mean."""
    if not kind.wanders or rng is None:
        return 1.0
    d, e = rng.standard_normal(), rng.standard_normal()
    state.level_0, mean_0 = end_and_mean(state.level_0, TIMES_S[0], wall, d, e)
    d, e = rng.standard_normal(), rng.standard_normal()
    state.level_1, mean_1 = end_and_mean(state.level_1, TIMES_S[1], wall, d, e)
    d, e = rng.standard_normal(), rng.standard_normal()
    state.level_2, mean_2 = end_and_mean(state.level_2, TIMES_S[2], wall, d, e)
    return activity((kind.wander_0, kind.wander_1, kind.wander_2), (mean_0, mean_1, mean_2), wall)


def gather(memory: Memory) -> None:
    """Add up the unsent and the sent pages of each part."""
    for p in range(len(memory.parts)):
        memory.parts[p].unsent = memory.parts[p].sent = 0.0
    for r in range(len(memory.stretches)):
        stretch = memory.stretches[r]
        all_unsent, all_sent = 0.0, 0.0
        unsent, sent = memory.unsent[stretch.begin : stretch.end], memory.sent[stretch.begin : stretch.end]
        for i in range(len(unsent)):
            all_unsent += unsent[i]
            all_sent += sent[i]
        part = memory.parts[stretch.part]
        part.unsent += all_unsent
        part.sent += all_sent


def set_all_chances(memory: Memory, state: State, cell: Cell, chunked: bool, wall: float) -> float:
    """Set each part's chances of having been written, and return the guest time that passed."""
    seconds = wall
    for _ in range(3):
        for p in range(len(memory.parts)):
            set_chances(memory, state, p, chunked, wall, seconds)
        if not cell.dirty_fault_s:
            break
        new = 0.0
        for p in range(len(memory.parts)):
            part = memory.parts[p]
            new += (
                reported_pages(part.pages, part.unsent, part.sent, part.since_sync, part.since_clear)
                - part.unsent
            )
        seconds = guest_seconds(wall, new, cell.dirty_fault_s)
    return seconds


def set_chances(memory: Memory, state: State, p: int, chunked: bool, wall: float, seconds: float) -> None:
    """Set a part's chances of having been written in a round of `wall` run time, of which the guest had `seconds`."""
    written = state.activity * seconds
    part = memory.parts[p]
    rate, cleared = memory.rates[part.of_class], memory.cleared[part.chunk]
    part.clearing = 0.0
    if chunked and wall > 0 and cleared != NEVER:
        part.clearing = min(max((cleared - state.synced_at) / wall, 0.0), 1.0)
    late = part.clearing * written
    if part.sweeps:
        end = rate * (state.writing_s + written)
        part.since_sync = arc_fraction(part.offset, part.length, rate * state.writing_s, end)
        part.since_clear = arc_fraction(part.offset, part.length, rate * (state.writing_s + late), end)
        return
    if p and memory.parts[p - 1].of_class == part.of_class:
        part.since_sync = memory.parts[p - 1].since_sync
    else:
        part.since_sync = random_fraction(rate, written)
    part.since_clear = random_fraction(rate, written - late) if late else part.since_sync


def publish(memory: Memory) -> float:
    """Make as many pages dirty as are expected to be, and return how many became dirty."""
    new = 0.0
    for r in range(len(memory.stretches)):
        stretch = memory.stretches[r]
        begin, end, part = stretch.begin, stretch.end, memory.parts[stretch.part]
        since_sync, since_clear = part.since_sync, part.since_clear
        pages, unsent, sent = memory.pages[begin:end], memory.unsent[begin:end], memory.sent[begin:end]
        for i in range(len(pages)):
            expected = reported_pages(pages[i], unsent[i], sent[i], since_sync, since_clear)
            new += expected - unsent[i]
            unsent[i], sent[i] = expected, 0.0
    return new


def draw(memory: Memory, rng: Any) -> float:
    """Draw how many pages of each segment are dirty, and return how many became dirty.

    Every segment takes a deviate, in order, whether it is written or not: as the event engine does.
    """
    new = 0.0
    for i in range(len(memory.pages)):
        deviate = rng.standard_normal()
        if memory.part[i] >= 0:
            part, pages, unsent = memory.parts[memory.part[i]], memory.pages[i], memory.unsent[i]
            expected = reported_pages(pages, unsent, memory.sent[i], part.since_sync, part.since_clear)
            drawn = drawn_pages(expected - unsent, pages - unsent, deviate, part.sweeps)
            new += drawn
            memory.unsent[i], memory.sent[i] = unsent + drawn, 0.0
    return new
