"""Lengths of XBZRLE's encodings in a replay, drawn from the pages that the trace sampled.

A changed page takes the length of a sampled page nearby in memory. Two samples are candidates: those whose numbers of
writes since they were last sent are next below and next above the page's own. One of the two is drawn, such that the
mean number of writes is the page's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.trace.content import content_with_write_times

if TYPE_CHECKING:
    from migsim.engine.pages.writes import TraceWrites

__all__ = ["SampledLengths"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_SAMPLES = 12
NEIGHBOURS = (64, 512)
"""Number of nearest samples that are searched; the second number where those of the first all have too few or too many
writes."""


class SampledLengths:
    """Encoded lengths of changed pages, drawn from a trace's samples.

    Parameters
    ----------
    writes : TraceWrites
        Of the same trace.

    Attributes
    ----------
    known : bool
        Whether there are enough samples; without them every page is assumed to be replaced whole.

    Examples
    --------
    >>> lengths = SampledLengths(writes)                                               # doctest: +SKIP
    >>> lengths.draw(np.array([5000]), np.array([0.5]), np.random.default_rng(1))      # doctest: +SKIP
    array([33])
    """

    def __init__(self, writes: TraceWrites) -> None:
        samples = content_with_write_times(writes.trace)
        changed = samples[samples["changed_bytes"] > 0].sort_values("page", kind="stable")
        self._pages = changed["page"].to_numpy(np.int64)
        self._lengths = changed["xbzrle_bytes"].to_numpy(np.int64)
        self._source = writes
        self._since_s = (changed["since_s"] + changed["after_s"]).to_numpy(float)
        self._writes = writes.rates(self._pages) * self._since_s
        self.known = len(self._pages) >= FEWEST_SAMPLES

    def draw(self, pages: Ints, since_s: Floats, rng: np.random.Generator) -> Ints:
        """Draw the length of each page's encoding, -1 where it overflows.

        Parameters
        ----------
        pages : ndarray of int64
        since_s : ndarray
            Guest time since the page was last sent.
        rng : numpy.random.Generator
        """
        if not self.known or not len(pages):
            return np.full(len(pages), -1, np.int64)
        wanted = self._source.rates(pages) * since_s
        low, high = self._around(pages, wanted, NEIGHBOURS[0])
        # Farther samples help only where some sample is as old as the page: none is older than the oldest.
        lacks = (self._writes[low] > wanted) | (self._writes[high] < wanted)
        lacks &= (since_s >= self._since_s.min()) & (since_s <= self._since_s.max())
        low[lacks], high[lacks] = self._around(pages[lacks], wanted[lacks], NEIGHBOURS[1])
        span = np.maximum(self._writes[high] - self._writes[low], 1e-12)
        share = np.clip((wanted - self._writes[low]) / span, 0.0, 1.0)
        return np.asarray(self._lengths[np.where(rng.random(len(pages)) < share, high, low)])

    def _around(self, pages: Ints, wanted: Floats, width: int) -> tuple[Ints, Ints]:
        """Find the nearby samples with the next fewer and the next more writes, or else the extreme sample."""
        width = min(width, len(self._pages))
        first = np.searchsorted(self._pages, pages) - width // 2
        near = np.clip(first, 0, len(self._pages) - width)[:, None] + np.arange(width)
        writes, rows = self._writes[near], np.arange(len(pages))
        fewer = writes <= wanted[:, None]
        most, least = np.argmax(np.where(fewer, writes, -1.0), axis=1), np.argmin(writes, axis=1)
        next_more, top = np.argmin(np.where(fewer, np.inf, writes), axis=1), np.argmax(writes, axis=1)
        low = np.where(fewer.any(axis=1), most, least)
        high = np.where(fewer.all(axis=1), top, next_more)
        return np.asarray(near[rows, low]), np.asarray(near[rows, high])
