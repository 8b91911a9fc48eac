"""One migration of the batch engine after the other: `des._Precopy` and `throttle.Throttle`, by numbers alone.

Windows that are alike are sent together (`windows`), all else happens in the order of the event engine. Functions here
run as Python and compile as they are (`batch_compile`).
"""

from __future__ import annotations

from math import floor, inf, sqrt
from typing import Any

from migsim.engine.batch_memory import (
    begin,
    full_window,
    page_s_of,
    run_s,
    send,
    send_windows,
    sync_memory,
)
from migsim.engine.batch_state import Dirty, Floats, Kind, Ram
from migsim.engine.standstill import MANY_ROUNDS, far_above, is_flat, trend
from migsim.engine.throttle import SETTLED_S
from migsim.models.auto_converge import raised
from migsim.models.guest_work import backlog_after
from migsim.models.migration_thread import (
    DIRTY_RATE_PERIOD_S,
    close_window,
    dirty_pages_rate,
    may_switch_over,
    needs_exact,
)
from migsim.models.page_stream import NORMAL_PAGE_BYTES, PAGE_BYTES, SECTION_BYTES, ZERO_PAGE_BYTES
from migsim.models.rate_limit import WINDOW_S, window_bytes, window_quota_bytes
from migsim.models.throttle_trigger import (
    background_sync_due,
    count_period,
    is_bad_period,
    threshold_bytes,
)

__all__ = ["run_cells"]

UNKNOWN = -1.0
"""Stands for an `expected-downtime` that no window has refreshed."""


def run_cells(
    ram: Ram,
    dirty: Dirty,
    state: Any,
    cells: Any,
    rates: Floats,
    kind: Kind,
    syncs: Floats,
    tests: Floats,
    sums: Floats,
    ended: Any,
    first: int,
    rng: Any,
) -> int:
    """Run cells from the `first` on, and return the first that found no room in `syncs`, or their number."""
    s = state[0]
    for k in range(first, len(cells)):
        c = cells[k]
        start(ram, dirty, s, c, kind)
        if not migrate(ram, dirty, s, c, kind, rates[c.rates_row], syncs, tests, sums, ended[k], rng):
            return k
    return len(cells)


def start(ram: Ram, dirty: Dirty, s: Any, c: Any, kind: Kind) -> None:
    """Bring everything to the moment after the setup."""
    begin(ram, dirty, s, c)
    s.now = s.window_start = c.connect_s
    s.window_stream = s.window_pages = 0.0
    s.quota = window_bytes(window_quota_bytes(c.max_bandwidth), NORMAL_PAGE_BYTES, kind.charged_at, False)
    s.ram_stream = s.other_stream = s.normal = s.duplicate = 0.0
    s.dirty_pages_rate = s.threshold = s.mbps = s.pages_per_second = 0.0
    s.expected_downtime_ms = UNKNOWN
    s.period_pages = s.period_transferred = 0.0
    s.speed, s.since, s.run, s.backlog, s.changed_at = 1.0, 0.0, 0.0, 0.0, 0.0
    s.next_tick = kind.tick_s
    s.syncs = s.tests = s.percentage = s.fixed_sleeps = s.bad_periods = 0
    s.dirtied_before = s.syncs_at_tick = 0
    s.lowest, s.deviation, s.trend, s.long_trend = 0.0, 0.0, inf, inf
    s.full_calls = 0
    s.guest_s = c.guest_s
    s.now += c.setup_s
    s.period_start = s.now
    s.synced_at = run_s(s, c, s.now)
    s.guest_began_s = s.guest_s - s.now


