"""What a migration stream tells: its RAM blocks, and the pages as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["PAGE_BYTES", "RamBlock", "StreamSink"]

PAGE_BYTES = 4096


@dataclass(frozen=True)
class RamBlock:
    """One RAM block of the stream's block table; `first_page` counts through all blocks in their order."""

    name: str
    used_bytes: int
    first_page: int

    @property
    def pages(self) -> int:
        """Pages of 4096 bytes."""
        return self.used_bytes // PAGE_BYTES


class StreamSink(Protocol):
    """What the parser calls. Arrays are views of the parser's buffer, valid during the call only."""

    def ram_blocks(self, blocks: Sequence[RamBlock]) -> None:
        """Take the block table; comes once, before any page."""

    def normal_pages(self, pages: npt.NDArray[np.int64], contents: npt.NDArray[np.uint8]) -> None:
        """Take global page numbers and their contents, shape (n, 4096)."""

    def zero_pages(self, pages: npt.NDArray[np.int64]) -> None:
        """Take global numbers of pages that are all zero."""

    def encoded_page(self, page: int, encoded_bytes: int) -> None:
        """Take one XBZRLE-encoded or compressed page."""

    def section_end(self, pages: int) -> None:
        """Note that one iterate call of the source ended after `pages` page records (not called for setup)."""
