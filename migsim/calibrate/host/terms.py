r"""The values of a host's terms that one probe migration shows.

Each function reads one value of a term, in seconds, off a measured `MigrationResult`, and returns None where the record
does not show it. It uses times and counts that QEMU reported, and for the fault cost the guest's count of its writes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from migsim.lab.guest.serial import ProgressLine, parse_line
from migsim.models.loop.behaviour import behaviour_of
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES
from migsim.models.loop.rate_limit import WINDOW_S, window_bytes, window_quota_bytes
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.units import PAGE_BYTES

__all__ = [
    "active_seconds",
    "burst_page_s",
    "cold_page_s",
    "connect_s",
    "device_state_bytes",
    "dirty_fault_s",
    "fit_line",
    "guest_speed",
    "page_cost_s",
    "resent_page_s",
    "ring_entries_per_write",
    "window_overhead_s",
    "xbzrle_pages_s",
]


HIT_ROUNDS = 8
"""Fewest rounds without misses that the cost of a hit is taken from."""


def active_seconds(run: MigrationResult) -> float:
    """Return the sender's time with the guest running: the total less connection, setup, downtime and syncs."""
    info = run.info
    # The first sync lies in the setup, the last one in the downtime.
    syncs = float(np.nansum(run.iterations["sync_s"].to_numpy(float)[1:-1])) + connect_s(run)
    return float(info["total-time"] - info["setup-time"] - info["downtime"]) / 1000 - syncs


def connect_s(run: MigrationResult) -> float:
    """Return the time from the QMP command to the begin of the setup, which ends with the first sync."""
    first = run.iterations.iloc[0]
    before = float(first["start_s"] + first["sync_s"]) - float(run.info["setup-time"]) / 1000
    return max(before, 0.0)


def _downtime_pages(run: MigrationResult) -> float:
    """Return the number of normal pages sent in the blackout."""
    return float(run.info["ram"].get("downtime-bytes", 0)) / NORMAL_PAGE_BYTES


def page_cost_s(runs: Sequence[MigrationResult]) -> tuple[list[float], list[float]]:
    """Return the costs of a zero page and of a page sent for the first time, without a limit, from two kinds of probes.

    Parameters
    ----------
    runs : sequence of MigrationResult
        Unlimited probes whose guests hardly write: some with mostly zero pages, some with much data.

    Returns
    -------
    zero_page_s, fresh_page_s : list of float
        One value for each probe that is mostly of that kind.
    """
    time = np.array([active_seconds(r) for r in runs])
    zero = np.array([float(r.info["ram"]["duplicate"]) for r in runs])
    normal = np.array([float(r.info["ram"]["normal"]) - _downtime_pages(r) for r in runs])
    scanning = zero > 20 * normal
    zero_s = np.median(time[scanning] / zero[scanning]) if scanning.any() else 0.0
    normal_s = (
        np.median((time - zero * zero_s)[~scanning] / normal[~scanning]) if (~scanning).any() else zero_s
    )
    return (
        list((time - normal * normal_s)[scanning] / zero[scanning]),
        list((time - zero * zero_s)[~scanning] / normal[~scanning]),
    )


def cold_page_s(run: MigrationResult) -> float | None:
    """Return the cost of a page sent for the first time to memory that the destination has.

    Parameters
    ----------
    run : MigrationResult
        An unlimited probe whose RAM is several views of one file full of data. The destination allocates memory for
        the first view; the pages after it are counted.
    """
    fresh_pages = int(run.scenario["guest"]["alias-bytes"]) // PAGE_BYTES
    running = run.timeline[run.timeline["status"] == "active"]
    late = running[running["ram.normal"] > 1.02 * fresh_pages]
    if len(late) < 5:
        return None
    pages = late["ram.normal"].iloc[-1] - late["ram.normal"].iloc[0]
    return float((late["t_s"].iloc[-1] - late["t_s"].iloc[0]) / pages)


def xbzrle_pages_s(run: MigrationResult) -> tuple[float, float] | None:
    """Return the costs of a page found in XBZRLE's cache and of one not found, with the cost of sending it.

    Rounds without misses give the first cost, by their median. The remaining time of rounds with misses gives the
    second. Where few rounds are without misses, both costs are solved for together.

    Returns
    -------
    (hit_s, miss_s), or None where fewer than two rounds are long enough.
    """
    from scipy.optimize import nnls

    rounds = run.iterations.iloc[1:-2]
    rounds = rounds[rounds["xbzrle_pages"] + rounds["cache_misses"] > 500]
    if len(rounds) < 2:
        return None
    seconds = (rounds["end_s"] - rounds["start_s"] - rounds["sync_s"]).to_numpy(float)
    pages = rounds[["xbzrle_pages", "cache_misses"]].to_numpy(float)
    only_hits = pages[:, 1] < 0.01 * pages[:, 0]
    if only_hits.sum() >= HIT_ROUNDS and not only_hits.all():
        hit_s = float(np.median(seconds[only_hits] / pages[only_hits, 0]))
        rest = seconds[~only_hits].sum() - hit_s * pages[~only_hits, 0].sum()
        return hit_s, max(float(rest / pages[~only_hits, 1].sum()), 0.0)
    # Weighted like counts: the error of a round grows with the square root of its length.
    weight = 1 / np.sqrt(np.maximum(seconds, 1e-6))
    (hit_s, miss_s), _ = nnls(pages * weight[:, None], seconds * weight)
    return float(hit_s), float(miss_s)


