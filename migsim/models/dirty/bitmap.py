r"""Dirty bitmaps: their layout by QEMU release, how large they are, and what a sync and starting the log cost.

Law
---
.. math:: t_{sync} = c_0 + c_{GiB} M

`M` the RAM that QEMU tracks (GiB). :math:`c_{GiB}` is the scan of kernel, slot and migration
bitmaps; it is measured on the host (`migsim calibrate host`) because it spans from microseconds a GiB (one bit a page,
word-wise, QEMU 2.0+) to milliseconds (one byte a page, one call a page, 1.3 to 1.7). `migsim.models.dirty.sync`
has its parts.

Starting the log (`log_global_start`) costs :math:`c_0 + c_{GiB} M` once, under the big lock;
`migsim.models.dirty.log_start` has its parts.

A word-wise scan pays for a word of 64 pages that holds a dirty one, not for the page. With a share `d` of the pages
dirty at random, :math:`W (1 - (1-d)^{64})` of `W` words hold one.

Mirrors: `migration/ram.c` migration_bitmap_sync, `include/exec/ram_addr.h`, `accel/kvm/kvm-all.c`; `arch_init.c` and
`memory.c` up to 1.7.
Leaves out: vhost and VFIO logs; blocks that are not aligned to a word, which fall back to page by page.
Source: QEMU's release trees, as restated in the mechanics reference, section 3.1; Linux releases from memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from migsim.errors import ParameterError
from migsim.qapi import QemuVersion
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "GIB",
    "PAGES_PER_GIB",
    "TALK_GIB",
    "WORD_PAGES",
    "BitmapLayout",
    "bitmap_layout",
    "bitmap_size_bytes",
    "bitmap_size_table",
    "dirty_words",
    "setup_s",
    "sync_s",
    "tree_release",
]

GIB = 1 << 30
PAGES_PER_GIB = GIB // PAGE_BYTES
WORD_PAGES = 64
"""Pages of one word of a bitmap."""

TALK_GIB = (1, 16, 64, 256, 512)
"""Guest sizes of the talk's bitmap table."""

LAST_MINOR = {1: 7, 2: 12, 3: 1}
"""Last minor release of a major one; from 4 on it is 2."""

Kernel = tuple[int, int]
NEW_KERNEL: Kernel = (6, 1)
LOG_PROTECT: Kernel = (5, 2)
ALL_SET: dict[str, Kernel] = {"x86": (5, 7), "arm64": (5, 8)}
RING: dict[str, tuple[QemuVersion, Kernel]] = {
    "x86": (QemuVersion(6, 1), (5, 11)),
    "arm64": (QemuVersion(8, 1), (6, 2)),
}


@dataclass(frozen=True, slots=True)
class BitmapLayout:
    """How a QEMU release tracks dirty pages on a Linux release.

    Attributes
    ----------
    qemu_bits_per_page : {8, 1}
        QEMU-wide dirty information: a byte with three flags (up to 1.7), or three bitmaps (2.0 on).
    migration_bitmap : bool
        Whether migration has a bitmap of its own (1.3 on).
    passes : {0, 1, 2}
        Passes over all pages that a sync makes to fill the migration bitmap: 0 in 1.2, 2 in 1.3, then 1.
    step : {"none", "page", "word"}
        Unit of such a pass.
    clear_chunks : bool
        Whether the kernel's log is cleared lazily: a chunk is cleared before its first page is sent (4.1 on, KVM).
    manual_protect, initially_all_set : bool
        Whether KVM protects pages again only when told, and whether it starts with every page dirty instead of
        protected.
    dirty_ring : bool
        Whether KVM uses the dirty ring instead of the bitmap.
    """

    qemu_bits_per_page: Literal[8, 1]
    migration_bitmap: bool
    passes: Literal[0, 1, 2]
    step: Literal["none", "page", "word"]
    clear_chunks: bool = False
    manual_protect: bool = False
    initially_all_set: bool = False
    dirty_ring: bool = False


def tree_release(version: QemuVersion | str) -> QemuVersion:
    """Return the release that a source tree behaves like: a development tree (micro 50 and up) like the next release.

    Examples
    --------
    >>> str(tree_release("1.2.50")), str(tree_release("1.7.50")), str(tree_release("7.2.22"))
    ('1.3', '2.0', '7.2')
    """
    v = QemuVersion.parse(version)
    if v.micro < 50:
        return v.release
    last = v.minor >= LAST_MINOR.get(v.major, 2)
    return QemuVersion(v.major + 1, 0) if last else QemuVersion(v.major, v.minor + 1)


