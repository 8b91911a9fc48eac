r"""How a traced guest's activity wanders: the deviations of the processes of `migsim.models.guest.activity`.

Law
---
A round of length :math:`T_i` in which :math:`D_i` pages became dirty shows the guest's activity by

.. math:: x_i = \frac{\ln D_i - \ln U(T_i)}{e_i}, \qquad e_i = \frac{d \ln U}{d \ln T}

with a deviation :math:`s_i` by chance (the binomial count's, divided by :math:`e_i`). The :math:`x_i` are means of the
processes over their rounds, so jointly normal: the covariance of two rounds with a gap :math:`g` between them is

.. math:: \sum_k \sigma_k^2 \frac{\tau_k^2}{T_i T_j} (1-e^{-T_i/\tau_k}) (1-e^{-T_j/\tau_k}) e^{-g/\tau_k}

The :math:`\sigma_k` have the largest likelihood, the mean is the generalised least squares' one. How well the trace
tells that mean is the spread of the guest's rate from one migration to the next: what a longer trace narrows.

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
MOST_ROUNDS = 400
"""Rounds from which a fit is made, and of a longer trace the last ones that it uses."""

STALL = 3.5
"""Deviations from the median, by the median deviation, from which on a round counts as a stall."""

LEAST_NOISE = 0.003
"""Deviation of a round's activity that its ends alone make."""

LARGEST = 1.0
"""Largest deviation of a process."""


@dataclass(frozen=True)
class Wandering:
    """How a guest's activity wanders.

    Attributes
    ----------
    deviations : tuple of float
        Of the processes with the time constants `TIMES_S`.
    mean_deviation : float
        How well the trace tells the mean of the activity.
    """

    deviations: tuple[float, float, float]
    mean_deviation: float


def fit_activity(
    start_s: Floats, length_s: Floats, log_activity: Floats, noise: Floats
) -> Wandering | None:
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
    >>> max(steady.deviations) < 0.02
    True
    """
    from scipy.optimize import minimize

    if len(length_s) < LEAST_ROUNDS:
        return None
    start_s, length_s = start_s[-MOST_ROUNDS:], length_s[-MOST_ROUNDS:]
    x, noise = _without_stalls(log_activity[-MOST_ROUNDS:]), np.maximum(noise[-MOST_ROUNDS:], LEAST_NOISE)
    shapes = [_covariance(start_s, length_s, time_s) for time_s in TIMES_S]

    def misfit(deviations: Floats) -> float:
        covariance = np.diag(noise**2)
        for deviation, shape in zip(deviations, shapes, strict=True):
            covariance += deviation**2 * shape
        return _misfit(covariance, x)[0]

    starts = [np.full(len(TIMES_S), 0.3 * float(np.std(x)) + 1e-3), np.full(len(TIMES_S), 1e-3)]
    found = [
        minimize(misfit, start, method="L-BFGS-B", bounds=[(0.0, LARGEST)] * len(TIMES_S)) for start in starts
    ]
    best = min(found, key=lambda each: float(each.fun)).x
    covariance = np.diag(noise**2) + sum(d**2 * shape for d, shape in zip(best, shapes, strict=True))
    fast, middle, slow = best.tolist()
    return Wandering((fast, middle, slow), _misfit(covariance, x)[1])


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
