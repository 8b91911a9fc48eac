"""Where the guest's workload pages are: in the RAM block, and in the guest-physical map."""

from __future__ import annotations

from migsim.errors import ScenarioError
from migsim.units import PAGE_BYTES

WORKLOAD_BASE_PAGE = 4096  # 16 MiB: firmware, image, page tables, sampling tables lie below
RECORD_BYTES = 16  # what check=1 keeps a page
_GIB = 1 << 30
# machine: (memory from which on RAM has a hole, where the hole begins); pc and q35 of QEMU 2.0 and newer
_HOLES = {"pc": (0xE0000000, 3 * _GIB), "q35": (0xB0000000, 2 * _GIB)}


def workload_page_to_ram_page(page: int) -> int:
    """Page number of workload page `page` in the guest's RAM (``pc.ram``, or its back ends in a row).

    Examples
    --------
    >>> workload_page_to_ram_page(100)
    4196
    """
    return WORKLOAD_BASE_PAGE + page


def ram_page_to_guest_address(page: int, ram_bytes: int, machine: str = "pc") -> int:
    """Guest-physical address in bytes of a page of the guest's RAM.

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
        If the machine is another one, or the page is outside RAM.

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


def needed_ram_bytes(highest_page: int, *, check: bool) -> int:
    """Memory in bytes that a guest needs for workload pages ``0 .. highest_page - 1``.

    Examples
    --------
    >>> needed_ram_bytes(4096, check=False) >> 20
    32
    """
    records = -(-highest_page * RECORD_BYTES // PAGE_BYTES) * PAGE_BYTES if check else 0
    return (WORKLOAD_BASE_PAGE + highest_page) * PAGE_BYTES + records
