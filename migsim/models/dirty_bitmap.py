r"""Dirty bitmaps: how large they are, and what a sync and the start of logging cost.

Law
---
.. math:: t_{sync} = c_0 + c_{GiB} M

`M` the RAM that QEMU tracks (GiB). :math:`c_{GiB}` is the scan of kernel, slot and migration
bitmaps; it is measured on the host (`migsim calibrate host`) because it spans from microseconds a GiB (one bit a page,
word-wise, QEMU 2.0+) to milliseconds (one byte a page, one call a page, 1.3 to 1.7).

Starting the log (`log_global_start`) costs :math:`c_0 + c_{GiB} M` once, under the big lock.

Mirrors: `migration/ram.c` migration_bitmap_sync, `include/exec/ram_addr.h`, `accel/kvm/kvm-all.c`.
Leaves out: the cost of each dirty page in a sync, vhost and VFIO logs.
"""

from __future__ import annotations

from migsim.errors import ParameterError

__all__ = ["GIB", "bitmap_size_bytes", "setup_s", "sync_s"]

GIB = 1 << 30


def bitmap_size_bytes(ram_bytes: int, bits_per_page: int, page_bytes: int = 4096) -> int:
    """Size of a dirty bitmap.

    Parameters
    ----------
    ram_bytes : int
        Guest RAM.
    bits_per_page : {1, 8}
        One bit a page (QEMU 2.0 on), or one byte (up to 1.7).
    page_bytes : int
        Target page size.

    Examples
    --------
    >>> [bitmap_size_bytes(g << 30, 1) // 1024 for g in (1, 16, 64, 256, 512)]
    [32, 512, 2048, 8192, 16384]
    >>> bitmap_size_bytes(1 << 30, 8) // 1024
    256
    """
    if bits_per_page not in (1, 8):
        raise ParameterError(
            f"bits_per_page is {bits_per_page}.",
            "QEMU tracks a page with 1 bit (2.0 on) or 8 bits (up to 1.7).",
            "Use 1 or 8.",
        )
    pages = -(-ram_bytes // page_bytes)
    return -(-pages * bits_per_page // 8)


def sync_s(
    ram_bytes: float,
    *,
    sync_base_s: float,
    sync_s_per_gib: float,
) -> float:
    """Duration of one bitmap sync.

    Examples
    --------
    >>> round(sync_s(4 << 30, sync_base_s=1e-4, sync_s_per_gib=1e-5), 6)
    0.00014
    """
    return sync_base_s + sync_s_per_gib * ram_bytes / GIB


def setup_s(ram_bytes: float, *, setup_base_s: float, setup_s_per_gib: float) -> float:
    """Duration of the setup: bitmaps allocated and filled, the log started, the first sync.

    Examples
    --------
    >>> setup_s(2 << 30, setup_base_s=0.005, setup_s_per_gib=0.001)
    0.007
    """
    return setup_base_s + setup_s_per_gib * ram_bytes / GIB
