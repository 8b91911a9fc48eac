"""The receiver of a parsed migration stream: RAM blocks, pages and their contents, ends of sections."""

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
    """One RAM block of the stream's block table; page numbers run through all blocks in the table's order."""

    name: str
    used_bytes: int
    first_page: int

    @property
    def pages(self) -> int:
        """Number of pages of 4096 bytes."""
        return self.used_bytes // PAGE_BYTES


class PageContents:
    """Contents of pages in the buffer; indexing copies the requested pages, and never reads the others.

    Parameters
    ----------
    buffer_view : ndarray of uint8, shape (positions, 4096)
        A view of the buffer whose row i is the contents of a page whose record would begin at position i.
    positions : ndarray of int64
        Positions of the pages' records.

    Examples
    --------
    >>> every_third = PageContents(np.arange(40).reshape(10, 4), np.array([0, 3, 6]))
    >>> every_third[np.array([1])]
    array([[12, 13, 14, 15]])
    """

    def __init__(self, buffer_view: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]) -> None:
        self._buffer_view = buffer_view
        self._positions = positions

    def __getitem__(self, index: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Copy the pages at `index`; shape (len(index), 4096)."""
        return self._buffer_view[self._positions[index]]


class StreamSink(Protocol):
    """The methods that the parser calls.

    Within a section, the parser may report zero pages before normal pages that were sent earlier.
    """

    def ram_blocks(self, blocks: Sequence[StreamBlock]) -> None:
        """Receive the block table; called once, before any page."""

    def normal_pages(self, pages: npt.NDArray[np.int64], contents: PageContents) -> None:
        """Receive global page numbers and their contents, which can only be read during the call."""

    def zero_pages(self, pages: npt.NDArray[np.int64]) -> None:
        """Receive the global numbers of pages that hold only zeros."""

    def encoded_page(self, page: int, encoded_bytes: int) -> None:
        """Receive one page that is XBZRLE-encoded or compressed."""

    def section_end(self, pages: int) -> None:
        """Receive the end of a section, which is one iterate call of the source; not called for the setup.

        `pages` is the number of its page records.
        """
