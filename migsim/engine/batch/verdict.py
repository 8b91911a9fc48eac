"""Exact tests of a migration in the batch engine, whether they show a standstill, and how a migration is given up.

The functions are compiled, and run as Python too.
"""

from __future__ import annotations

from math import inf, log, sqrt

from migsim.engine.batch.clock import settled
from migsim.engine.batch.multifd import finder_of
from migsim.engine.batch.records import Cell, Ended, Floats, Kind, Notes, State
from migsim.engine.ending import LAST_SYNCS, LAST_TESTS
from migsim.engine.standstill import far_above, is_flat, trend
from migsim.models.multifd.packets import counted_pages
from migsim.units import PAGE_BYTES

__all__ = ["give_up", "note_end", "note_test", "note_throttle", "stands_still"]


def note_test(state: State, kind: Kind, notes: Notes) -> None:
    """Note an exact test, and the lowest, the deviation and the trend of the last ones."""
    tests, sums = notes.tests, notes.sums
    tests[state.tests] = state.remaining * PAGE_BYTES
    sums[state.tests + 1] = sums[state.tests] + tests[state.tests]
    state.tests += 1
    last = kind.steady_rounds
    if state.tests >= last:
        lowest, total, squares = inf, 0.0, 0.0
        for k in range(state.tests - last, state.tests):
            lowest = min(lowest, tests[k])
            of_log = log(max(tests[k], 1.0))
            total += of_log
            squares += of_log**2
        deviation = sqrt(max(squares / last - (total / last) ** 2, 0.0))
        state.tests_lowest, state.tests_deviation = lowest, max(deviation, kind.least_deviation)
        state.tests_trend = trend_of(sums, state.tests, last)
    if state.tests >= kind.many_rounds:
        state.tests_long_trend = trend_of(sums, state.tests, kind.many_rounds)


def note_throttle(state: State, notes: Notes, shown_s: float) -> None:
    """Note that `query-migrate` shows auto-converge's percentage, where it is a new one."""
    if state.percentage and not notes.throttle_s[state.percentage]:
        notes.throttle_s[state.percentage] = shown_s


def trend_of(sums: Floats, count: int, last: int) -> float:
    """Trend of the last of `count` tests, from their running sums."""
    middle = count - last + last // 2
    earlier = (sums[middle] - sums[count - last]) / (last // 2)
    return trend(earlier, (sums[count] - sums[middle]) / (last - last // 2))


def stands_still(state: State, cell: Cell, kind: Kind, threshold: float) -> bool:
    """Whether the last exact tests show a standstill: see `migsim.engine.standstill`."""
    if state.tests < kind.steady_rounds or not threshold or not settled(state, cell, kind):
        return False
    if is_flat(state.tests_trend) and far_above(
        state.tests_lowest, state.tests_deviation, threshold, kind.deviations
    ):
        return True
    return state.tests >= kind.many_rounds and is_flat(state.tests_long_trend)


def give_up(state: State, cell: Cell, kind: Kind, notes: Notes, end: Ended) -> None:
    """Note that the migration does not converge, and what its last rounds looked like."""
    end.steady = 1 if stands_still(state, cell, kind, state.threshold) else 0
    syncs, tests = notes.syncs, notes.tests
    end.middle_sync = state.syncs // 2
    last = min(state.syncs, LAST_SYNCS)
    end.gap_s, end.new_bytes_per_s = state.now, 0.0
    if last > 1:
        span_s = syncs[state.syncs - 1].begun_s - syncs[state.syncs - last].begun_s
        end.gap_s = span_s / (last - 1)
        for k in range(state.syncs - last + 1, state.syncs):
            end.new_bytes_per_s += syncs[k].dirty_pages * PAGE_BYTES / max(span_s, 1e-9)
    end.tests = state.tests
    end.least_test = 0.0
    if state.tests:
        end.least_test = tests[state.tests - 1]
        for k in range(max(state.tests - LAST_TESTS, 0), state.tests):
            end.least_test = min(end.least_test, tests[k])
    note_end(state, kind, end)


def note_end(state: State, kind: Kind, end: Ended) -> None:
    """Note the counters at the end."""
    end.now, end.guest_lost_s, end.remaining = state.now, state.guest_lost_s, state.remaining
    end.ram_stream, end.other_stream = state.ram_stream, state.other_stream
    end.multifd_stream = state.multifd_stream
    end.normal, _ = counted_pages(state.normal, state.duplicate, finder_of(kind))
    end.duplicate = state.normal + state.duplicate - end.normal
    end.dirty_sync_count, end.dirty_pages_rate = state.syncs, state.dirty_pages_rate
    end.mbps, end.pages_per_second, end.threshold = state.mbps, state.pages_per_second, state.threshold
    end.expected_downtime_ms, end.percentage = state.expected_downtime_ms, state.percentage
    end.xbzrle_pages, end.cache_miss = state.xbzrle_pages, state.cache_miss
    end.xbzrle_overflow, end.xbzrle_bytes = state.xbzrle_overflow, state.xbzrle_bytes
    end.cache_miss_rate, end.encoding_rate = state.cache_miss_rate, state.encoding_rate
