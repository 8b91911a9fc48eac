"""What a trace holds, checked against what it says of itself, some rows at a time.

Nothing is kept of the rows but what the next ones are compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migsim.trace.meta import TraceMeta

__all__ = ["MemberChecks"]

_MODES = ("dirty-bitmap", "dirty-ring", "page-sampling")
_LONGEST_S = 1e9  # 30 years
_MOST = 1 << 53
_OVERLAP_S = 0.1  # the host's clock may be set back a little
_MOST_VCPUS = 1 << 16


class MemberChecks:
    """Checks the members of one trace; ``intervals`` come before the members whose rows name intervals.

    Parameters
    ----------
    meta : TraceMeta
    """

    def __init__(self, meta: TraceMeta) -> None:
        self._pages = meta.total_pages
        self._page_bytes = meta.page_bytes
        self._intervals = 0
        self._end_s = -np.inf
        self._dirty = np.zeros(0, np.int64)  # of each interval, as it says
        self._shown = np.zeros(0, np.int64)  # as its runs show
        self._run = (-1, 0)  # interval and end of the last run
        self._latest = dict.fromkeys(("events", "content"), -1)

    def check(self, member: str, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Check the next rows of a member.

        Raises
        ------
        ValueError
            With the column, a value and its bound.
        """
        if len(next(iter(columns.values()))):
            getattr(self, f"_check_{member}")(columns)

    def finish(self) -> None:
        """Check, at the end, that the runs of each interval have as many pages as it says.

        Raises
        ------
        ValueError
        """
        odd = np.flatnonzero((self._shown > 0) & (self._dirty >= 0) & (self._shown != self._dirty))
        if odd.size:
            said, shown = self._dirty[odd[0]], self._shown[odd[0]]
            raise ValueError(f"interval {odd[0]} says {said} dirty pages, its runs have {shown}")

    def _check_intervals(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        numbers, begin, end = columns["interval"], columns["start_s"], columns["end_s"]
        expected = np.arange(self._intervals, self._intervals + len(numbers))
        _demand(numbers == expected, "interval", numbers, "intervals are numbered from 0 without a gap")
        for name in ("start_s", "end_s"):
            _within(columns, name, -1.0, _LONGEST_S)
        _demand(end >= begin, "end_s", end, "an interval does not end before it starts")
        before = np.concatenate(([self._end_s], end[:-1]))
        _demand(begin >= before - _OVERLAP_S, "start_s", begin, "intervals follow each other")
        _within(columns, "dirty_pages", -1, self._pages)
        for name in ("sent_pages", "zero_pages", "lost_events"):
            _within(columns, name, 0, _MOST)
        self._intervals += len(numbers)
        self._end_s = float(end[-1])
        self._dirty = np.concatenate((self._dirty, columns["dirty_pages"]))
        self._shown = np.concatenate((self._shown, np.zeros(len(numbers), np.int64)))

    def _check_runs(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        numbers = columns["interval"].astype(np.int64)
        first = columns["first_page"]
        _within(columns, "interval", 0, self._intervals - 1)
        _within(columns, "first_page", 0, self._pages - 1)
        _within(columns, "npages", 1, self._pages)
        ends = first.astype(np.int64) + columns["npages"].astype(np.int64)
        _demand(ends <= self._pages, "npages", columns["npages"], f"the guest has {self._pages} pages")
        number_before = np.concatenate(([self._run[0]], numbers[:-1]))
        end_before = np.concatenate(([self._run[1]], ends[:-1]))
        sorted_ = (numbers > number_before) | ((numbers == number_before) & (first >= end_before))
        _demand(sorted_, "first_page", first, "runs ascend within their interval, and do not overlap")
        self._run = (int(numbers[-1]), int(ends[-1]))
        self._shown += np.bincount(numbers, columns["npages"], len(self._dirty)).astype(np.int64)

    def _check_windows(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        modes = columns["mode"]
        known = np.array([mode in _MODES for mode in modes])
        _demand(known, "mode", modes, f"a mode is one of {', '.join(_MODES)}")
        for name in ("window_s", "measured_s"):
            _within(columns, name, 1e-6, _LONGEST_S)
        _within(columns, "start_s", -1.0, _LONGEST_S)
        for name in ("dirty_bytes", "resolution_bytes"):
            _within(columns, name, 0, _MOST)
        _within(columns, "sampled_pages", 0, _MOST)

    def _check_events(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        self._check_numbers("events", columns)
        _within(columns, "time_us", -1_000_000, int(_LONGEST_S * 1e6))
        _within(columns, "page", 0, self._pages - 1)
        _within(columns, "vcpu", 0, _MOST_VCPUS)

    def _check_content(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        self._check_numbers("content", columns)
        _within(columns, "page", 0, self._pages - 1)
        for name, least in (("changed_bytes", 0), ("runs", 0), ("xbzrle_bytes", -1)):
            _within(columns, name, least, self._page_bytes)
        for name in ("between_s", "after_sync_s"):
            values = columns[name]
            _demand(~(np.abs(values) > _LONGEST_S), name, values, f"times are below {_LONGEST_S:g} s")

    def _check_numbers(self, member: str, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        numbers = columns["interval"]
        _within(columns, "interval", 0, self._intervals - 1)
        before = np.concatenate(([self._latest[member]], numbers[:-1]))
        _demand(numbers >= before, "interval", numbers, "rows stand in the order of their intervals")
        self._latest[member] = int(numbers[-1])


def _within(columns: Mapping[str, npt.NDArray[Any]], name: str, least: float, most: float) -> None:
    values = columns[name]
    # NaN is not within any bounds
    _demand((values >= least) & (values <= most), name, values, f"it is between {least:g} and {most:g}")


def _demand(good: npt.NDArray[np.bool_], name: str, values: npt.NDArray[Any], rule: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{name} is {values[row]} in row {row}, but {rule}")
