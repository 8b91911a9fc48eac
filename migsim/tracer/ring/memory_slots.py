"""Page numbers of a trace from KVM's (slot, offset).

QEMU does not say which slot number it gave to which piece of guest memory. Three facts narrow it down:

- ``info mtree -f`` lists the pieces that are registered with KVM, and each slot is one of them.
- A slot's piece is longer than every offset that occurs with the slot.
- x86 machines register the RAM above 4 GiB once, when the machine is created: slots 1, 2, ... in order of address.
  The RAM below 4 GiB is registered anew whenever the firmware changes the memory map.

Where more than one piece remains, the longest one below 4 GiB is taken.
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
_LONGEST_LINE = 1000
_RANGE = re.compile(
    r"^\s+([0-9a-f]{8,16})-([0-9a-f]{8,16}) \(prio -?\d+, ram\): (\S.*?)(?: @([0-9a-f]{1,16}))? KVM\s*$"
)


class KvmRange(NamedTuple):
    """A piece of guest RAM that is registered with KVM, in pages."""

    guest_page: int
    pages: int
    block: str
    block_page: int


def parse_mtree(text: str, page_bytes: int = PAGE_BYTES) -> list[KvmRange]:
    """Parse ``info mtree -f``: the pieces of RAM that are registered with KVM, by ascending address.

    Examples
    --------
    >>> parse_mtree("  0000000000100000-000000001fffffff (prio 0, ram): pc.ram @0000000000100000 KVM")
    [KvmRange(guest_page=256, pages=130816, block='pc.ram', block_page=256)]
    """
    pieces = set()
    for line in text.splitlines():
        if len(line) <= _LONGEST_LINE and (match := _RANGE.match(line)):
            low, high = int(match[1], 16), int(match[2], 16)
            block_offset = int(match[4] or "0", 16)
            pieces.add(
                KvmRange(
                    low // page_bytes, (high + 1 - low) // page_bytes, match[3], block_offset // page_bytes
                )
            )
    return sorted(pieces)


class SlotMap:
    """Assigns each slot to a piece of RAM when the slot first occurs.

    Parameters
    ----------
    ranges : sequence of KvmRange
        From `parse_mtree`.
    blocks : sequence of RamBlock
        Of the trace.
    """

    def __init__(self, ranges: Sequence[KvmRange], blocks: Sequence[RamBlock]) -> None:
        self._first_page = {block.name: block.first_page for block in blocks}
        known = [piece for piece in ranges if piece.block in self._first_page]
        self._high = [piece for piece in known if piece.guest_page * PAGE_BYTES >= _FOUR_GIB]
        low = (piece for piece in known if piece not in self._high)
        self._low = sorted(low, key=lambda piece: -piece.pages)
        self._assigned: dict[int, KvmRange] = {}

    def page_numbers(
        self, slot: npt.NDArray[np.int64], offset: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Return the global page number of each (slot, offset).

        Raises
        ------
        HostError
            A slot fits no piece of RAM.
        """
        pages = np.empty(slot.size, np.int64)
        for number in np.unique(slot):
            of_slot = slot == number
            piece = self._piece(int(number), int(offset[of_slot].max()))
            pages[of_slot] = self._first_page[piece.block] + piece.block_page + offset[of_slot]
        return pages

    def _piece(self, number: int, highest_offset: int) -> KvmRange:
        """Return the piece of slot `number`; assign one if the slot has none yet."""
        if number not in self._assigned:
            # The high half of a slot number is its address space; space 1, of system management mode, is a copy of 0.
            low_half = number & 0xFFFF
            free = [piece for piece in (*self._low, *self._high) if piece not in self._assigned.values()]
            if 1 <= low_half <= len(self._high):
                free = [self._high[low_half - 1], *free]
            fitting = [piece for piece in free if piece.pages > highest_offset]
            if fitting:
                self._assigned[number] = fitting[0]
        piece = self._assigned.get(number)
        if piece is None or piece.pages <= highest_offset:
            raise HostError(
                f"KVM's memory slot {number} holds page {highest_offset}, but no piece of guest RAM is that long.",
                "`info mtree -f` should list every piece of RAM that KVM logs.",
                "Use another --method for this guest.",
            )
        return piece

    def __str__(self) -> str:
        return ", ".join(
            f"slot {number} = {piece.block} at guest page {piece.guest_page:#x}"
            for number, piece in sorted(self._assigned.items())
        )
