r"""From points of the unique-dirty curve to page classes: a non-negative fit.

Law
---
.. math:: U(t) = \sum_k n_k f_k(t), \qquad n_k \ge 0

over a grid of rates, with :math:`f_k` the random or the sweep law of `migsim.models.dirty.page_writes`. Non-negative
least squares, each point weighted by its own deviation, leaves few classes; neighbours on the grid are joined.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from migsim.calibrate.workload.least_squares import non_negative, robust_in_box
from migsim.errors import TraceError
from migsim.models.dirty.page_writes import random_fraction, unique_pages

__all__ = ["Spectrum", "fit_spectrum", "join_classes"]

Floats = NDArray[np.float64]

GRID_POINTS = 72
LEAST_SD_PAGES = 4.0
"""Smallest deviation of a window's dirty pages."""

JOINED = 1.6
"""Classes whose rates lie within this factor become one."""

SWEEP_GAIN = 0.6
"""Sweeps are used only where they bring the squared residual below this share of that without sweeps."""

SWEEP_MISFIT = 3.0
"""Sweeps are used only where the mean squared residual without them exceeds this many squared deviations."""


@dataclass(frozen=True)
class Spectrum:
    """Page classes that are fitted to points of the unique-dirty curve.

    Attributes
    ----------
    pages, writes_per_page_per_s : ndarray, shape (classes,)
        Pages and rate of each class, fastest first.
    is_sweep : ndarray of bool, shape (classes,)
    window_s, measured_pages, fitted_pages, sd_pages : ndarray, shape (points,)
        The points (windows in guest time), and the classes' values at them.
    """

    pages: Floats
    writes_per_page_per_s: Floats
    is_sweep: NDArray[np.bool_]
    window_s: Floats
    measured_pages: Floats
    fitted_pages: Floats
    sd_pages: Floats

    @property
    def relative_error(self) -> float:
        """Median of |fitted - measured| / measured."""
        dirty = self.measured_pages > 0
        if not dirty.any():
            return 0.0
        return float(np.median(np.abs(self.fitted_pages[dirty] / self.measured_pages[dirty] - 1)))

    def unique_pages(self, seconds: Floats) -> Floats:
        """Return U(t) of the classes."""
        return unique_pages(self.pages, self.writes_per_page_per_s, self.is_sweep, seconds)

    def variance(self, seconds: Floats) -> Floats:
        """Return the variance of the pages written in a window: each of a random class is, or is not."""
        variance = np.zeros_like(seconds)
        for pages, rate, sweeps in zip(self.pages, self.writes_per_page_per_s, self.is_sweep, strict=True):
            if not sweeps:
                written = random_fraction(rate, seconds)
                variance += pages * written * (1 - written)
        return variance


def fit_spectrum(window_s: Floats, dirty_pages: Floats, sd_pages: Floats, most_pages: float) -> Spectrum:
    """Fit page classes to points of U(t).

    Parameters
    ----------
    window_s : ndarray
        Window lengths in guest time, s.
    dirty_pages, sd_pages : ndarray
        Unique dirty pages in each window, and their standard deviation.
    most_pages : float
        Number of pages that can be written.

    Raises
    ------
    TraceError
        Where there is no point to fit.

    Examples
    --------
    >>> t = np.geomspace(0.05, 8, 12)
    >>> u = 1000 * -np.expm1(-5.0 * t)
    >>> s = fit_spectrum(t, u, 0.01 * u, 2000)
    >>> bool(np.allclose(s.unique_pages(t), u, rtol=0.02))
    True
    """
    keep = (window_s > 0) & np.isfinite(dirty_pages)
    t, u, sd = window_s[keep], dirty_pages[keep], sd_pages[keep]
    if not len(t):
        raise TraceError(
            "The trace has no point of the unique-dirty curve.",
            "A workload is fitted to unique dirty pages over windows of known length.",
            "Record for longer, or with another --method.",
        )
    # The guest varies, so no point may be too exact: a very exact or empty point would outweigh all others.
    sd = np.maximum.reduce([sd, 0.01 * u, np.full_like(u, LEAST_SD_PAGES)])
    rates = np.geomspace(0.05 / t.max(), 8.0 / t.min(), GRID_POINTS)
    random_only = _solve_robustly(t, u, sd, rates, np.zeros(GRID_POINTS, bool), most_pages)
    both = _solve_robustly(t, u, sd, np.tile(rates, 2), np.repeat([False, True], GRID_POINTS), most_pages)
    # More classes always fit noise better, but the bend of a real sweep is far larger than noise.
    misfit = float(np.mean(((unique_pages(*random_only[:3], t) - u) / sd) ** 2))
    sweeping = misfit > SWEEP_MISFIT and both[3] < SWEEP_GAIN * random_only[3]
    n, rate, sweep, _ = both if sweeping else random_only
    n, rate, sweep = _polish(t, u, sd, *_join(n, rate, sweep), most_pages)
    fitted = unique_pages(n, rate, sweep, t)
    return Spectrum(n, rate, sweep, t, u, fitted, sd)


