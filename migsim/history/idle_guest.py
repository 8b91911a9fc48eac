r"""What an idle Linux guest's memory holds, and how little of it changes.

Law
---
.. math:: n_{data} = n_0 + 4096\, G \qquad (G \text{ GiB of RAM})

Linux keeps 64 bytes for each page of 4 KiB (`struct page`): 4096 pages a GiB. :math:`n_0` = 81,500 pages is the rest
of a booted guest. Published runs of clean guests sent 147,016 pages at 16 GiB, 4,302,604 at 1 TiB and 16,904,683 at
4 TiB; the law says 147,036, 4,275,804 and 16,858,716. Everything else is zero.

Some tens of pages (clock, APIC, steal time) change all the time.

Leaves out: page cache; a guest that has run for long is not this one.
Source: Quintela, qemu-devel 20220802063907.18882-1, 2022, for the counts; the mechanics reference, section 14, for the
busy pages; where the pages lie is an assumption: `struct page` arrays at the top, as Linux allocates them at boot.
"""

from __future__ import annotations

from typing import Literal

from migsim.errors import ParameterError
from migsim.models.dirty.bitmap import GIB, PAGES_PER_GIB
from migsim.units import PAGE_BYTES
from migsim.workload import Workload, WorkloadClass

__all__ = ["BOOTED_PAGES", "STRUCT_PAGE_PAGES_PER_GIB", "idle_data_pages", "idle_workload"]

BOOTED_PAGES = 81_500
"""Pages of data in a booted guest, its `struct page` arrays not counted."""

STRUCT_PAGE_PAGES_PER_GIB = 4096
"""Pages that the `struct page` array of a GiB of RAM takes."""

BUSY_PAGES = 50
BUSY_WRITES_PER_S = 100.0
"""Writes a second to each of the `BUSY_PAGES`."""


def idle_data_pages(ram_bytes: int) -> int:
    """Return how many pages of an idle guest hold data.

    Examples
    --------
    >>> [idle_data_pages(g << 30) for g in (16, 1024, 4096)]
    [147036, 4275804, 16858716]
    """
    if ram_bytes < GIB:
        raise ParameterError(
            f"ram_bytes is {ram_bytes}.",
            "The law holds for Linux guests of 1 GiB and more.",
            "Choose a larger guest, or build a Workload.",
        )
    return BOOTED_PAGES + ram_bytes * STRUCT_PAGE_PAGES_PER_GIB // GIB


def idle_workload(ram_bytes: int, *, place: Literal["top", "spread"] = "top") -> Workload:
    """Make the workload of an idle guest.

    Parameters
    ----------
    ram_bytes : int
    place : {"top", "spread"}
        Where the `struct page` arrays lie: at the end of RAM, or at the start of every GiB.

    Examples
    --------
    >>> guest = idle_workload(16 << 30)
    >>> guest.zero_pages + idle_data_pages(16 << 30) == 16 << 18
    True
    """
    pages = ram_bytes // PAGE_BYTES
    data = idle_data_pages(ram_bytes)
    array_pages = data - BOOTED_PAGES
    gib = ram_bytes // GIB
    extents: tuple[tuple[int, int], ...]
    if place == "top":
        extents = ((pages - array_pages, array_pages),)
    else:
        starts = [max(BOOTED_PAGES, g * PAGES_PER_GIB) for g in range(gib)]
        extents = tuple((start, STRUCT_PAGE_PAGES_PER_GIB) for start in starts)
        array_pages = gib * STRUCT_PAGE_PAGES_PER_GIB
    return Workload(
        ram_bytes=ram_bytes,
        ram_total_bytes=ram_bytes,
        zero_pages=pages - array_pages - BOOTED_PAGES,
        classes=(
            WorkloadClass(
                pages=BUSY_PAGES, writes_per_page_per_s=BUSY_WRITES_PER_S, extents=((0, BUSY_PAGES),)
            ),
            WorkloadClass(
                pages=BOOTED_PAGES - BUSY_PAGES,
                writes_per_page_per_s=0.0,
                extents=((BUSY_PAGES, BOOTED_PAGES - BUSY_PAGES),),
            ),
            WorkloadClass(pages=array_pages, writes_per_page_per_s=0.0, extents=extents),
        ),
        assumptions=(f"An idle Linux guest; struct page lies {place}.",),
        source="modelled: idle_workload",
    )
