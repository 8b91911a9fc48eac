"""Sending in the batch engine: what `migsim.engine.events.memory.GuestMemory.send` does, and the cost of a full window.

The event engine sends segment by segment, this one block by block. The functions are compiled, and run as Python too.
"""

from __future__ import annotations

from math import floor, inf
from typing import NamedTuple

from migsim.engine.batch.left import (
    bytes_of,
    fits,
    left_in,
    page_bytes_of,
    page_s_of,
    seconds_of,
    take_some,
    take_whole,
    whole_segments,
)
from migsim.engine.batch.memory import NO_PAGES
from migsim.engine.batch.ram import NEVER, Memory
from migsim.engine.batch.records import Cell, State
from migsim.engine.guest_clock import run_s
from migsim.models.loop.page_stream import ITERATE_BYTES, SECTION_BYTES
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S

__all__ = ["CallTotals", "end_call", "full_window", "iterate", "note_chunk", "send"]


class CallTotals(NamedTuple):
    """Time and bytes that an iterate call has used so far, and whether one of the two is used up (`full`)."""

    seconds: float
    stream_bytes: float
    full: bool


def note_chunk(memory: Memory, state: State, cell: Cell, i: int, seconds: float) -> None:
    """Note when a segment's chunk is cleared: with the first of its pages that is sent, `seconds` from now."""
    if memory.cleared[memory.chunk[i]] == NEVER:
        memory.cleared[memory.chunk[i]] = run_s(state, cell.load_fraction, state.now + seconds)


def send(
    memory: Memory,
    state: State,
    cell: Cell,
    budget_s: float,
    budget_bytes: float,
    window_pages: float,
    gap_s: float,
    once: bool,
) -> CallTotals:
    """Send pages from the cursor on until the time, the bytes or the dirty pages are used up.

    After each `window_pages` the sender waits for `gap_s`, which is no part of the time that it uses. With `once` it
    stops at the end of RAM.
    """
    if not (state.first_left or state.zero_left):
        return send_again(memory, state, cell, budget_s, budget_bytes, window_pages, gap_s, once)
    seconds, size, gone, full = 0.0, 0.0, 0.0, False
    count, i, passed = len(memory.unsent), state.cursor, 0
    while passed <= count and state.remaining > NO_PAGES:
        begin, end = i, memory.block_end[i]
        block = left_in(memory, begin, end)
        if not fits(cell, block, budget_s - seconds, budget_bytes - size):
            end, block = whole_segments(memory, cell, begin, budget_s - seconds, budget_bytes - size)
        if block.raw + block.zero > 0:
            if memory.cleared[memory.chunk[begin]] == NEVER:
                gaps_s = floor(gone / window_pages + 1e-9) * gap_s
                note_chunk(memory, state, cell, begin, seconds + gaps_s)
            take_whole(memory, state, begin, end, block)
            gone += block.raw + block.zero
            seconds += seconds_of(cell, block)
            size += bytes_of(cell, block)
        passed += end - begin
        i, full = end, end < memory.block_end[begin]
        if full:
            page_s, page_bytes = page_s_of(memory, state, cell, i), page_bytes_of(memory, cell, i)
            in_time, in_bytes = (budget_s - seconds) / max(page_s, 1e-12), (budget_bytes - size) / page_bytes
            most = min(memory.unsent[i], in_time, in_bytes)
            if most > 0:
                if memory.cleared[memory.chunk[i]] == NEVER:
                    gaps_s = floor(gone / window_pages + 1e-9) * gap_s
                    note_chunk(memory, state, cell, i, seconds + gaps_s)
                take_some(memory, state, i, most)
                seconds += most * page_s
                size += most * page_bytes
            break
        if i == count:
            i = 0
            if once:
                break
    state.cursor = i
    return CallTotals(seconds, size, full)


def send_again(
    memory: Memory,
    state: State,
    cell: Cell,
    budget_s: float,
    budget_bytes: float,
    window_pages: float,
    gap_s: float,
    once: bool,
) -> CallTotals:
    """`send` where every page left was sent before, so that all pages cost the same."""
    all_unsent, all_sent = memory.unsent, memory.sent
    room = min(budget_s / max(cell.normal_page_s, 1e-12), budget_bytes / cell.raw_bytes)
    gone, full = 0.0, False
    count, i, passed, wanted = len(all_unsent), state.cursor, 0, state.remaining - NO_PAGES
    while passed <= count and gone < wanted:
        begin, end, together = i, memory.block_end[i], 0.0
        unsent = all_unsent[begin:end]
        for k in range(len(unsent)):
            together += unsent[k]
        if gone + together > room + NO_PAGES:  # then the segments that can be sent whole
            end, together = begin, 0.0
            while end < memory.block_end[begin] and gone + together + all_unsent[end] <= room + NO_PAGES:
                together += all_unsent[end]
                end += 1
        if together > 0 and memory.cleared[memory.chunk[i]] == NEVER:
            gaps_s = floor(gone / window_pages + 1e-9) * gap_s
            note_chunk(memory, state, cell, i, gone * cell.normal_page_s + gaps_s)
        unsent, sent = all_unsent[begin:end], all_sent[begin:end]
        for k in range(len(unsent)):
            sent[k] += unsent[k]
            unsent[k] = 0.0
        gone += together
        passed += end - begin
        i = end
        if end < memory.block_end[begin]:
            most, full = room - gone, True
            if most > 0:
                if memory.cleared[memory.chunk[i]] == NEVER:
                    gaps_s = floor(gone / window_pages + 1e-9) * gap_s
                    note_chunk(memory, state, cell, i, gone * cell.normal_page_s + gaps_s)
                rest = all_unsent[i] - most
                all_unsent[i] = rest if rest > NO_PAGES else 0.0
                all_sent[i] += most
                gone += most
            break
        if i == count:
            i = 0
            if once:
                break
    state.cursor = i
    state.normal += gone
    state.remaining -= gone
    return CallTotals(gone * cell.normal_page_s, gone * cell.raw_bytes, full)


def iterate(memory: Memory, state: State, cell: Cell, budget_bytes: float) -> None:
    """Make an iterate call."""
    end_call(state, send(memory, state, cell, ITERATE_MAX_S, budget_bytes, inf, 0.0, False))


def end_call(state: State, used: CallTotals) -> None:
    """Count an iterate call; after a scan that found nothing more, the next one begins at the start of RAM."""
    if not used.full:
        state.cursor, state.remaining = 0, 0.0
    state.now += used.seconds
    state.ram_stream += used.stream_bytes + ITERATE_BYTES
    state.other_stream += SECTION_BYTES


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
