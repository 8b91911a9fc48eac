r"""The unique-dirty curve U(t): the number of distinct pages that a guest writes within a window of t seconds.

The meaning of a point depends on its mode:

``page-sampling``
    QEMU hashes s of the N pages twice. If the share f of them changed, U = f N, with a standard deviation of
    :math:`N\sqrt{f(1-f)/s}`. Writes that leave a page's contents as they were do not count.
``dirty-bitmap``
    An exact count, but the write faults of dirty logging slow the guest during the measurement. These windows
    are left out under TCG: QEMU counts pages only where it reads KVM's log, and answers 0 otherwise.
``dirty-ring``
    The counters of calc-dirty-rate. Where the trace holds events, they are used instead: for each re-protection
    of all pages, the number of *distinct* pages among the events of the next t seconds. (Counting cannot start at
    another time, because pages that are dirty already are not logged again before the next re-protection.)
``stream``
    Whole precopy rounds: pages sent again in a round, against the round's length. A page is not logged for
    exactly the length of its round, because QEMU clears the log lazily, chunk by chunk; `migsim.calibrate`
    corrects for that.

calc-dirty-rate answers in whole MiB/s, rounded down. Such a point is put in the middle of the rounding step, and
the step's width is part of its standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace.reader import Trace

__all__ = ["SingleWindows", "UniqueDirtyCurve", "single_windows", "unique_dirty_curve"]

_STARTS = 16  # at most this many re-protections are counted from
_STEPS = 32  # window lengths at which events are counted
_GAP_S = 1e-4  # intervals closer together than this follow each other without a gap
_POOL = 0.1  # intervals whose lengths differ by less than this share are pooled into one point
_Row = tuple[float, float, float, str]  # window_s, dirty_pages, sd_pages, mode


@dataclass(frozen=True)
class UniqueDirtyCurve:
    """Points of U(t), ordered by mode and then by window length.

    Attributes
    ----------
    window_s : array of float
    dirty_pages : array of float
        Mean number of unique pages written within such a window.
    sd_pages : array of float
        Standard deviation of one such measurement; above 0.
    mode : array of str
    """

    window_s: npt.NDArray[np.float64]
    dirty_pages: npt.NDArray[np.float64]
    sd_pages: npt.NDArray[np.float64]
    mode: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return int(self.window_s.size)

    def only(self, *modes: str) -> UniqueDirtyCurve:
        """Return the points of the named modes."""
        keep = np.isin(self.mode, modes)
        return UniqueDirtyCurve(
            self.window_s[keep], self.dirty_pages[keep], self.sd_pages[keep], self.mode[keep]
        )

    def table(self) -> pd.DataFrame:
        """Return the points as a table, one a row."""
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
    """Make the curve from the trace's windows and from its events, or from its intervals where it has no events.

    Examples
    --------
    >>> trace = Trace.open("db.trace")                                # doctest: +SKIP
    >>> unique_dirty_curve(trace).only("stream")                      # doctest: +SKIP
    """
    rows = _from_windows(trace)
    event_count = len(trace.columns("events")["page"])
    rows += _from_events(trace, trace.events()) if event_count else _from_intervals(trace)
    rows.sort(key=lambda row: (row[3], row[0]))
    return UniqueDirtyCurve(
        np.array([row[0] for row in rows], dtype=float),
        np.array([row[1] for row in rows], dtype=float),
        np.array([row[2] for row in rows], dtype=float),
        np.array([row[3] for row in rows], dtype=str),
    )


@dataclass(frozen=True)
class SingleWindows:
    """Answers of calc-dirty-rate, one by one, in the order of their starts.

    Attributes
    ----------
    window_s : array of float
        Length that was asked for.
    start_s, measured_s : array of float
    dirty_pages : array of float
        In the middle of the answer's rounding step.
    variance : array of float
        That the method gives a count: its rounding and its sampling, not the guest's chance.
    sampled_pages : array of float
        0 where all pages are looked at.
    """

    window_s: npt.NDArray[np.float64]
    start_s: npt.NDArray[np.float64]
    measured_s: npt.NDArray[np.float64]
    dirty_pages: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    sampled_pages: npt.NDArray[np.float64]


def single_windows(trace: Trace, mode: str) -> SingleWindows:
    """Return the trace's answers of calc-dirty-rate in one mode.

    Examples
    --------
    >>> single_windows(Trace.open("db.trace"), "page-sampling").dirty_pages   # doctest: +SKIP
    """
    table = trace.columns("windows")
    order = np.argsort(table["start_s"], kind="stable")
    at = order[table["mode"][order] == mode]
    if mode == "dirty-bitmap" and trace.meta.accel == "tcg":
        at = at[:0]
    dirty = table["dirty_bytes"][at].astype(float) / trace.meta.page_bytes
    step = table["resolution_bytes"][at].astype(float) / trace.meta.page_bytes
    dirty = np.where(dirty > 0, dirty + step / 2, 0.0)
    sampled = table["sampled_pages"][at].astype(float)
    return SingleWindows(
        table["window_s"][at].astype(float),
        table["start_s"][at].astype(float),
        table["measured_s"][at].astype(float),
        dirty,
        step**2 / 12 + _sampling_variance(dirty, sampled, trace.meta.total_pages),
        sampled,
    )


def _sampling_variance(
    dirty: npt.NDArray[np.float64], sampled: npt.NDArray[np.float64], total: int
) -> npt.NDArray[np.float64]:
    """Variance of counts that were made by sampling some pages; 0 where all were looked at."""
    some = np.maximum(sampled, 1.0)
    share = np.clip(dirty / total, 1 / some, np.maximum(1 - 1 / some, 1 / some))
    share = np.where(sampled > 2, share, 0.5)
    return np.where(sampled > 0, total**2 * share * (1 - share) / some, 0.0)


def _from_windows(trace: Trace) -> list[_Row]:
    total = trace.meta.total_pages
    rows: list[_Row] = []
    for mode in sorted(set(trace.columns("windows")["mode"].tolist())):
        every = single_windows(trace, mode)
        for window_s in sorted(set(every.window_s.tolist())):
            answers = every.window_s == window_s
            dirty = every.dirty_pages[answers]
            mean = float(dirty.mean())
            variance = float(dirty.var(ddof=1)) if dirty.size > 1 else 0.0
            # A single answer shows no spread, so the variance is at least that of the method, and of counting.
            counted = np.where(every.sampled_pages[answers] > 0, 0.0, max(mean, 1.0))
            floor = float((every.variance[answers] + counted).mean())
            sd = float(np.sqrt(max(variance, floor)))
            rows.append((float(every.measured_s[answers].mean()), min(mean, float(total)), sd, str(mode)))
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
    starts, ends = _counting_periods(trace.intervals)
    if starts.size > _STARTS:
        kept = np.linspace(0, starts.size - 1, _STARTS).astype(int)
        starts, ends = starts[kept], ends[kept]
    longest = float((ends - starts).max(initial=0.0))
    if longest <= 0:
        return []
    windows = np.geomspace(min(1e-3, longest), longest, _STEPS)
    counts = np.full((starts.size, windows.size), np.nan)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        low, high = np.searchsorted(time_s, [start - 1e-6, end])
        _, first_index = np.unique(page[low:high], return_index=True)
        first_write_s = np.sort(time_s[low:high][first_index])
        inside = windows <= end - start + 1e-9
        counts[row, inside] = np.searchsorted(first_write_s, start + windows[inside])
    rows: list[_Row] = []
    for column, window in enumerate(windows):
        sample = counts[~np.isnan(counts[:, column]), column]
        if sample.size:
            rows.append((float(window), float(sample.mean()), _deviation(sample), "dirty-ring"))
    return rows


def _counting_periods(intervals: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the times at which counting may start, and for each the end of the events without gap or loss.

    Every interval begins at a re-protection of all pages, so counting may start with each.
    """
    without_loss = intervals[intervals["lost_events"] == 0]
    starts, ends = without_loss["start_s"].to_numpy(float), without_loss["end_s"].to_numpy(float)
    until = ends.copy()
    for index in range(len(starts) - 2, -1, -1):
        if starts[index + 1] - ends[index] <= _GAP_S:
            until[index] = until[index + 1]
    return starts, until


def _deviation(sample: npt.NDArray[np.float64]) -> float:
    """Return the sample's standard deviation; at least that of a Poisson count with the sample's mean."""
    variance = float(sample.var(ddof=1)) if sample.size > 1 else 0.0
    return float(np.sqrt(max(variance, float(sample.mean()), 1.0)))