def migrate(
    ram: Ram,
    dirty: Dirty,
    s: Any,
    c: Any,
    kind: Kind,
    rates: Floats,
    syncs: Floats,
    tests: Floats,
    sums: Floats,
    end: Any,
    rng: Any,
) -> bool:
    """From the first sync to the blackout or the deadline; False where `syncs` has no room for more."""
    end.setup_s = c.setup_s
    end.completed = 0
    count_sync(s, c, syncs, max(s.now - c.sync_s, s.now - c.setup_s))
    while s.now < c.deadline_s:
        if s.syncs + 3 > len(syncs):
            return False
        if s.now >= s.next_tick and tick_asks(s, kind):
            sync(ram, dirty, s, c, kind, rates, syncs, rng)
        used = s.ram_stream + s.other_stream - s.window_stream
        if used < s.quota:
            if needs_exact(s.remaining * PAGE_BYTES, s.threshold):
                sync(ram, dirty, s, c, kind, rates, syncs, rng)
                note_test(s, kind, tests, sums)
            if may_switch_over(s.remaining * PAGE_BYTES, s.threshold, kind.inclusive):
                complete(ram, dirty, s, c, kind, rates, syncs, end, rng)
                return True
            if stands_still(s, c, kind, s.threshold):
                break
            if used == 0 and windows(ram, dirty, s, c, kind):
                continue
            send(ram, dirty, s, c, s.quota - used)
            used = s.ram_stream + s.other_stream - s.window_stream
        if s.now >= s.window_start + WINDOW_S:
            end_window(s, c)
        elif used >= s.quota:
            s.now = max(s.now, s.window_start + WINDOW_S + c.wake_up_s)
            end_window(s, c)
    s.guest_lost_s = s.now - worked(s, c)
    give_up(s, c, kind, syncs, tests, end)
    return True


def worked(s: Any, c: Any) -> float:
    """How long the guest has worked since the QMP command."""
    return s.guest_s + run_s(s, c, s.now) - s.synced_at - s.guest_began_s


def transferred(s: Any, kind: Kind) -> float:
    """`ram.transferred` by the release's definition."""
    return s.ram_stream + (s.other_stream if kind.all_stream else 0.0)


def sync(ram: Ram, dirty: Dirty, s: Any, c: Any, kind: Kind, rates: Floats, syncs: Floats, rng: Any) -> None:
    """Bitmap sync: nothing is sent meanwhile; what was written until it began is published."""
    begun = s.now
    new = sync_memory(ram, dirty, s, c, kind.chunked, rates, rng, s.now)
    s.now += c.sync_s
    s.period_pages += new
    if s.now > s.period_start + DIRTY_RATE_PERIOD_S:
        s.dirty_pages_rate = dirty_pages_rate(s.period_pages, s.now - s.period_start)
        if kind.throttled:
            throttle(s, c, kind)
        s.period_start, s.period_pages, s.period_transferred = s.now, 0.0, transferred(s, kind)
    count_sync(s, c, syncs, begun)


def throttle(s: Any, c: Any, kind: Kind) -> None:
    """Close a dirty-rate period, and throttle where it is time to."""
    new = round(s.period_pages * PAGE_BYTES)
    sent = round(transferred(s, kind) - s.period_transferred)
    counted = s.dirtied_before or not kind.needs_previous_rate
    bad = counted and is_bad_period(new, sent, c.threshold_percent)
    s.bad_periods, acts = count_period(s.bad_periods, bad, kind.acts_on)
    s.dirtied_before = new > 0
    if acts and kind.fixed_form:
        s.fixed_sleeps = 1
    elif acts:
        allowed = threshold_bytes(sent, c.threshold_percent)
        tailslow = c.tailslow > 0
        s.percentage = raised(s.percentage, new, allowed, c.initial, c.increment, c.maximum, tailslow)
    speed = c.fixed_speed if s.fixed_sleeps else kind.run_fractions[s.percentage]
    if speed != s.speed:
        run = run_s(s, c, s.now)
        s.backlog = backlog_after(s.backlog, s.speed, c.load, s.now - s.since)
        s.run, s.since, s.speed, s.changed_at = run, s.now, speed, s.now


def tick_asks(s: Any, kind: Kind) -> bool:
    """Whether the timer has ticked and asks for a sync."""
    due = False
    while s.now >= s.next_tick:
        s.next_tick += kind.tick_s
        due = due or background_sync_due(s.syncs, s.syncs_at_tick)
        s.syncs_at_tick = s.syncs + (1 if due else 0)
    return due


def count_sync(s: Any, c: Any, syncs: Floats, begun: float) -> None:
    """Count and note a sync."""
    s.dirty_after_sync = s.remaining * PAGE_BYTES
    s.guest_lost_s = s.now - worked(s, c)
    row = syncs[s.syncs]
    row[0], row[1], row[2], row[3], row[4] = begun, s.normal, s.guest_lost_s, s.ram_stream, s.other_stream
    s.syncs += 1


