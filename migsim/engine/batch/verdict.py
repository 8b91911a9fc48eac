"""How a migration of the batch engine has gone so far, and whether it would go on like this for ever.

Functions here run as Python and compile as they are (`batch_compile`).
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

from migsim.engine.batch.clock import settled
from migsim.engine.batch.records import Floats, Notes
from migsim.engine.standstill import far_above, is_flat, trend
from migsim.units import PAGE_BYTES

__all__ = ["give_up", "note_end", "note_test", "stands_still"]


def note_test(s: Any, kind: Any, notes: Notes) -> None:
    """Note an exact test, and what the last ones look like."""
    tests, sums = notes.tests, notes.sums
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
    if s.tests >= kind.many_rounds:
        s.long_trend = trend_of(sums, s.tests, kind.many_rounds)


def trend_of(sums: Floats, count: int, last: int) -> float:
    """Trend of the last of `count` tests, by their running sums."""
    middle = count - last + last // 2
    earlier = (sums[middle] - sums[count - last]) / (last // 2)
    return trend(earlier, (sums[count] - sums[middle]) / (last - last // 2))


def stands_still(s: Any, c: Any, kind: Any, threshold: float) -> bool:
    """Whether the last exact tests show that it would go on like this for ever."""
    if s.tests < kind.steady_rounds or not threshold or not settled(s, c, kind):
        return False
    if is_flat(s.trend) and far_above(s.lowest, s.deviation, threshold, kind.deviations):
        return True
    return s.tests >= kind.many_rounds and is_flat(s.long_trend)


def give_up(s: Any, c: Any, kind: Any, notes: Notes, end: Any) -> None:
    """Note that it does not converge, and what the last rounds looked like."""
    end.steady = 1 if stands_still(s, c, kind, s.threshold) else 0
    syncs, tests, half = notes.syncs, notes.tests, s.syncs // 2
    end.middle_count, row = half + 1, syncs[half]
    end.middle_start, end.middle_normal, end.middle_lost = row[0], row[1], row[2]
    end.middle_ram, end.middle_other = row[3], row[4]
    end.middle_pages, end.middle_miss, end.middle_overflow, end.middle_bytes = row[5], row[6], row[7], row[8]
    end.middle_multifd = row[9]
    last = min(s.syncs, 9)
    end.gap_s = (syncs[s.syncs - 1][0] - syncs[s.syncs - last][0]) / (last - 1) if last > 1 else s.now
    end.tests = s.tests
    end.last_test = end.least_test = 0.0
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
    end.multifd_stream = s.multifd_stream
    end.xbzrle_pages, end.cache_miss = s.xbzrle_pages, s.cache_miss
    end.xbzrle_overflow, end.xbzrle_bytes = s.xbzrle_overflow, s.xbzrle_bytes
    end.cache_miss_rate, end.encoding_rate = s.cache_miss_rate, s.encoding_rate
