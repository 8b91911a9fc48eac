r"""How fast multifd's threads send a page, and what they leave the guest.

Law
---
The migration thread queues a page in :math:`q`, one of `n` channels sends it in :math:`s`, the thread at its other end
receives it in :math:`r`: processor times. All work at once, so the slowest bounds the rest,

.. math:: b = \max(q,\ s/n,\ r/n,\ \text{page bytes} / \text{link})

A host shares its `c` processors fairly. The `v` busy vCPUs and the slowest thread want all that they can get; when
processors run short each of them gets the same part :math:`L` of one, and the others what they need:

.. math:: v L + \frac{L}{b}(q + s + r) = c \qquad
          t_{page} = \frac{b}{L} = \max\Bigl(b,\ \frac{v\,b + q + s + r}{c}\Bigr)

while the guest runs at the share that is left to it

.. math:: g = \min\Bigl(1,\ \frac{c - (q + s + r)/t_{page}}{v}\Bigr)

So more channels help until the processors are used up, then they take from the guest. In the blackout :math:`v = 0`.

Mirrors: `migration/multifd.c` multifd_send_pages, multifd_send_thread, multifd_recv_thread; Linux' fair scheduler.
Leaves out: source and destination on hosts of their own, where each end has processors for itself (the probes run both
on one); memory bandwidth; the wait of channels for each other at the end of a round.
Source: the mechanics reference, section 7.1, for the threads; processor times by thread from live runs of 1, 2 and 4
channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PageWork", "guest_share", "multifd_page_s"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PageWork:
    """Processor time of one page in each thread, s; numbers, or arrays of one shape.

    Attributes
    ----------
    queue_s : float
        In the migration thread.
    send_s, receive_s : float
        In a channel's thread on the source and on the destination.
    """

    queue_s: ArrayLike
    send_s: ArrayLike
    receive_s: ArrayLike

    @property
    def total_s(self) -> Floats:
        """All of it."""
        ends = np.asarray(self.send_s, float) + np.asarray(self.receive_s, float)
        return np.asarray(np.asarray(self.queue_s, float) + ends)

    def slowest_s(self, channels: ArrayLike) -> Floats:
        """Time between two pages of the slowest thread, were processors plenty."""
        n = np.asarray(channels, float)
        ends = np.maximum(np.asarray(self.send_s, float), np.asarray(self.receive_s, float)) / n
        return np.asarray(np.maximum(np.asarray(self.queue_s, float), ends))


def multifd_page_s(
    work: PageWork,
    channels: ArrayLike,
    *,
    cpus: ArrayLike,
    busy_vcpus: ArrayLike,
    link_page_s: ArrayLike = 0.0,
) -> Floats:
    """Time between two pages, s.

    Parameters
    ----------
    work : PageWork
    channels : array_like
        `multifd-channels`.
    cpus : array_like
        Processors that both ends and the guest share.
    busy_vcpus : array_like
        vCPUs that want a processor each all the time; 0 in the blackout.
    link_page_s : array_like
        Time of a page on the network.

    Examples
    --------
    A page new to the destination, 9 us of faults there: two processors serve one busy vCPU and few channels.

    >>> fresh = PageWork(0.1e-6, 0.7e-6, 9e-6)
    >>> (multifd_page_s(fresh, [1, 2, 4], cpus=2, busy_vcpus=1) * 1e6).round(2).tolist()
    [9.4, 7.15, 6.02]
    >>> (multifd_page_s(fresh, [1, 2, 4], cpus=64, busy_vcpus=1) * 1e6).round(2).tolist()
    [9.0, 4.5, 2.25]
    """
    b = np.maximum(work.slowest_s(channels), np.asarray(link_page_s, float))
    shared = (np.asarray(busy_vcpus, float) * b + work.total_s) / np.asarray(cpus, float)
    return np.asarray(np.maximum(b, shared))


def guest_share(work_s: ArrayLike, elapsed_s: ArrayLike, *, cpus: ArrayLike, busy_vcpus: ArrayLike) -> Floats:
    """Share of its full speed at which the guest runs while so much processor time goes into its migration.

    Parameters
    ----------
    work_s : array_like
        Processor time of all migration threads in a while.
    elapsed_s : array_like
        How long that while was.
    cpus, busy_vcpus : array_like
        As `multifd_page_s`; 1 where no vCPU is busy.

    Examples
    --------
    >>> guest_share([1.5, 0.5], 1.0, cpus=2, busy_vcpus=1).tolist()
    [0.5, 1.0]
    """
    v = np.asarray(busy_vcpus, float)
    left = np.asarray(cpus, float) - np.asarray(work_s, float) / np.maximum(
        np.asarray(elapsed_s, float), 1e-12
    )
    return np.where(v > 0, np.clip(left / np.maximum(v, 1e-12), 0.0, 1.0), 1.0)
