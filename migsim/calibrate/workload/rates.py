r"""What a trace leaves open of its classes' rates: draws of them, all of which fit it.

Law
---
Given the classes' pages, the rates :math:`\lambda_k` of the random classes have the posterior

.. math:: p(\lambda) \propto \prod_i \exp\left(-\frac{(D_i - U(T_i; \lambda))^2}{2 s_i^2}\right)

over the single rounds, short windows and long unions of rounds of the trace, and :math:`\ln\lambda` equally likely
beforehand between the bounds of the fit, in the fitted order. :math:`s_i^2` is the binomial variance, that of the
guest's activity in a window of that length (`migsim.models.guest.activity`), and the share of the count by which the
fit misses the points beyond that. A class that is written all over in the shortest window has a lower bound and no
upper one: its draws reach from the one to the other.

Draws come from importance sampling: proposals about the fit, weighted by the posterior, the proposals' own shape fitted
to them three times. Where the shortest window tells all classes, they lie about the fit, which has all points.

Leaves out: that pages may belong to other classes. The level common to all classes is `Workload.writes_spread`.
Source: Rubin (1988), sampling importance resampling; Cappé et al. (2004), its repetition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from migsim.calibrate.workload.spectrum import Spectrum
from migsim.models.dirty.page_writes import random_fraction
from migsim.models.guest.activity import TIMES_S, variance_of_mean

__all__ = ["RATE_DRAWS", "rate_factors"]

Floats = NDArray[np.float64]

RATE_DRAWS = 64
"""Draws that are kept of a trace."""

PROPOSALS = (1000, 1000, 1000, 3000)
"""Proposals of each round; those of the last one are drawn from."""

MISSES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Deviations of the law itself that are tried, as shares of a window's dirty pages."""

TOLD_WRITES = 1.0
"""Writes to a page in the shortest window up to which windows tell a class's rate both ways."""

WIDEST = 1.5
"""Largest deviation of a proposal's logarithm."""


