"""The place of the guest's workload pages in its RAM and in the guest-physical address space."""

from __future__ import annotations

from migsim.errors import ScenarioError
from migsim.units import PAGE_BYTES

WORKLOAD_BASE_PAGE = 4096  # 16 MiB: firmware, image, page tables, sampling tables lie below
_GIB = 1 << 30
# machine: (memory from which on RAM has a hole, where the hole begins); pc and q35 of QEMU 2.0 and newer
_HOLES = {"pc": (0xE0000000, 3 * _GIB), "q35": (0xB0000000, 2 * _GIB)}


def workload_page_to_ram_page(page: int) -> int:
    """Return the page number of a workload page in the guest's RAM (``pc.ram``, or its back ends in their order).

    Examples
    --------
    >>> workload_page_to_ram_page(100)
    4196
    """
    return WORKLOAD_BASE_PAGE + page


def ram_page_to_guest_address(page: int, ram_bytes: int, machine: str = "pc") -> int:
    """Return the guest-physical address, in bytes, of a page of the guest's RAM.

    Parameters
    ----------
    page
        Page number inside RAM, as `workload_page_to_ram_page` gives it.
    ram_bytes
        The guest's memory size in bytes.
    machine
        ``pc`` or ``q35``.

    Raises
    ------
    ScenarioError
        For another machine, or a page outside RAM.

    Examples
    --------
    >>> hex(ram_page_to_guest_address(3 << 18, 4 << 30))
    '0x100000000'
    """
    if machine not in _HOLES:
        raise ScenarioError(
            f"Machine {machine!r} is unknown.",
            "The guest's memory map is known for pc and q35.",
            "Use one of them.",
        )
    if not 0 <= page * PAGE_BYTES < ram_bytes:
        raise ScenarioError(
            f"Page {page} is outside RAM.",
            f"RAM of {ram_bytes} bytes has pages 0 to {ram_bytes // PAGE_BYTES - 1}.",
            "Check page number and memory size.",
        )
    split_from, hole = _HOLES[machine]
    offset = page * PAGE_BYTES
    if ram_bytes < split_from or offset < hole:
        return offset
    return offset - hole + 4 * _GIB
