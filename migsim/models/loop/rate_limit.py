r"""The bandwidth limiter: a quota of bytes in every 100 ms window.

Law
---
Quota :math:`q = \lfloor L/10 \rfloor`; sending stops at the first check that finds more than `q` used, and what is
left of a quota is lost when the window closes. Charged when queued (up to 8.0) a window carries
:math:`\lfloor q/4104\rfloor+1` pages; charged when written (8.2 on) it carries whole batches of 32 pages, the first
number of them that exceeds `q`; under XBZRLE, which copies pages into the stream's buffer, whole buffers of 32 KiB.
8.1 charges what is written too, but writes all that is queued when it looks, after each page: it carries what 8.0 does.

The thread wakes up late: a window lasts 100 ms and a bit, the more the busier the host is with the migration itself,

.. math:: W = 100\,\mathrm{ms} + c_0 + c_L L

measured on the host at two rates. Leaves out: that a page takes longer where each is a write of its own (8.1); the part
of a batch that an iterate call flushes when its time is up, and zero pages, which are written by 32 KiB.

Mirrors: `migration/qemu-file.c`, `migration/migration-stats.c`, `migration/migration.c` migration_rate_limit.
"""

from __future__ import annotations

from math import inf
from typing import Literal

from migsim.models.loop.page_stream import BATCH_BYTES, BUFFER_BYTES

__all__ = ["ITERATE_MAX_S", "WINDOW_S", "wake_up_s", "window_bytes", "window_quota_bytes"]

WINDOW_S = 0.100
"""Accounting window (`BUFFER_DELAY`)."""

ITERATE_MAX_S = 0.051
"""One RAM iterate call ends when its whole milliseconds exceed 50."""


def window_quota_bytes(max_bandwidth: int) -> float:
    """Return the quota of one window in bytes; infinite where `max_bandwidth` is 0 (no limit).

    Examples
    --------
    >>> window_quota_bytes(125_000_000)
    12500000.0
    """
    return float(max_bandwidth // 10) if max_bandwidth else inf


def window_bytes(
    quota_bytes: float, record_bytes: float, charged_at: Literal["enqueue", "flush"], copied: bool = False
) -> float:
    """Return the bytes after which a window that sends records of one size stops.

    Parameters
    ----------
    quota_bytes : float
    record_bytes : float
        Size of one record with its header.
    charged_at : {"enqueue", "flush"}
    copied : bool
        Whether pages are copied into the stream's buffer, as XBZRLE does.

    Examples
    --------
    >>> window_bytes(12_500_000.0, 4104, "enqueue")
    12500784.0
    >>> window_bytes(12_500_000.0, 4104, "flush")
    12607488.0
    >>> window_bytes(5_000_000.0, 4104, "flush", copied=True)
    5013504.0
    """
    if quota_bytes == inf:
        return quota_bytes
    written = BUFFER_BYTES if copied else BATCH_BYTES
    unit = record_bytes if charged_at == "enqueue" else written
    return (quota_bytes // unit + 1) * unit


def wake_up_s(
    max_bandwidth: int, *, window_overhead_s: float, window_overhead_s_per_gib_per_s: float
) -> float:
    """Return the mean time that a rate-limited window lasts longer than 100 ms.

    Examples
    --------
    >>> wake_up_s(1 << 30, window_overhead_s=0.0003, window_overhead_s_per_gib_per_s=0.002)
    0.0023
    """
    return window_overhead_s + window_overhead_s_per_gib_per_s * max_bandwidth / (1 << 30)
