r"""Which writes QEMU's dirty log sees under TCG.

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

From 2.0 to 8.2 a page with :math:`r` writes a second, whose entry gives way :math:`\lambda` times a second (to another
page of its slot, or to a flush), has an entry at a sync with probability :math:`r/(r+\lambda)` and counts in the window
:math:`t` after it with

.. math:: F(t) = 1 - e^{-rt} - \frac{r}{r+\lambda}
          \left(\frac{r e^{-\lambda t} - \lambda e^{-rt}}{r-\lambda} - e^{-rt}\right)

which is all that is written for :math:`\lambda \gg r`, and nothing for :math:`\lambda = 0`. What is subtracted from
:math:`1-e^{-rt}` was written, is not seen, and is out of date at the destination. A TLB of `E` entries misses no more
than `E` pages and its 8 victims, those that are written most. A guest that writes `w` times a second over many more
pages than that has

.. math:: \lambda = w / E

A first write costs the slow path once, no fault: some 0.1 µs.

Mirrors: `accel/tcg/cputlb.c` (tlb_reset_dirty, notdirty_write, tlb_set_page), `include/exec/ram_addr.h`
cpu_physical_memory_sync_dirty_bitmap, `softmmu/physmem.c` tcg_commit (2.0 to 10.0).
Leaves out: the victim TLB, TLBs that grow or shrink at a flush, a TLB for each privilege mode; from 9.0 on, a sync
in which only pages that are still to be sent were written: it clears their bits and marks nothing.
Source: QEMU's commits aa8dc044772 (2.0) and 03bfc2188f06 (9.0, not in the 7.2 series); live 7.2.22 and 10.0.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.errors import ParameterError
from migsim.models.dirty.page_writes import random_fraction
from migsim.qapi import QemuVersion

__all__ = ["missed_fraction", "misses_writes", "seen_fraction", "tcg_notes"]

Floats = NDArray[np.float64]


def misses_writes(version: QemuVersion | str, accel: str) -> bool:
    """Return whether the log misses writes after a sync.

    Examples
    --------
    >>> misses_writes("7.2", "tcg"), misses_writes("10.0", "tcg"), misses_writes("7.2", "kvm")
    (True, False, False)
    """
    return accel == "tcg" and QemuVersion(2, 0) <= QemuVersion.parse(version) < QemuVersion(9, 0)


def missed_fraction(rate: ArrayLike, lost_per_s: ArrayLike, window_s: ArrayLike) -> Floats:
    """Return the fraction of pages written since the last sync that the log does not report.

    Parameters
    ----------
    rate : array_like
        Writes to each page, 1/s.
    lost_per_s : array_like
        Rate at which its TLB entry is replaced, 1/s.
    window_s : array_like
        Time since the sync.

    Raises
    ------
    ParameterError
        For a negative rate or time.

    Examples
    --------
    A page alone in its slot of the TLB, and one of many:

    >>> missed_fraction(5.0, [0.0, 80.0], 0.3).round(4).tolist()
    [0.7769, 0.0009]
    """
    r, lost, t = (np.asarray(x, float) for x in (rate, lost_per_s, window_s))
    if (r < 0).any() or (lost < 0).any() or (t < 0).any():
        raise ParameterError(
            f"Pages written {rate!r} times a second, entries lost {lost_per_s!r} times, a window of {window_s!r} s.",
            "Rates and times are 0 or more.",
            "Give writes of one page a second, and seconds.",
        )
    resident = np.divide(r, r + lost, out=np.zeros(np.broadcast(r, lost).shape), where=r + lost > 0)
    # The page is written at least once before its entry is replaced, and not after. The chance is a convolution of two
    # exponentials, whose formula needs its limit where both rates are equal.
    gap = r - lost
    near = np.abs(gap) < 1e-6 * np.maximum(r + lost, 1e-12)
    apart = np.divide(np.exp(-lost * t) - np.exp(-r * t), np.where(near, 1.0, gap))
    return np.asarray(resident * r * np.where(near, t * np.exp(-r * t), apart))


def seen_fraction(rate: ArrayLike, lost_per_s: ArrayLike, window_s: ArrayLike) -> Floats:
    """Return the fraction of pages that the log reports `window_s` after a sync; parameters as `missed_fraction`.

    Examples
    --------
    >>> seen_fraction(5.0, [0.0, 80.0], 0.3).round(4).tolist()
    [0.0, 0.776]
    """
    written = random_fraction(np.asarray(rate, float), np.asarray(window_s, float))
    return np.maximum(written - missed_fraction(rate, lost_per_s, window_s), 0.0)


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
