"""The loop of the batch engine: one migration after the other, in the order of `migsim.engine.events.precopy`.

Only windows that are alike are sent together (`migsim.engine.batch.windows`). The functions are compiled, and run as
Python too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Literal

from migsim.engine.batch.cache import Cache, age, empty_cache
from migsim.engine.batch.clock import throttle, transferred, worked
from migsim.engine.batch.end import set_figures
from migsim.engine.batch.layout import lay_out
from migsim.engine.batch.memory import begin, begin_wandering, sync_memory
from migsim.engine.batch.multifd import finder_of, finish, note_call
from migsim.engine.batch.ram import ZERO_PART, Memory
from migsim.engine.batch.records import UNKNOWN, Cell, CellFigures, Ended, Floats, Kind, Notes, Reason, State
from migsim.engine.batch.sending import iterate
from migsim.engine.batch.verdict import give_up, note_end, note_test, note_throttle, stands_still
from migsim.engine.batch.windows import end_window, send_alike_windows
from migsim.engine.batch.xbzrle import close_cache_period, encode_left, iterate_encoded
from migsim.engine.channels import greet
from migsim.engine.guest_clock import run_s
from migsim.engine.segments import Extent
from migsim.engine.throttling import tick_asks
from migsim.models.loop.migration_thread import (
    DIRTY_RATE_PERIOD_S,
    dirty_pages_rate,
    may_switch_over,
    needs_exact,
)
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.models.loop.rate_limit import WINDOW_S, window_bytes, window_quota_bytes
from migsim.models.multifd.packets import counted_pages
from migsim.units import PAGE_BYTES

__all__ = ["run_cells"]


def run_cells(
    room: Memory,
    extents: Sequence[Extent],
    cache: Cache | None,
    states: Sequence[State],
    kinds: Sequence[Kind],
    run_fractions: Floats,
    cells: Sequence[Cell],
    rates: Floats,
    notes: Notes,
    ends: Sequence[Ended],
    figures: Sequence[CellFigures],
    reasons: Sequence[Reason],
    first: int,
    rng: Any,
) -> int:
    """Run cells from the `first` on.

    Parameters
    ----------
    room, extents
        Arrays for the guest's RAM, and the extents to lay out in them.
    cache
        XBZRLE's cache; None without that capability.
    states, kinds, ends
        One record each, for the migration that runs.
    run_fractions : ndarray
        The guest's speed for each percentage of auto-converge.
    cells, rates
        The migrations, and the table of write rates, a row as `Cell.rates_row` says.
    notes
        Room for the syncs and the exact tests of one migration.
    figures, reasons
        Of each cell; they are filled in.
    first : int
    rng : numpy.random.Generator or None
        Draws dirty counts; None: expected counts.

    Returns
    -------
    int
        The first cell whose syncs found no room in the notes, or the number of cells.
    """
    state, kind, end = states[0], kinds[0], ends[0]
    memory = lay_out(room, extents, kind.keep_apart > 0)
    for k in range(first, len(cells)):
        cell = cells[k]
        for of_class in range(len(memory.rates)):
            memory.rates[of_class] = rates[cell.rates_row, of_class]
        start(memory, state, cell, kind, rng)
        if cache is not None:
            empty_cache(cache)
        if not migrate(memory, cache, state, cell, kind, run_fractions, notes, end, rng):
            return k
        set_figures(end, notes.syncs[end.middle_sync], cell, kind, figures[k], reasons[k])
    return len(cells)


def start(memory: Memory, state: State, cell: Cell, kind: Kind, rng: Any) -> None:
    """Set everything to the moment after the setup, before its sync is counted."""
    begin(memory, state, cell)
    state.now = state.window_start = cell.connect_s
    state.window_stream = state.window_pages = 0.0
    charged_at: Literal["enqueue", "flush"] = "enqueue" if kind.charged_when_queued else "flush"
    quota = window_quota_bytes(cell.max_bandwidth)
    state.quota = window_bytes(quota, NORMAL_PAGE_BYTES, charged_at, False)
    if kind.multifd:
        state.quota = cell.window_bytes
    if kind.xbzrle:
        state.xbzrle_quota = window_bytes(quota, NORMAL_PAGE_BYTES, charged_at, True)
    state.xbzrle_started = 0
    state.multifd_stream = state.queued_pages = state.window_lost_s = 0.0
    state.xbzrle_pages = state.cache_miss = state.xbzrle_overflow = state.xbzrle_bytes = 0.0
    state.xbzrle_encoded = state.cache_miss_rate = state.encoding_rate = 0.0
    state.ram_stream = state.other_stream = state.normal = state.duplicate = 0.0
    state.dirty_pages_rate = state.threshold = state.mbps = state.pages_per_second = 0.0
    state.expected_downtime_ms = UNKNOWN
    state.period_pages = state.period_transferred = state.period_sent = 0.0
    state.period_cache_miss = state.period_xbzrle_pages = state.period_xbzrle_bytes = 0.0
    state.speed = state.allowed = state.share = 1.0
    state.since = state.run = state.backlog = 0.0
    state.next_tick = kind.tick_s
    state.syncs = state.tests = state.percentage = state.fixed_sleeps = state.bad_periods = 0
    state.dirtied_before = state.syncs_at_tick = 0
    state.full_page_s = UNKNOWN
    state.tests_lowest, state.tests_deviation = 0.0, 0.0
    state.tests_trend, state.tests_long_trend = inf, inf
    state.guest_s = state.writing_s = state.writing_before_s = cell.guest_start_s
    begin_wandering(state, kind, rng)
    state.now += cell.setup_s
    state.period_start = state.now
    state.synced_at = run_s(state, cell.load_fraction, state.now)
    state.guest_began_s = state.guest_s - state.now
    if kind.multifd:
        greet(state, state, cell.channels, kind.greeting_bytes, kind.main_bytes_a_wait)


def migrate(
    memory: Memory,
    cache: Cache | None,
    state: State,
    cell: Cell,
    kind: Kind,
    run_fractions: Floats,
    notes: Notes,
    end: Ended,
    rng: Any,
) -> bool:
    """Run from the first sync to the blackout or the deadline; False where the notes have no room for more syncs."""
    end.setup_s = cell.setup_s
    end.completed = 0
    if kind.throttled:
        notes.throttle_s[:] = 0.0
    count_sync(state, cell, kind, notes, max(state.now - cell.sync_s, state.now - cell.setup_s), 0.0)
    while state.now < cell.deadline_s:
        if state.syncs + 3 > len(notes.syncs):
            return False
        if state.now >= state.next_tick and tick_asks(state, kind.tick_s, state.now, state.syncs):
            sync(memory, cache, state, cell, kind, run_fractions, notes, rng)
        used = state.ram_stream + state.other_stream - state.window_stream
        if used < state.quota:
            if needs_exact(state.remaining * PAGE_BYTES, state.threshold):
                sync(memory, cache, state, cell, kind, run_fractions, notes, rng)
                note_test(state, kind, notes)
            if may_switch_over(state.remaining * PAGE_BYTES, state.threshold, kind.threshold_inclusive > 0):
                complete(memory, cache, state, cell, kind, notes, end, rng)
                return True
            if stands_still(state, cell, kind, state.threshold):
                break
            begun = state.window_start
            if state.now == begun and send_alike_windows(memory, state, cell, kind):
                note_throttle(state, notes, begun + state.full_s)
                continue
            if cache is None or kind.multifd:
                raw, zero, called, cursor = state.normal, state.duplicate, state.now, state.cursor
                iterate(memory, state, cell, state.quota - used)
                if kind.multifd:
                    note_call(state, cell, kind, raw, zero, called, cursor)
            else:
                iterate_encoded(cache, memory, state, cell, kind, state.quota - used)
            used = state.ram_stream + state.other_stream - state.window_stream
        if state.now < state.window_start + WINDOW_S:
            if used < state.quota:
                continue
            state.now = max(state.now, state.window_start + WINDOW_S + cell.wake_up_s)
        end_window(state, cell, kind)
        note_throttle(state, notes, state.now)
    state.guest_lost_s = state.now - worked(state, cell)
    give_up(state, cell, kind, notes, end)
    return True


def sync(
    memory: Memory,
    cache: Cache | None,
    state: State,
    cell: Cell,
    kind: Kind,
    run_fractions: Floats,
    notes: Notes,
    rng: Any,
) -> None:
    """Sync the bitmap: pages written until the sync begins become dirty, and nothing is sent meanwhile."""
    begun = state.now
    new = sync_memory(memory, state, cell, kind, rng, state.now)
    if cache is not None:
        age(cache, memory, state)
    state.now += cell.sync_s
    state.period_pages += new
    if state.now > state.period_start + DIRTY_RATE_PERIOD_S:
        state.dirty_pages_rate = dirty_pages_rate(state.period_pages, state.now - state.period_start)
        if kind.throttled:
            throttle(state, cell, kind, run_fractions)
        if cache is not None:
            close_cache_period(state)
        state.period_start, state.period_pages = state.now, 0.0
        state.period_transferred = transferred(state, kind)
    count_sync(state, cell, kind, notes, begun, new)


def count_sync(state: State, cell: Cell, kind: Kind, notes: Notes, begun: float, new: float) -> None:
    """Count a sync that found `new` dirty pages, and note it with the counters."""
    state.dirty_after_sync = state.remaining * PAGE_BYTES
    state.guest_lost_s = state.now - worked(state, cell)
    row = notes.syncs[state.syncs]
    row.begun_s, row.dirty_pages, row.guest_lost_s = begun, new, state.guest_lost_s
    row.remaining_bytes, row.mbps = state.dirty_after_sync, state.mbps
    row.dirty_pages_rate = state.dirty_pages_rate
    row.normal, _ = counted_pages(state.normal, state.duplicate, finder_of(kind))
    row.duplicate = state.normal + state.duplicate - row.normal
    row.ram_stream, row.other_stream = state.ram_stream, state.other_stream
    row.multifd_stream = state.multifd_stream
    row.xbzrle_pages, row.cache_miss = state.xbzrle_pages, state.cache_miss
    row.xbzrle_overflow, row.xbzrle_bytes = state.xbzrle_overflow, state.xbzrle_bytes
    state.syncs += 1


def complete(
    memory: Memory,
    cache: Cache | None,
    state: State,
    cell: Cell,
    kind: Kind,
    notes: Notes,
    end: Ended,
    rng: Any,
) -> None:
    """Stop the guest and sync once more; note the pages left by what they cost."""
    state.now += cell.switch_gap_s
    new = sync_memory(memory, state, cell, kind, rng, state.now + cell.stop_s)
    if cache is not None:
        age(cache, memory, state)
    count_sync(state, cell, kind, notes, state.now + cell.stop_s, new)
    end.again = end.first = end.fresh = end.zero = 0.0
    for i in range(len(memory.unsent)):
        unsent = memory.unsent[i]
        if memory.part[i] == ZERO_PART:
            end.zero += unsent
        elif unsent > 0:
            first, fresh = min(memory.first[i], unsent), min(memory.fresh[i], unsent)
            end.again += unsent - first
            end.first += first - fresh
            end.fresh += fresh
    end.encoded, end.encoded_raw, end.encoded_bytes, end.encoded_extra_s = 0, 0.0, 0.0, 0.0
    if kind.multifd:
        finish(state, cell, kind, end)
    if cache is not None and state.xbzrle_started:
        encode_left(cache, memory, state, cell, kind, end)
    end.completed, end.steady, end.middle_sync = 1, 0, 0
    end.guest_worked_s = state.guest_s - state.guest_began_s
    note_end(state, kind, end)