def rate_factors(
    spectrum: Spectrum,
    window_s: Floats,
    dirty_pages: Floats,
    wandering: tuple[float, float, float],
    *,
    sharing: Floats | float = 1.0,
    seed: int = 1,
) -> Floats:
    """Draw factors on the fitted rates that the trace allows.

    Parameters
    ----------
    spectrum : Spectrum
    window_s, dirty_pages : ndarray, shape (points,)
        Single rounds, short windows, unions of rounds.
    wandering : tuple of float
        Deviations of the guest's activity.
    sharing : ndarray or float
        How many windows share the time of each: together they tell as much as one.
    seed : int

    Returns
    -------
    ndarray, shape (RATE_DRAWS, classes)
        1 for sweeps, whose speed the fit knows by their bend.

    Examples
    --------
    Windows of a second say of pages that are written 20 times in it only that they are fast.

    >>> t = np.array([1.0, 1.0, 2.0, 2.0, 4.0])
    >>> u = np.full(5, 1000.0)
    >>> fitted = Spectrum(np.array([1000.0]), np.array([8.0]), np.array([False]), t, u, u, 0.01 * u)
    >>> factors = rate_factors(fitted, t, u, (0.0, 0.0, 0.0))
    >>> bool(factors.min() < 0.8), bool(factors.max() > 1.15), bool(factors.min() > 0.4)
    (True, True, True)
    """
    random = np.flatnonzero(~spectrum.is_sweep)
    factors = np.ones((RATE_DRAWS, len(spectrum.pages)))
    if not len(random) or len(window_s) < 2:
        return factors
    rng = np.random.default_rng(seed)
    pages, fitted = spectrum.pages[random], np.log(spectrum.writes_per_page_per_s[random])
    swept = spectrum.unique_pages(window_s) - _unique(pages, fitted[None, :], window_s)[0]
    off = swept + _unique(pages, fitted[None, :], window_s)[0] - dirty_pages
    sd = _deviations(spectrum, window_s, wandering, off) * np.sqrt(sharing)
    low = min(float(np.log(0.02 / window_s.max())), float(fitted.min()))
    high = max(float(np.log(10.0 / window_s.min())), float(fitted.max()))

    order = np.argsort(fitted)

    def log_posterior(logs: Floats) -> Floats:
        miss = (swept + _unique(pages, logs, window_s) - dirty_pages) / sd
        # A few windows lie far off, because a guest may stall: beyond three deviations they count as three.
        likelihood = -0.5 * np.minimum(miss**2, 9.0).sum(axis=1)
        inside = ((logs >= low) & (logs <= high)).all(axis=1) & (np.diff(logs[:, order]) >= 0).all(axis=1)
        return np.asarray(np.where(inside, likelihood, -np.inf))

    centre, shape = fitted, _first_shape(pages, fitted, window_s, sd)
    logs, weights = fitted[None, :], np.ones(1)
    for count in PROPOSALS:
        root = np.linalg.cholesky(shape + 1e-10 * np.eye(len(fitted)))
        # Student's deviates of four degrees: the tails are heavier than those of what is looked for
        scale = np.sqrt(4.0 / rng.chisquare(4.0, count))[:, None]
        deviates = rng.standard_normal((count, len(fitted))) * scale
        logs = centre + deviates @ root.T
        log_proposal = -0.5 * (4 + len(fitted)) * np.log1p((deviates**2).sum(axis=1) / 4.0)
        log_weights = log_posterior(logs) - log_proposal
        if not np.isfinite(log_weights).any():
            return factors
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        centre = weights @ logs
        shape = (weights[:, None] * (logs - centre)).T @ (logs - centre) * 1.2
    # The fit has all points, these have few. Where no class is near saturated, its middle is the better one.
    if (np.exp(fitted) * window_s.min() < TOLD_WRITES).all():
        logs = logs + fitted - weights @ logs
    # Systematic resampling
    at = np.searchsorted(np.cumsum(weights), (np.arange(RATE_DRAWS) + rng.random()) / RATE_DRAWS)
    chosen = logs[np.minimum(at, len(logs) - 1)]
    factors[:, random] = np.exp(rng.permutation(chosen) - fitted)
    return factors


def _unique(pages: Floats, logs: Floats, window_s: Floats) -> Floats:
    """Return U(t) of the random classes, for each row of logarithms of rates."""
    total = np.zeros((len(logs), len(window_s)))
    for k in range(len(pages)):
        total += pages[k] * random_fraction(np.exp(logs[:, k])[:, None], window_s)
    return total


def _deviations(
    spectrum: Spectrum, window_s: Floats, wandering: tuple[float, float, float], off: Floats
) -> Floats:
    """Deviation of each window's dirty pages: by chance, by the guest's activity, and by how far the law misses."""
    unique = spectrum.unique_pages(window_s)
    slope = (spectrum.unique_pages(window_s * 1.05) - unique) / np.log(1.05)
    activity = np.zeros_like(window_s)
    for deviation, time_s in zip(wandering, TIMES_S, strict=True):
        activity += deviation**2 * np.array([variance_of_mean(time_s, t) for t in window_s.tolist()])
    variance = np.maximum(spectrum.variance(window_s) + activity * slope**2, 1.0)
    sd: Floats = np.zeros_like(unique)
    for miss in MISSES:
        sd = np.asarray(np.sqrt(variance + (miss * unique) ** 2), dtype=np.float64)
        if 1.4826 * float(np.median(np.abs(off / sd))) <= 1.0:
            break
    return sd


def _first_shape(pages: Floats, fitted: Floats, window_s: Floats, sd: Floats) -> Floats:
    """Covariance of the logarithms by the slopes at the fit, no wider than `WIDEST`."""
    grown = np.exp(fitted)[:, None] * window_s
    slopes = (pages[:, None] * grown * np.exp(-grown) / sd).T
    return np.asarray(np.linalg.inv(slopes.T @ slopes + np.eye(len(fitted)) / WIDEST**2), dtype=np.float64)
