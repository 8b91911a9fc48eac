r"""How often pages are written, from how often a trace saw them dirty.

Law
---
A page written at random, :math:`\lambda` times a second, is dirty in an interval of :math:`g` seconds with
:math:`1 - e^{-\lambda g}`. Pages dirty in :math:`h` of the :math:`n` intervals of lengths :math:`g_i` share the rate

.. math:: \sum_i \left(1 - e^{-\lambda_h g_i}\right) = h

Those dirty in all have no such rate. Where a window :math:`w` shorter than the intervals is known to see :math:`U`
pages, theirs solves :math:`\sum_h N_h (1 - e^{-\lambda_h w}) = U`; otherwise :math:`h = n - 1/2` stands for :math:`n`.

The number of writes to a page that is known to be dirty is Poisson, given that it is not none. Of :math:`k` writes to
a page, each at an instant as likely as any other, a share :math:`s` of the interval holds a binomial number, and the
last falls at :math:`u^{1/k}` of it, :math:`u` uniform.

Mirrors: nothing in QEMU; the guest.
Leaves out: sweeps, and rates that change while traced: a page's writes come at random, at its mean rate.
Source: occupancy of Poisson processes, solved for the mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from migsim.models.page_writes import random_fraction

__all__ = ["last_write", "rates_by_hits", "writes_of_dirty", "writes_within"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BISECTIONS = 60
_FASTEST = 50.0  # writes in the window looked at: every page is dirty


def rates_by_hits(
    pages: NDArray[np.integer], lengths_s: Floats, *, short: tuple[float, float] | None = None
) -> Floats:
    """Rate of the pages that were dirty in h intervals, for each h.

    Parameters
    ----------
    pages : ndarray of int, shape (intervals + 1,)
        How many pages were dirty in h intervals.
    lengths_s : ndarray, shape (intervals,)
        Guest time of each interval, some of it more than 0.
    short : (float, float), optional
        A window shorter than the intervals in seconds, and the pages that it sees.

    Returns
    -------
    ndarray, shape (intervals + 1,)
        Writes to each page, a second of guest time; 0 for h = 0.

    Examples
    --------
    >>> rates_by_hits(np.array([5, 0, 10]), np.array([1.0, 1.0])).round(2).tolist()
    [0.0, 0.69, 1.39]
    >>> rates_by_hits(np.array([5, 0, 10]), np.array([1.0, 1.0]), short=(0.1, 5.0)).round(2).tolist()
    [0.0, 0.69, 6.93]
    """
    n = len(lengths_s)
    hits = np.minimum(np.arange(n + 1, dtype=float), n - 0.5)
    low, high = np.zeros(n + 1), np.full(n + 1, _FASTEST / lengths_s[lengths_s > 0].min())
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        seen = random_fraction(middle[:, None], lengths_s[None, :]).sum(axis=1)
        low, high = np.where(seen < hits, middle, low), np.where(seen < hits, high, middle)
    rates: Floats = (low + high) / 2
    rates[0] = 0.0
    if short is not None and pages[n] > 0:
        window_s, seen_pages = short
        others = float(pages[:n] @ random_fraction(rates[:n], window_s))
        share = min(max((seen_pages - others) / float(pages[n]), 1e-3), 1 - 1e-9)
        rates[n] = -np.log1p(-share) / window_s
    return rates


def writes_of_dirty(mean_writes: Floats, rng: np.random.Generator) -> Ints:
    """Draw how often pages were written that are known to have been written at least once.

    Parameters
    ----------
    mean_writes : ndarray
        Rate times length; more than 0.
    rng : numpy.random.Generator

    Examples
    --------
    >>> drawn = writes_of_dirty(np.full(10_000, 1.0), np.random.default_rng(1))
    >>> int(drawn.min()), round(float(drawn.mean()), 1)
    (1, 1.6)
    """
    mean = np.maximum(mean_writes, 1e-9)
    # The first write's instant, given that there is one; those after it are Poisson.
    first = -np.log1p(rng.random(len(mean)) * np.expm1(-mean))
    drawn: Ints = 1 + rng.poisson(np.maximum(mean - first, 0.0))
    return drawn


def writes_within(writes: Ints, share: float, rng: np.random.Generator) -> Ints:
    """Draw how many of each page's writes fall into a share of their interval.

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
