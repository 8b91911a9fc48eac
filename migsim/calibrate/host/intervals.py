"""The interval of a median of few values, whatever their distribution, and terms that have one."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from migsim.profiles import Term

__all__ = ["LEAST_COVERAGE", "median_interval", "told_term"]

LEAST_COVERAGE = 0.9
"""Least chance that the interval holds the median, where there are values enough."""


NINETY_DEVIATES = 1.645
"""Standard deviations from the middle of a normal distribution to the end of its 90 % interval."""


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the narrowest pair of order statistics that holds the median with a chance of `LEAST_COVERAGE` at least.

    With fewer than five values it is the least and the largest.

    Examples
    --------
    >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0]), median_interval([8, 1, 2, 3, 4, 5, 6, 7])
    ((1.0, 5.0), (2, 7))
    """
    ordered, n = sorted(values), len(values)
    left_out = 0
    while 2 * left_out + 2 < n:
        outside = 2 * sum(comb(n, k) for k in range(left_out + 2)) / 2**n
        if outside > 1 - LEAST_COVERAGE:
            break
        left_out += 1
    return ordered[left_out], ordered[n - 1 - left_out]


def told_term(values: Sequence[float], unit: str) -> Term:
    """Return a term that is a small difference of large numbers, with the interval of its median.

    Its spread is the uncertainty of the median: values differ by what the measurement leaves open, not from run to run.
    """
    low, high = median_interval(values)
    middle = float(np.median(values))
    if low <= 0:
        return Term(median=0.0, n=len(values), unit=unit, measured_between=(low, high))
    spread = (high - low) / (2 * NINETY_DEVIATES * middle)
    return Term(
        median=middle, spread=min(spread, 1.0), n=len(values), unit=unit, measured_between=(low, high)
    )