def bitmap_layout(
    version: QemuVersion | str,
    *,
    kernel: Kernel = NEW_KERNEL,
    arch: Literal["x86", "arm64"] = "x86",
    dirty_ring: bool = False,
) -> BitmapLayout:
    """Return how a release tracks dirty pages under KVM.

    Parameters
    ----------
    version : QemuVersion or str
        A development tree such as 1.2.50 counts as the next release.
    kernel : (int, int)
        Linux on the host.
    arch : {"x86", "arm64"}
    dirty_ring : bool
        Whether QEMU was started with ``dirty-ring-size``.

    Raises
    ------
    ParameterError
        For a dirty ring that the release or the kernel lacks.

    Examples
    --------
    >>> bitmap_layout("1.2.50").passes, bitmap_layout("1.5").passes, bitmap_layout("2.0").step
    (2, 1, 'word')
    >>> bitmap_layout("7.2", kernel=(5, 4)).manual_protect, bitmap_layout("7.2", kernel=(5, 4)).initially_all_set
    (True, False)
    """
    release = tree_release(version)

    def since(major: int, minor: int) -> bool:
        return release >= QemuVersion(major, minor)

    ring_qemu, ring_kernel = RING[arch]
    if dirty_ring and not (release >= ring_qemu and kernel >= ring_kernel):
        raise ParameterError(
            f"dirty-ring-size is set for QEMU {version} on Linux {kernel[0]}.{kernel[1]}.",
            f"The dirty ring of {arch} came with QEMU {ring_qemu} and needs Linux {ring_kernel[0]}.{ring_kernel[1]}.",
            "Leave it out, or choose a later QEMU and kernel.",
        )
    if not since(2, 0):
        has_bitmap = since(1, 3)
        return BitmapLayout(
            qemu_bits_per_page=8,
            migration_bitmap=has_bitmap,
            passes=0 if not has_bitmap else (1 if since(1, 4) else 2),
            step="page" if has_bitmap else "none",
        )
    manual = since(4, 1) and kernel >= LOG_PROTECT and not dirty_ring
    return BitmapLayout(
        qemu_bits_per_page=1,
        migration_bitmap=True,
        passes=1,
        step="word",
        clear_chunks=manual,
        manual_protect=manual,
        initially_all_set=manual and since(5, 1) and kernel >= ALL_SET[arch],
        dirty_ring=dirty_ring,
    )


def bitmap_size_bytes(ram_bytes: int, bits_per_page: int, page_bytes: int = PAGE_BYTES) -> int:
    """Return the size of a dirty bitmap.

    Parameters
    ----------
    ram_bytes : int
        Guest RAM.
    bits_per_page : {1, 8}
        One bit a page (QEMU 2.0 on), or one byte (up to 1.7).
    page_bytes : int
        Target page size.

    Raises
    ------
    ParameterError
        For another number of bits, or a negative size.

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
    if ram_bytes < 0 or page_bytes <= 0:
        raise ParameterError(
            f"ram_bytes is {ram_bytes}, page_bytes {page_bytes}.",
            "A size is 0 or more, a page more than 0.",
            "Give both in bytes.",
        )
    pages = -(-ram_bytes // page_bytes)
    return -(-pages * bits_per_page // 8)


def bitmap_size_table(gib: Iterable[int] = TALK_GIB) -> pd.DataFrame:
    """Tabulate the bitmap's size by guest size and layout; by default for the guest sizes of the talk.

    Returns
    -------
    pandas.DataFrame
        Index ``ram_gib``; columns ``bit_bytes`` and ``byte_bytes``.

    Examples
    --------
    >>> bitmap_size_table().loc[512].tolist()
    [16777216, 134217728]
    """
    import pandas as pd

    sizes = list(gib)
    return pd.DataFrame(
        {
            "bit_bytes": [bitmap_size_bytes(g * GIB, 1) for g in sizes],
            "byte_bytes": [bitmap_size_bytes(g * GIB, 8) for g in sizes],
        },
        index=pd.Index(sizes, name="ram_gib"),
    )


def dirty_words(ram_pages: float, dirty_pages: float, spread: Literal["random", "runs"] = "random") -> float:
    """Return the mean number of words of a bitmap that hold a dirty page.

    Parameters
    ----------
    ram_pages, dirty_pages : float
    spread : {"random", "runs"}
        Dirty pages at random places, or in runs of whole words.

    Examples
    --------
    >>> round(dirty_words(1 << 18, 1000)), dirty_words(1 << 18, 1 << 18), dirty_words(1 << 18, 6400, "runs")
    (889, 4096.0, 100.0)
    """
    words = ram_pages / WORD_PAGES
    if not ram_pages:
        return 0.0
    share = min(dirty_pages / ram_pages, 1.0)
    held: float = words * (share if spread == "runs" else 1 - (1 - share) ** WORD_PAGES)
    return held


def sync_s(
    ram_bytes: float,
    *,
    sync_base_s: float,
    sync_s_per_gib: float,
) -> float:
    """Return the duration of one bitmap sync.

    Examples
    --------
    >>> round(sync_s(4 << 30, sync_base_s=1e-4, sync_s_per_gib=1e-5), 6)
    0.00014
    """
    return sync_base_s + sync_s_per_gib * ram_bytes / GIB


def setup_s(ram_bytes: float, *, setup_base_s: float, setup_s_per_gib: float) -> float:
    """Return the duration of the setup: bitmaps allocated and filled, the log started, the first sync.

    Examples
    --------
    >>> setup_s(2 << 30, setup_base_s=0.005, setup_s_per_gib=0.001)
    0.007
    """
    return setup_base_s + setup_s_per_gib * ram_bytes / GIB
