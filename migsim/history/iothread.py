r"""Migration in the main loop: a timer and a socket handler, all under the big lock (QEMU 1.2 and 1.3).

Law
---
Every 100 ms a timer resets the byte counter and runs one *step*: iterate for up to 50 ms, until the quota is used, the
non-blocking socket refuses data ("frozen") or nothing is dirty. A timer that finds the output frozen does nothing.
Once a third of the socket buffer is free a handler runs another step, if the counter is below the quota.

With :math:`r_c` the rate of a step (copies and kernel in turn), `B` what the network drains, `q` the quota of a tick,
:math:`t_i` the longest step and `T` the tick, an unfrozen and a frozen loop send

.. math:: r = \frac{\min(r_c t_i,\; q)}{T} \quad (r_c \le B) \qquad
          r = \min\!\left(B,\; \frac{q}{T},\; \frac{S/3}{l}\right) \quad (r_c > B)

`S` the socket buffer and `l` the main loop's own latency. So a network that keeps up is used *half* of the time at
most; only a slow one keeps the loop busy. The big lock is held for :math:`r/r_c` of the time.

The step itself decides: with :math:`b = payload/duration` of this one call (a uniform page is 1 byte of payload),

.. math:: R/b \le \tau \;\Rightarrow\; \text{sync, and test again} \;\Rightarrow\; \text{final stage in the same step}

`b` knows neither sleeps nor the network, so it is the speed of memory, and nothing syncs before the first pass is
nearly done.

Mirrors: `buffered_file.c`, `migration.c`, `arch_init.c` of 1.2 and of a 1.2.50 tree of late October 2012 (= 1.3).
Leaves out: the copy of what the socket refused, other users of the main loop.
Source: the mechanics reference, sections 1.9, 6.1 and 6.3; the rates are arithmetic on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from migsim.errors import ParameterError
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S, window_quota_bytes
from migsim.units import PAGE_BYTES

__all__ = [
    "SOCKET_BUFFER_BYTES",
    "STREAM_BUFFER_BYTES",
    "LoopRate",
    "call_bandwidth",
    "loop_rate",
    "may_finish",
    "writable_after_s",
]

SOCKET_BUFFER_BYTES = 4 << 20
"""Size to which Linux lets a TCP send buffer grow by default."""

STREAM_BUFFER_BYTES = 32768
"""Size of QEMU's stream buffer, which is handed to the socket as a whole."""

WRITABLE_SHARE = 1 / 3
"""Linux calls a socket writable once this share of its buffer is free."""


@dataclass(frozen=True, slots=True)
class LoopRate:
    """Rate of the main loop, and its use of the big lock.

    Attributes
    ----------
    bytes_per_s : float
    lock_duty : float
        Share of the time in which the big lock is held.
    frozen : bool
        Whether the network is slower than a step, so that the socket at times refuses data.
    """

    bytes_per_s: float
    lock_duty: float
    frozen: bool


def loop_rate(
    step_bytes_per_s: float,
    drain_bytes_per_s: float,
    *,
    max_bandwidth: int = 0,
    socket_buffer_bytes: float = SOCKET_BUFFER_BYTES,
    loop_latency_s: float = 0.0,
) -> LoopRate:
    """Compute the rate of a guest full of data that nobody writes to.

    Parameters
    ----------
    step_bytes_per_s : float
        Rate of a step: copies and kernel in turn (`migsim.models.loop.copies.one_thread_ceiling`).
    drain_bytes_per_s : float
        Rate of the network, or of the destination if that is slower.
    max_bandwidth : int
        Bytes a second; 0: no limit.
    socket_buffer_bytes : float
    loop_latency_s : float
        Time between the socket's becoming writable and the handler's start.

    Examples
    --------
    >>> loop_rate(400e6, 1177e6)
    LoopRate(bytes_per_s=204000000.0, lock_duty=0.51, frozen=False)
    >>> loop_rate(400e6, 117.7e6).bytes_per_s
    117700000.0
    """
    if min(step_bytes_per_s, drain_bytes_per_s) <= 0:
        raise ParameterError(
            f"A step of {step_bytes_per_s} and a network of {drain_bytes_per_s} bytes a second.",
            "Both rates are above 0.",
            "Correct the rate that is not.",
        )
    quota = window_quota_bytes(max_bandwidth)
    frozen = step_bytes_per_s > drain_bytes_per_s
    if not frozen:
        rate = min(step_bytes_per_s * ITERATE_MAX_S, quota) / WINDOW_S
    else:
        handled = socket_buffer_bytes * WRITABLE_SHARE / loop_latency_s if loop_latency_s else float("inf")
        rate = min(drain_bytes_per_s, quota / WINDOW_S, handled)
    return LoopRate(rate, rate / step_bytes_per_s, frozen)


def writable_after_s(
    level_bytes: float, drain_bytes_per_s: float, socket_buffer_bytes: float = SOCKET_BUFFER_BYTES
) -> float:
    """Compute how long a socket stays unwritable with `level_bytes` in its buffer.

    Examples
    --------
    >>> writable_after_s(4 << 20, 1 << 20)
    1.333333333333333
    """
    excess = level_bytes - socket_buffer_bytes * (1 - WRITABLE_SHARE)
    return max(excess, 0.0) / drain_bytes_per_s


def call_bandwidth(
    normal_pages: float, uniform_pages: float, call_s: float, page_bytes: int = PAGE_BYTES
) -> float:
    """Compute the bandwidth of one iterate call in bytes a second: payload only, a uniform page counts 1 byte.

    Examples
    --------
    >>> call_bandwidth(0, 125_000, 0.05)
    2500000.0
    """
    return (normal_pages * page_bytes + uniform_pages) / call_s if call_s > 0 else 0.0


def may_finish(remaining_bytes: float, call_bytes_per_s: float, downtime_limit_ms: float) -> bool:
    """Whether the step expects to send the remaining bytes within the downtime limit.

    Examples
    --------
    >>> may_finish(25e6, 1e9, 30), may_finish(35e6, 1e9, 30)
    (True, False)
    """
    return remaining_bytes <= call_bytes_per_s * downtime_limit_ms / 1000
