"""The places of each class's pages.

The sender walks addresses and the log is cleared by 1 GiB chunks, so a prediction needs the pages' places and not only
their count. With page numbers, the pages that were dirty most often go to the fastest class. Without them, classes lie
one after the other, which the fit lists as an assumption. Where a trace also says where data lies, pages that were
never seen dirty lie there, and zero pages elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.models.loop.first_pass import address_runs, never_seen_pages

if TYPE_CHECKING:
    from migsim.trace.data_map import DataMap
    from migsim.workload import WorkloadClass

__all__ = ["Extents", "by_data_map", "extents_of", "lay_out", "place_by_hits", "place_by_map"]

Extents = tuple[tuple[int, int], ...]
Floats = NDArray[np.float64]

RIGHT_WITHIN = 1 / 32
"""What lies behind any page is right within this part of the RAM behind it."""

BIN_PAGES = 1 << 13
"""Pages of a bin: places are kept by 32 MiB, because finer ones would be noise of single pages."""


def extents_of(pages: NDArray[np.int64]) -> Extents:
    """Return (first page, pages) for each bin of ascending page numbers, centred on the bin's median page.

    A few pages that lie apart do not move the extent.

    Examples
    --------
    >>> extents_of(np.array([5, 6, 9, 8200]))
    ((5, 3), (8200, 1))
    >>> extents_of(np.array([5, 4096, 4097, 4098, 4099]))
    ((4095, 5),)
    """
    if not len(pages):
        return ()
    bins, first, count = np.unique(pages // BIN_PAGES, return_index=True, return_counts=True)
    begin = bins * BIN_PAGES
    middle = pages[first + count // 2]
    placed = np.clip(middle - count // 2, begin, begin + BIN_PAGES - count)
    return tuple(zip(placed.tolist(), count.tolist(), strict=True))


def place_by_hits(
    pages: NDArray[np.int64], hits: NDArray[np.int64], class_pages: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    """Assign pages to classes: the pages that were dirty most often to the fastest class.

    Parameters
    ----------
    pages, hits : ndarray
        Page numbers, and the number of rounds in which each was dirty.
    class_pages : ndarray
        Size of each class, fastest first.

    Returns
    -------
    list of ndarray
        Ascending page numbers of each class; pages beyond all classes belong to none.
    """
    order = pages[np.argsort(-hits, kind="stable")]
    cuts = np.minimum(np.round(np.cumsum(class_pages)).astype(int), len(order))
    return [np.sort(part) for part in np.split(order, cuts)[:-1]]


def lay_out(first_page: int, class_pages: NDArray[np.float64]) -> list[Extents]:
    """Return extents that lay the classes one after the other, from `first_page` on."""
    places: list[Extents] = []
    for pages in np.round(class_pages).astype(int):
        places.append(((first_page, int(pages)),))
        first_page += int(pages)
    return places


def place_by_map(
    data_map: DataMap, total_pages: int, class_pages: Sequence[NDArray[np.int64]], sizes: Sequence[int]
) -> tuple[list[Extents], Extents]:
    """Place classes and zero pages by where a trace found data.

    Pages of a class that were never seen dirty lie in the data beside those that were, each as likely as any other.

    Parameters
    ----------
    data_map : DataMap
    total_pages : int
        Pages of the guest.
    class_pages : sequence of ndarray
        Ascending numbers of the pages of each class that were seen dirty.
    sizes : sequence of int
        Pages of each class, at least as many as were seen; together no more than the guest has.

    Returns
    -------
    list of extents, extents
        Of each class, and of the zero pages.

    Examples
    --------
    >>> from migsim.trace.data_map import DataMap
    >>> guest = DataMap(256, (256, 0, 256))
    >>> place_by_map(guest, 768, [np.array([600, 601]), np.zeros(0, int)], [2, 510])
    ([((512, 2),), ((0, 256), (514, 254))], ((256, 256),))
    """
    data = np.array(data_map.data_pages)
    all_pages = data_map.sizes(total_pages)
    cells = [pages // data_map.cell_pages for pages in class_pages]
    seen = np.array([np.bincount(of_class, minlength=len(data)) for of_class in cells], float).reshape(
        -1, len(data)
    )
    elsewhere = np.array(sizes, float) - seen.sum(axis=1)  # pages that the trace does not place
    spread = never_seen_pages(data, all_pages - data, seen.sum(axis=0), float(elsewhere.sum()))
    counts = seen + np.outer(elsewhere / max(elsewhere.sum(), 1.0), spread)
    zero = all_pages - counts.sum(axis=0)
    written = seen.sum(axis=0) > 0
    runs = address_runs(counts.sum(axis=0), zero, RIGHT_WITHIN, kept=written, most_moved=BIN_PAGES)
    ends = [run.end for run in runs]
    edges = _edges(ends, written, max(BIN_PAGES // data_map.cell_pages, 1))
    *of_classes, of_zero = _in_turn(counts, zero, sizes, edges, ends)
    return of_classes, of_zero


def _edges(ends: list[int], written: NDArray[np.bool_], width: int) -> list[int]:
    """Return the cells at which to cut: ends of runs, and of bins of `width` cells that hold written pages."""
    bins = np.unique(np.flatnonzero(written) // width) * width
    cells = np.concatenate(([0], ends, bins, bins + width))
    edges: list[int] = np.unique(np.minimum(cells, len(written))).tolist()
    return edges


def _in_turn(
    counts: Floats, zero: Floats, sizes: Sequence[int], edges: list[int], ends: list[int]
) -> list[Extents]:
    """Lay out the rows' pages between each two edges, in the order of their middles, and the zero pages at each end."""
    sums = np.cumsum(np.hstack([np.zeros((len(counts), 1)), counts]), axis=1)
    sums[:, -1] = sizes  # but for rounding they are
    whole = np.diff(np.round(sums[:, edges]), axis=1).astype(int)
    zeros = dict(
        zip(ends, np.diff(np.round(np.cumsum(zero)[np.array(ends) - 1]), prepend=0).astype(int), strict=True)
    )
    laid: list[list[tuple[int, int]]] = [[] for _ in range(len(counts) + 1)]
    at = 0
    for k, (begin, end) in enumerate(pairwise(edges)):
        middles = [
            int(np.searchsorted(row[begin : end + 1], (row[begin] + row[end]) / 2, side="right"))
            for row in sums
        ]
        here = [(row, int(whole[row, k])) for row in sorted(range(len(counts)), key=middles.__getitem__)]
        for row, pages in [*here, (len(counts), int(zeros.get(end, 0)))]:
            if pages <= 0:
                continue
            last = laid[row][-1] if laid[row] else (0, 0)
            if last[1] and sum(last) == at:
                laid[row][-1] = (last[0], last[1] + pages)
            else:
                laid[row].append((at, pages))
            at += pages
    return [tuple(extents) for extents in laid]


def by_data_map(
    classes: Sequence[WorkloadClass],
    class_pages: Sequence[NDArray[np.int64]],
    data_map: DataMap,
    total_pages: int,
) -> tuple[tuple[WorkloadClass, ...], Extents]:
    """Return fitted classes with their places by a trace's data map, and the places of zero pages.

    Parameters
    ----------
    classes : sequence of WorkloadClass
    class_pages : sequence of ndarray
        Ascending numbers of the pages of each class that were seen dirty.
    data_map : DataMap
    total_pages : int
    """
    places, zero = place_by_map(data_map, total_pages, class_pages, [c.pages for c in classes])
    return tuple(c.replace(extents=e) for c, e in zip(classes, places, strict=True)), zero
