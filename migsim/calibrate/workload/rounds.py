"""What page numbers of consecutive intervals add to the curve: longer windows, and which pages are hot."""

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
"""How well a round's begin and end are known."""

STARTS = 12
"""Unions of consecutive rounds are begun at this many rounds, spread over the trace."""


@dataclass(frozen=True)
class RoundHistory:
    """Rounds of a trace that names its pages.

    Attributes
    ----------
    window_s, dirty_pages, sd_pages : ndarray
        Points of U(t): single rounds, and unions of consecutive ones.
    faults : ndarray
        First writes to a protected page in each of those windows (more than its unique pages).
    pages, hits : ndarray
        Every page seen dirty, and in how many rounds.
    lengths_s, counts : ndarray
        Length of each round and its dirty pages.
    """

    window_s: Floats
    dirty_pages: Floats
    sd_pages: Floats
    faults: Floats
    pages: NDArray[np.int64]
    hits: NDArray[np.int64]
    lengths_s: Floats
    counts: Floats


def read_rounds(trace: Trace) -> RoundHistory | None:
    """Collect the rounds of a stream trace; None when it has none with page numbers.

    Raises
    ------
    TraceError
        When the trace is damaged.
    """
    table = trace.columns("intervals")
    known = (table["dirty_pages"] >= 0) & (table["end_s"] > table["start_s"])
    numbers = table["interval"][known].tolist()
    rounds = [trace.pages(i) for i in numbers]
    if not any(len(r) for r in rounds):
        return None
    lengths = (table["end_s"] - table["start_s"])[known]
    counts = np.array([len(r) for r in rounds], dtype=float)
    ordered = np.sort(np.concatenate(rounds), kind="stable")  # rounds ascend: they are merged
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    pages, hits = ordered[first], np.diff(first, append=len(ordered))
    t, u, f = _unions(rounds, numbers, lengths, pages)
    return RoundHistory(
        window_s=t,
        dirty_pages=u,
        sd_pages=np.sqrt(u + (0.02 * u) ** 2 + (BOUNDARY_S * u / t) ** 2),
        faults=f,
        pages=pages,
        hits=hits,
        lengths_s=lengths,
        counts=counts,
    )


def _unions(
    rounds: list[NDArray[np.int64]], numbers: list[int], lengths: Floats, pages: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """Distinct pages of runs of consecutive rounds, from a few starts."""
    places = [np.searchsorted(pages, r) for r in rounds]
    starts = np.unique(np.linspace(0, len(rounds) - 1, min(STARTS, len(rounds))).astype(int))
    points: list[tuple[float, float, float]] = [
        (float(length), float(len(r)), float(len(r))) for length, r in zip(lengths, rounds, strict=True)
    ]
    for start in starts:
        seen = np.zeros(len(pages), dtype=bool)
        window = faults = 0.0
        kept = 0.0
        for i in range(start, len(rounds)):
            if i > start and numbers[i] != numbers[i - 1] + 1:
                break
            seen[places[i]] = True
            window += lengths[i]
            faults += len(places[i])
            if i > start and window > 1.3 * kept:  # a point each 30 % longer is enough
                points.append((window, float(seen.sum()), faults))
                kept = window
    table = np.array(sorted(points))
    return table[:, 0], table[:, 1], table[:, 2]
