"""Where a guest's data lies: pages that are not zero, counted in coarse cells of RAM; no contents, no page numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_CELL_PAGES", "MOST_CELLS", "DataMap", "DataMapCounter", "cell_pages_of"]

MOST_CELLS = 4096
"""Most cells of a guest, of whatever size."""

LEAST_CELL_PAGES = 256
"""Pages of the smallest cell: 1 MiB of pages of 4 KiB."""


@dataclass(frozen=True, slots=True)
class DataMap:
    """The number of pages with data in each cell of the guest's RAM.

    Attributes
    ----------
    cell_pages : int
        Pages of a cell, a power of two; cells follow the global page numbers from 0 on, and the last may be cut off.
    data_pages : tuple of int
        Pages that are not zero, of each cell.
    """

    cell_pages: int
    data_pages: tuple[int, ...]

    def check(self, total_pages: int) -> None:
        """Check the map against the number of pages of the guest.

        Raises
        ------
        ValueError
            The cells are not those of a guest of this size, or one holds more pages than there are in it.

        Examples
        --------
        >>> DataMap(256, (256, 0)).check(512)
        """
        if self.cell_pages != cell_pages_of(total_pages):
            raise ValueError(
                f"its cells have {self.cell_pages} pages, those of a guest of {total_pages} pages "
                f"{cell_pages_of(total_pages)}"
            )
        cells = -(-total_pages // self.cell_pages)
        if len(self.data_pages) != cells:
            raise ValueError(f"it has {len(self.data_pages)} cells, a guest of {total_pages} pages {cells}")
        for cell, count in enumerate(self.data_pages):
            room = min(self.cell_pages, total_pages - cell * self.cell_pages)
            if not 0 <= count <= room:
                raise ValueError(f"cell {cell} says {count} pages with data, it has {room} pages")

    def sizes(self, total_pages: int) -> npt.NDArray[np.int64]:
        """Return the number of pages of each cell.

        Examples
        --------
        >>> DataMap(256, (3, 4)).sizes(300).tolist()
        [256, 44]
        """
        begins = np.arange(len(self.data_pages), dtype=np.int64) * self.cell_pages
        return np.minimum(self.cell_pages, total_pages - begins)

    def drawn(self, total_pages: int, width: int = 64) -> str:
        """Return the map as a line of `width` characters: how full of data each part of RAM is.

        Examples
        --------
        >>> DataMap(256, (256, 128, 0, 1)).drawn(1024, width=4)
        '#+ .'
        """
        full = np.concatenate(([0], np.cumsum(self.data_pages)))
        cells = np.minimum(np.arange(len(full)) * self.cell_pages, total_pages)
        edges = np.linspace(0, total_pages, width + 1)
        shares = np.diff(np.interp(edges, cells, full)) / (total_pages / width)
        marks = np.searchsorted(_SHARES, shares, side="right")
        return "".join(" " if not share else _MARKS[k] for share, k in zip(shares, marks, strict=True))

    @classmethod
    def from_plain(cls, value: Any) -> DataMap:
        """Return the map from plain data, as JSON holds it.

        Raises
        ------
        ValueError
            It is no map.
        """
        if not isinstance(value, dict) or value.keys() != {"cell_pages", "data_pages"}:
            raise ValueError("it is no object of cell_pages and data_pages")
        counts = value["data_pages"]
        if not isinstance(counts, list) or len(counts) > MOST_CELLS:
            raise ValueError(f"data_pages is no list of at most {MOST_CELLS} numbers")
        for number in (value["cell_pages"], *counts):
            if not isinstance(number, int) or isinstance(number, bool):
                raise ValueError(f"it holds {str(number)[:40]!r} where a whole number is expected")
        return cls(value["cell_pages"], tuple(counts))


_MARKS = ".-+*#"
_SHARES = (0.1, 0.4, 0.7, 0.95)
"""Shares of data from which on each of `_MARKS` but the first stands for a part of RAM."""


def cell_pages_of(total_pages: int) -> int:
    """Return the pages of a cell in a guest of this size: the smallest power of two that makes few enough cells.

    Examples
    --------
    >>> cell_pages_of(1 << 18), cell_pages_of(1 << 20), cell_pages_of(1 << 34)
    (256, 256, 4194304)
    """
    cell = LEAST_CELL_PAGES
    while cell * MOST_CELLS < total_pages:
        cell *= 2
    return cell


class DataMapCounter:
    """Counts pages with data by cells as they arrive; what it keeps does not grow with the guest.

    Parameters
    ----------
    total_pages : int

    Examples
    --------
    >>> counter = DataMapCounter(600)
    >>> counter.add(np.array([0, 255, 599]))
    >>> counter.map().data_pages
    (2, 0, 1)
    """

    def __init__(self, total_pages: int) -> None:
        self._cell = cell_pages_of(total_pages)
        self._counts = np.zeros(-(-total_pages // self._cell), np.int64)

    def add(self, pages: npt.NDArray[np.int64]) -> None:
        """Count pages with data, by their global numbers."""
        if len(pages):
            low = int(pages.min()) // self._cell
            counts = np.bincount(pages // self._cell - low)
            self._counts[low : low + len(counts)] += counts

    def map(self) -> DataMap:
        """Return the map of the pages counted so far."""
        return DataMap(self._cell, tuple(self._counts.tolist()))
