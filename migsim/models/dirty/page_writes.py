r"""How many distinct pages of a set a guest writes in a while.

Law
---
Uniform random writes, each page hit at :math:`\lambda` per second of guest time (Poisson):

.. math:: f(t) = 1 - e^{-\lambda t}

A sweep that walks its `n` pages in order and starts over, each page written once a cycle
:math:`T = 1/\lambda`: the pages written in :math:`(a, b]` are one arc of the cycle, so

.. math:: f(t) = \min(1, \lambda t)

for the whole set, and 0, 1 or the arc's overlap for a piece of it.

Mirrors: nothing in QEMU; this is the guest. Leaves out: correlation between pages other than the sweep's order.
Source: occupancy of a Poisson process; QEMU's own note on `calc-dirty-rate` uses the same curve.
"""

from __future__ import annotations

from math import ceil, erfc, exp, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "arc_fraction",
    "binomial_quantile",
    "changed_pages_writes",
    "drawn_pages",
    "guest_seconds",
    "random_fraction",
    "sweep_fraction",
    "unique_pages",
]

Floats = NDArray[np.float64]

MANY_PAGES = 24.0
"""Pages from which on a count is taken as normal: nothing lies below zero at nearly five deviations."""


def random_fraction(writes_per_page_per_s: Floats | float, seconds: Floats | float) -> Floats:
    r"""Return the fraction of pages written at least once in `seconds`, :math:`1-e^{-\lambda t}`.

    Examples
    --------
    >>> float(random_fraction(1.0, 0.0)), round(float(random_fraction(2.0, 0.5)), 4)
    (0.0, 0.6321)
    """
    fraction: Floats = -np.expm1(-(writes_per_page_per_s * seconds))
    return fraction


def sweep_fraction(writes_per_page_per_s: Floats | float, seconds: Floats | float) -> Floats:
    r"""Return the fraction of a cyclic sweep's pages that is written in `seconds`, :math:`\min(1, \lambda t)`."""
    fraction: Floats = np.minimum(1.0, writes_per_page_per_s * seconds)
    return fraction


def arc_fraction(
    offset: Floats | float, length: Floats | float, start: Floats | float, end: Floats | float
) -> Floats:
    """Return the fraction of pieces of a cycle that a sweep passes between two positions.

    Parameters
    ----------
    offset, length : ndarray or float
        Where each piece begins in the cycle and how long it is, in cycles (0 <= offset < 1).
    start, end : ndarray or float
        Position of the sweep, in cycles since it began (not reduced modulo 1), `start <= end`.

    Returns
    -------
    ndarray
        Between 0 (not touched) and 1 (every page written).

    Examples
    --------
    >>> arc_fraction(np.array([0.0, 0.5]), np.array([0.5, 0.5]), 0.25, 0.75).tolist()
    [0.5, 0.5]
    """
    first = np.mod(start, 1.0)
    last = first + np.minimum(end - start, 1.0)
    this = np.maximum(np.minimum(offset + length, last) - np.maximum(offset, first), 0.0)
    # The arc may run over the end of the cycle once.
    next_ = np.maximum(np.minimum(offset + length + 1.0, last) - np.maximum(offset + 1.0, first), 0.0)
    fraction: Floats = np.minimum(1.0, (this + next_) / length)
    return fraction


def unique_pages(
    pages: Floats, writes_per_page_per_s: Floats, is_sweep: NDArray[np.bool_], seconds: Floats
) -> Floats:
    """Return the distinct pages that page classes write in windows of the given lengths.

    Parameters
    ----------
    pages, writes_per_page_per_s, is_sweep : ndarray, shape (classes,)
    seconds : ndarray, shape (windows,)
        Guest time.

    Returns
    -------
    ndarray, shape (windows,)

    Examples
    --------
    >>> unique_pages(np.array([100.0]), np.array([2.0]), np.array([True]), np.array([0.25, 9.0])).tolist()
    [50.0, 100.0]
    """
    rate = np.asarray(writes_per_page_per_s)[:, None]
    window = np.asarray(seconds)[None, :]
    fraction = np.where(
        np.asarray(is_sweep)[:, None], sweep_fraction(rate, window), random_fraction(rate, window)
    )
    return np.asarray(np.asarray(pages) @ fraction)


def guest_seconds(wall_s: float, faults: float, dirty_fault_s: float) -> float:
    r"""Return the time that a closed-loop guest ran in `wall_s`, in which it took `faults` dirty-log faults.

    .. math:: t_g = t - c_{fault} D

    It is never less than a twentieth of the wall time, where the law no longer describes the guest.
    """
    return max(wall_s - faults * dirty_fault_s, 0.05 * wall_s)