def resent_page_s(run: MigrationResult) -> float | None:
    """Return the cost of a page sent again without a limit: the rounds' time less their syncs, over their pages."""
    rounds = run.iterations.iloc[1:-1]  # the first sends every page for the first time
    seconds = (rounds["end_s"] - rounds["start_s"] - rounds["sync_s"]).to_numpy(float)
    # The numbers of each kind are interpolated between samples, but their sum is exact. No page of the hot set is zero.
    pages = (rounds["normal"] + rounds["duplicate"]).to_numpy(float)
    many = pages > 500
    return float(seconds[many].sum() / pages[many].sum()) if many.any() else None


def burst_page_s(run: MigrationResult) -> float | None:
    """Return the cost of a page in the blackout: the flush's time over its pages; None below 400 pages."""
    pages = _downtime_pages(run)
    flush = run.downtime_parts_ms.get("flush")
    if flush is None or pages < 400:
        return None
    return flush / 1000 / pages


def window_overhead_s(run: MigrationResult) -> float | None:
    """Return the mean time that rate-limited windows last longer than 100 ms, from the `mbps` of each.

    QEMU measures its windows in whole milliseconds, so only their mean shows how late the thread wakes up.
    """
    limit = int(run.scenario["migration"]["parameters"]["max-bandwidth"])
    charged = behaviour_of(QemuVersion.parse(run.qemu_version)).quota_charged_at
    carried = window_bytes(window_quota_bytes(limit), NORMAL_PAGE_BYTES, charged)
    mbps = run.timeline["ram.mbps"].dropna().to_numpy(float)
    full = mbps[(mbps > 0.7 * limit * 8e-6) & (mbps < 1.1 * limit * 8e-6)]
    if len(full) < 5:
        return None
    return max(float(np.mean(carried * 8 / full / 1e6)) - WINDOW_S, 0.0)


def device_state_bytes(run: MigrationResult) -> float:
    """Return the bytes of the stream that are no page records, which QEMU counts from 8.2 on."""
    ram = run.info["ram"]
    return max(
        float(ram["transferred"] - ram["normal"] * NORMAL_PAGE_BYTES - ram["duplicate"] * ZERO_PAGE_BYTES),
        0.0,
    )


def fit_line(x: Sequence[float], seconds: Sequence[float]) -> tuple[float, float, float]:
    """Fit seconds = base + slope x with both at least 0; return base, slope and the deviation of the logarithm."""
    from scipy.optimize import nnls

    at, y = np.asarray(x, float), np.asarray(seconds, float)
    # Weighted by 1/y, so that relative errors count the same for a small and a large guest.
    weight = 1 / np.maximum(y, 1e-6)
    design = np.stack([np.ones_like(at), at], axis=1) * weight[:, None]
    (base, slope), _ = nnls(design, y * weight)
    fitted = np.maximum(base + slope * at, 1e-9)
    off = np.log(np.maximum(y, 1e-9) / fitted)
    spread = float(np.sqrt(np.sum(off**2) / max(len(off) - 2, 1)))
    return float(base), float(slope), spread


def guest_speed(run: MigrationResult) -> float | None:
    """Return the guest's writes a second before the migration, from its serial log."""
    return _speed([p for p in _reports(run) if 0.5 < p.t_us / 1e6 <= float(run.scenario["settle-s"])])


def dirty_fault_s(run: MigrationResult) -> float | None:
    """Return the guest time lost at each first write to a protected page, from the guest's counts of its writes.

    The closed-loop guest makes `w` writes a second before the migration and `w'` during it, and takes one fault for
    each page reported dirty: `c = (1 - w'/w) / faults` a second. The value is below 0 where noise exceeds the cost. It
    includes other losses by the migration, such as the processors that it takes from the guest.
    """
    lines, before = _reports(run), guest_speed(run)
    end_s = max((p.t_us / 1e6 for p in lines), default=0.0)
    total_s = run.info.get("total-time", 0) / 1000 or float(run.iterations["end_s"].max())
    during = _speed([p for p in lines if end_s - total_s + 1.0 < p.t_us / 1e6])
    # Row k's pages were written in the round before it.
    rounds = run.iterations.iloc[1:-1]
    length = float(rounds["start_s"].iloc[-1] - rounds["start_s"].iloc[0]) if len(rounds) > 2 else 0.0
    if before is None or during is None or length < 1.0:
        return None
    return (1 - during / before) * length / max(float(rounds["dirty_pages"].iloc[1:].sum()), 1.0)


def ring_entries_per_write(run: MigrationResult) -> float | None:
    """Return the dirty ring's entries for each write, from dirty-limit's peak rate and the guest's count of writes."""
    writes_per_s = guest_speed(run)
    if writes_per_s is None or "dirty-limit-ring-full-time" not in run.timeline:
        return None
    full_us = run.timeline["dirty-limit-ring-full-time"].dropna()
    full_us = full_us[full_us > 0]
    if not len(full_us):
        return None
    entries = int(run.scenario["qemu"]["dirty-ring-size"])
    return float(entries / (full_us.min() * 1e-6) / writes_per_s)


def _reports(run: MigrationResult) -> list[ProgressLine]:
    """Return the guest's progress reports on the source's serial port."""
    lines = [parse_line(row["line"]) for row in run.guest_log if row["side"] == "source"]
    return [line for line in lines if isinstance(line, ProgressLine)]


def _speed(lines: Sequence[ProgressLine]) -> float | None:
    """Return the writes a second between the first and the last of some reports."""
    if len(lines) < 2 or lines[-1].t_us - lines[0].t_us < 500_000:
        return None
    return (lines[-1].writes - lines[0].writes) / (lines[-1].t_us - lines[0].t_us) * 1e6
