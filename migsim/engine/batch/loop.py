"""One migration of the batch engine after the other: `des._Precopy`, by numbers alone.

Windows that are alike are sent together (`batch_windows`), all else happens in the order of the event engine. Functions
here run as Python and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from math import inf
from typing import Any

from migsim.engine.batch.cache import forget, grow_old
from migsim.engine.batch.clock import throttle, tick_asks, transferred, worked
from migsim.engine.batch.end import set_figures
from migsim.engine.batch.layout import lay_out
from migsim.engine.batch.memory import begin, run_s, sync_memory
from migsim.engine.batch.multifd import finish, greet, note_call
from migsim.engine.batch.records import UNKNOWN, ZERO, Floats, Memory, Notes
from migsim.engine.batch.sending import call
from migsim.engine.batch.verdict import give_up, note_end, note_test, stands_still
from migsim.engine.batch.windows import end_window, windows
from migsim.engine.batch.xbzrle import call_coded, close_cache_period, encode_left
from migsim.models.loop.migration_thread import (
    DIRTY_RATE_PERIOD_S,
    dirty_pages_rate,
    may_switch_over,
    needs_exact,
)
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.models.loop.rate_limit import WINDOW_S, window_bytes, window_quota_bytes
from migsim.units import PAGE_BYTES

__all__ = ["run_cells"]


def run_cells(
    room: Memory,
    extents: Any,
    cache: Any,
    state: Any,
    kinds: Any,
    run_fractions: Floats,
    cells: Any,
    rates: Floats,
    notes: Notes,
    ended: Any,
    figures: Any,
    whys: Any,
    first: int,
    rng: Any,
) -> int:
    """Run cells from the `first` on, and return the first that found no room in the notes, or their number."""
    s, kind, end = state[0], kinds[0], ended[0]
    m = lay_out(room, extents, kind.apart > 0)
    for k in range(first, len(cells)):
        c = cells[k]
        for of_class in range(len(m.rates)):
            m.rates[of_class] = rates[c.rates_row, of_class]
        start(m, s, c, kind)
        if cache is not None:
            forget(cache)
        if not migrate(m, cache, s, c, kind, run_fractions, notes, end, rng):
            return k
        set_figures(end, c, kind, figures[k], whys[k])
    return len(cells)


def start(m: Memory, s: Any, c: Any, kind: Any) -> None:
    """Bring everything to the moment after the setup."""
    begin(m, s, c)
    s.now = s.window_start = c.connect_s
    s.window_stream = s.window_pages = 0.0
    charged_at = "enqueue" if kind.charged_when_queued else "flush"
    quota = window_quota_bytes(c.max_bandwidth)
    s.quota = c.window_bytes if kind.multifd else window_bytes(quota, NORMAL_PAGE_BYTES, charged_at, False)
    if kind.coded:
        s.coded_quota = window_bytes(quota, NORMAL_PAGE_BYTES, charged_at, True)
    s.started = 0
    s.multifd_stream = s.queued_pages = s.window_lost_s = 0.0
    s.allowed = s.share = 1.0
    s.xbzrle_pages = s.cache_miss = s.xbzrle_overflow = s.xbzrle_bytes = 0.0
    s.before_pages = s.before_miss = s.before_target = s.before_bytes = 0.0
    s.cache_miss_rate = s.encoding_rate = 0.0
    s.ram_stream = s.other_stream = s.normal = s.duplicate = 0.0
    s.dirty_pages_rate = s.threshold = s.mbps = s.pages_per_second = 0.0
    s.expected_downtime_ms = UNKNOWN
    s.period_pages = s.period_transferred = 0.0
    s.speed, s.since, s.run, s.backlog, s.changed_at = 1.0, 0.0, 0.0, 0.0, 0.0
    s.next_tick = kind.tick_s
    s.syncs = s.tests = s.percentage = s.fixed_sleeps = s.bad_periods = 0
    s.dirtied_before = s.syncs_at_tick = 0
    s.full_page_s = UNKNOWN
    s.lowest, s.deviation, s.trend, s.long_trend = 0.0, 0.0, inf, inf
    s.guest_s = s.guest_before_s = c.guest_s
    s.now += c.setup_s
    s.period_start = s.now
    s.synced_at = run_s(s, c, s.now)
    s.guest_began_s = s.guest_s - s.now
    if kind.multifd:
        greet(s, c, kind)


def migrate(
    m: Memory, cache: Any, s: Any, c: Any, kind: Any, run_fractions: Floats, notes: Notes, end: Any, rng: Any
) -> bool:
    """From the first sync to the blackout or the deadline; False where the notes have no room for more."""
    end.setup_s = c.setup_s
    end.completed = 0
    count_sync(s, c, notes, max(s.now - c.sync_s, s.now - c.setup_s))
    while s.now < c.deadline_s:
        if s.syncs + 3 > len(notes.syncs):
            return False
        if s.now >= s.next_tick and tick_asks(s, kind):
            sync(m, cache, s, c, kind, run_fractions, notes, rng)
        used = s.ram_stream + s.other_stream - s.window_stream
        if used < s.quota:
            if needs_exact(s.remaining * PAGE_BYTES, s.threshold):
                sync(m, cache, s, c, kind, run_fractions, notes, rng)
                note_test(s, kind, notes)
            if may_switch_over(s.remaining * PAGE_BYTES, s.threshold, kind.inclusive > 0):
                complete(m, cache, s, c, kind, notes, end, rng)
                return True
            if stands_still(s, c, kind, s.threshold):
                break
            if s.now == s.window_start and windows(m, s, c, kind):
                continue
            if cache is None or kind.multifd:
                raw, zero, begun, cursor = s.normal, s.duplicate, s.now, s.cursor
                call(m, s, c, s.quota - used)
                if kind.multifd:
                    note_call(s, c, kind, raw, zero, begun, cursor)
            else:
                call_coded(cache, m, s, c, kind, s.quota - used)
            used = s.ram_stream + s.other_stream - s.window_stream
        if s.now >= s.window_start + WINDOW_S:
            end_window(s, c, kind)
        elif used >= s.quota:
            s.now = max(s.now, s.window_start + WINDOW_S + c.wake_up_s)
            end_window(s, c, kind)
    s.guest_lost_s = s.now - worked(s, c)
    give_up(s, c, kind, notes, end)
    return True


def sync(
    m: Memory, cache: Any, s: Any, c: Any, kind: Any, run_fractions: Floats, notes: Notes, rng: Any
) -> None:
    """Bitmap sync: nothing is sent meanwhile; what was written until it began is published."""
    begun = s.now
    new = sync_memory(m, s, c, kind, rng, s.now)
    if cache is not None:
        grow_old(cache, m, s)
    s.now += c.sync_s
    s.period_pages += new
    if s.now > s.period_start + DIRTY_RATE_PERIOD_S:
        s.dirty_pages_rate = dirty_pages_rate(s.period_pages, s.now - s.period_start)
        if kind.throttled:
            throttle(s, c, kind, run_fractions)
        if cache is not None:
            close_cache_period(s)
        s.period_start, s.period_pages, s.period_transferred = s.now, 0.0, transferred(s, kind)
    count_sync(s, c, notes, begun)


def count_sync(s: Any, c: Any, notes: Notes, begun: float) -> None:
    """Count and note a sync."""
    s.dirty_after_sync = s.remaining * PAGE_BYTES
    s.guest_lost_s = s.now - worked(s, c)
    row = notes.syncs[s.syncs]
    row[0], row[1], row[2], row[3], row[4] = begun, s.normal, s.guest_lost_s, s.ram_stream, s.other_stream
    row[5], row[6], row[7], row[8] = s.xbzrle_pages, s.cache_miss, s.xbzrle_overflow, s.xbzrle_bytes
    row[9] = s.multifd_stream
    s.syncs += 1


def complete(m: Memory, cache: Any, s: Any, c: Any, kind: Any, notes: Notes, end: Any, rng: Any) -> None:
    """Stop the guest and sync once more; what is left to send is noted by what it costs."""
    s.now += c.switch_gap_s
    sync_memory(m, s, c, kind, rng, s.now + c.stop_s)
    if cache is not None:
        grow_old(cache, m, s)
    count_sync(s, c, notes, s.now + c.stop_s)
    end.again = end.first = end.fresh = end.zero = 0.0
    for i in range(len(m.unsent)):
        unsent = m.unsent[i]
        if m.part[i] == ZERO:
            end.zero += unsent
        elif unsent > 0:
            first, fresh = min(m.first[i], unsent), min(m.fresh[i], unsent)
            end.again += unsent - first
            end.first += first - fresh
            end.fresh += fresh
    end.coded, end.coded_raw, end.coded_bytes, end.coded_extra_s = 0, 0.0, 0.0, 0.0
    if kind.multifd:
        finish(s, c, kind, end)
    if cache is not None and s.started:
        encode_left(cache, m, s, c, kind, end)
    end.completed, end.steady = 1, 0
    end.guest_worked_s = s.guest_s - s.guest_began_s
    note_end(s, end)
