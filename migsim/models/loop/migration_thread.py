r"""What the migration thread estimates and decides.

Law
---
A window closes at the first check 100 ms or more after it began. With `tr` bytes sent in `W` ms, by goodput alone:

.. math:: B = tr / W \qquad \theta = B\,\tau \qquad \text{mbps} = \frac{8\,tr}{W/1000}\,10^{-6}

(8.2 on: `avail-switchover-bandwidth`/1000, without its fraction, replaces `B` in :math:`\theta` and in
`expected-downtime` when it is set).
`expected-downtime` = (bytes dirty right after the last sync) / B, up to 2.12 (bytes of a second's new dirty pages) / B,
refreshed only when `dirty-pages-rate` is known and more than 10000 bytes went in the window. The thread syncs when its
estimate :math:`R < \theta` and switches over when the exact :math:`R` is 0 or below :math:`\theta`.

Mirrors: `migration/migration.c` migration_update_counters, migration_iteration_run; `migration/ram.c` pending.
Source: QEMU's releases 2.0 to 10.0; `expected-downtime` by the rate up to 2.12, by what remains from 3.0 on.
"""

from __future__ import annotations

from typing import NamedTuple

from migsim.units import PAGE_BYTES

__all__ = [
    "DIRTY_RATE_PERIOD_S",
    "LEARN_BYTES",
    "WindowEstimate",
    "close_window",
    "dirty_pages_rate",
    "expected_bytes",
    "may_switch_over",
    "needs_exact",
]

LEARN_BYTES = 10_000
"""Below this many bytes in a window `expected-downtime` is not refreshed."""

DIRTY_RATE_PERIOD_S = 1.0
"""A sync computes `dirty-pages-rate` when the last computation was longer ago than this."""


class WindowEstimate(NamedTuple):
    """The estimates that the thread takes from a closed window.

    Attributes
    ----------
    bandwidth_bytes_per_ms : float
        Goodput of the window.
    threshold_bytes : float
        Switchover threshold.
    mbps : float
        Rate as QMP reports it, in decimal megabits a second.
    pages_per_second : float
        Pages handled a second.
    expected_downtime_ms : float or None
        None where this window does not refresh it.
    """

    bandwidth_bytes_per_ms: float
    threshold_bytes: float
    mbps: float
    pages_per_second: float
    expected_downtime_ms: float | None


def close_window(
    sent_bytes: float,
    sent_pages: float,
    window_s: float,
    downtime_limit_ms: float,
    expected_bytes: float,
    dirty_pages_rate: float,
    avail_switchover_bandwidth: int = 0,
) -> WindowEstimate:
    """Compute the estimates at the end of a window (`migration_update_counters`); see `expected_bytes`.

    Examples
    --------
    >>> e = close_window(12_500_000, 3045, 0.1, downtime_limit_ms=300, expected_bytes=0, dirty_pages_rate=0)
    >>> e.bandwidth_bytes_per_ms, e.threshold_bytes, e.mbps
    (125000.0, 37500000.0, 1000.0)
    """
    bandwidth = sent_bytes / (window_s * 1000)
    switchover = float(avail_switchover_bandwidth // 1000) if avail_switchover_bandwidth else bandwidth
    learned = dirty_pages_rate > 0 and sent_bytes > LEARN_BYTES and switchover > 0
    return WindowEstimate(
        bandwidth_bytes_per_ms=bandwidth,
        threshold_bytes=switchover * downtime_limit_ms,
        mbps=sent_bytes * 8 / window_s / 1e6,
        pages_per_second=sent_pages / window_s,
        expected_downtime_ms=expected_bytes / switchover if learned else None,
    )


def expected_bytes(dirty_after_sync_bytes: float, dirty_pages_rate: float, from_rate: bool) -> float:
    """Return the bytes whose time is `expected-downtime`: what the last sync left, or a second's new dirty pages.

    Examples
    --------
    >>> expected_bytes(8192.0, 100.0, False), expected_bytes(8192.0, 100.0, True)
    (8192.0, 409600.0)
    """
    return dirty_pages_rate * PAGE_BYTES if from_rate else dirty_after_sync_bytes


def needs_exact(estimate_bytes: float, threshold_bytes: float) -> bool:
    """Whether the thread syncs the bitmap before it decides: the estimate is below the threshold."""
    return estimate_bytes < threshold_bytes


def may_switch_over(pending_bytes: float, threshold_bytes: float, inclusive: bool = False) -> bool:
    """Whether the pending bytes allow the switchover (`migration_iteration_run`).

    Examples
    --------
    >>> may_switch_over(0, 0), may_switch_over(10, 10), may_switch_over(10, 10, inclusive=True)
    (True, False, True)
    """
    within = pending_bytes <= threshold_bytes if inclusive else pending_bytes < threshold_bytes
    return pending_bytes == 0 or within


def dirty_pages_rate(new_dirty_pages: float, period_s: float) -> float:
    """Return the newly dirty pages a second of a closed period."""
    return new_dirty_pages / period_s
