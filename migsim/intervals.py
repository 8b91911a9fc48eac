"""The interval that stands beside every predicted figure: the middle 80 % of its draws.

A figure's interval runs from the 10th to the 90th percentile of its draws; that of a normal distribution is as many
standard deviations to either side of the mean as `NORMAL_DEVIATE` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["COVERAGE", "HIGH_PERCENT", "LOW_PERCENT", "NORMAL_DEVIATE", "low_median_high"]

COVERAGE = 0.8
"""Share of the draws that lie inside an interval."""

LOW_PERCENT, HIGH_PERCENT = 10, 90
"""Percentiles at the interval's ends."""

NORMAL_DEVIATE = 1.2815515655446004
"""Standard normal deviate of the 90th percentile: 80 % of a normal distribution lie within so many deviations."""


def low_median_high(values: ArrayLike) -> tuple[float, float, float]:
    """Return the interval's low end, the median and the interval's high end of some draws, at least one.

    Examples
    --------
    >>> low_median_high(range(11))
    (1.0, 5.0, 9.0)
    """
    import numpy as np

    low, median, high = np.percentile(np.asarray(values, float), [LOW_PERCENT, 50, HIGH_PERCENT])
    return float(low), float(median), float(high)
