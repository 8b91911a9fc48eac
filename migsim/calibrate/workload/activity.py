r"""How a traced guest's activity wanders: the deviations of the processes of `migsim.models.guest.activity`.

Law
---
A round of length :math:`T_i` in which :math:`D_i` pages became dirty shows the guest's activity by

.. math:: U(e^{x_i} T_i) = D_i

with a deviation :math:`s_i` by chance: that of the binomial count, over :math:`e_i = d \ln U / d \ln T`. The
:math:`x_i` are means of the processes over their rounds, so jointly normal: the covariance of two rounds with a gap
:math:`g` between them is

.. math:: \sum_k \sigma_k^2 \frac{\tau_k^2}{T_i T_j} (1-e^{-T_i/\tau_k}) (1-e^{-T_j/\tau_k}) e^{-g/\tau_k}

Each :math:`\sigma_k^2` is its posterior mean over `DEVIATIONS`, all equally likely beforehand: a short trace cannot
tell that a guest does *not* wander slowly. The mean is the generalised least squares' one. How far it may lie from the
next migration's is the spread of the guest's rate: how well the trace tells it, and beyond what the trace is long
enough to show as much wandering as in its slowest process.

Leaves out: rounds in which nearly all pages that can be written were (:math:`e_i` below `TELLING`): they say nothing.
Source: the covariance of means of Ornstein-Uhlenbeck processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from migsim.models.guest.activity import TIMES_S, variance_of_mean

__all__ = ["TELLING", "Wandering", "fit_activity"]

Floats = NDArray[np.float64]

TELLING = 0.15
"""Least elasticity of a round that tells the activity."""

LEAST_ROUNDS = 8
MOST_ROUNDS = 120
"""Rounds from which a fit is made, and of a longer trace the last ones that it uses."""

STALL = 3.5
"""Deviations from the median, by the median deviation, from which on a round counts as a stall."""

LEAST_NOISE = 0.003
"""Deviation of a round's activity that its ends alone make."""

DEVIATIONS = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Deviations that a process may have."""


@dataclass(frozen=True)
class Wandering:
    """How a guest's activity wanders.

    Attributes
    ----------
    deviations : tuple of float
        Of the processes with the time constants `TIMES_S`.
    mean_deviation : float
        Of the mean activity, from the trace to a migration.
    """

    deviations: tuple[float, float, float]
    mean_deviation: float


def fit_activity(start_s: Floats, length_s: Floats, log_activity: Floats, noise: Floats) -> Wandering | None:
    """Fit the processes to the activities of a trace's rounds; None where there are too few rounds.

    Parameters
    ----------
    start_s, length_s : ndarray, shape (rounds,)
        Begin and length of each round, ascending.
    log_activity, noise : ndarray, shape (rounds,)
        Logarithm of its activity, and the deviation that chance gives it.

    Examples
    --------
    A guest whose rounds differ by chance alone does not wander.

    >>> rng = np.random.default_rng(1)
    >>> start = np.arange(60.0)
    >>> steady = fit_activity(start, np.ones(60), 0.02 * rng.standard_normal(60), np.full(60, 0.02))
    >>> max(steady.deviations) < 0.03
    True
    """
    if len(length_s) < LEAST_ROUNDS:
        return None
    start_s, length_s = start_s[-MOST_ROUNDS:], length_s[-MOST_ROUNDS:]
    x, noise = _without_stalls(log_activity[-MOST_ROUNDS:]), np.maximum(noise[-MOST_ROUNDS:], LEAST_NOISE)
    shapes = [_covariance(start_s, length_s, time_s) for time_s in TIMES_S]

    rounds = np.diag(noise**2)
    sizes = (len(DEVIATIONS),) * len(TIMES_S)
    chance = np.empty(sizes)
    for at in np.ndindex(*sizes):
        chance[at] = -_misfit(_sum(rounds, shapes, [DEVIATIONS[k] ** 2 for k in at]), x)[0]
    chance = np.exp(chance - chance.max())
    chance /= chance.sum()
    squares = np.array(DEVIATIONS) ** 2
    variances = [
        float(chance.sum(axis=tuple(other for other in range(len(sizes)) if other != k)) @ squares)
        for k in range(len(sizes))
    ]
    told = _misfit(_sum(rounds, shapes, variances), x)[1]
    fast, middle, slow = np.sqrt(variances).tolist()
    return Wandering((fast, middle, slow), float(np.hypot(told, slow)))


def _without_stalls(x: Floats) -> Floats:
    """Bring single rounds that lie far from all others nearer: a stall of the host is no way in which a guest moves."""
    middle = float(np.median(x))
    reach = STALL * max(1.4826 * float(np.median(np.abs(x - middle))), LEAST_NOISE)
    return np.clip(x, middle - reach, middle + reach)


def _sum(rounds: Floats, shapes: list[Floats], variances: list[float]) -> Floats:
    covariance = rounds.copy()
    for shape, variance in zip(shapes, variances, strict=True):
        covariance += variance * shape
    return covariance


def _misfit(covariance: Floats, x: Floats) -> tuple[float, float]:
    """Return minus the restricted log-likelihood at the best mean, and that mean's deviation."""
    lower = np.linalg.cholesky(covariance)
    both = np.linalg.solve(lower, np.stack([x, np.ones_like(x)], axis=1))
    weight = float(both[:, 1] @ both[:, 1])
    rest = both[:, 0] - both[:, 1] * float(both[:, 1] @ both[:, 0]) / weight
    half = float(np.log(np.diag(lower)).sum()) + 0.5 * float(rest @ rest) + 0.5 * np.log(weight)
    return half, weight**-0.5


def _covariance(start_s: Floats, length_s: Floats, time_s: float) -> Floats:
    """Covariance of the rounds' means for a process with deviation 1."""
    end_s = start_s + length_s
    reach = -np.expm1(-length_s / time_s) * time_s / length_s
    gap = np.maximum(start_s[None, :] - end_s[:, None], start_s[:, None] - end_s[None, :])
    shape: Floats = reach[:, None] * reach[None, :] * np.exp(-np.maximum(gap, 0.0) / time_s)
    np.fill_diagonal(shape, [variance_of_mean(time_s, seconds) for seconds in length_s.tolist()])
    return shape
