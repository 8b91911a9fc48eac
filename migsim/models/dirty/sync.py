r"""What one bitmap sync consists of.

Law
---
With `N` pages of RAM in `G` GiB, of which `D` are dirty in `W` words,

.. math:: t_{sync} = c_0 + \underbrace{k G + p D}_{kernel} + \underbrace{s G + s_d D}_{slot \to QEMU\text{-}wide}
          + \underbrace{m(N, D)}_{QEMU\text{-}wide \to migration}

=========  ============================================  ==================================================
step       what it is                                    cost
=========  ============================================  ==================================================
`log`      `KVM_GET_DIRTY_LOG`: `N`/8 bytes copied       :math:`k G`; none with the dirty ring
`protect`  pages protected again under `mmu_lock`        :math:`p D`; none with manual protect, which leaves
                                                         it to the clearing of chunks
`kick`     every vCPU out of the guest before its        ring only: microseconds, but up to a whole sleep
           ring is reaped                                where a vCPU is throttled by dirty-limit
`ring`     rings reaped, entry by entry, and reset       :math:`(s_w + p) D`, whatever the RAM; ring only
`slot`     the slot's bitmap to QEMU's own               up to 1.7 :math:`s G + s_d D`, a call a dirty page;
                                                         2.0 on :math:`s G + s_w W`
`block`    QEMU's to the migration bitmap                1.2: none. 1.3: two passes of `N` pages, 1.4 to 1.7
                                                         one, each with :math:`b_d D`. 2.0 on
                                                         :math:`b G + b_w W`
=========  ============================================  ==================================================

Clearing is no part of a sync: before the first page of a chunk is sent, :math:`t_{clear} = c G_{chunk}`.

Under TCG only `block` is left, and from 9.0 on the walk through every vCPU's TLB; the sync then waits until each vCPU
has left its translation block. With one vCPU 0.1 ms and 3 µs a GiB.

Mirrors: `arch_init.c` (1.2 to 1.7), `migration/ram.c`, `include/exec/ram_addr.h`, `accel/kvm/kvm-all.c` (2.0 to 10.2).
Leaves out: vhost and VFIO logs, regions that are not aligned (an operator saw 61 ms of them at 256 GiB, from 11.0 on
1 ms).
Source: the mechanics reference, section 3.2; costs come from a preset or a fit, never from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from migsim.errors import ParameterError
from migsim.models.dirty.bitmap import GIB, PAGES_PER_GIB, BitmapLayout, bitmap_layout, dirty_words
from migsim.models.dirty.log import CHUNK_PAGES

__all__ = ["LAYOUTS", "SyncParts", "clear_s", "sync_parts", "sync_share"]

LAYOUTS: dict[str, BitmapLayout] = {
    "1.3": bitmap_layout("1.3"),
    "1.4-1.7": bitmap_layout("1.4"),
    "2.0": bitmap_layout("2.0"),
    "5.1": bitmap_layout("5.1"),
    "ring": bitmap_layout("6.1", dirty_ring=True),
}
"""One layout for each kind of sync, by the releases that have it."""


@dataclass(frozen=True, slots=True)
class SyncParts:
    """Parts of one sync, in seconds; they sum to `total_s`."""

    base_s: float = 0.0
    log_s: float = 0.0
    protect_s: float = 0.0
    kick_s: float = 0.0
    ring_s: float = 0.0
    slot_s: float = 0.0
    block_s: float = 0.0

    @property
    def total_s(self) -> float:
        """The whole sync."""
        kernel = self.log_s + self.protect_s + self.kick_s + self.ring_s
        return self.base_s + kernel + self.slot_s + self.block_s

    @property
    def mmu_lock_s(self) -> float:
        """The part during which page faults of the vCPUs wait."""
        return self.log_s + self.protect_s + self.ring_s

    def parts_ms(self) -> dict[str, float]:
        """Return the parts in ms, by name."""
        return {part.name.removesuffix("_s"): getattr(self, part.name) * 1000 for part in fields(self)}


def sync_parts(
    layout: BitmapLayout,
    ram_bytes: float,
    dirty_pages: float,
    costs: Mapping[str, float],
    *,
    base_s: float = 0.0,
    kick_s: float = 0.0,
    spread: Literal["random", "runs"] = "random",
) -> SyncParts:
    """Compute the parts of one sync.

    Parameters
    ----------
    layout : BitmapLayout
    ram_bytes : float
    dirty_pages : float
        Pages that the log holds.
    costs : mapping of str to float
        In seconds, published (`migsim.profiles.published`) or measured; only the costs of the layout's steps are used.
    base_s : float
        Cost of a sync that does not depend on the guest.
    kick_s : float
        With the ring, how long the slowest vCPU takes to leave the guest (`migsim.models.dirty.ring`).
    spread : {"random", "runs"}
        Whether dirty pages lie at random or in runs; it matters for word-wise steps only.

    Raises
    ------
    ParameterError
        For a negative size or count, or more dirty pages than the RAM has.
    ProfileError
        Where `costs` lacks a cost.

    Examples
    --------
    >>> from migsim.profiles.published import cost_preset
    >>> old, new = cost_preset("era-2012").at(), cost_preset("era-2020-x86").at()
    >>> [round(sync_parts(LAYOUTS[k], 512 << 30, 0, c).total_s, 3) for k, c in (("1.3", old), ("2.0", new))]
    [1.788, 0.008]
    """
    pages = ram_bytes / GIB * PAGES_PER_GIB
    if ram_bytes < 0 or not 0 <= dirty_pages <= pages:
        raise ParameterError(
            f"A sync of {dirty_pages} dirty pages in {ram_bytes} bytes of RAM.",
            "Sizes are 0 or more, and no more pages are dirty than the RAM has.",
            "Give RAM in bytes and dirty pages of 4 KiB.",
        )
    gib = ram_bytes / GIB
    parts = SyncParts(base_s=base_s)
    if layout.dirty_ring:
        reap = costs["slot_s_per_word"] + costs["protect_s_per_dirty_page"]
        parts = replace(parts, kick_s=kick_s, ring_s=dirty_pages * reap)
    else:
        parts = replace(
            parts,
            log_s=gib * costs["kernel_log_s_per_gib"],
            protect_s=0.0 if layout.manual_protect else dirty_pages * costs["protect_s_per_dirty_page"],
        )
    if layout.step == "word":
        words = dirty_words(pages, dirty_pages, spread)
        return replace(
            parts,
            slot_s=gib * costs["slot_s_per_gib"] + words * costs["slot_s_per_word"],
            block_s=gib * costs["block_s_per_gib"] + words * costs["block_s_per_word"],
        )
    parts = replace(
        parts, slot_s=gib * costs["slot_s_per_gib"] + dirty_pages * costs["slot_s_per_dirty_page"]
    )
    if layout.passes == 0:
        return parts
    page_s = costs["block_two_passes_s_per_page" if layout.passes == 2 else "block_one_pass_s_per_page"]
    return replace(parts, block_s=pages * page_s + dirty_pages * costs["block_s_per_dirty_page"])


def clear_s(
    layout: BitmapLayout, ram_bytes: float, costs: Mapping[str, float], *, chunk_pages: int = CHUNK_PAGES
) -> float:
    """Return how long the vCPUs' faults wait while one chunk is cleared, before its first page is sent.

    It is 0 where the release clears at the sync. The last chunk of a guest may be smaller than the others.

    Examples
    --------
    >>> from migsim.profiles.published import cost_preset
    >>> clear_s(bitmap_layout("4.1"), 64 << 30, cost_preset("era-2020-x86").at())
    0.0015
    """
    if not layout.clear_chunks:
        return 0.0
    return costs["clear_s_per_gib"] * min(ram_bytes / GIB, chunk_pages / PAGES_PER_GIB)


def sync_share(sync_s: float, rest_s: float) -> float:
    """Return the share of the final sync in a downtime whose other parts take `rest_s`.

    Examples
    --------
    >>> sync_share(1.0, 3.0)
    0.25
    """
    whole = sync_s + rest_s
    return sync_s / whole if whole > 0 else 0.0
