"""From KVM's (slot, offset) to the trace's page numbers.

QEMU does not tell which slot number it gave to which piece of memory. What is known: ``info mtree -f`` lists
the pieces registered with KVM; a slot is one of them and longer than every offset seen in it; x86 machines
register the RAM above 4 GiB once, when the machine is made (slots 1, 2, ... in order of address), while the
RAM below is registered again when firmware changes the map. Where these leave a choice, the longest piece
below 4 GiB is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from migsim.errors import HostError
from migsim.trace import RamBlock
from migsim.units import PAGE_BYTES

__all__ = ["KvmRange", "SlotMap", "parse_mtree"]

_FOUR_GIB = 1 << 32
_RANGE = re.compile(
    r"^\s+([0-9a-f]{8,})-([0-9a-f]{8,}) \(prio -?\d+, ram\): (\S.*?)(?: @([0-9a-f]+))? KVM\s*$"
)


class KvmRange(NamedTuple):
    """A piece of guest memory that KVM knows, in pages."""

    guest_page: int
    pages: int
    block: str
    block_page: int


def parse_mtree(text: str, page_bytes: int = PAGE_BYTES) -> list[KvmRange]:
    """Read the RAM pieces of ``info mtree -f`` that are registered with KVM, by ascending address.

    Examples
    --------
    >>> parse_mtree("  0000000000100000-000000001fffffff (prio 0, ram): pc.ram @0000000000100000 KVM")
    [KvmRange(guest_page=256, pages=130816, block='pc.ram', block_page=256)]
    """
    found = set()
    for line in text.splitlines():
        if match := _RANGE.match(line):
            low, high = int(match[1], 16), int(match[2], 16)
            inside = int(match[4] or "0", 16)
            found.add(
                KvmRange(low // page_bytes, (high + 1 - low) // page_bytes, match[3], inside // page_bytes)
            )
    return sorted(found)


class SlotMap:
    """Assigns slots to pieces of RAM as they are seen.

    Raises
    ------
    HostError
        From `pages`: a slot fits no piece.
    """

    def __init__(self, ranges: Sequence[KvmRange], blocks: Sequence[RamBlock]) -> None:
        self._first = {block.name: block.first_page for block in blocks}
        known = [piece for piece in ranges if piece.block in self._first]
        self._high = [piece for piece in known if piece.guest_page * PAGE_BYTES >= _FOUR_GIB]
        self._low = sorted((p for p in known if p not in self._high), key=lambda p: -p.pages)
        self._taken: dict[int, KvmRange] = {}

    def page_numbers(
        self, slot: npt.NDArray[np.int64], offset: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Return the global page number of each (slot, offset)."""
        pages = np.empty(slot.size, np.int64)
        for number in np.unique(slot):
            mine = slot == number
            piece = self._piece(int(number), int(offset[mine].max()))
            pages[mine] = self._first[piece.block] + piece.block_page + offset[mine]
        return pages

    def _piece(self, number: int, longest: int) -> KvmRange:
        if number not in self._taken:
            # The high half of a slot number is its address space: 1 is system management mode's copy of 0.
            short = number & 0xFFFF
            free = [piece for piece in (*self._low, *self._high) if piece not in self._taken.values()]
            if 1 <= short <= len(self._high):
                free = [self._high[short - 1], *free]
            fitting = [piece for piece in free if piece.pages > longest]
            if fitting:
                self._taken[number] = fitting[0]
        piece = self._taken.get(number)
        if piece is None or piece.pages <= longest:
            raise HostError(
                f"KVM's memory slot {number} has a page {longest}, which no piece of guest RAM explains.",
                "`info mtree -f` should list every piece of RAM that KVM logs.",
                "Use another --method for this guest.",
            )
        return piece

    def __str__(self) -> str:
        return ", ".join(
            f"slot {number} = {piece.block} at guest page {piece.guest_page:#x}"
            for number, piece in sorted(self._taken.items())
        )
