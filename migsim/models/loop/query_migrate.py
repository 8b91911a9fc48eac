"""The counters of QMP `query-migrate`, each by QEMU's own definition.

Law
---
`transferred` counts RAM records only up to 8.1 and every byte of the channel from 8.2 on; `normal-bytes` is payload
without headers; `remaining` is raw bytes of set bits; `total-time` runs from the QMP command; at completion `mbps` is
all bytes over (total - setup), and `expected-downtime` gives way to `downtime`. Until the first window refreshes it,
`expected-downtime` equals the limit.

Mirrors: `migration/migration.c` populate_time_info, populate_ram_info; `migration/migration-stats.h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migsim.models.loop.behaviour import Behaviour
from migsim.units import PAGE_BYTES

__all__ = ["Counters", "XbzrleCounters", "encoding_rate", "mean_mbps", "migration_info", "transferred_bytes"]


@dataclass(slots=True)
class XbzrleCounters:
    """The counters of `xbzrle-cache` while a migration runs.

    Attributes
    ----------
    cache_size : int
        `xbzrle-cache-size`, in bytes.
    hits_are_pages : bool
        Whether `pages` counts every page found in the cache (5.1 on), or only the pages sent encoded.
    pages, cache_miss, overflow, bytes : float
        As QMP counts them.
    encoded : float
        Pages sent encoded.
    cache_miss_rate, encoding_rate : float
        Of the last closed dirty-rate period.
    """

    cache_size: int
    hits_are_pages: bool = True
    pages: float = 0.0
    cache_miss: float = 0.0
    overflow: float = 0.0
    bytes: float = 0.0
    encoded: float = 0.0
    cache_miss_rate: float = 0.0
    encoding_rate: float = 0.0
    _before: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def close_period(self, plain_pages: float) -> None:
        """Update both rates at the end of a dirty-rate period; `plain_pages` were sent raw or as zero pages so far.

        The miss rate is a share of the pages sent: one that overflows counts once, one that is skipped unchanged not at
        all. The encoding rate is raw over encoded bytes, with pages that overflowed. A period in which no page was sent
        changes neither.

        Examples
        --------
        >>> counters = XbzrleCounters(cache_size=2**26, pages=30, cache_miss=10, overflow=10, bytes=41960, encoded=15)
        >>> counters.close_period(plain_pages=20)  # 10 misses, 10 that overflowed; 5 of the 30 found were skipped
        >>> round(counters.cache_miss_rate, 3), round(counters.encoding_rate, 3)
        (0.286, 2.929)
        """
        now = (self.cache_miss, plain_pages + self.encoded, self.pages, self.bytes)
        misses, sent, pages, size = (a - b for a, b in zip(now, self._before, strict=True))
        if sent > 0:
            self.cache_miss_rate = misses / sent
            self.encoding_rate = encoding_rate(pages, size)
            self._before = now

    def as_info(self) -> dict[str, Any]:
        """Return the object `xbzrle-cache` of `query-migrate`."""
        return {
            "cache-size": self.cache_size,
            "bytes": round(self.bytes),
            "pages": round(self.pages),
            "cache-miss": round(self.cache_miss),
            "cache-miss-rate": float(self.cache_miss_rate),
            "encoding-rate": float(self.encoding_rate),
            "overflow": round(self.overflow),
        }


@dataclass(slots=True)
class Counters:
    """QEMU's counters while it migrates; bytes unless the name says otherwise.

    Attributes
    ----------
    ram_stream : float
        RAM records in the stream so far.
    other_stream : float
        Everything else in the stream: headers, device state, description.
    multifd_stream : float
        Part of `ram_stream` that went through multifd's channels.
    downtime_stream : float
        Part of the main channel's RAM records that was sent while the guest was stopped.
    normal, duplicate : float
        Pages sent raw and as zero pages.
    xbzrle : XbzrleCounters, optional
        With that capability.
    throttle_percentage : int, optional
        While auto-converge throttles.
    ring_sleep_us, ring_full_us : int, optional
        With dirty-limit, once it acts: a vCPU's sleep at each full ring, and the time in which a ring fills.
    """

    total_bytes: int
    downtime_limit_ms: float
    ram_stream: float = 0.0
    other_stream: float = 0.0
    multifd_stream: float = 0.0
    downtime_stream: float = 0.0
    normal: float = 0.0
    duplicate: float = 0.0
    remaining_bytes: float = 0.0
    dirty_sync_count: int = 0
    dirty_pages_rate: float = 0.0
    mbps: float = 0.0
    pages_per_second: float = 0.0
    expected_downtime_ms: float | None = None
    setup_s: float = 0.0
    xbzrle: XbzrleCounters | None = None
    throttle_percentage: int | None = None
    ring_sleep_us: int | None = None
    ring_full_us: int | None = None

    @property
    def target_pages(self) -> float:
        """Pages handled, as `pages-per-second` counts them; from 5.1 on, pages that overflow twice."""
        return self.normal + self.duplicate + (self.xbzrle.pages if self.xbzrle else 0.0)

    def transferred(self, behaviour: Behaviour) -> float:
        """Return `ram.transferred` by the release's definition."""
        return transferred_bytes(self.ram_stream, self.other_stream, behaviour.transferred_counts == "stream")


