r"""How often XBZRLE's encoding of a page that was written nearly all over does not fit.

Law
---
S places of a page, `step` bytes apart, are hit each with chance :math:`\pi`, independently; a write covers `reach`
places. Near full coverage the encoding exceeds a page by

.. math:: 2 + K + L - \sum_g (\text{step}\cdot\ell_g - 2) - \text{step}\,(\ell_0 + \ell_S)

K bytes that agree by chance (Poisson: each saves itself and costs two lengths), L changed runs of 128 bytes and more,
and what the gaps of :math:`\ell_g` places between the writes save; before the first write and after the last a gap
costs no lengths. Gaps are rare: their number is Poisson, :math:`P(\ell) = \pi (1-\pi)^{\ell-1}`; Panjer's recursion
gives the sum.

Where a gap of one place saves nothing (steps of one and two bytes, writes that leave a run each), a page overflows
with many gaps: the length is normal, with the variance of a chain of places, each of which costs more after a place
that was not hit than after one that was.

A stretch of n places is covered where no `reach` places in a row are missed, of the n + reach - 1 that reach it:

.. math:: f(n) = f(n-1) - \pi (1-\pi)^{\text{reach}} f(n - \text{reach} - 1)

Mirrors: nothing in QEMU. Leaves out: writes so long that a few fill the page: few places are hit, not independently.
Source: Feller on success runs, Panjer (1981) on compound sums; tests compare with real bytes.
"""

from __future__ import annotations

from math import erf, exp, pi, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from migsim.units import PAGE_BYTES

__all__ = ["Overflow", "covered_stretches", "overflow_of_many_gaps", "overflow_of_rare_gaps"]

_MOST_SAVED = 160  # with more bytes saved by gaps no page overflows
_MANY = 60.0  # this many gaps save more than that


class Overflow(NamedTuple):
    """Share of pages that overflow, and the mean number of bytes by which their encodings exceed a page."""

    fraction: float
    excess_bytes: float


def overflow_of_rare_gaps(
    step: int, reach: int, hit: float, *, gaps: float, equal_bytes: float, long_runs: float
) -> Overflow:
    """Return the overflow of pages that are written all over except for a few gaps.

    Parameters
    ----------
    step, reach : int
        Bytes from one place to the next, at least three; number of places that a write covers.
    hit : float
        Chance that a place is hit.
    gaps, equal_bytes, long_runs : float
        Expected gaps between writes, bytes that agree by chance, changed runs of 128 bytes and more.

    Examples
    --------
    >>> overflow_of_rare_gaps(8, 1, 1.0, gaps=0.0, equal_bytes=16.0, long_runs=15.0)
    Overflow(fraction=1.0, excess_bytes=33.0)
    >>> overflow_of_rare_gaps(8, 1, 0.9, gaps=46.0, equal_bytes=16.0, long_runs=4.0).fraction < 1e-6
    True
    """
    miss = 1 - hit
    if gaps > _MANY or miss**reach > 0.5:  # half the page is not written
        return Overflow(0.0, 0.0)
    saved = np.zeros(_MOST_SAVED)
    saved[0] = exp(-gaps)
    sizes = np.arange(step - 2, _MOST_SAVED, step)
    weight = gaps * sizes * hit * miss ** np.arange(len(sizes))
    for n in range(1, _MOST_SAVED):
        reached = sizes[sizes <= n]
        saved[n] = float(weight[: len(reached)] @ saved[n - reached]) / n
    cells = np.arange(-(-_MOST_SAVED // step))
    before, after = np.zeros(_MOST_SAVED), np.zeros(_MOST_SAVED)
    before[cells * step] = hit * miss**cells
    after[cells * step] = np.where(
        cells == 0, 1 - miss**reach, miss**reach * hit * miss ** np.maximum(cells - 1, 0)
    )
    saved = np.convolve(np.convolve(saved, before)[:_MOST_SAVED], after)[:_MOST_SAVED]
    number = np.arange(_MOST_SAVED + 1)
    factorial = np.concatenate(([0.0], np.cumsum(np.log(number[1:]))))
    agreeing = np.exp(number * np.log(max(equal_bytes, 1e-12)) - equal_bytes - factorial)
    over = 2 + number[None, :] + round(long_runs) - np.arange(_MOST_SAVED)[:, None]
    chance = saved[:, None] * agreeing[None, :] * (over > 0)
    fraction = min(float(chance.sum()), 1.0)
    excess = float((chance * over).sum()) / fraction if fraction > 1e-12 else 0.0
    return Overflow(round(fraction, 12), round(excess, 9))


def overflow_of_many_gaps(
    places: int,
    hit: float,
    *,
    alone_bytes: float,
    joined_bytes: float,
    variance: float,
    length_bytes: float,
) -> Overflow:
    """Return the overflow of pages whose encoded length is a sum over many places.

    Parameters
    ----------
    places : int
    hit : float
        Chance that a place is hit.
    alone_bytes, joined_bytes : float
        Bytes of a place that is hit: after one that is not hit, and after one that is.
    variance : float
        Variance from bytes that agree by chance, in bytes squared; that of the hits is added to it.
    length_bytes : float
        Expected length of the encoding.

    Examples
    --------
    >>> law = overflow_of_many_gaps(
    ...     4096, 0.5, alone_bytes=3.0, joined_bytes=1.0, variance=8.0, length_bytes=4096.5
    ... )
    >>> round(law.fraction, 6)
    0.5
    """
    miss, more = 1 - hit, alone_bytes - joined_bytes
    mean = hit * (joined_bytes + more * miss)
    square = hit * (miss * alone_bytes**2 + hit * joined_bytes**2)
    neighbours = -(hit**2) * more * miss * (joined_bytes + more * miss)
    deviation = sqrt(max(places * (square - mean**2 + 2 * neighbours), 0.0) + variance)
    z = (PAGE_BYTES + 0.5 - length_bytes) / max(deviation, 1e-6)
    fraction = 0.5 * (1 - erf(z / sqrt(2)))
    if fraction < 1e-12:
        return Overflow(0.0, 0.0)
    tail = deviation * exp(-z * z / 2) / sqrt(2 * pi) / fraction
    return Overflow(fraction, length_bytes - PAGE_BYTES + tail)


def covered_stretches(size: int, step: int, reach: int, hit: float) -> float:
    """Return the expected number of stretches of `size` bytes of a page that are written all over.

    Examples
    --------
    >>> covered_stretches(4096, 8, 1, 1.0), covered_stretches(9, 8, 1, 0.5) == 4088 * 0.25
    (1.0, True)
    """
    begin = np.arange(PAGE_BYTES - size + 1)
    cells: npt.NDArray[np.int64] = (begin + size - 1) // step - begin // step + 1
    miss = 1 - hit
    covered = [1.0] * reach + [1 - miss**reach]
    for n in range(reach + 1, int(cells.max()) + reach):
        covered.append(covered[n - 1] - hit * miss**reach * covered[n - reach - 1])
    return float(np.asarray(covered)[cells + reach - 1].sum())