def changed_pages_writes(
    logged: Floats | float, further: Floats | float, unlogged: Floats | float = 0.0
) -> Floats:
    r"""Return the mean writes to a page of a set, from the writes to those pages that were found dirty and changed.

    A page is sent, found dirty by a sync, and sent again. Expected are a writes between its sending and the sync, b
    between the sync and its next sending, and f between the begin of its protection and its first sending, which make
    it dirty and change nothing. Where it is dirty and has changed it got, of a and b,

    .. math:: y = \frac{a + b\,(1 - e^{-a-f})}{1 - e^{-a} + e^{-a} (1-e^{-f}) (1-e^{-b})}

    writes. Pages of which nothing is known but that they changed got as many where

    .. math:: \frac{m}{1-e^{-m}} = y, \qquad m = y + W_0(-y e^{-y})

    with Lambert's W.

    Parameters
    ----------
    logged, further, unlogged : ndarray
        a > 0, b and f, in writes.

    Examples
    --------
    >>> changed_pages_writes(np.array([0.5, 0.5, 8.0]), np.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.5, 1.277, 9.002]

    Where every page is found dirty, only the change tells.

    >>> changed_pages_writes(0.5, 0.5, 40.0).round(3).tolist()
    1.0
    """
    from scipy.special import lambertw

    a, b, f = (np.asarray(x, dtype=float) for x in (logged, further, unlogged))
    a = np.maximum(a, 1e-9)
    some = -np.expm1(-a) + np.exp(-a) * np.expm1(-f) * np.expm1(-b)
    y = (a - b * np.expm1(-a - f)) / some
    return np.asarray(np.maximum(y + lambertw(-y * np.exp(-y)).real, a))


def drawn_pages(expected: float, room: float, deviate: float, sweep: bool) -> float:
    """Draw how many of `room` pages are newly dirty: a binomial count, without chance for a sweep.

    Each of the pages is dirty with the chance ``expected / room``, whatever the others do. The count is the quantile at
    which a standard normal deviate lies: so the mean of the draws is `expected`, however few pages that is. Where at
    least `MANY_PAGES` are expected to become dirty, and as many to stay clean, the count is taken as normal.

    Parameters
    ----------
    expected, room : float
        Expected newly dirty pages, and pages that can become dirty. A room between n and n + 1 pages is n + 1 pages,
        each a little smaller.
    deviate : float
        Standard normal deviate.
    sweep : bool

    Examples
    --------
    >>> drawn_pages(50.0, 100.0, -1.0, False), drawn_pages(50.0, 100.0, -1.0, True)
    (45.0, 50.0)

    Of a page expected once in ten, nine draws in ten find nothing.

    >>> drawn_pages(0.1, 1000.0, 1.2, False), drawn_pages(0.1, 1000.0, 1.4, False)
    (0.0, 1.0)
    """
    if expected <= 0.0:
        return 0.0
    if sweep or expected >= room:
        return min(expected, room)
    few = min(expected, room - expected)
    if few >= MANY_PAGES:
        drawn = expected + sqrt(expected * (1.0 - expected / room)) * deviate
        return min(max(drawn, 0.0), room)
    pages = ceil(room)
    rarer_is_dirty = expected <= room - expected
    count = binomial_quantile(pages, few / room, deviate if rarer_is_dirty else -deviate)
    drawn = count * (room / pages)
    return drawn if rarer_is_dirty else room - drawn


def binomial_quantile(trials: float, chance: float, deviate: float) -> float:
    """Return the count of successes at a standard normal deviate: the least whose distribution function reaches it.

    Parameters
    ----------
    trials : float
        Whole, 1 or more.
    chance : float
        At most a half, and at most some dozens of successes are expected: terms are added one by one.
    deviate : float

    Examples
    --------
    >>> [binomial_quantile(10.0, 0.5, z) for z in (-9.0, -1.0, 0.0, 1.0, 9.0)]
    [0.0, 3.0, 5.0, 7.0, 10.0]
    """
    below = 0.5 * erfc(-deviate / sqrt(2.0))
    odds = chance / (1.0 - chance)
    term = exp(trials * log1p(-chance))
    count, reached = 0.0, term
    while reached < below and count < trials and (term > 1e-18 or count < trials * chance):
        term *= (trials - count) / (count + 1.0) * odds
        count += 1.0
        reached += term
    return count
