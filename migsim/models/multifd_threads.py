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
A migration thread that spins while it waits (`migsim.models.multifd.MultifdRules.spins`) is one more that wants all
that it can get, and `q` lies within that.

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

    def needed_s(self, spins: ArrayLike = False) -> Floats:
        """Processor time of a page in the threads that take what they need and no more."""
        ends = np.asarray(self.send_s, float) + np.asarray(self.receive_s, float)
        return np.asarray(ends + np.where(spins, 0.0, np.asarray(self.queue_s, float)))

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
    spins: ArrayLike = False,
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
    spins : array_like of bool
        Whether the migration thread spins while it waits.

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
    spinning = np.asarray(spins, bool)
    wanting = np.asarray(busy_vcpus, float) + spinning
    shared = (wanting * b + work.needed_s(spinning)) / np.asarray(cpus, float)
    return np.asarray(np.maximum(b, shared))


def guest_share(
    work: PageWork, page_s: ArrayLike, *, cpus: ArrayLike, busy_vcpus: ArrayLike, spins: ArrayLike = False
) -> Floats:
    """Share of its full speed at which the guest runs while a page is sent every `page_s`.

    Parameters
    ----------
    work : PageWork
    page_s : array_like
        What `multifd_page_s` says, or longer where something else holds the sender up.
    cpus, busy_vcpus, spins : array_like
        As `multifd_page_s`.

    Examples
    --------
    >>> fresh = PageWork(0.1e-6, 0.7e-6, 9e-6)
    >>> alone = multifd_page_s(fresh, [1, 2, 4], cpus=2, busy_vcpus=1)
    >>> guest_share(fresh, alone, cpus=2, busy_vcpus=1).round(2).tolist()
    [0.96, 0.63, 0.37]
    """
    spinning = np.asarray(spins, bool)
    wanting = np.asarray(busy_vcpus, float) + spinning
    left = np.asarray(cpus, float) - work.needed_s(spinning) / np.maximum(np.asarray(page_s, float), 1e-12)
    return np.asarray(np.clip(left / np.maximum(wanting, 1e-12), 0.0, 1.0))
