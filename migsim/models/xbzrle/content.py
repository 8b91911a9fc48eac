r"""How long XBZRLE's encoding of a page gets by the writes that hit the page since its cached version.

Law
---
Each write fills b bytes at one of S places of the page, all as likely. With a mean of :math:`\mu` writes to a page
(Poisson) a set of bytes that s of all places would touch is left alone with :math:`g(s) = e^{-\mu s}`, or after
exactly m writes with :math:`(1-s)^m`. A byte written keeps its old value with c (1/256 for random data). Then

.. math::
   \text{changed} = \sum_j (1-c)\,w_j \qquad
   \text{runs} = \sum_j (1-c)\,(w_j - (1-c)\,w_{j-1,j}) \qquad
   e = \text{changed} + 2\,\text{runs} + L_z + L_n

with :math:`w_j` the chance that byte j is written, :math:`w_{j-1,j}` that both are, and a byte more for each equal
run (:math:`L_z`) and changed run (:math:`L_n`) of 128 bytes and more. All saturate: a page written all over has about
4096 c bytes that agree by chance, each of which costs a byte more than it saves, and overflows
(`migsim.models.xbzrle.overflow`).

Writes in order, each at the place after the last one's, leave one run (or one a write, where b is less than the step)
that begins anywhere in the page and wraps.

Mirrors: nothing in QEMU; the guest.
Leaves out: places that are not as likely as each other, writes of several lengths to one page, and old contents that
are no earlier write's (a page filled once with zeros). For writes longer than a quarter of the page overflow is rough.
Source: occupancy of Poisson processes; the encoder's law (`migsim.models.xbzrle.encoding`); tests compare with real
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import erf, exp, log10, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from migsim.errors import ParameterError
from migsim.models.xbzrle.overflow import (
    Overflow,
    covered_stretches,
    overflow_of_many_gaps,
    overflow_of_rare_gaps,
)
from migsim.models.xbzrle.page_contents import PageWrites
from migsim.units import PAGE_BYTES

__all__ = [
    "Encoding",
    "EncodingByWrites",
    "PageWrites",
    "encoding_by_writes",
    "encoding_table",
    "expected_encoding",
    "false_dirty_pages",
    "false_dirty_share",
    "interpolated",
    "left_encoded",
    "overflow_of_changed",
]

Floats = npt.NDArray[np.float64]

_LONG = 128  # from this length on a run's length takes two bytes
_DECADES, _POINTS_A_DECADE = (-2, 5), 40


class Encoding(NamedTuple):
    """Expected encoding of pages found in the cache."""

    encoded_bytes: float
    """Mean length of the encodings that fit."""
    overflow_fraction: float
    unchanged_fraction: float
    """Both fractions are of all pages found; the remaining pages are sent encoded."""


class EncodingByWrites(NamedTuple):
    """Means over pages that were written to, arrays of the shape of the writes."""

    changed_bytes: Floats
    runs: Floats
    length_bytes: Floats
    """Length of the encoding, also of those that do not fit."""
    encoded_bytes: Floats
    """Length of the encodings that fit."""
    overflow_fraction: Floats


def expected_encoding(content: PageWrites, mean_writes: float) -> Encoding:
    """Return the expected encoding by the mean number of writes to a page since its cached version.

    The result is interpolated in a table, which is computed once for each `content` by `encoding_by_writes`.

    Examples
    --------
    >>> law = expected_encoding(PageWrites(8), 2.0)
    >>> round(law.encoded_bytes, 1), law.overflow_fraction, round(law.unchanged_fraction, 3)
    (25.2, 0.0, 0.135)
    """
    if mean_writes <= 0:
        return Encoding(0.0, 0.0, 1.0)
    return interpolated(*encoding_table(content), content.in_order, mean_writes)


def interpolated(
    length: Sequence[float], overflow: Sequence[float], in_order: bool, mean_writes: float
) -> Encoding:
    """Return what `expected_encoding` returns, from the table of `encoding_table`; `mean_writes` is above 0."""
    unchanged = max(1.0 - mean_writes, 0.0) if in_order else exp(-mean_writes)
    position = (log10(mean_writes) - _DECADES[0]) * _POINTS_A_DECADE
    position = min(max(position, 0.0), len(length) - 1.0)
    low = min(int(position), len(length) - 2)
    share = position - low
    return Encoding(
        length[low] + share * (length[low + 1] - length[low]),
        (overflow[low] + share * (overflow[low + 1] - overflow[low])) * (1 - unchanged),
        unchanged,
    )


def encoding_by_writes(
    content: PageWrites, writes: npt.ArrayLike, *, exactly: bool = False
) -> EncodingByWrites:
    """Compute the encoding of pages that were written at least once.

    Parameters
    ----------
    content : PageWrites
    writes : array
        Mean number of writes to a page. The number is Poisson, or with `in_order` one of the two whole numbers next to
        the mean.
    exactly : bool
        Whether every page gets exactly the number of writes.

    Raises
    ------
    ParameterError
        For a mean of 0 or less.

    Examples
    --------
    >>> law = encoding_by_writes(PageWrites(8), [1, 100], exactly=True)
    >>> law.runs.round(1).tolist(), law.length_bytes.round(1).tolist()
    ([1.0, 77.2], [11.0, 882.7])
    """
    amounts = np.atleast_1d(np.asarray(writes, dtype=float))
    if np.any(amounts <= 0):
        raise ParameterError(
            f"{float(amounts.min())} writes to a page.",
            "The law is for pages that were written.",
            "Give numbers above 0.",
        )
    law = _in_order if content.in_order else _at_random
    return EncodingByWrites(*np.array([law(content, float(amount), exactly) for amount in amounts]).T)


@lru_cache(maxsize=64)
def encoding_table(content: PageWrites) -> tuple[list[float], list[float]]:
    """Return the mean length and the overflow at logarithmically spaced means of writes, for `interpolated`."""
    low, high = _DECADES
    law = encoding_by_writes(content, np.logspace(low, high, (high - low) * _POINTS_A_DECADE + 1))
    return law.encoded_bytes.tolist(), law.overflow_fraction.tolist()


def false_dirty_share(
    before: Floats | float, after: Floats | float, sweeps: npt.NDArray[np.bool_] | float
) -> Floats:
    """Return the share of pages that were written before they were sent and not since: dirty, but unchanged.

    Parameters
    ----------
    before, after : ndarray or float
        Share of pages written from the begin of the protect window to their sending, and from then to the sync.
    sweeps : ndarray or float
        1 where a sweep writes the pages in turn; 0 where each is written independently.

    Examples
    --------
    >>> float(false_dirty_share(0.5, 0.25, 0.0)), float(false_dirty_share(0.5, 0.25, 1.0))
    (0.375, 0.5)
    """
    share: Floats = sweeps * np.minimum(before, 1 - after) + (1 - sweeps) * before * (1 - after)
    return share


def false_dirty_pages(sent: Floats, share: Floats, left: Floats, fraction: Floats, written: Floats) -> Floats:
    """Return the pages that are dirty but unchanged after a sync.

    Parameters
    ----------
    sent, share : ndarray or float
        Pages sent since the last sync, and the share of them that is dirty but unchanged (`false_dirty_share`).
    left, fraction : ndarray or float
        Pages that were dirty after the last sync and not sent since, and the fraction of them that was unchanged then.
    written : ndarray or float
        Share of these pages written since.

    Examples
    --------
    >>> false_dirty_pages(100.0, 0.25, 40.0, 0.5, 0.1)
    43.0
    """
    return sent * share + left * fraction * (1 - written)


def left_encoded(overflow: float, unchanged: float) -> float:
    """Return the share of pages found that is sent encoded; the others overflow or are unchanged.

    Examples
    --------
    >>> left_encoded(0.25, 0.5), left_encoded(0.9, 0.1)
    (0.25, 0.0)
    """
    left = 1 - overflow - unchanged
    return left if left > 1e-12 else 0.0


def overflow_of_changed(whole: float, law: Encoding) -> float:
    """Return the share of the changed pages that is sent raw, where the share `whole` of them is replaced.

    Examples
    --------
    >>> overflow_of_changed(0.5, Encoding(20.0, 0.25, 0.5))
    0.75
    """
    return min(whole + (1 - whole) * law.overflow_fraction / max(1 - law.unchanged_fraction, 1e-9), 1.0)


def _at_random(content: PageWrites, writes: float, exactly: bool) -> tuple[float, ...]:
    """Return changed bytes, runs, length, length of encodings that fit, and overflow, for writes at random places."""
    b, places, keep = content.bytes_a_write, content.places, content.change_fractions
    begin = np.minimum(np.arange(places) * content.step, PAGE_BYTES - b)
    start = np.concatenate(([0.0], np.cumsum(np.bincount(begin, minlength=PAGE_BYTES) / places)))

    def alone(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> Floats:
        """Return the chance that the bytes from first to last are not written."""
        share = start[last + 1] - start[np.maximum(first - b + 1, 0)]
        return np.asarray((1 - share) ** writes if exactly else np.exp(-writes * share))

    some = 1.0 if exactly else -float(np.expm1(-writes))
    at = np.arange(PAGE_BYTES)
    left = alone(at, at)
    written = (1 - left) / some
    both = (1 - left[:-1] - left[1:] + alone(at[:-1], at[1:])) / some  # bytes j and j + 1
    changed = float(keep @ written)
    runs = changed - float((keep[1:] * keep[:-1]) @ both)
    far = at[_LONG:]
    long_equal = float((alone(far - _LONG, far - 1) - alone(far - _LONG, far)).sum()) / some
    missed = (1 - 1 / places) ** writes if exactly else exp(-writes / places)
    hit = (1 - missed) / some if places == 1 else 1 - missed
    long_changed = _long_runs(content, hit) / (1.0 if places == 1 else some)
    length = changed + 2 * runs + long_equal + long_changed
    equal = float((1 - keep) @ written)
    # Few gaps remain in a page that is written nearly all over. This does not hold where gaps save little, or where the
    # last byte of a write hardly ever changes, so that each write leaves a run.
    apart = b < content.step or keep[begin[0] + b - 1] < 0.5
    if content.step > 2 and not apart:
        gaps = max(float(written.sum() - both.sum()) - 1, 0.0)
        reach = max(b // content.step, 1)
        over = overflow_of_rare_gaps(
            content.step, reach, hit, gaps=gaps, equal_bytes=equal, long_runs=long_changed
        )
    else:
        cost = length / max(hit * places, 1e-12) if apart else b + 2.0
        over = overflow_of_many_gaps(
            places, hit, alone_bytes=cost, joined_bytes=cost if apart else float(b),
            variance=float((keep * (1 - keep)) @ written), length_bytes=length,
        )  # fmt: skip
    return changed, runs, length, _that_fit(length, over), over.fraction


def _that_fit(length: float, over: Overflow) -> float:
    """Return the mean length of the encodings that fit a page, from the mean of all encodings."""
    fit = 1 - over.fraction
    if (
        fit < 0.02
    ):  # the formula is a difference of large numbers; the few encodings that fit nearly fill the page
        return float(PAGE_BYTES)
    return min(max((length - over.fraction * (PAGE_BYTES + over.excess_bytes)) / fit, 0.0), float(PAGE_BYTES))


def _long_runs(content: PageWrites, hit: float) -> float:
    """Return the expected changed runs of 128 bytes and more: stretches of 128 changed bytes less those of 129."""
    if content.bytes_a_write < min(content.step, _LONG):
        return 0.0
    reach = max(content.bytes_a_write // content.step, 1)
    change = float(np.log(np.maximum(content.change_fractions, 1e-9)).mean())
    return sum(
        sign * exp(size * change) * covered_stretches(size, content.step, reach, hit)
        for sign, size in ((1, _LONG), (-1, _LONG + 1))
    )


def _in_order(content: PageWrites, writes: float, exactly: bool) -> tuple[float, ...]:
    """Return what `_at_random` does, for writes that each begin where the last one ended."""
    low = max(int(writes), 1)
    share = 0.0 if exactly or writes < 1 else writes - low
    few, many = (np.array(_one_run(content, float(n))) for n in (low, low + 1))
    return tuple(((1 - share) * few + share * many).tolist())


def _one_run(content: PageWrites, writes: float) -> tuple[float, ...]:
    """Return what `_at_random` does, for `writes` neighbouring places; they may wrap over the page's end."""
    b, step, writes = content.bytes_a_write, content.step, min(writes, float(content.places))
    c = 1 - float(content.change_fractions.mean())
    joined = b >= step
    stretch = min((writes - 1) * step + b, float(PAGE_BYTES)) if joined else float(b)
    stretches = 1.0 if joined else writes
    begin = np.arange(content.places) * step
    past_end = np.maximum(begin + (stretch if joined else writes * step) - PAGE_BYTES, 0)
    wraps = (past_end > 0) & (stretch < PAGE_BYTES)
    before = np.where(stretch < PAGE_BYTES, np.where(wraps, begin - past_end, begin), 0)
    equal = stretch * stretches * c
    changed = stretch * stretches - equal
    runs = stretches + float(wraps.mean()) * joined + equal
    whole = exp(_LONG * float(np.log(1 - c)))
    long_changed = stretches * whole * ((stretch >= _LONG) + max(stretch - _LONG, 0.0) * c)
    length = changed + 2 * runs + float((before >= _LONG).mean()) + long_changed
    overflow = 0.5 * (1 - erf((PAGE_BYTES + 0.5 - length) / sqrt(2 * max(equal, 1e-9))))
    return changed, runs, length, min(length, float(PAGE_BYTES)), overflow
