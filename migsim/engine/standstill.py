"""When a migration has shown that it would go on like this for ever.

Its exact tests find as much dirty as before: their later half lies as high as their earlier one, and

- either some of them (`steady_rounds`) all lie so far above the threshold that none will come below it: eight
  standard deviations where counts are drawn, one where they are expected values, whose rounds take turns by no chance,
- or there were many of them (`many_rounds`), near the threshold or not.

What takes and gives numbers alone serves both engines.
"""

from __future__ import annotations

__all__ = [
    "deviations",
    "far_above",
    "is_flat",
    "many_rounds",
    "steady_rounds",
    "trend",
]


def steady_rounds(coded: bool) -> int:
    """Exact tests in a row, without a trend and far above the threshold, that show a standstill.

    More under XBZRLE (`coded`), where rounds of several kinds take turns and the counters go on at their mean.

    Examples
    --------
    >>> steady_rounds(False), steady_rounds(True)
    (24, 60)
    """
    return 60 if coded else 24


def many_rounds(drawn: bool) -> int:
    """So many exact tests in a row, without a trend, near the threshold or not: chance has had its turns.

    Examples
    --------
    >>> many_rounds(True), many_rounds(False)
    (1000, 120)
    """
    return 1000 if drawn else 120


def deviations(drawn: bool) -> float:
    """How many standard deviations above the threshold are far above it.

    Examples
    --------
    >>> deviations(True), deviations(False)
    (8.0, 1.0)
    """
    return 8.0 if drawn else 1.0


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


def far_above(lowest: float, deviation: float, threshold: float, times: float) -> bool:
    """Whether the lowest of some tests lies so many times their standard deviation above the threshold.

    Examples
    --------
    >>> far_above(100.0, 5.0, 50.0, 8.0), far_above(100.0, 10.0, 50.0, 8.0)
    (True, False)
    """
    return lowest - times * deviation > threshold