def join_classes(spectrum: Spectrum, i: int, most_pages: float) -> Spectrum:
    """Fit the points again with class i and the next slower one joined."""
    pages, rate = spectrum.pages, spectrum.writes_per_page_per_s
    both = slice(i, i + 2)
    mean = np.exp(np.average(np.log(rate[both]), weights=pages[both]))
    n, rates, sweep = _polish(
        spectrum.window_s, spectrum.measured_pages, spectrum.sd_pages,
        np.concatenate([pages[:i], [pages[both].sum()], pages[i + 2 :]]),
        np.concatenate([rate[:i], [mean], rate[i + 2 :]]),
        np.delete(spectrum.is_sweep, i + 1), most_pages,
    )  # fmt: skip
    fitted = unique_pages(n, rates, sweep, spectrum.window_s)
    return replace(spectrum, pages=n, writes_per_page_per_s=rates, is_sweep=sweep, fitted_pages=fitted)


def _solve_robustly(
    t: Floats, u: Floats, sd: Floats, rates: Floats, sweep: NDArray[np.bool_], most: float
) -> tuple[Floats, Floats, NDArray[np.bool_], float]:
    """Solve, then again with smaller weights for outliers (Cauchy weights), because a guest may stall."""
    basis = unique_pages(np.eye(len(rates)), rates, sweep, t).T
    loosened = sd
    n = _solve(basis, u, sd, most, np.zeros(len(rates)))
    for _ in range(4):
        off = (basis @ n - u) / sd
        scale = max(1.4826 * float(np.median(np.abs(off))), 1.0)
        loosened = sd * np.sqrt(1 + (off / (2.4 * scale)) ** 2)
        n = _solve(basis, u, loosened, most, n)
    cost = float(np.sum(((basis @ n - u) / loosened) ** 2)) + 1e-12
    used = n > 1e-9
    return n[used], rates[used], sweep[used], cost


def _solve(basis: Floats, u: Floats, sd: Floats, most: float, start: Floats) -> Floats:
    """Solve weighted non-negative least squares; an added row keeps the sum of pages near `most` at most."""
    design = basis / sd[:, None]
    target = u / sd
    n = non_negative(design, target, start)
    if n.sum() > most:
        weight = 10.0 * float(np.max(target)) / most
        n = non_negative(np.vstack([design, np.full(len(n), weight)]), np.append(target, weight * most), n)
    return n


def _polish(
    t: Floats, u: Floats, sd: Floats, n: Floats, rate: Floats, sweep: NDArray[np.bool_], most: float
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Fit sizes and rates without the grid, from a start on it, with smaller weights for outliers."""
    k = len(n)
    if not k:
        return n, rate, sweep

    def law(x: Floats) -> tuple[Floats, Floats]:
        pages, rates = np.exp(x[:k]), np.exp(x[k:])
        over = float(pages.sum()) / most - 1.0
        by_pages, by_rate = _slopes(pages, rates, sweep, t)
        slopes = np.zeros((len(t) + 1, 2 * k))
        slopes[:-1] = np.concatenate([by_pages, by_rate]).T / sd[:, None]
        slopes[-1, :k] = 1e3 * pages / most * (over > 0)
        return np.append((by_pages.sum(axis=0) - u) / sd, 1e3 * max(over, 0.0)), slopes

    start = np.log(np.concatenate([n, rate]))
    # Rates much faster than the shortest window or slower than the longest cannot be told.
    low = np.concatenate([np.full(k, np.log(0.1)), np.full(k, np.log(0.02 / t.max()))])
    high = np.concatenate([np.full(k, np.log(2 * most + 1)), np.full(k, np.log(10.0 / t.min()))])
    found = robust_in_box(law, np.clip(start, low + 1e-6, high - 1e-6), low, high, scale=2.0)
    n, rate = np.exp(found[:k]), np.exp(found[k:])
    order = np.argsort(-rate)
    return n[order], rate[order], sweep[order]


def _slopes(pages: Floats, rate: Floats, sweep: NDArray[np.bool_], t: Floats) -> tuple[Floats, Floats]:
    """Return the slopes of U(t) in the logarithms of each class's pages (its part of U) and of its rate."""
    grown = rate[:, None] * t
    one = np.eye(len(pages)) * pages[:, None]
    by_rate = np.where(sweep[:, None], grown * (grown < 1), grown * (1 - random_fraction(rate[:, None], t)))
    return unique_pages(one, rate, sweep, t), pages[:, None] * by_rate


def _join(n: Floats, rate: Floats, sweep: NDArray[np.bool_]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Join neighbours on the grid, random or sweeps, into one class with their mean rate."""
    groups: list[list[int]] = []
    for i in np.lexsort((rate, sweep)):
        last = groups[-1][-1] if groups else -1
        near = groups and sweep[last] == sweep[i] and rate[i] < rate[groups[-1][0]] * JOINED
        if near:
            groups[-1].append(int(i))
        else:
            groups.append([int(i)])
    pages = np.array([n[g].sum() for g in groups])
    mean = np.array([np.exp(np.average(np.log(rate[g]), weights=n[g])) for g in groups])
    kind = np.array([bool(sweep[g[0]]) for g in groups])
    order = np.argsort(-mean)
    return pages[order], mean[order], kind[order]
