"""What a migration stream tells: its RAM blocks, and the pages as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from migsim.units import PAGE_BYTES

__all__ = ["PageContents", "StreamBlock", "StreamSink"]


@dataclass(frozen=True)
class StreamBlock:
    """One RAM block of the stream's block table; `first_page` counts through all blocks in their order."""

    name: str
    used_bytes: int
    first_page: int

    @property
    def pages(self) -> int:
        """Pages of 4096 bytes."""
        return self.used_bytes // PAGE_BYTES


class PageContents:
    """Contents of the pages just reported; what is asked for is copied, the rest is never read.

    Parameters
    ----------
    everywhere : ndarray of uint8, shape (positions, 4096)
        A view of a buffer: what a page that began at any position would hold.
    positions : ndarray of int64
        Where the pages begin.

    Examples
    --------
    >>> every_third = PageContents(np.arange(40).reshape(10, 4), np.array([0, 3, 6]))
    >>> every_third[np.array([1])]
    array([[12, 13, 14, 15]])
    """

    def __init__(self, everywhere: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]) -> None:
        self._everywhere = everywhere
        self._positions = positions

    def __getitem__(self, index: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Copy the pages at `index`; shape (len(index), 4096)."""
        return self._everywhere[self._positions[index]]


class StreamSink(Protocol):
    """What the parser calls; within a section, zero pages may come before normal ones that were sent first."""

    def ram_blocks(self, blocks: Sequence[StreamBlock]) -> None:
        """Take the block table; comes once, before any page."""

    def normal_pages(self, pages: npt.NDArray[np.int64], contents: PageContents) -> None:
        """Take global page numbers and their contents, which can be read during the call only."""

    def zero_pages(self, pages: npt.NDArray[np.int64]) -> None:
        """Take global numbers of pages that are all zero."""

    def encoded_page(self, page: int, encoded_bytes: int) -> None:
        """Take one XBZRLE-encoded or compressed page."""

    def section_end(self, pages: int) -> None:
        """Note that one iterate call of the source ended after `pages` page records (not called for setup)."""
