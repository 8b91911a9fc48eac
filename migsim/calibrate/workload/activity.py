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

MOST_ROUNDS = 120
"""Rounds of a longer trace that a fit uses, the last ones."""

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


def fit_activity(start_s: Floats, length_s: Floats, log_activity: Floats, noise: Floats) -> Wandering:
    """Fit the processes to the activities of a trace's rounds; where there are few, much is left open.

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
    if not len(length_s):
        unknown = float(np.sqrt(np.mean(np.square(DEVIATIONS))))
        return Wandering((unknown, unknown, unknown), unknown)
    start_s, length_s = start_s[-MOST_ROUNDS:], length_s[-MOST_ROUNDS:]
    x, noise = _without_stalls(log_activity[-MOST_ROUNDS:]), np.maximum(noise[-MOST_ROUNDS:], LEAST_NOISE)
    shapes = np.stack([_covariance(start_s, length_s, time_s) for time_s in TIMES_S])
    squares = np.array(DEVIATIONS) ** 2
    tried = np.stack(np.meshgrid(*[squares] * len(TIMES_S), indexing="ij"), axis=-1)
    parts = [
        _misfit(_covariances(noise, shapes, some), x)[0]
        for some in tried.reshape(len(squares), -1, len(TIMES_S))
    ]
    chance = -np.concatenate(parts).reshape(tried.shape[:-1])
    chance = np.exp(chance - chance.max())
    variances = (chance[..., None] * tried).sum(axis=tuple(range(len(TIMES_S)))) / chance.sum()
    told = float(_misfit(_covariances(noise, shapes, variances[None, :]), x)[1][0])
    fast, middle, slow = np.sqrt(variances).tolist()
    return Wandering((fast, middle, slow), float(np.hypot(told, slow)))


def _without_stalls(x: Floats) -> Floats:
    """Bring single rounds that lie far from all others nearer: a stall of the host is no way in which a guest moves."""
    middle = float(np.median(x))
    reach = STALL * max(1.4826 * float(np.median(np.abs(x - middle))), LEAST_NOISE)
    return np.clip(x, middle - reach, middle + reach)


def _covariances(noise: Floats, shapes: Floats, variances: Floats) -> Floats:
    """Covariances of the rounds for each row of the processes' variances."""
    return np.asarray(np.diag(noise**2) + np.einsum("vk,kij->vij", variances, shapes))


def _misfit(covariances: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Return minus the restricted log-likelihoods at the best mean, and that mean's deviation."""
    lower = np.linalg.cholesky(covariances)
    both = np.linalg.solve(lower, np.stack([x, np.ones_like(x)], axis=1))
    values, ones = both[..., 0], both[..., 1]
    weight = (ones**2).sum(axis=1)
    rest = values - ones * ((values * ones).sum(axis=1) / weight)[:, None]
    logs = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    return logs + 0.5 * (rest**2).sum(axis=1) + 0.5 * np.log(weight), weight**-0.5


def _covariance(start_s: Floats, length_s: Floats, time_s: float) -> Floats:
    """Covariance of the rounds' means for a process with deviation 1."""
    end_s = start_s + length_s
    reach = -np.expm1(-length_s / time_s) * time_s / length_s
    gap = np.maximum(start_s[None, :] - end_s[:, None], start_s[:, None] - end_s[None, :])
    shape: Floats = reach[:, None] * reach[None, :] * np.exp(-np.maximum(gap, 0.0) / time_s)
    np.fill_diagonal(shape, [variance_of_mean(time_s, seconds) for seconds in length_s.tolist()])
    return shape
