"""A guest's RAM cut into segments: pages of one class inside one 1 GiB chunk, in address order."""

from __future__ import annotations

from collections.abc import MutableSequence
from dataclasses import dataclass
from itertools import chain
from math import floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from migsim.models.dirty.log import CHUNK_PAGES
from migsim.units import PAGE_BYTES
from migsim.workload import Workload

__all__ = ["ZERO_CLASS", "Extent", "Segments", "cut", "cut_extent", "extents_of", "most_segments"]

Floats = NDArray[np.float64]

WRITTEN_PIECES = 48
"""Pieces that each written class is cut into, so that the sender's position inside it is known."""

HUGE_PAGES = 1 << 28
"""In a guest of more than 1 TiB, pages that are never written are not cut at chunks: no protect window begins there."""

ZERO_CLASS = -1
"""Class number of pages that are zero."""


class Extent(NamedTuple):
    """Pages of one class side by side, and how they are to be cut.

    Attributes
    ----------
    first_page, pages : float
    rate : float
        Writes to each page, a second of guest time.
    passed, cycle : float
        Pages of its class before it, and all pages of its class.
    pieces : int
        Number of equal pieces to cut it into.
    together : bool
        Whether its whole chunks stay one segment.
    sweeps : bool
        Whether the class is written in address order.
    of_class : int
        Index of its class in the workload, or `ZERO_CLASS`.
    """

    first_page: float
    pages: float
    rate: float
    passed: float
    cycle: float
    pieces: int
    together: bool
    sweeps: bool
    of_class: int


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
        Index of its class in the workload, or `ZERO_CLASS`.
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
        return np.asarray(self.of_class == ZERO_CLASS)

    def __len__(self) -> int:
        return len(self.pages)


def cut(workload: Workload) -> Segments:
    """Cut a workload's RAM.

    Examples
    --------
    >>> from migsim.workload import WorkloadClass
    >>> hot = WorkloadClass(pages=96, writes_per_page_per_s=1.0, extents=((0, 96),))
    >>> len(cut(Workload(ram_bytes=1 << 20, ram_total_bytes=1 << 20, zero_pages=160, classes=(hot,))))
    49
    """
    rows = [row for extent in extents_of(workload) for row in _rows(extent)]
    rows.sort()
    table = np.fromiter(chain.from_iterable(rows), float, 7 * len(rows)).reshape(-1, 7).T.copy()
    first_page, pages, rate, sweeps, of_class, offset, length = table
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


def _rows(extent: Extent) -> list[tuple[float, float, float, bool, int, float, float]]:
    """Segments of an extent: (first page, pages, rate, whether it sweeps, class, cycle offset, cycle length)."""
    first, _, rate, passed, cycle, pieces, together, sweeps, of_class = extent
    begins, sizes = [0.0] * most_segments(extent), [0.0] * most_segments(extent)
    count = cut_extent(first, extent.pages, pieces, together, begins, sizes, 0)
    return [
        (begin, size, rate, sweeps, of_class, (passed + begin - first) / cycle, size / cycle)
        for begin, size in zip(begins[:count], sizes[:count], strict=True)
    ]


def extents_of(workload: Workload) -> list[Extent]:
    """Return a workload's extents in address order, its zero pages included; see `Workload.laid_out`."""
    workload = workload.laid_out()
    extents: list[Extent] = []
    huge = workload.ram_total_bytes // PAGE_BYTES > HUGE_PAGES
    for index, c in enumerate(workload.classes):
        passed, total, rate, sweeps = 0.0, c.pages, c.writes_per_page_per_s, c.pattern == "sweep"
        for first, pages in c.extents:
            pieces = max(1, round(WRITTEN_PIECES * pages / total)) if rate else 1
            extents.append(
                Extent(first, pages, rate, passed, total, pieces, huge and not rate, sweeps, index)
            )
            passed += pages
    extents.sort()
    zero = [
        Extent(first, pages, 0.0, 0.0, pages, 1, huge, False, ZERO_CLASS)
        for first, pages in _zero_extents(workload, extents)
    ]
    return sorted(extents + zero) if zero else extents


def most_segments(extent: Extent) -> int:
    """Return an upper bound of the number of segments that an extent is cut into."""
    return extent.pieces + int(extent.pages // CHUNK_PAGES) + 2


def cut_extent(
    first: float,
    pages: float,
    pieces: int,
    together: bool,
    begins: MutableSequence[float] | Floats,
    sizes: MutableSequence[float] | Floats,
    at: int,
) -> int:
    """Cut an extent into equal pieces, and these at chunk boundaries; with `together` whole chunks stay one segment.

    Both engines use it. It writes each segment's first page and number of pages to `begins` and `sizes`, from index
    `at` on, and returns the index after the last one.
    """
    low, step = first, pages / pieces
    for piece in range(1, pieces + 1):
        high = first + piece * step if piece < pieces else first + pages
        while high - low > 1e-9:
            chunk_begin = floor(low / CHUNK_PAGES) * CHUNK_PAGES
            edge: float = chunk_begin + CHUNK_PAGES
            if together and low == chunk_begin:  # up to the end of the last whole chunk
                edge = max(edge, floor(high / CHUNK_PAGES) * CHUNK_PAGES)
            edge = min(edge, high)
            begins[at], sizes[at] = low, edge - low
            at += 1
            low = edge
        low = high
    return at


def _zero_extents(workload: Workload, extents: list[Extent]) -> list[tuple[float, float]]:
    """Return where zero pages lie: as the workload says, or in the gaps between the classes, in proportion to them."""
    if workload.zero_extents:
        return [(float(first), float(pages)) for first, pages in workload.zero_extents]
    total = workload.ram_total_bytes // PAGE_BYTES
    gaps: list[tuple[float, float]] = []
    end = 0.0
    for extent in extents:
        if extent.first_page > end:
            gaps.append((end, extent.first_page - end))
        end = max(end, extent.first_page + extent.pages)
    if total > end:
        gaps.append((end, total - end))
    room = sum(pages for _, pages in gaps)
    if not room:
        return [(end, float(workload.zero_pages))] if workload.zero_pages else []
    share = workload.zero_pages / room
    return [(first, pages * share) for first, pages in gaps if pages * share > 0]