def end_window(s: Any, c: Any) -> None:
    """Close a window."""
    estimate = close_window(
        s.ram_stream + s.other_stream - s.window_stream,
        s.normal + s.duplicate - s.window_pages,
        s.now - s.window_start,
        c.downtime_limit_ms,
        s.dirty_after_sync,
        s.dirty_pages_rate,
        c.switchover_bytes_per_s,
    )
    s.threshold, s.mbps = estimate.threshold_bytes, estimate.mbps
    s.pages_per_second = estimate.pages_per_second
    if estimate.expected_downtime_ms is not None:
        s.expected_downtime_ms = estimate.expected_downtime_ms
    s.window_start, s.window_pages = s.now, s.normal + s.duplicate
    s.window_stream = s.ram_stream + s.other_stream


def windows(ram: Ram, dirty: Dirty, s: Any, c: Any, kind: Kind) -> bool:
    """Send as many whole windows as are alike, from a window's start on; False where not even one is.

    In each, all pages cost the same, and no sync, tick, deadline or verdict falls into it.
    """
    i = s.cursor
    while not dirty.unsent[i] > 0:
        i = i + 1 if i + 1 < len(ram.pages) else 0
    page_s = page_s_of(ram, dirty, s, c, i)
    again = not (s.first_left or s.zero_left)
    if again and s.full_calls:
        pages, seconds, size = s.full_pages, s.full_s, s.full_stream
        calls, threshold = s.full_calls, s.full_threshold
    else:
        page_bytes = ZERO_PAGE_BYTES if ram.is_zero[i] else NORMAL_PAGE_BYTES
        if page_s <= 0 and s.quota == inf:
            return False
        pages, seconds, size, calls = full_window(s.quota, page_s, page_bytes, c.wake_up_s)
        bandwidth = c.switchover_bytes_per_s
        threshold = close_window(
            size, pages, seconds, c.downtime_limit_ms, 0.0, 0.0, bandwidth
        ).threshold_bytes
        if again:
            s.full_pages, s.full_s, s.full_stream = pages, seconds, size
            s.full_calls, s.full_threshold = calls, threshold
    if s.threshold != threshold and stands_still(s, c, kind, threshold):
        return False
    until = min(c.deadline_s, s.next_tick)
    if not settled(s, c, kind):
        until = min(until, s.changed_at + SETTLED_S)
    room = s.remaining / pages - max(s.threshold, threshold) / (pages * PAGE_BYTES)
    many = floor(min(room, (until - s.now) / seconds)) - 1.0
    if many < 1:
        return False
    if not again:
        many = min(many, floor(alike(ram, dirty, s, c, i, many * pages, page_s) / pages))
        if many < 1:
            return False
    s.cursor = i
    send_windows(ram, dirty, s, c, many, pages, seconds, page_s)
    # The last of them is closed as any.
    s.now = s.window_start + many * seconds
    s.ram_stream += many * (size - calls * SECTION_BYTES)
    s.other_stream += many * calls * SECTION_BYTES
    s.window_start, s.window_pages = s.now - seconds, s.normal + s.duplicate - pages
    s.window_stream = s.ram_stream + s.other_stream - size
    end_window(s, c)
    return True


def alike(ram: Ram, dirty: Dirty, s: Any, c: Any, i: int, wanted: float, page_s: float) -> float:
    """Pages from segment `i` on, up to `wanted`, before the first one that costs more or less."""
    zero = ram.is_zero[i]
    found = 0.0
    for _ in range(len(ram.pages)):
        if dirty.unsent[i] > 0:
            cost = page_s_of(ram, dirty, s, c, i)
            if ram.is_zero[i] != zero or abs(cost - page_s) > 1e-9 * page_s:
                break
            found += dirty.unsent[i]
            if found >= wanted:
                break
        i = i + 1 if i + 1 < len(ram.pages) else 0
    return found


