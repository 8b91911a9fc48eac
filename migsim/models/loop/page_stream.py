"""Bytes of each record in QEMU's migration stream.

Law
---
A zero page costs 8 + 1 bytes, a normal page 8 + 4096; the block's name (1 + its length) comes with the first page
after the block changed. Each RAM iterate call adds 5 (section) + 8 (end of section) + 5 (footer) = 18 bytes. RAM's own
count takes the 8 bytes of an iterate call, and not those of the setup and of the last pages.

Mirrors: `migration/ram.c` save_page_header, save_zero_page, save_normal_page; `migration/savevm.c` section headers.
Source: the mechanics reference, section 2; checked there to the byte on a live 7.2 run.
"""

from __future__ import annotations

from migsim.units import PAGE_BYTES

__all__ = [
    "BATCH_BYTES",
    "BUFFER_BYTES",
    "ITERATE_BYTES",
    "NORMAL_PAGE_BYTES",
    "SECTION_BYTES",
    "ZERO_PAGE_BYTES",
    "mean_page_s",
    "ram_bytes_of",
    "raw_pages_s",
]

NORMAL_PAGE_BYTES = 8 + PAGE_BYTES
ZERO_PAGE_BYTES = 8 + 1
ITERATE_BYTES = 8
"""End-of-section mark of one iterate call: QEMU counts it as RAM, but not that of the last pages."""

SECTION_BYTES = 5 + 5
"""Section header and footer of one iterate call: in the stream, not counted as RAM."""

BUFFER_BYTES = 32768
"""Size of the stream's buffer, which is written when it is full."""

BATCH_BYTES = 32 * NORMAL_PAGE_BYTES
"""Bytes of one write: 64 iovec entries, which are 32 headers and 32 pages."""


def ram_bytes_of(normal_pages: float, zero_pages: float, iterate_calls: float = 0) -> float:
    """Return the bytes of RAM records in the stream, without block names.

    Examples
    --------
    >>> ram_bytes_of(51, 32847)
    504927
    """
    return normal_pages * NORMAL_PAGE_BYTES + zero_pages * ZERO_PAGE_BYTES + iterate_calls * ITERATE_BYTES


def mean_page_s(
    first: float, fresh: float, normal_page_s: float, cold_page_s: float, fresh_page_s: float
) -> float:
    """Return the mean time that a raw page takes the sender.

    Parameters
    ----------
    first, fresh : float
        Share of the pages that are sent for the first time, and share for which the destination has to allocate
        memory. The second is part of the first.
    normal_page_s, cold_page_s, fresh_page_s : float
        Time of a page that was sent before; of one sent for the first time to memory that the destination has; of one
        for which the destination allocates memory.

    Examples
    --------
    >>> mean_page_s(0.5, 0.25, 1.0, 2.0, 4.0)
    2.0
    """
    return raw_pages_s(1, first, fresh, normal_page_s, cold_page_s, fresh_page_s)


def raw_pages_s(
    pages: float, first: float, fresh: float, normal_page_s: float, cold_page_s: float, fresh_page_s: float
) -> float:
    """Return the time that raw pages take the sender, as `mean_page_s`, with `first` and `fresh` as numbers of pages.

    Examples
    --------
    >>> raw_pages_s(100, 50, 25, 1.0, 2.0, 4.0)
    200.0
    """
    return (pages - first) * normal_page_s + (first - fresh) * cold_page_s + fresh * fresh_page_s
