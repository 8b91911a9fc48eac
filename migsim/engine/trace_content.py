"""How long XBZRLE's encodings get in a replay: as long as those that the trace sampled.

A page that changed takes the length of a sampled page nearby in memory that had about as many writes since it was
sent before; of the few that come nearest, any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.trace.content import content_since

if TYPE_CHECKING:
    from migsim.engine.trace_writes import TraceWrites

__all__ = ["SampledLengths"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_SAMPLES = 12
NEIGHBOURS, ALIKE = 64, 4
"""Samples looked at on both sides of a page, and of these the ones whose writes come nearest."""

_FEW = 1e-3  # writes: fewer make no difference to a page that is known to have changed


class SampledLengths:
    """Encoded lengths of changed pages, drawn from a trace's samples.

    Parameters
    ----------
    writes : TraceWrites
        Of the same trace.

    Attributes
    ----------
    known : bool
        Whether there are enough samples; without, every page is taken to be replaced whole.

    Examples
    --------
    >>> lengths = SampledLengths(writes)                                               # doctest: +SKIP
    >>> lengths.draw(np.array([5000]), np.array([3.0]), np.random.default_rng(1))      # doctest: +SKIP
    array([33])
    """

    def __init__(self, writes: TraceWrites) -> None:
        samples = content_since(writes.trace)
        changed = samples[samples["changed_bytes"] > 0].sort_values("page", kind="stable")
        self._pages = changed["page"].to_numpy(np.int64)
        self._lengths = changed["xbzrle_bytes"].to_numpy(np.int64)
        amounts = writes.rates(self._pages) * changed["since_s"].to_numpy(float)
        self._log_writes = np.log(np.maximum(amounts, _FEW))
        self.known = len(self._pages) >= FEWEST_SAMPLES

    def draw(self, pages: Ints, mean_writes: Floats, rng: np.random.Generator) -> Ints:
        """Draw the length of each page's encoding, -1 where it overflows.

        Parameters
        ----------
        pages : ndarray of int64
        mean_writes : ndarray
            Expected writes since the page was sent before.
        rng : numpy.random.Generator
        """
        if not self.known or not len(pages):
            return np.full(len(pages), -1, np.int64)
        width = min(NEIGHBOURS, len(self._pages))
        first = np.searchsorted(self._pages, pages) - width // 2
        near = np.clip(first, 0, len(self._pages) - width)[:, None] + np.arange(width)
        off = np.abs(self._log_writes[near] - np.log(np.maximum(mean_writes, _FEW))[:, None])
        alike = np.argpartition(off, ALIKE - 1, axis=1)[
            np.arange(len(pages)), rng.integers(ALIKE, size=len(pages))
        ]
        return np.asarray(self._lengths[near[np.arange(len(pages)), alike]])
