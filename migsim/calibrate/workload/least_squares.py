r"""The two least-squares problems of a fit, small and dense: sums that may not fall below 0, and a robust one in a box.

Law
---
.. math:: \min_{x \ge 0} \|A x - b\|^2, \qquad
          \min_{l \le x \le h} \sum_i s^2 \ln\!\left(1 + r_i(x)^2 / s^2\right)

The first by Lawson and Hanson's active set: a coefficient is freed where that lowers the sum most steeply, and held at
0 again where the free ones would take it below. The second (Cauchy's loss) by damped Gauss-Newton steps, their Hessian
with the loss's own curvature where that is well above 0; a step is cut at the box, and coordinates that press against
it stay.

Why not `scipy.optimize.nnls` and `least_squares`, which the tests hold both against: importing that package takes
longer than all that `migsim predict` computes with it.
Leaves out: problems of more than some hundred rows and columns; a smaller sum that lies beyond a larger one.
Source: Lawson and Hanson (1974), chapter 23; Nielsen (1999) for the damping; Triggs et al. (2000) for the curvature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["non_negative", "robust_in_box"]

Floats = NDArray[np.float64]

MOST_STEPS = 1000
FIRST_DAMPING = 0.1
"""First damping, relative to the largest curvature; it keeps the first steps near the start."""

LEAST_CURVING = 0.05
"""Smallest curvature of a point's loss, as a share of the point's weight."""

LEAST_FALL = 1e-13
"""A robust fit ends when two steps in a row change its sum by less than this share."""


def non_negative(design: Floats, target: Floats, start: Floats | None = None) -> Floats:
    """Solve a least-squares problem for coefficients that are not negative.

    Parameters
    ----------
    design : ndarray, shape (rows, columns)
    target : ndarray, shape (rows,)
    start : ndarray, shape (columns,), optional
        Solution of a similar problem, from which fewer steps are needed.

    Returns
    -------
    ndarray, shape (columns,)

    Examples
    --------
    >>> non_negative(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([2.0, -3.0])).tolist()
    [2.0, 0.0]
    """
    found = np.zeros(design.shape[1])
    if start is not None:
        found = _solved(design, target, start, start > 0)
    misfit = _sum_of_squares(design @ found - target)
    held = np.zeros(len(found), bool)  # coefficients that only rounding errors would free
    # A slope below its rounding error counts as 0.
    rounding = 10 * max(design.shape) * np.finfo(float).eps
    noise = rounding * np.linalg.norm(target) * np.linalg.norm(design, axis=0)
    while True:
        slope = design.T @ (target - design @ found) - noise
        slope[held | (found > 0)] = -np.inf
        entering = int(np.argmax(slope))
        if slope[entering] <= 0:
            return found
        free = found > 0
        free[entering] = True
        tried = _solved(design, target, found, free)
        if (now := _sum_of_squares(design @ tried - target)) < misfit:
            found, misfit = tried, now
            held[:] = False
        else:
            held[entering] = True


def _solved(design: Floats, target: Floats, found: Floats, free: NDArray[np.bool_]) -> Floats:
    """Solve for the free coefficients, starting from `found`; those that would become negative are held at 0."""
    free = free.copy()
    while True:
        aim = np.zeros(len(found))
        aim[free] = np.linalg.lstsq(design[:, free], target, rcond=None)[0]
        below = free & (aim <= 0)
        if not below.any():
            return aim
        shares = np.full(len(found), np.inf)
        shares[below] = found[below] / np.maximum(found[below] - aim[below], np.finfo(float).tiny)
        found = found + shares.min() * (aim - found)
        free &= shares > shares.min()


def _sum_of_squares(off: Floats) -> float:
    return float(off @ off)


class _Point(NamedTuple):
    """A robust sum, its gradient and a positive semi-definite approximation of its Hessian (both halved)."""

    cost: float
    gradient: Floats
    curvature: Floats


def robust_in_box(
    law: Callable[[Floats], tuple[Floats, Floats]], start: Floats, low: Floats, high: Floats, *, scale: float
) -> Floats:
    """Minimise a sum of Cauchy losses in a box, downhill from a start.

    Parameters
    ----------
    law : callable
        Returns the residuals, shape (rows,), and their slopes, shape (rows, coordinates), at a point.
    start, low, high : ndarray, shape (coordinates,)
        The start is moved into the box.
    scale : float
        Residuals well below this count by their squares, larger ones by their logarithms.

    Examples
    --------
    >>> y = np.array([1.0, 1.1, 0.9, 50.0])                            # the last value is an outlier
    >>> law = lambda x: (x - y, np.ones((4, 1)))
    >>> robust_in_box(law, np.array([2.0]), np.array([0.0]), np.array([9.0]), scale=0.2).round(3).tolist()
    [1.0]
    """
    x = np.clip(start, low, high)
    at = _point(law, x, scale)
    damping, growth, idle = FIRST_DAMPING * float(at.curvature.diagonal().max(initial=1e-300)), 2.0, 0
    for _ in range(MOST_STEPS):
        there = _step(x, at, damping, low, high)
        tried = _point(law, there, scale)
        fall = at.cost - tried.cost
        move = there - x
        expected = -float(move @ (2 * at.gradient + at.curvature @ move))
        idle = idle + 1 if abs(fall) <= LEAST_FALL * at.cost else 0
        if fall > 0:
            gain = fall / expected if expected > 0 else 1.0
            x, at, growth = there, tried, 2.0
            damping *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
        else:
            damping, growth = damping * growth, 2 * growth
        if idle > 1 or not move.any():
            break
    return x


def _point(law: Callable[[Floats], tuple[Floats, Floats]], x: Floats, scale: float) -> _Point:
    residual, slopes = law(x)
    z = (residual / scale) ** 2
    weight = 1 / (1 + z)
    # Beyond the scale the loss has negative curvature; a small share of the weight takes its place there.
    curving = np.maximum((1 - z) * weight**2, LEAST_CURVING * weight)
    return _Point(
        scale**2 * float(np.log1p(z).sum()),
        slopes.T @ (weight * residual),
        slopes.T @ (curving[:, None] * slopes),
    )


def _step(x: Floats, at: _Point, damping: float, low: Floats, high: Floats) -> Floats:
    """Return the point after a damped step in the coordinates that do not press against the box."""
    free = ~((x <= low) & (at.gradient > 0) | (x >= high) & (at.gradient < 0))
    inner = at.curvature[np.ix_(free, free)] + damping * np.eye(int(free.sum()))
    step = np.zeros(len(x))
    step[free] = np.linalg.solve(inner, -at.gradient[free])
    return np.clip(x + step, low, high)
