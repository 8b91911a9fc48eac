r"""Which pages the dirty log reports at the next bitmap sync.

Law
---
The log holds what was written since a page was last write-protected. Between the syncs at :math:`T_0` and :math:`T_1`
a page is in one of three states, and counts at :math:`T_1` when it was written in its own *protect window*:

=============================  =======================================================================
state since :math:`T_0`        protect window
=============================  =======================================================================
clean at :math:`T_0`           :math:`(T_0, T_1]`
dirty at :math:`T_0`, sent     KVM with lazy clearing (QEMU 4.1+): :math:`(t_c, T_1]`, where :math:`t_c`
                               is when the first page of its 1 GiB chunk was sent; otherwise (TCG,
                               dirty ring, older QEMU): :math:`(T_0, T_1]`
dirty at :math:`T_0`, unsent   still in the migration bitmap, whatever was written
=============================  =======================================================================

so that, with :math:`F(a,b)` the fraction written in :math:`(a,b]`,

.. math:: D' = D_{unsent} + D_{sent} F(t_c, T_1) + (n - D_{unsent} - D_{sent}) F(T_0, T_1)

A write between the protect point and the page's own transmission is reported although its contents were sent:
that "false dirty" page is part of the law, not an error of it.

Under TCG the log is QEMU's own, and clearing a chunk clears nothing in it; from 2.0 to 8.2 it misses writes besides
(`migsim.models.dirty.tcg_log`).

Leaves out: a page left unsent over a sync and not written since its chunk was cleared has a clear bit in the kernel,
so a write before the chunk's next clearing still counts; here it does not.

Mirrors: `migration/ram.c` (clear bitmap), `accel/kvm/kvm-all.c` (log clear), Linux `KVM_CLEAR_DIRTY_LOG`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from migsim.qapi import QemuVersion

__all__ = ["CHUNK_PAGES", "protect_window", "reported_pages"]

Floats = NDArray[np.float64]

CHUNK_PAGES = 1 << 18
"""Pages of one clear-bitmap chunk: `x-clear-bitmap-shift` 18, 1 GiB of 4 KiB pages."""


def protect_window(version: QemuVersion, accel: str, dirty_ring: bool) -> Literal["chunk", "sync"]:
    """Return whether a sent page counts again from its chunk's clearing or from the sync on.

    Examples
    --------
    >>> protect_window(QemuVersion.parse("7.2"), "kvm", False)
    'chunk'
    >>> protect_window(QemuVersion.parse("10.0"), "tcg", False)
    'sync'
    """
    lazy = accel == "kvm" and not dirty_ring and version >= QemuVersion.parse("4.1")
    return "chunk" if lazy else "sync"


def reported_pages(
    pages: Floats, unsent: Floats, sent: Floats, written_since_sync: Floats, written_since_clear: Floats
) -> Floats:
    """Return the dirty pages in the migration bitmap right after a sync, for each set of pages.

    Parameters
    ----------
    pages, unsent, sent : ndarray
        Pages of the set; pages dirty at the last sync and not sent since; pages dirty then and sent since.
    written_since_sync, written_since_clear : ndarray
        Fraction of pages written since the last sync, and since the set's chunk was cleared.

    Examples
    --------
    >>> one = np.ones(1)
    >>> reported_pages(100 * one, 10 * one, 40 * one, 0.5 * one, 0.25 * one).tolist()
    [45.0]
    """
    clean = np.maximum(pages - unsent - sent, 0.0)
    return np.minimum(pages, unsent + sent * written_since_clear + clean * written_since_sync)
