"""Which writes QEMU's dirty log sees under TCG.

Law
---
TCG protects no page. A store goes by a slow path, which sets the page's bit, where the page's entry in the vCPU's TLB
carries a mark. An entry gets the mark when it is filled while the bit is clear, and loses it at the first store. A
bitmap sync clears bits; what it does to entries decides what is seen afterwards:

===========  =====================================================  ==============================================
release      entries at a sync                                      a write counts
===========  =====================================================  ==============================================
up to 1.7    marked page by page                                    from the sync on
2.0 to 8.2   left as they are                                       once the entry was filled anew since the sync
9.0 on       all of a RAM block's marked, when the sync found any   from the sync on
             of its pages newly dirty
===========  =====================================================  ==============================================

The log start empties every TLB, after the first sync, so that the first round is seen whole in all of them. Nothing
is protected chunk by chunk: protect windows begin at the sync (`migsim.models.dirty.log.protect_window`).

From 2.0 to 8.2 what is written through an entry from before the sync is not seen, and is out of date at the
destination. A TLB of `E` entries misses no more than `E` pages and its 8 victims, those that are written most.

A first write costs the slow path once, no fault: some 0.1 µs.

Mirrors: `accel/tcg/cputlb.c` (tlb_reset_dirty, notdirty_write, tlb_set_page), `include/exec/ram_addr.h`
cpu_physical_memory_sync_dirty_bitmap, `softmmu/physmem.c` tcg_commit (2.0 to 10.0).
Leaves out: the victim TLB, TLBs that grow or shrink at a flush, a TLB for each privilege mode; from 9.0 on, a sync
in which only pages that are still to be sent were written: it clears their bits and marks nothing.
Source: QEMU's commits aa8dc044772 (2.0) and 03bfc2188f06 (9.0, not in the 7.2 series); live 7.2.22 and 10.0.2.
"""

from __future__ import annotations

from migsim.qapi import QemuVersion

__all__ = ["misses_writes", "tcg_notes"]


def misses_writes(version: QemuVersion | str, accel: str) -> bool:
    """Return whether the log misses writes after a sync.

    Examples
    --------
    >>> misses_writes("7.2", "tcg"), misses_writes("10.0", "tcg"), misses_writes("7.2", "kvm")
    (True, False, False)
    """
    return accel == "tcg" and QemuVersion(2, 0) <= QemuVersion.parse(version) < QemuVersion(9, 0)


def tcg_notes(version: QemuVersion | str, accel: str) -> tuple[str, ...]:
    """Return the assumptions that a prediction for this QEMU has to list.

    Examples
    --------
    >>> tcg_notes("10.0", "tcg")
    ()
    >>> len(tcg_notes("7.2", "tcg"))
    1
    """
    if not misses_writes(version, accel):
        return ()
    return (
        f"QEMU {version} under TCG does not see writes through TLB entries that are older than a bitmap sync "
        f"(2.0 to 8.2): some hundred pages a vCPU, those that are written most, may go unsent, and the guest may find "
        "them out of date at the destination. The counts here are those of a log that sees every write.",
    )
