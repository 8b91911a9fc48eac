r"""A vCPU's dirty ring: how long it takes to fill, and what a sync and a full ring cost the vCPU.

Law
---
A page enters the ring at its first write since it was last protected, which reaping the ring does. So a ring of `n`
entries holds *distinct* pages, and is full once

.. math:: U(t_f) = n - r, \qquad r = 64 \;(+\,512 \text{ with PML})

pages were written since the last reap; never, when the vCPU has no more to write. A write that KVM carries out itself
adds an entry every time, so where the host emulates the guest :math:`t_f` is :math:`n - r` over the rate of writes.

A full ring takes the vCPU out of KVM. QEMU reaps it (all rings, unless a dirty limit is in force), and with a limit the
vCPU then sleeps `s`.

A sync, of the migration or of the limit's own measurement, makes every vCPU run a work item and waits for it, then
reaps all rings. Nothing ends such a sleep early, so the sync waits until the last sleeper wakes up, and the time
between two syncs starts with every vCPU awake and its ring empty. In `L` between two syncs, with :math:`c = t_f + s`,

.. math:: k = \lfloor L / c \rfloor, \quad q = L - k c: \qquad
          q \ge t_f \Rightarrow (k{+}1)\ \text{full rings},\ (k{+}1)\,c \text{ long}; \qquad
          q < t_f \Rightarrow k \text{ full rings},\ L \text{ long}

A ring that takes longer than `L` to fill is never full, and the vCPU never sleeps.

Mirrors: `accel/kvm/kvm-all.c`, `system/dirtylimit.c` (7.1 to 10.2); Linux `virt/kvm/dirty_ring.c`.
Leaves out: pages that PML hands over 512 at a time; what a vCPU writes while a sync waits for another one.
Source: QEMU's and Linux's release trees; the mechanics reference, section 3.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError
from migsim.models.dirty.page_writes import unique_pages

__all__ = [
    "PML_ENTRIES",
    "RESERVED_ENTRIES",
    "RingInterval",
    "ring_fill_pages",
    "ring_fill_s",
    "ring_interval",
    "ring_run_fraction",
]

RESERVED_ENTRIES = 64
"""Entries that KVM keeps free."""

PML_ENTRIES = 512
"""Further entries that KVM keeps free where page-modification logging is on (Intel)."""

MOST_ENTRIES = 65536


def ring_fill_pages(ring_entries: int, *, pml: bool = False) -> int:
    """Return the number of pages after which a ring is full.

    Raises
    ------
    ParameterError
        For a size that QEMU or KVM refuses.

    Examples
    --------
    >>> ring_fill_pages(4096), ring_fill_pages(4096, pml=True)
    (4032, 3520)
    """
    reserved = RESERVED_ENTRIES + PML_ENTRIES * pml
    if ring_entries & (ring_entries - 1) or not reserved < ring_entries <= MOST_ENTRIES:
        raise ParameterError(
            f"dirty-ring-size is {ring_entries}.",
            f"It is a power of two above {reserved} (QEMU, KVM) and at most {MOST_ENTRIES} (KVM).",
            "Use 1024 to 65536.",
        )
    return ring_entries - reserved


def ring_fill_s(
    pages: NDArray[np.float64],
    writes_per_page_per_s: NDArray[np.float64],
    is_sweep: NDArray[np.bool_],
    fill_pages: float,
) -> float:
    """Return the time that a vCPU runs until it has written `fill_pages` distinct pages; infinite where it never does.

    Parameters
    ----------
    pages, writes_per_page_per_s, is_sweep : ndarray, shape (classes,)
        The vCPU's page classes, as `migsim.models.dirty.page_writes.unique_pages` takes them.
    fill_pages : float
        As `ring_fill_pages` returns it.

    Examples
    --------
    >>> ring_fill_s(np.array([10000.0]), np.array([2.0]), np.array([True]), 4000)
    0.2
    """

    def written(seconds: float) -> float:
        return float(unique_pages(pages, writes_per_page_per_s, is_sweep, np.array([seconds]))[0])

    busy = writes_per_page_per_s > 0
    if float(np.sum(pages, where=busy)) <= fill_pages:
        return inf
    high = fill_pages / float(pages @ writes_per_page_per_s)  # the shortest time: no page is written twice
    low = 0.0
    while written(high) < fill_pages:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if written(middle) < fill_pages else (low, middle)
    return round(high, 12)


@dataclass(frozen=True, slots=True)
class RingInterval:
    """A vCPU's time between two syncs.

    Attributes
    ----------
    length_s : float
        Time from one reap to the next: as planned, or until the sleeping vCPU wakes up.
    fulls : int
        Number of full rings, each with one sleep.
    run_s : float
        Time that the vCPU runs.
    rest_s : float
        Time that it runs after the last full ring; the sync finds the pages written in it.
    """

    length_s: float
    fulls: int
    run_s: float
    rest_s: float


def ring_interval(fill_s: float, sleep_s: float, interval_s: float) -> RingInterval:
    """Advance a vCPU from one sync to the next.

    Parameters
    ----------
    fill_s : float
        As `ring_fill_s` returns it.
    sleep_s : float
        The vCPU's sleep at a full ring; 0 without a limit.
    interval_s : float
        Time from the last reap until the next sync begins.

    Examples
    --------
    >>> ring_interval(0.25, 0.5, 1.0)
    RingInterval(length_s=1.5, fulls=2, run_s=0.5, rest_s=0.0)
    >>> ring_interval(0.25, 9.0, 0.1).fulls
    0
    """
    if fill_s <= 0 or min(sleep_s, interval_s) < 0:
        raise ParameterError(
            f"A ring that fills in {fill_s} s, sleeps of {sleep_s} s, a sync after {interval_s} s.",
            "A ring takes time to fill, and no time is negative.",
            "Give seconds.",
        )
    cycle = fill_s + sleep_s
    fulls = int(interval_s // cycle)
    rest = interval_s - fulls * cycle if fulls else interval_s
    if rest >= fill_s:
        fulls += 1
        return RingInterval(fulls * cycle, fulls, fulls * fill_s, 0.0)
    run = fulls * fill_s if fulls else 0.0
    return RingInterval(interval_s, fulls, run + rest, rest)


def ring_run_fraction(fill_s: float, sleep_s: float) -> float:
    """Return the share of time that a writing vCPU does not sleep, without the effect of syncs.

    Examples
    --------
    >>> ring_run_fraction(0.25, 0.75), ring_run_fraction(inf, 0.75)
    (0.25, 1.0)
    """
    return 1.0 if fill_s == inf else fill_s / (fill_s + sleep_s)
