r"""What one probe migration says about the host's terms.

Each function reads a measured `MigrationResult` and returns values of a term, in seconds, or nothing where the record
does not show it. All are ratios of times and counts that QEMU itself reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from migsim.lab.guest.serial import Progress, parse_line
from migsim.models.behaviour import behaviour_of
from migsim.models.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES
from migsim.models.rate_limit import WINDOW_S, window_bytes, window_quota_bytes
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult

__all__ = [
    "active_seconds",
    "burst_page_s",
    "device_state_bytes",
    "dirty_fault_s",
    "linear_in_gib",
    "page_cost_s",
    "resent_page_s",
    "window_overhead_s",
]


def active_seconds(run: MigrationResult) -> float:
    """Time in which the sender could send with the guest running: total less setup, downtime and syncs."""
    info = run.info
    syncs = float(np.nansum(run.iterations["sync_s"].to_numpy(float)))
    return float(info["total-time"] - info["setup-time"] - info["downtime"]) / 1000 - syncs


def _downtime_pages(run: MigrationResult) -> float:
    """Normal pages sent in the blackout."""
    return float(run.info["ram"].get("downtime-bytes", 0)) / NORMAL_PAGE_BYTES


def page_cost_s(runs: Sequence[MigrationResult]) -> tuple[list[float], list[float]]:
    """Cost of a zero page and of a page sent for the first time, limiter off, by solving unlike probes.

    Parameters
    ----------
    runs : sequence of MigrationResult
        Unlimited probes whose guests hardly write: some mostly zero pages, some with much data.

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


def resent_page_s(run: MigrationResult) -> list[float]:
    """Cost of a page sent again with the limiter off: each whole round's time less its sync, over its pages."""
    rounds = run.iterations.iloc[2:-2]
    seconds = (rounds["end_s"] - rounds["start_s"] - rounds["sync_s"]).to_numpy(float)
    pages = rounds["normal"].to_numpy(float)
    many = pages > 500
    return [float(v) for v in seconds[many] / pages[many]]


def burst_page_s(run: MigrationResult) -> float | None:
    """Cost of a page in the blackout: the flush over the pages it carried; None below 400 pages."""
    pages = _downtime_pages(run)
    flush = run.downtime_parts_ms.get("flush")
    if flush is None or pages < 400:
        return None
    return flush / 1000 / pages


def window_overhead_s(run: MigrationResult, max_bandwidth: int) -> list[float]:
    """How much longer than 100 ms rate-limited windows last, from the `mbps` that QEMU gave each."""
    version = QemuVersion.parse(run.qemu_version)
    carried = window_bytes(
        window_quota_bytes(max_bandwidth), NORMAL_PAGE_BYTES, behaviour_of(version).quota_charged_at
    )
    mbps = run.timeline["ram.mbps"].to_numpy(float)
    full = mbps[(mbps > 0.9 * max_bandwidth * 8e-6) & (mbps < 1.1 * max_bandwidth * 8e-6)]
    return [float(max(carried * 8 / m / 1e6 - WINDOW_S, 0.0)) for m in full]


def device_state_bytes(run: MigrationResult) -> float:
    """Bytes in the stream that are no page records (counted from 8.2 on)."""
    ram = run.info["ram"]
    return max(
        float(ram["transferred"] - ram["normal"] * NORMAL_PAGE_BYTES - ram["duplicate"] * ZERO_PAGE_BYTES),
        0.0,
    )


def linear_in_gib(gib: Sequence[float], seconds: Sequence[float]) -> tuple[float, float, float]:
    """Fit seconds = base + slope GiB, both at least 0; returns them and the deviation of the logarithm."""
    from scipy.optimize import nnls

    x, y = np.asarray(gib, float), np.asarray(seconds, float)
    # Weighted by 1/y: a relative error counts alike at 1 and at 64 GiB.
    weight = 1 / np.maximum(y, 1e-6)
    design = np.stack([np.ones_like(x), x], axis=1) * weight[:, None]
    (base, slope), _ = nnls(design, y * weight)
    fitted = np.maximum(base + slope * x, 1e-9)
    spread = float(np.std(np.log(np.maximum(y, 1e-9) / fitted)))
    return float(base), float(slope), spread


def dirty_fault_s(run: MigrationResult, settle_s: float) -> float | None:
    """Guest time lost at each first write to a protected page, from the guest's own counts of its writes.

    The closed-loop guest makes `w` writes a second before the migration and `w'` during it, and takes as many faults
    as pages are reported: `c = (1 - w'/w) / faults`. None where the guest said too little.
    """
    said = [parse_line(row["line"]) for row in run.guest_log if row["side"] == "source"]
    lines = [p for p in said if isinstance(p, Progress)]
    total_s = run.info["total-time"] / 1000
    before = _speed([p for p in lines if 0.5 < p.t_us / 1e6 <= settle_s])
    end_s = max((p.t_us / 1e6 for p in lines), default=0.0)
    during = _speed([p for p in lines if end_s - total_s + 1.0 < p.t_us / 1e6])
    rounds = run.iterations.iloc[1:-1]
    length = float((rounds["end_s"] - rounds["start_s"]).sum())
    if before is None or during is None or length < 1.0:
        return None
    dirty_pages = float(rounds["dirty_pages"].iloc[1:].sum())
    return max((1 - during / before) * length / max(dirty_pages, 1.0), 0.0)


def _speed(lines: Sequence[Progress]) -> float | None:
    """Writes a second between the first and the last of some reports."""
    if len(lines) < 2 or lines[-1].t_us - lines[0].t_us < 500_000:
        return None
    return (lines[-1].writes - lines[0].writes) / (lines[-1].t_us - lines[0].t_us) * 1e6
