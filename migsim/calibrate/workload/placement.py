"""The places of each class's pages.

The sender walks addresses and the log is cleared by 1 GiB chunks, so a prediction needs the pages' places and not only
their count. With page numbers, the pages that were dirty most often go to the fastest class. Without them, classes lie
one after the other, which the fit lists as an assumption.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Extents", "extents_of", "lay_out", "place_by_hits"]

Extents = tuple[tuple[int, int], ...]

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
