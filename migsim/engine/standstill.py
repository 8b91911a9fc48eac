"""When a migration has shown that it would go on like this for ever.

Its exact tests find as much dirty as before: their later half lies as high as their earlier one, and

- either all of `STEADY_ROUNDS` lie so far above the threshold that chance brings none below it,
- or there were `MANY_ROUNDS` of them, near the threshold or not.

What takes and gives numbers alone serves both engines.
"""

from __future__ import annotations

__all__ = ["MANY_ROUNDS", "STEADY_CODED_ROUNDS", "STEADY_ROUNDS", "far_above", "is_flat", "trend"]

STEADY_ROUNDS = 24
"""Exact tests in a row, without a trend and far above the threshold, that show a standstill."""

STEADY_CODED_ROUNDS = 60
"""The same under XBZRLE, where rounds of several kinds take turns and the counters go on at their mean."""

MANY_ROUNDS = 1000
"""So many exact tests in a row, without a trend, near the threshold or not: chance has had its turns."""


def trend(earlier_mean: float, later_mean: float) -> float:
    """How far the mean of the later half of some tests lies from that of the earlier one, relative.

    Examples
    --------
    >>> trend(100.0, 125.0)
    0.25
    """
    return abs(later_mean / earlier_mean - 1)


def is_flat(relative: float) -> bool:
    """Whether a trend is none.

    Examples
    --------
    >>> is_flat(0.01), is_flat(0.25)
    (True, False)
    """
    return relative < 0.02


def far_above(lowest: float, deviation: float, threshold: float) -> bool:
    """Whether the lowest of some tests lies eight of their standard deviations above the threshold.

    Examples
    --------
    >>> far_above(100.0, 5.0, 50.0), far_above(100.0, 10.0, 50.0)
    (True, False)
    """
    return lowest - 8 * deviation > threshold
