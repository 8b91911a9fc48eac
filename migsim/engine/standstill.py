"""The rules by which both engines recognise a standstill: a migration that would go on like this for ever.

The exact tests find as much dirty memory as before (no trend between the earlier and the later half of them), and

- either the last `steady_rounds` tests all lie so far above the threshold that none will come below it: by four
  standard deviations of their logarithms where dirty counts are drawn, by one where they are expected values, which
  chance does not move. A few rounds do not show all that the guest's activity does, so its own deviation is the least,
- or there were `many_rounds` tests, near the threshold or not.

The functions are compiled for the batch engine, too.
"""

from __future__ import annotations

from math import exp

__all__ = [
    "deviations",
    "far_above",
    "is_flat",
    "many_rounds",
    "steady_rounds",
    "trend",
]


def steady_rounds(xbzrle: bool) -> int:
    """Return how many exact tests without a trend and far above the threshold show a standstill.

    XBZRLE needs more of them: its rounds alternate between several kinds, and the counters are carried on at the mean.

    Examples
    --------
    >>> steady_rounds(False), steady_rounds(True)
    (24, 60)
    """
    return 60 if xbzrle else 24


def many_rounds(drawn: bool) -> int:
    """Return how many exact tests without a trend show a standstill, near the threshold or not.

    Examples
    --------
    >>> many_rounds(True), many_rounds(False)
    (1000, 120)
    """
    return 1000 if drawn else 120


def deviations(drawn: bool) -> float:
    """Return how many standard deviations above the threshold count as far above it.

    Examples
    --------
    >>> deviations(True), deviations(False)
    (4.0, 1.0)
    """
    return 4.0 if drawn else 1.0


def trend(earlier_mean: float, later_mean: float) -> float:
    """Relative distance of the later half's mean from the earlier half's.

    Examples
    --------
    >>> trend(100.0, 125.0)
    0.25
    """
    return abs(later_mean / earlier_mean - 1)


def is_flat(relative: float) -> bool:
    """Whether a trend is too small to count.

    Examples
    --------
    >>> is_flat(0.01), is_flat(0.25)
    (True, False)
    """
    return relative < 0.02


def far_above(lowest: float, log_deviation: float, threshold: float, times: float) -> bool:
    """Whether the lowest test lies `times` standard deviations of the tests' logarithms above the threshold.

    Examples
    --------
    >>> far_above(100.0, 0.1, 50.0, 4.0), far_above(100.0, 0.2, 50.0, 4.0)
    (True, False)
    """
    return lowest > threshold * exp(times * log_deviation)
