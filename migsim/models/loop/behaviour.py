"""Which QEMU release does what, as flags that the laws read.

Mirrors the releases 1.2 to 10.2 for plain precopy.
Source: QEMU's release trees, as restated in the mechanics reference (version table).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from migsim.qapi import QemuVersion

__all__ = ["Behaviour", "behaviour_of"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The differences between QEMU releases in plain precopy.

    Attributes
    ----------
    quota_charged_at : {"enqueue", "flush"}
        Whether bytes count against the window's quota when queued (up to 8.0) or when written (8.2 on). 8.1 writes
        what is queued each time that it looks, which is after each page, so that it stops where 8.0 does.
    transferred_counts : {"ram", "stream"}
        Whether `ram.transferred` holds RAM records only (up to 8.1) or every byte of every channel (8.2 on).
    avail_switchover_bandwidth : bool
        Whether that parameter can replace the measured bandwidth in the threshold (8.2 on).
    expected_from_rate : bool
        Whether `expected-downtime` is the time to send a second's new dirty pages (up to 2.12), not what a sync left.
    threshold_inclusive : bool
        Whether pending == threshold switches over (10.1 on) or not.
    byte_split : bool
        Whether `precopy-bytes` and `downtime-bytes` are reported (7.0 on).
    skipped_reported : bool
        Whether `ram.skipped` is reported (up to 9.0).
    """

    quota_charged_at: Literal["enqueue", "flush"]
    transferred_counts: Literal["ram", "stream"]
    avail_switchover_bandwidth: bool
    expected_from_rate: bool
    threshold_inclusive: bool
    byte_split: bool
    skipped_reported: bool


@lru_cache(maxsize=64)
def behaviour_of(version: QemuVersion) -> Behaviour:
    """Return the behaviour of a QEMU release.

    Examples
    --------
    >>> behaviour_of(QemuVersion.parse("7.2")).quota_charged_at
    'enqueue'
    >>> behaviour_of(QemuVersion.parse("10.0")).quota_charged_at
    'flush'
    """

    def since(text: str) -> bool:
        return version >= QemuVersion.parse(text)

    return Behaviour(
        quota_charged_at="flush" if since("8.2") else "enqueue",
        transferred_counts="stream" if since("8.2") else "ram",
        avail_switchover_bandwidth=since("8.2"),
        expected_from_rate=not since("3.0"),
        threshold_inclusive=since("10.1"),
        byte_split=since("7.0"),
        skipped_reported=not since("9.1"),
    )