def note_test(s: Any, kind: Kind, tests: Floats, sums: Floats) -> None:
    """Note an exact test, and what the last ones look like."""
    tests[s.tests] = s.remaining * PAGE_BYTES
    sums[s.tests + 1] = sums[s.tests] + tests[s.tests]
    s.tests += 1
    n = kind.steady_rounds
    if s.tests >= n:
        mean = (sums[s.tests] - sums[s.tests - n]) / n
        lowest, square = inf, 0.0
        for k in range(s.tests - n, s.tests):
            lowest = min(lowest, tests[k])
            square += (tests[k] - mean) ** 2
        s.lowest, s.deviation = lowest, sqrt(square / n)
        s.trend = trend_of(sums, s.tests, n)
    if s.tests >= MANY_ROUNDS:
        s.long_trend = trend_of(sums, s.tests, MANY_ROUNDS)


def trend_of(sums: Floats, count: int, last: int) -> float:
    """Trend of the last of `count` tests, by their running sums."""
    middle = count - last + last // 2
    earlier = (sums[middle] - sums[count - last]) / (last // 2)
    return trend(earlier, (sums[count] - sums[middle]) / (last - last // 2))


def stands_still(s: Any, c: Any, kind: Kind, threshold: float) -> bool:
    """Whether the last exact tests show that it would go on like this for ever."""
    if s.tests < kind.steady_rounds or not threshold or not settled(s, c, kind):
        return False
    if is_flat(s.trend) and far_above(s.lowest, s.deviation, threshold):
        return True
    return s.tests >= MANY_ROUNDS and is_flat(s.long_trend)


def settled(s: Any, c: Any, kind: Kind) -> bool:
    """Whether the guest's speed will not change any more, as far as can be told."""
    at_its_end = not kind.throttled or s.percentage >= c.maximum or s.fixed_sleeps > 0
    return at_its_end or s.now - s.changed_at > SETTLED_S


def complete(
    ram: Ram, dirty: Dirty, s: Any, c: Any, kind: Kind, rates: Floats, syncs: Floats, end: Any, rng: Any
) -> None:
    """Stop the guest and sync once more; what is left to send is noted by what it costs."""
    s.now += c.switch_gap_s
    sync_memory(ram, dirty, s, c, kind.chunked, rates, rng, s.now + c.stop_s)
    count_sync(s, c, syncs, s.now + c.stop_s)
    end.again = end.first = end.fresh = end.zero = 0.0
    for i in range(len(ram.pages)):
        unsent = dirty.unsent[i]
        if ram.is_zero[i]:
            end.zero += unsent
        elif unsent > 0:
            first, fresh = min(dirty.first[i], unsent), min(dirty.fresh[i], unsent)
            end.again += unsent - first
            end.first += first - fresh
            end.fresh += fresh
    end.completed, end.steady = 1, 0
    end.guest_worked_s = s.guest_s - s.guest_began_s
    note_end(s, end)


def give_up(s: Any, c: Any, kind: Kind, syncs: Floats, tests: Floats, end: Any) -> None:
    """Note that it does not converge, and what the last rounds looked like."""
    end.steady = 1 if stands_still(s, c, kind, s.threshold) else 0
    half = s.syncs // 2
    end.middle_count, row = half + 1, syncs[half]
    end.middle_start, end.middle_normal, end.middle_lost = row[0], row[1], row[2]
    end.middle_ram, end.middle_other = row[3], row[4]
    last = min(s.syncs, 9)
    end.gap_s = (syncs[s.syncs - 1][0] - syncs[s.syncs - last][0]) / (last - 1) if last > 1 else s.now
    end.tests = s.tests
    if s.tests:
        end.last_test = end.least_test = tests[s.tests - 1]
        for k in range(max(s.tests - 8, 0), s.tests):
            end.least_test = min(end.least_test, tests[k])
    note_end(s, end)


def note_end(s: Any, end: Any) -> None:
    """Note the counters."""
    end.now, end.guest_lost_s, end.remaining = s.now, s.guest_lost_s, s.remaining
    end.ram_stream, end.other_stream = s.ram_stream, s.other_stream
    end.normal, end.duplicate = s.normal, s.duplicate
    end.dirty_sync_count, end.dirty_pages_rate = s.syncs, s.dirty_pages_rate
    end.mbps, end.pages_per_second, end.threshold = s.mbps, s.pages_per_second, s.threshold
    end.expected_downtime_ms, end.percentage = s.expected_downtime_ms, s.percentage