def transferred_bytes(ram_stream: float, other_stream: float, counts_all_stream: bool) -> float:
    """Return `ram.transferred`: the RAM records only, or the whole stream.

    Examples
    --------
    >>> transferred_bytes(100.0, 8.0, False), transferred_bytes(100.0, 8.0, True)
    (100.0, 108.0)
    """
    return ram_stream + (other_stream if counts_all_stream else 0.0)


def encoding_rate(pages: float, size_bytes: float) -> float:
    """Return raw over encoded bytes of the pages found in XBZRLE's cache; 0 where nothing was encoded.

    Examples
    --------
    >>> encoding_rate(1, 1024.0), encoding_rate(1, 0.0)
    (4.0, 0.0)
    """
    return pages * PAGE_BYTES / size_bytes if size_bytes > 0 else 0.0


def mean_mbps(stream_bytes: float, seconds: float) -> float:
    """Return `mbps` of a completed migration: the whole stream over the whole time after the setup.

    Examples
    --------
    >>> mean_mbps(125_000_000, 2.0)
    500.0
    """
    return stream_bytes * 8 / seconds / 1e6


def migration_info(
    counters: Counters, behaviour: Behaviour, *, status: str, total_s: float, downtime_s: float | None = None
) -> dict[str, Any]:
    """Build the answer to `query-migrate`.

    Parameters
    ----------
    counters : Counters
    behaviour : Behaviour
    status : str
        QAPI's MigrationStatus.
    total_s : float
        Seconds since the QMP command.
    downtime_s : float, optional
        Set once the migration is completed.

    Returns
    -------
    dict
        QAPI's names, types and units.
    """
    c = counters
    completed = status == "completed"
    transferred = c.transferred(behaviour)
    mbps = c.mbps
    if completed and total_s > c.setup_s:
        mbps = mean_mbps(c.ram_stream + c.other_stream, total_s - c.setup_s)
    ram: dict[str, Any] = {
        "total": int(c.total_bytes),
        "transferred": round(transferred),
        "remaining": 0 if completed else round(c.remaining_bytes / PAGE_BYTES) * PAGE_BYTES,
        "duplicate": round(c.duplicate),
        "normal": round(c.normal),
        "normal-bytes": round(c.normal) * PAGE_BYTES,
        "dirty-pages-rate": 0 if completed else int(c.dirty_pages_rate),
        "mbps": mbps,
        "dirty-sync-count": c.dirty_sync_count,
        "postcopy-requests": 0,
        "page-size": PAGE_BYTES,
        "multifd-bytes": round(c.multifd_stream),
        "pages-per-second": int(c.pages_per_second),
        "dirty-sync-missed-zero-copy": 0,
    }
    if behaviour.byte_split:
        # The main channel's RAM records only, in every release; on 8.2+ they add up to less than `transferred`.
        ram["precopy-bytes"] = round(c.ram_stream - c.multifd_stream - c.downtime_stream)
        ram["downtime-bytes"] = round(c.downtime_stream)
        ram["postcopy-bytes"] = 0
    if behaviour.skipped_reported:
        ram["skipped"] = 0
    info: dict[str, Any] = {
        "status": status,
        "total-time": int(total_s * 1000),
        "setup-time": int(c.setup_s * 1000),
        "ram": ram,
    }
    if c.xbzrle is not None:
        info["xbzrle-cache"] = c.xbzrle.as_info()
    if c.throttle_percentage and not completed:
        info["cpu-throttle-percentage"] = c.throttle_percentage
    if c.ring_sleep_us is not None:
        info["dirty-limit-throttle-time-per-round"] = c.ring_sleep_us
        info["dirty-limit-ring-full-time"] = c.ring_full_us or 0
    if completed:
        info["downtime"] = int((downtime_s or 0.0) * 1000)
    else:
        expected = c.downtime_limit_ms if c.expected_downtime_ms is None else c.expected_downtime_ms
        info["expected-downtime"] = int(expected)
    return info
