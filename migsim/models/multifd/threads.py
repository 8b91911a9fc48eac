r"""How fast multifd's threads send a page, and what they leave the guest.

Law
---
The migration thread queues a page in processor time :math:`q`, one of `n` channels sends it in :math:`s`, the thread
at its other end receives it in :math:`r`. A packet is more than a socket holds, so a channel's two ends take turns;
beside that work a page waits :math:`\tau_q` for the migration thread to be woken when a channel is free, and
:math:`\tau_c` for the ends to wake each other. A host's `c` processors are shared out fairly: when they run short, the
`v` busy vCPUs and the slowest thread get the same part :math:`L` of one each, and the others what they need. A page
takes the smallest :math:`t` that suits all,

.. math:: t \ge \frac{q}{L} + \tau_q \qquad n\,t \ge \frac{s + r}{L} + \tau_c \qquad
          L = \min\Bigl(1,\ \frac{c - (q + s + r)/t}{v}\Bigr) \qquad t \ge \frac{q + s + r}{c}

and no less than its bytes take on the network. For work :math:`a` with wait :math:`\tau` in :math:`n` threads that is
the larger of :math:`(a + \tau)/n` and of the greater root of

.. math:: c\,n\,t^2 - \bigl(c\,\tau + v\,a + n\,(q + s + r)\bigr)\,t + (q + s + r)\,\tau = 0

The guest runs at the share `L`. So more channels help until the processors are used up, then they take from the guest.
In the blackout :math:`v = 0`. A migration thread that spins while it waits
(`migsim.models.multifd.packets.MultifdRules.spins`) is one more that wants all that it can get, and `q` lies within
that.

Mirrors: `migration/multifd.c` multifd_send_pages, multifd_send_thread, multifd_recv_thread; Linux' fair scheduler.
Leaves out: source and destination on hosts of their own, where each end has processors for itself (the probes run both
on one); that faults of several channels on the destination hold each other up; the wait of channels for each other at
the end of a round.
Source: the mechanics reference, section 7.1, for the threads; times by thread from live runs of 1, 2 and 4 channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PageWork", "guest_share", "lost_a_page_s", "multifd_page_s"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PageWork:
    """Times of one page in seconds; numbers, or arrays of one shape.

    Attributes
    ----------
    queue_s : float
        Processor time in the migration thread.
    send_s, receive_s : float
        Processor time in a channel's thread on the source and on the destination.
    queue_wait_s, channel_wait_s : float
        Time in which the migration thread, or both ends of the channel, wait to be woken.
    """

    queue_s: ArrayLike
    send_s: ArrayLike
    receive_s: ArrayLike
    queue_wait_s: ArrayLike = 0.0
    channel_wait_s: ArrayLike = 0.0

    @property
    def ends_s(self) -> Floats:
        """Processor time of a channel's two ends."""
        return np.asarray(np.asarray(self.send_s, float) + np.asarray(self.receive_s, float))

    def needed_s(self, spins: ArrayLike = False) -> Floats:
        """Return the processor time of a page in the threads that do not spin."""
        return np.asarray(self.ends_s + np.where(spins, 0.0, np.asarray(self.queue_s, float)))


