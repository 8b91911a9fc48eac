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

from migsim.calibrate.workload.rounds import RoundHistory
from migsim.calibrate.workload.spectrum import Spectrum
from migsim.models.dirty.page_writes import guest_seconds
from migsim.models.guest.activity import TIMES_S, variance_of_mean
from migsim.trace.curve import SingleWindows

__all__ = ["TELLING", "Wandering", "activities", "fit_activity"]

Floats = NDArray[np.float64]

TELLING = 0.15
"""Least elasticity of a round that tells the activity."""

MOST_ROUNDS = 120
"""Rounds of a longer trace that a fit uses, the last ones."""

STALL = 3.5
"""Deviations from the median, by the median deviation, from which on a round counts as a stall."""

POOLED_S = 0.05
"""Length up to which rounds that follow each other are taken together, to tell the activity."""

FOLLOWS_S = 0.005
"""Gap up to which one round follows another."""

PAUSE_S = 1.0
"""Time between the last window and the first round of a stream trace, as short as it can be."""

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


def activities(
    windows: SingleWindows, history: RoundHistory | None, spectrum: Spectrum, dirty_fault_s: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return what single windows and rounds show of the guest's activity: start, length, logarithm, and its noise."""
    start, length, counts = windows.start_s, windows.measured_s, windows.dirty_pages
    method = windows.variance
    if history is not None:
        # Both count from their own begin; the windows came before the rounds.
        before_s = float((start + length).max()) + PAUSE_S if len(start) else 0.0
        start = np.concatenate([start - before_s, history.starts_s])
        length = np.concatenate([length, history.lengths_s])
        counts = np.concatenate([counts, history.counts])
        method = np.concatenate([method, np.zeros(len(history.counts))])
    order = np.argsort(start, kind="stable")
    start, length, counts, method = start[order], length[order], counts[order], method[order]
    t = np.array([guest_seconds(w, n, dirty_fault_s) for w, n in zip(length, counts, strict=True)])
    fitted = np.maximum(spectrum.unique_pages(t), 1.0)
    elasticity = np.log(spectrum.unique_pages(t * 1.1) / fitted) / np.log(1.1)
    telling = (elasticity > TELLING) & (counts > 0)
    # The activity at which the fitted guest would have written as many pages in that time.
    logs = np.linspace(-1.5, 1.5, 121)
    grown = np.outer(t[telling], np.exp(logs))
    pages = spectrum.unique_pages(grown.ravel()).reshape(grown.shape)
    seen = np.array([np.interp(count, row, logs) for count, row in zip(counts[telling], pages, strict=True)])
    by_chance = np.sqrt(spectrum.variance(t) + method) / fitted
    noise = (by_chance / np.maximum(elasticity, TELLING))[telling]
    return _pooled(start[telling], t[telling], seen, noise)


def _pooled(
    start: Floats, length: Floats, logs: Floats, noise: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Take rounds that follow each other together, until they are as long as the fastest process can be told in."""
    firsts: list[int] = []
    end_s = pooled_s = np.inf
    for i, (begin, seconds) in enumerate(zip(start.tolist(), length.tolist(), strict=True)):
        if pooled_s >= POOLED_S or begin - end_s > FOLLOWS_S:
            firsts.append(i)
            pooled_s = 0.0
        pooled_s += seconds
        end_s = begin + seconds
    if len(firsts) == len(start):
        return start, length, logs, noise
    whole = np.add.reduceat(length, firsts)
    mean = np.add.reduceat(length * logs, firsts) / whole
    return start[firsts], whole, mean, np.sqrt(np.add.reduceat((length * noise) ** 2, firsts)) / whole


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
