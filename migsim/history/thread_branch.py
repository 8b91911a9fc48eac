r"""The migration thread as it was compared in the talk: the development branch of 2012-10-29.

Law
---
An endless loop of two things in turn: *produce* under the big lock (iterate for 50 ms into a growing staging buffer),
then *flush* it with the lock free, blocking. The quota is charged by the flush only, so a limit never ends an iterate.

.. math:: f = \max\left(\frac{b}{B_{sock}},\; \frac{b - \min(S, B p)}{B}\right), \; b = p\, r_{prod} \qquad
          r = \frac{p\, r_{prod}}{p + f} = \frac{1}{1/r_{prod} + 1/B_{sock}} \qquad
          duty = \frac{p}{p + f}

with the kernel's rate :math:`B_{sock}`, and a network of rate `B` that drains the socket buffer `S` while the thread
produces; the second form holds where the network keeps up.

Under a limit below that, each 100 ms window stages :math:`p\, r_{prod}` and sends :math:`q = L/10`: the difference
stays in memory, counts as sent, and is flushed with the guest stopped.

Bandwidth is what was flushed in 100 ms or more, in whole bytes/ms, with sleeps; :math:`\theta = B \tau`, at first 0.
The thread syncs when :math:`R < \theta`, one pass over all pages under the big lock, and stops when then
:math:`R < \theta` or nothing is left. The final stage stages *everything* in memory, then flushes it:

.. math:: t_{down} = t_{stop} + t_{sync} + \frac{R}{r_{prod}} + \frac{S + R}{B_{sock}} + t_{log\,stop} + t_{device}

with `S` what was still staged.

Mirrors: `migration.c`, `buffered_file.c`, `arch_init.c` of the branch (its rebase of 2012-11-16).
Leaves out: growing and moving the staging buffer.
Source: the mechanics reference, section 6.3.
"""

from __future__ import annotations

from dataclasses import dataclass

from migsim.errors import ParameterError
from migsim.history.iothread import SOCKET_BUFFER_BYTES
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S, window_quota_bytes

__all__ = ["ThreadCycle", "branch_threshold_bytes", "flush_s", "thread_cycle"]


@dataclass(frozen=True, slots=True)
class ThreadCycle:
    """One produce step and its flush.

    Attributes
    ----------
    staged_bytes : float
        Bytes that a produce step puts into the staging buffer.
    flush_s : float
        Length of the blocking write to the socket, with the big lock free.
    bytes_per_s : float
        Rate at which bytes are sent, sleeps included.
    lock_duty : float
        Share of the time in which the big lock is held.
    left_bytes_per_s : float
        Growth of the staging buffer under a limit.
    """

    staged_bytes: float
    flush_s: float
    bytes_per_s: float
    lock_duty: float
    left_bytes_per_s: float


def thread_cycle(
    produce_bytes_per_s: float,
    send_bytes_per_s: float,
    *,
    drain_bytes_per_s: float = float("inf"),
    socket_buffer_bytes: float = SOCKET_BUFFER_BYTES,
    max_bandwidth: int = 0,
    produce_s: float = ITERATE_MAX_S,
) -> ThreadCycle:
    """Compute the cycle of a guest full of data that nobody writes to.

    Parameters
    ----------
    produce_bytes_per_s : float
        Rate into the staging buffer.
    send_bytes_per_s : float
        Rate at which the kernel takes bytes from QEMU.
    drain_bytes_per_s : float
        Rate of the network.
    socket_buffer_bytes : float
        Size of the socket's send buffer in the kernel.
    max_bandwidth : int
        Bytes a second; 0: no limit.
    produce_s : float
        Length of one produce step.

    Examples
    --------
    >>> cycle = thread_cycle(800e6, 800e6)
    >>> cycle.bytes_per_s, cycle.lock_duty, cycle.flush_s
    (400000000.0, 0.5, 0.051)
    >>> thread_cycle(800e6, 800e6, max_bandwidth=32 << 20).left_bytes_per_s > 300e6
    True
    """
    if min(produce_bytes_per_s, send_bytes_per_s, drain_bytes_per_s, produce_s) <= 0:
        raise ParameterError(
            f"A produce step of {produce_s} s at {produce_bytes_per_s}, a flush at {send_bytes_per_s} and a network "
            f"of {drain_bytes_per_s} bytes a second.",
            "The time and the rates are above 0.",
            "Correct the one that is not.",
        )
    staged = produce_bytes_per_s * produce_s
    quota = window_quota_bytes(max_bandwidth)

    def flush(stream_bytes: float) -> float:
        room = min(socket_buffer_bytes, drain_bytes_per_s * produce_s)
        return flush_s(stream_bytes, send_bytes_per_s, drain_bytes_per_s, room)

    cycle_s = produce_s + flush(staged)
    if staged / cycle_s * WINDOW_S <= quota:  # the limit does not bind
        return ThreadCycle(staged, flush(staged), staged / cycle_s, produce_s / cycle_s, 0.0)
    produces = max(quota / staged, 1.0)  # produce steps in a window: at least one, whatever the quota
    window_s = max(WINDOW_S, produces * produce_s + flush(quota))
    sent = quota / window_s
    left = staged * produces / window_s - sent if produces == 1.0 else 0.0
    return ThreadCycle(staged, flush(quota), sent, produces * produce_s / window_s, left)


def flush_s(
    staged_bytes: float, send_bytes_per_s: float, drain_bytes_per_s: float, room_bytes: float
) -> float:
    """Compute how long a blocking flush takes: the kernel's copy, or the network once the socket buffer is full.

    Examples
    --------
    >>> flush_s(40e6, 800e6, float("inf"), 4e6), flush_s(40e6, 800e6, 100e6, 4e6)
    (0.05, 0.36)
    """
    return max(staged_bytes / send_bytes_per_s, (staged_bytes - room_bytes) / drain_bytes_per_s)


def branch_threshold_bytes(flushed_bytes: float, window_s: float, downtime_limit_ms: float) -> float:
    """Compute the switchover threshold after a window: whole bytes a millisecond times the limit.

    Examples
    --------
    >>> branch_threshold_bytes(999.0, 0.1, 2000.0)
    18000.0
    """
    return (flushed_bytes // (window_s * 1000)) * downtime_limit_ms
