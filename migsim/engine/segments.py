"""RAM cut into segments: pages of one class inside one 1 GiB chunk, in address order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from migsim.models.dirty_log import CHUNK_PAGES
from migsim.scenario import Workload

__all__ = ["ZERO", "Segments", "cut"]

Floats = NDArray[np.float64]

WRITTEN_PIECES = 48
"""Pieces that each written class is cut into, so that the sender's position inside it is known."""

HUGE_PAGES = 1 << 28
"""Of a guest of more than 1 TiB, pages that nobody writes are not cut by chunks: no window begins there."""

ZERO = -1
"""Stands for a class in `Segments.of_class`: pages that are zero."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Arrays over the segments of a guest's RAM.

    Attributes
    ----------
    first_page, pages : ndarray of float
        Where each begins, and how many pages it holds.
    chunk : ndarray of int64
        Its 1 GiB chunk.
    rate : ndarray of float
        Writes to each page, a second of guest time.
    is_sweep : ndarray of bool
    offset, length : ndarray of float
        Its place in its class's sweep, in cycles.
    of_class : ndarray of int64
        Index of its class in the workload, or `ZERO`.
    """

    first_page: Floats
    pages: Floats
    chunk: NDArray[np.int64]
    rate: Floats
    is_sweep: NDArray[np.bool_]
    offset: Floats
    length: Floats
    of_class: NDArray[np.int64]

    @property
    def is_zero(self) -> NDArray[np.bool_]:
        """Whether the segment's pages are zero."""
        return np.asarray(self.of_class == ZERO)

    def __len__(self) -> int:
        return len(self.pages)


def cut(workload: Workload) -> Segments:
    """Cut a workload's RAM.

    Examples
    --------
    >>> from migsim.scenario import WorkloadClass
    >>> hot = WorkloadClass(pages=96, writes_per_page_per_s=1.0, extents=((0, 96),))
    >>> len(cut(Workload(ram_bytes=1 << 20, ram_total_bytes=1 << 20, zero_pages=160, classes=(hot,))))
    49
    """
    rows = _rows(workload)
    table = np.fromiter(chain.from_iterable(rows), float, 7 * len(rows)).reshape(-1, 7).T.copy()
    first_page, pages, rate, sweeps, offset, length, of_class = table
    return Segments(
        first_page=first_page,
        pages=pages,
        chunk=(first_page // CHUNK_PAGES).astype(np.int64),
        rate=rate,
        is_sweep=sweeps > 0,
        offset=offset,
        length=length,
        of_class=of_class.astype(np.int64),
    )


def _rows(workload: Workload) -> list[tuple[float, float, float, bool, float, float, int]]:
    """Cut the classes: (first page, pages, rate, sweep?, cycle offset, cycle length, class) by address."""
    rows: list[tuple[float, float, float, bool, float, float, int]] = []
    taken: list[tuple[int, int]] = []
    huge = workload.ram_total_bytes // 4096 > HUGE_PAGES
    for index, c in enumerate(workload.classes):
        passed = 0.0
        rate = float(c.writes_per_page_per_s)
        for first, pages in c.extents:
            taken.append((first, pages))
            pieces = max(1, round(WRITTEN_PIECES * pages / c.pages)) if rate > 0 else 1
            for start, length in _cut(first, pages, pieces, together=huge and not rate):
                rows.append(
                    (start, length, rate, c.pattern == "sweep", passed / c.pages, length / c.pages, index)
                )
                passed += length
    rows += [
        (start, length, 0.0, False, 0.0, 1.0, ZERO)
        for first, pages in _zero_extents(workload, taken)
        for start, length in _cut(first, pages, 1, together=huge)
    ]
    return sorted(rows)


def _cut(first: float, pages: float, pieces: int, *, together: bool = False) -> list[tuple[float, float]]:
    """Cut an extent into equal pieces, and those at chunk boundaries; its whole chunks stay `together`, if wanted."""
    cuts: list[tuple[float, float]] = []
    step = pages / pieces
    edges = [float(first), *(first + k * step for k in range(1, pieces)), float(first + pages)]
    for low, high in pairwise(edges):
        while high - low > 1e-9:
            edge = (low // CHUNK_PAGES + 1) * CHUNK_PAGES
            if together and low % CHUNK_PAGES == 0:  # to the last chunk that is whole
                edge = max(edge, high // CHUNK_PAGES * CHUNK_PAGES)
            if edge > high:
                edge = high
            cuts.append((low, edge - low))
            low = edge
    return cuts


def _zero_extents(workload: Workload, taken: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """Put the zero pages into the gaps between the classes' extents, in proportion to the gaps."""
    total = workload.ram_total_bytes // 4096
    gaps: list[tuple[int, int]] = []
    end = 0
    for first, pages in sorted(taken):
        if first > end:
            gaps.append((end, first - end))
        end = max(end, first + pages)
    if total > end:
        gaps.append((end, total - end))
    room = sum(pages for _, pages in gaps)
    if not room:
        return [(float(end), float(workload.zero_pages))] if workload.zero_pages else []
    share = workload.zero_pages / room
    return [(float(first), pages * share) for first, pages in gaps if pages * share > 0]
