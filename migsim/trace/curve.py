r"""Unique dirty pages against window length: U(t), the one curve that migrations depend on.

What a point says depends on its mode:

``page-sampling``
    A few hundred pages per GiB hashed twice: f of them changed, U = f N. Standard deviation
    :math:`N\sqrt{f(1-f)/s}`. Rewrites with equal contents do not count.
``dirty-bitmap``
    Exact, but the logging's own faults slow the guest while it is measured. Left out under TCG, where QEMU
    answers 0 whatever the guest writes: it counts where KVM's log is read.
``dirty-ring``
    calc-dirty-rate's counters, or, where the trace holds events, those: from each re-protection the number of
    *distinct* pages among the events of the next t seconds. (From any other instant the pages that were
    already dirty would be missing: they are logged once only until they are re-protected.)
``stream``
    Whole precopy rounds, as they were: pages sent again in a round against the round's length. A page's log
    window is not the round exactly, because QEMU clears the log lazily, chunk by chunk; calibration corrects
    for that.

calc-dirty-rate answers in whole MiB/s, rounded down: points stand in the middle of the step, and the step's
width is part of their deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace.reader import Trace

__all__ = ["UniqueDirtyCurve", "unique_dirty_curve"]

_STARTS = 16
_STEPS = 32
_GAP_S = 1e-4
_POOL = 0.1  # intervals whose lengths differ by less than this share are one point
_Row = tuple[float, float, float, str]


@dataclass(frozen=True)
class UniqueDirtyCurve:
    """Points of U(t), by mode and ascending window.

    Attributes
    ----------
    window_s : array of float
    dirty_pages : array of float
        Mean number of unique pages written within such a window.
    sd_pages : array of float
        Standard deviation of one such measurement, never 0.
    mode : array of str
    """

    window_s: npt.NDArray[np.float64]
    dirty_pages: npt.NDArray[np.float64]
    sd_pages: npt.NDArray[np.float64]
    mode: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return int(self.window_s.size)

    def only(self, *modes: str) -> UniqueDirtyCurve:
        """The points of these modes."""
        keep = np.isin(self.mode, modes)
        return UniqueDirtyCurve(
            self.window_s[keep], self.dirty_pages[keep], self.sd_pages[keep], self.mode[keep]
        )

    def table(self) -> pd.DataFrame:
        """The points as a table."""
        import pandas as pd

        return pd.DataFrame(
            {
                "mode": self.mode,
                "window_s": self.window_s,
                "dirty_pages": self.dirty_pages,
                "sd_pages": self.sd_pages,
            }
        )


def unique_dirty_curve(trace: Trace) -> UniqueDirtyCurve:
    """Pool the curve from windows, events and intervals, whichever the trace holds.

    Examples
    --------
    >>> trace = Trace.open("db.trace")                                # doctest: +SKIP
    >>> unique_dirty_curve(trace).only("stream")                      # doctest: +SKIP
    """
    rows = _from_windows(trace)
    logged = len(trace.columns("events")["page"])
    rows += _from_events(trace, trace.events()) if logged else _from_intervals(trace)
    rows.sort(key=lambda row: (row[3], row[0]))
    return UniqueDirtyCurve(
        np.array([row[0] for row in rows], dtype=float),
        np.array([row[1] for row in rows], dtype=float),
        np.array([row[2] for row in rows], dtype=float),
        np.array([row[3] for row in rows], dtype=str),
    )


def _from_windows(trace: Trace) -> list[_Row]:
    page = trace.meta.page_bytes
    total = trace.meta.total_pages
    rows: list[_Row] = []
    table = trace.columns("windows")
    for mode, window_s in sorted(set(zip(table["mode"], table["window_s"], strict=True))):
        own = (table["mode"] == mode) & (table["window_s"] == window_s)
        if mode == "dirty-bitmap" and trace.meta.accel == "tcg":
            continue
        dirty = table["dirty_bytes"][own].astype(float) / page
        step = table["resolution_bytes"][own].astype(float) / page
        dirty = np.where(dirty > 0, dirty + step / 2, 0.0)
        mean = float(dirty.mean())
        variance = float(dirty.var(ddof=1)) if dirty.size > 1 else 0.0
        # One answer cannot show its own spread: state at least what its method cannot avoid.
        floor = float((step**2).mean()) / 12
        sampled = float(table["sampled_pages"][own].mean())
        if sampled > 0:
            share = min(max(mean / total, 1 / sampled), 1 - 1 / sampled) if sampled > 2 else 0.5
            floor += total**2 * share * (1 - share) / sampled
        else:
            floor += max(mean, 1.0)
        sd = float(np.sqrt(max(variance, floor)))
        rows.append((float(table["measured_s"][own].mean()), min(mean, float(total)), sd, str(mode)))
    return rows


def _from_intervals(trace: Trace) -> list[_Row]:
    table = trace.columns("intervals")
    known = (table["dirty_pages"] >= 0) & (table["end_s"] > table["start_s"])
    lengths = (table["end_s"] - table["start_s"])[known]
    dirty = table["dirty_pages"][known].astype(float)
    order = np.argsort(lengths, kind="stable")
    groups: list[list[int]] = []
    for index in order:
        if groups and lengths[index] <= lengths[groups[-1][0]] * (1 + _POOL):
            groups[-1].append(int(index))
        else:
            groups.append([int(index)])
    rows: list[_Row] = []
    for group in groups:
        sample = dirty[group]
        rows.append(
            (float(lengths[group].mean()), float(sample.mean()), _deviation(sample), trace.meta.collector)
        )
    return rows


def _from_events(trace: Trace, events: pd.DataFrame) -> list[_Row]:
    time_s = events["time_us"].to_numpy(np.int64) * 1e-6
    page = events["page"].to_numpy(np.int64)
    starts, ends = _watched(trace.intervals)
    if starts.size > _STARTS:
        kept = np.linspace(0, starts.size - 1, _STARTS).astype(int)
        starts, ends = starts[kept], ends[kept]
    longest = float((ends - starts).max(initial=0.0))
    if longest <= 0:
        return []
    ladder = np.geomspace(min(1e-3, longest), longest, _STEPS)
    counts = np.full((starts.size, ladder.size), np.nan)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        low, high = np.searchsorted(time_s, [start - 1e-6, end])
        _, seen = np.unique(page[low:high], return_index=True)
        firsts = np.sort(time_s[low:high][seen])
        inside = ladder <= end - start + 1e-9
        counts[row, inside] = np.searchsorted(firsts, start + ladder[inside])
    rows: list[_Row] = []
    for column, window in enumerate(ladder):
        sample = counts[~np.isnan(counts[:, column]), column]
        if sample.size:
            rows.append((float(window), float(sample.mean()), _deviation(sample), "dirty-ring"))
    return rows


def _watched(intervals: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where counting may start, and until when events followed without a gap or a loss.

    Every interval begins at a re-protection of all pages, so each is a start.
    """
    good = intervals[intervals["lost_events"] == 0]
    starts, ends = good["start_s"].to_numpy(float), good["end_s"].to_numpy(float)
    until = ends.copy()
    for index in range(len(starts) - 2, -1, -1):
        if starts[index + 1] - ends[index] <= _GAP_S:
            until[index] = until[index + 1]
    return starts, until


def _deviation(sample: npt.NDArray[np.float64]) -> float:
    """Return the sample's standard deviation, and never less than counting's own."""
    spread = float(sample.var(ddof=1)) if sample.size > 1 else 0.0
    return float(np.sqrt(max(spread, float(sample.mean()), 1.0)))
