r"""How often pages are written, from how often a trace saw them dirty.

Law
---
A page written at random, :math:`\lambda` times a second, is dirty in an interval of :math:`g` seconds with
:math:`p = 1 - e^{-\lambda g}`, and in h of n intervals with the chance :math:`P_h(\lambda)` of h successes among n
independent trials of the :math:`p_i`. Pages have the rates of a grid, in shares :math:`\pi_k` that make the pages seen
in h intervals, :math:`N_h`, likeliest (expectation maximisation; pages never seen say nothing):

.. math::
   r_{hk} = \frac{\pi_k Q_h(\lambda_k)}{\sum_j \pi_j Q_h(\lambda_j)} \qquad
   \pi_k = \frac{\sum_h N_h r_{hk}}{\sum_h N_h} \qquad Q_h = \frac{P_h}{1 - P_0}

and pages seen in h intervals have the mean rate :math:`\sum_k r_{hk} \lambda_k`. The fastest of the grid are dirty in
every interval, whatever their rate: where a window :math:`w` shorter than the intervals is known to see U pages, their
rate is the one with which all classes together see U.

The number of writes to a page that is known to be dirty is Poisson, given that it is not none. Of :math:`k` writes to
a page, each at an instant as likely as any other, a share :math:`s` of the interval holds a binomial number, and the
last falls at :math:`u^{1/k}` of it, :math:`u` uniform.

Mirrors: nothing in QEMU; the guest.
Leaves out: sweeps, and rates that change while traced: a page's writes come at random, at its mean rate.
Source: occupancy of Poisson processes; mixtures after Dempster, Laird, Rubin (1977).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from migsim.models.dirty.page_writes import random_fraction

__all__ = ["last_write", "rates_by_hits", "writes_of_dirty", "writes_within"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRID = 60
STEPS = 300
SATURATED = 4.0
"""A page with this many writes in the shortest interval counts as dirty in every interval."""

_SLOWEST = 0.02  # writes in the whole trace


def rates_by_hits(
    pages: NDArray[np.integer], lengths_s: Floats, *, short: tuple[float, float] | None = None
) -> Floats:
    """Return the mean rate of the pages that were dirty in h intervals, for each h.

    Parameters
    ----------
    pages : ndarray of int, shape (intervals + 1,)
        Number of pages that were dirty in h intervals.
    lengths_s : ndarray, shape (intervals,)
        Guest time of each interval, more than 0.
    short : (float, float), optional
        A window shorter than the intervals, in seconds, and the pages that are dirty in it.

    Returns
    -------
    ndarray, shape (intervals + 1,)
        Writes to each page, a second of guest time; 0 for h = 0.

    Examples
    --------
    All pages are written twice a second, so the number of intervals in which one was dirty tells nothing more.

    >>> rates_by_hits(np.array([0, 5, 25, 61, 79, 54, 15]), np.full(6, 0.5)).round().tolist()
    [0.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    n = len(lengths_s)
    rates = np.geomspace(_SLOWEST / lengths_s.sum(), SATURATED / lengths_s.min(), GRID)
    chance = _chance_of_hits(random_fraction(rates[None, :], lengths_s[:, None]))
    chance = chance[1:] / (1 - chance[0])
    dirty_pages = np.asarray(pages[1:], dtype=float)
    share = np.full(GRID, 1 / GRID)
    member = np.zeros((n, GRID))
    for _ in range(STEPS if dirty_pages.sum() else 0):
        weight = share * chance
        member = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
        share = dirty_pages @ member / dirty_pages.sum()
    if short is not None and dirty_pages.sum():
        rates[-1] = _saturated_rate(rates, share * dirty_pages.sum(), *short)
    return np.concatenate(([0.0], member @ rates))


def _chance_of_hits(dirty: Floats) -> Floats:
    """Return the chance of h successes in independent trials, shape (trials + 1, rates), from (trials, rates)."""
    chance = np.zeros((len(dirty) + 1, dirty.shape[1]))
    chance[0] = 1.0
    for p in dirty:
        chance[1:] = chance[1:] * (1 - p) + chance[:-1] * p
        chance[0] *= 1 - p
    return chance


def _saturated_rate(rates: Floats, pages: Floats, window_s: float, seen_pages: float) -> float:
    """Return the last class's rate with which `seen_pages` are dirty in the window; unchanged if it has few pages."""
    others = float(pages[:-1] @ random_fraction(rates[:-1], window_s))
    if pages[-1] < 0.01 * pages.sum():
        return float(rates[-1])
    share = min(max((seen_pages - others) / float(pages[-1]), 0.0), 1 - 1e-9)
    return max(-float(np.log1p(-share)) / window_s, float(rates[-2]))


def writes_of_dirty(mean_writes: Floats, rng: np.random.Generator) -> Ints:
    """Draw the number of writes to pages that were written at least once.

    Parameters
    ----------
    mean_writes : ndarray
        Rate times length of the interval; more than 0.
    rng : numpy.random.Generator

    Examples
    --------
    >>> drawn = writes_of_dirty(np.full(10_000, 1.0), np.random.default_rng(1))
    >>> int(drawn.min()), round(float(drawn.mean()), 1)
    (1, 1.6)
    """
    mean = np.maximum(mean_writes, 1e-9)
    # Draw the first write's instant, given that there is one; the writes after it are Poisson.
    first = -np.log1p(rng.random(len(mean)) * np.expm1(-mean))
    drawn: Ints = 1 + rng.poisson(np.maximum(mean - first, 0.0))
    return drawn


def writes_within(writes: Ints, share: float, rng: np.random.Generator) -> Ints:
    """Draw the number of each page's writes that fall into a share of their interval.

    Examples
    --------
    >>> writes_within(np.array([0, 3]), 1.0, np.random.default_rng(1)).tolist()
    [0, 3]
    """
    if share >= 1:
        return writes
    drawn: Ints = rng.binomial(writes, max(share, 0.0))
    return drawn


def last_write(writes: Ints, rng: np.random.Generator) -> Floats:
    """Draw when the last of each page's writes falls, as a fraction of the interval, in (0, 1].

    Examples
    --------
    >>> last = last_write(np.array([1, 1000]), np.random.default_rng(1))
    >>> bool(last[1] > 0.98)
    True
    """
    drawn: Floats = (1.0 - rng.random(len(writes))) ** (1.0 / writes)
    return drawn
