"""The rounds of a trace with page numbers: points of the curve over longer windows, and each page's number of hits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from migsim.trace import Trace

__all__ = ["RoundHistory", "read_rounds"]

Floats = NDArray[np.float64]

BOUNDARY_S = 0.01
"""Uncertainty of a round's begin and end."""

SHORT_S, SHORT_BOUNDARY_S = 0.15, 0.001
"""Rounds shorter than the first are of a held source, cut where QEMU says that they end: uncertain by the second."""

STARTS = 12
"""Number of rounds, spread over the trace, at which unions of consecutive rounds begin."""


@dataclass(frozen=True)
class RoundHistory:
    """Rounds of a trace with page numbers.

    Attributes
    ----------
    window_s, dirty_pages, sd_pages : ndarray
        Points of U(t): single rounds, and unions of consecutive rounds.
    faults : ndarray
        First writes to protected pages in each of those windows; more than its unique pages.
    pages, hits : ndarray
        Every page that was dirty, and the number of rounds in which it was.
    starts_s, lengths_s, counts : ndarray
        Begin and length of each round, and its dirty pages.
    """

    window_s: Floats
    dirty_pages: Floats
    sd_pages: Floats
    faults: Floats
    pages: NDArray[np.int64]
    hits: NDArray[np.int64]
    starts_s: Floats
    lengths_s: Floats
    counts: Floats


def read_rounds(trace: Trace) -> RoundHistory | None:
    """Return the rounds of a trace; None where it has none with page numbers.

    Raises
    ------
    TraceError
        Where the trace is damaged, or its page numbers need more memory than there is.
    """
    trace.check_rounds_memory("a fit to its rounds")
    table = trace.columns("intervals")
    known = (table["dirty_pages"] >= 0) & (table["end_s"] > table["start_s"])
    numbers = table["interval"][known].tolist()
    rounds = [trace.pages(i) for i in numbers]
    if not any(len(r) for r in rounds):
        return None
    lengths = (table["end_s"] - table["start_s"])[known]
    counts = np.array([len(r) for r in rounds], dtype=float)
    ordered = np.sort(np.concatenate(rounds), kind="stable")  # a stable sort merges the rounds, which ascend
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    pages, hits = ordered[first], np.diff(first, append=len(ordered))
    t, u, f = _unions(rounds, numbers, lengths, pages)
    boundary_s = np.where(t < SHORT_S, SHORT_BOUNDARY_S, BOUNDARY_S)
    return RoundHistory(
        window_s=t,
        dirty_pages=u,
        sd_pages=np.sqrt(u + (0.02 * u) ** 2 + (boundary_s * u / t) ** 2),
        faults=f,
        pages=pages,
        hits=hits,
        starts_s=table["start_s"][known],
        lengths_s=lengths,
        counts=counts,
    )


def _unions(
    rounds: list[NDArray[np.int64]], numbers: list[int], lengths: Floats, pages: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """Return windows, distinct pages and faults of single rounds, and of unions that begin at a few rounds."""
    places = [np.searchsorted(pages, r) for r in rounds]
    starts = np.unique(np.linspace(0, len(rounds) - 1, min(STARTS, len(rounds))).astype(int))
    points: list[tuple[float, float, float]] = [
        (float(length), float(len(r)), float(len(r))) for length, r in zip(lengths, rounds, strict=True)
    ]
    for start in starts:
        dirty = np.zeros(len(pages), dtype=bool)
        window = faults = 0.0
        last_point_s = 0.0
        for i in range(start, len(rounds)):
            if i > start and numbers[i] != numbers[i - 1] + 1:
                break
            dirty[places[i]] = True
            window += lengths[i]
            faults += len(places[i])
            if i > start and window > 1.3 * last_point_s:  # a point for every 30 % more length
                points.append((window, float(dirty.sum()), faults))
                last_point_s = window
    table = np.array(sorted(points))
    return table[:, 0], table[:, 1], table[:, 2]