def multifd_page_s(
    work: PageWork,
    channels: ArrayLike,
    *,
    cpus: ArrayLike,
    busy_vcpus: ArrayLike,
    link_page_s: ArrayLike = 0.0,
    spins: ArrayLike = False,
) -> Floats:
    """Return the time between two pages, in seconds.

    Parameters
    ----------
    work : PageWork
    channels : array_like
        `multifd-channels`.
    cpus : array_like
        Processors that both ends of the channels and the guest share.
    busy_vcpus : array_like
        Number of vCPUs that want a processor all the time; 0 in the blackout.
    link_page_s : array_like
        Time of a page on the network.
    spins : array_like of bool
        Whether the migration thread spins while it waits.

    Examples
    --------
    A page new to the destination costs 9 us of faults there. Two processors serve one busy vCPU and few channels.

    >>> fresh = PageWork(0.1e-6, 0.7e-6, 9e-6)
    >>> (multifd_page_s(fresh, [1, 2, 4], cpus=2, busy_vcpus=1) * 1e6).round(2).tolist()
    [9.75, 7.32, 6.11]
    >>> (multifd_page_s(fresh, [1, 2, 4], cpus=64, busy_vcpus=1) * 1e6).round(3).tolist()
    [9.7, 4.85, 2.425]
    """
    spinning = np.asarray(spins, bool)
    wanting = np.asarray(busy_vcpus, float) + spinning
    needed = work.needed_s(spinning)
    c = np.asarray(cpus, float)
    queue = _threads_page_s(work.queue_s, work.queue_wait_s, 1.0, needed, c, wanting)
    ends = _threads_page_s(work.ends_s, work.channel_wait_s, channels, needed, c, wanting)
    return np.asarray(np.maximum(np.maximum(queue, ends), np.asarray(link_page_s, float)))


def _threads_page_s(
    work_s: ArrayLike, wait_s: ArrayLike, threads: ArrayLike, needed_s: Floats, cpus: Floats, wanting: Floats
) -> Floats:
    """Return the shortest time between two pages that threads of one kind reach."""
    a, tau, n = np.asarray(work_s, float), np.asarray(wait_s, float), np.asarray(threads, float)
    middle = cpus * tau + wanting * a + n * needed_s
    inner = np.maximum(middle**2 - 4 * cpus * n * needed_s * tau, 0.0)
    return np.asarray(np.maximum((a + tau) / n, (middle + np.sqrt(inner)) / (2 * cpus * n)))


def lost_a_page_s(
    page_s: float, time_0: float, time_1: float, time_2: float, lost_0: float, lost_1: float, lost_2: float
) -> float:
    """Return the guest's time lost to a raw page, interpolated between three kinds of pages by the page's mean time.

    Parameters
    ----------
    page_s : float
    time_0, time_1, time_2 : float
        Time of a page of each kind, ascending; of kinds with equal times the last one counts.
    lost_0, lost_1, lost_2 : float
        Guest's time lost to a page of each kind.

    Examples
    --------
    >>> [lost_a_page_s(t, 1.0, 2.0, 4.0, 0.0, 1.0, 2.0) for t in (0.5, 1.5, 3.0, 5.0)]
    [0.0, 0.5, 1.5, 2.0]
    """
    reached = page_s * (1 + 1e-9)
    if reached >= time_2:
        return lost_2
    if reached >= time_1:
        return lost_1 + (page_s - time_1) / (time_2 - time_1) * (lost_2 - lost_1)
    if reached >= time_0:
        return lost_0 + (page_s - time_0) / (time_1 - time_0) * (lost_1 - lost_0)
    return lost_0


def guest_share(
    work: PageWork, page_s: ArrayLike, *, cpus: ArrayLike, busy_vcpus: ArrayLike, spins: ArrayLike = False
) -> Floats:
    """Return the share of its full speed at which the guest runs while a page is sent every `page_s`.

    Parameters
    ----------
    work : PageWork
    page_s : array_like
        Result of `multifd_page_s`, or a longer time where something else delays the sender.
    cpus, busy_vcpus, spins : array_like
        As `multifd_page_s`.

    Examples
    --------
    >>> fresh = PageWork(0.1e-6, 0.7e-6, 9e-6)
    >>> alone = multifd_page_s(fresh, [1, 2, 4], cpus=2, busy_vcpus=1)
    >>> guest_share(fresh, alone, cpus=2, busy_vcpus=1).round(2).tolist()
    [0.99, 0.66, 0.4]
    """
    spinning = np.asarray(spins, bool)
    wanting = np.asarray(busy_vcpus, float) + spinning
    left = np.asarray(cpus, float) - work.needed_s(spinning) / np.maximum(np.asarray(page_s, float), 1e-12)
    return np.asarray(np.clip(left / np.maximum(wanting, 1e-12), 0.0, 1.0))
