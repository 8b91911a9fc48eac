"""Reading a trace: a packed ``.trace`` file, or the ``.part`` folder that an interrupted recording left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from migsim.errors import TraceError
from migsim.memory import usable_bytes
from migsim.reading import read_bytes
from migsim.trace.archive import MEMBER_DAMAGES, TraceArchive, changed_trace, fingerprint, unreadable_trace
from migsim.trace.checks import MemberChecks
from migsim.trace.curve import UniqueDirtyCurve, unique_dirty_curve
from migsim.trace.journal import CommittedFile, part_path, whole_commits
from migsim.trace.members import (
    MEMBERS,
    empty_member,
    expand_runs,
    member_columns,
    member_tables,
    read_member,
)
from migsim.trace.meta import TraceMeta
from migsim.units import format_bytes

if TYPE_CHECKING:
    import os

    import pandas as pd
    import pyarrow as pa

__all__ = ["Trace"]

_FREE_BYTES = 64 << 20
"""Memory that is taken without a look at how much there is."""
_NUMBER_BYTES = 24  # of a page number while runs become page numbers
_ROUNDS_BYTES = 32
"""Bytes, for each page number, each distinct one and each run, while the rounds of a trace are compared: at most 30
were measured."""


class Trace:
    """A recorded trace; each member is read from disk when it is first used, if it is still what was opened.

    Attributes
    ----------
    path : Path
    meta : TraceMeta

    Examples
    --------
    >>> trace = Trace.open("db.trace")                                # doctest: +SKIP
    >>> trace.unique_dirty_curve().table()                            # doctest: +SKIP
    """

    def __init__(
        self,
        path: Path,
        meta: TraceMeta,
        fingerprints: dict[str, bytes],
        pieces: dict[str, list[CommittedFile]] | None = None,
    ) -> None:
        self.path = path
        self.meta = meta
        self._fingerprints = fingerprints
        self._pieces = pieces
        self._cache: dict[str, Any] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Trace:
        """Open a ``.trace`` file, or the ``.part`` folder that a crash left.

        Where the file does not exist but its ``.part`` folder does, the folder is opened.

        Raises
        ------
        TraceError
            The file is missing, not a trace, cut short or damaged.
        """
        path = Path(path)
        if not path.exists() and part_path(path).is_dir():
            path = part_path(path)
        if path.is_dir():
            return cls._open_part(path)
        if not path.exists():
            raise TraceError(f"There is no trace at {path}.", "", "Check the path.")
        with TraceArchive(path) as archive:
            meta = TraceMeta.from_json(archive.read("meta.json") or b"", str(path))
            checks = MemberChecks(meta)
            # intervals are the first
            fingerprints = {member: _check_member(archive, member, meta, checks) for member in MEMBERS}
            try:
                checks.finish()
            except ValueError as error:
                raise unreadable_trace(path, str(error)) from error
        return cls(path, meta, fingerprints)

    @classmethod
    def _open_part(cls, folder: Path) -> Trace:
        from dataclasses import replace

        if not (folder / "meta.json").exists():
            raise unreadable_trace(folder, "the folder has no readable meta.json")
        meta = TraceMeta.from_json(read_bytes(folder / "meta.json", TraceError), str(folder))
        pieces, left_out = whole_commits(folder, meta)
        notes = [meta.note, "the recording was cut off"]
        if left_out:
            notes.append(f"{left_out} damaged part(s) at the end are left out")
        trace = cls(folder, replace(meta, complete=False, note="; ".join(filter(None, notes))), {}, pieces)
        ends = [0.0, *trace.intervals["end_s"], *(trace.windows["start_s"] + trace.windows["measured_s"])]
        trace.meta = replace(
            trace.meta,
            duration_s=float(max(ends)),
            lost_events=max(meta.lost_events, int(trace.intervals["lost_events"].sum())),
        )
        return trace

    @property
    def intervals(self) -> pd.DataFrame:
        """Intervals, one a row: ``interval start_s end_s dirty_pages sent_pages zero_pages lost_events``."""
        return self._frame("intervals")

    @property
    def windows(self) -> pd.DataFrame:
        """Answers to ``calc-dirty-rate``, one a row."""
        return self._frame("windows")

    @property
    def content(self) -> pd.DataFrame:
        """Sampled re-sent pages, one a row; ``xbzrle_bytes`` is -1 where the encoding overflows.

        `between_s` and `after_sync_s` are NaN where the trace does not hold them;
        `migsim.trace.content.content_with_write_times` says what follows from them.
        """
        return self._frame("content")

    def events(self) -> pd.DataFrame:
        """Dirty-ring events in time order: ``interval time_us page vcpu``."""
        return self._frame("events")

    def pages(self, interval: int) -> npt.NDArray[np.int64]:
        """Page numbers that were dirtied in an interval, ascending.

        Raises
        ------
        TraceError
            There is no such interval.
        """
        count = len(self.columns("intervals")["interval"])
        if interval not in range(count):
            raise TraceError(
                f"{self.path} has no interval {interval!r}.", f"It has {count}, counted from 0.", ""
            )
        runs = self.columns("runs")
        low, high = np.searchsorted(runs["interval"], [interval, interval + 1])
        self.check_memory(f"reading interval {interval}", _NUMBER_BYTES * _total(runs["npages"][low:high]))
        return expand_runs(runs["first_page"][low:high], runs["npages"][low:high])

    def check_memory(self, step: str, needed: int) -> None:
        """Raise where a step would need more memory than there is, before it allocates any.

        A small file may name any number of dirty pages, and be of a guest of any size.

        Parameters
        ----------
        step : str
            What is about to be done, for the error's text.
        needed : int
            Bytes that it takes.

        Raises
        ------
        TraceError
        """
        if needed <= _FREE_BYTES or needed <= (usable := usable_bytes()):
            return
        total, numbers = self.meta.total_pages, _total(self.columns("runs")["npages"])
        raise TraceError(
            f"{self.path}: {step} needs {format_bytes(needed)} of memory, with a guest of {total:,} pages and "
            f"{numbers:,} dirty pages in {len(self.columns('intervals')['interval'])} intervals.",
            f"Page numbers are held in memory, and {format_bytes(usable)} may be taken.",
            "Check that a guest of this size was traced, or use a machine with more memory.",
        )

    def check_rounds_memory(self, step: str) -> None:
        """Raise where the page numbers of all intervals together would need more memory than there is.

        Raises
        ------
        TraceError
        """
        npages = self.columns("runs")["npages"]
        numbers = _total(npages)
        distinct = min(numbers, self.meta.total_pages)
        self.check_memory(step, _ROUNDS_BYTES * (numbers + distinct + len(npages)))

    def most_dirty_pages(self) -> int:
        """Return the number of dirty pages of the interval that has most of them."""
        runs = self.columns("runs")
        return int(np.bincount(runs["interval"], runs["npages"]).max(initial=0))

    def columns(self, member: str) -> dict[str, npt.NDArray[Any]]:
        """Return a member's columns as arrays by name: the data of `intervals`, `windows` etc., without pandas.

        Parameters
        ----------
        member : {"intervals", "runs", "windows", "events", "content"}
        """
        key = f"{member} columns"
        if key not in self._cache:
            table = self._read(member)
            self._cache[key] = member_columns(table)
        columns: dict[str, npt.NDArray[Any]] = self._cache[key]
        return columns

    def unique_dirty_curve(self) -> UniqueDirtyCurve:
        """Return unique dirty pages against window length, from the trace's windows, events and intervals.

        `migsim.trace.curve` says what each mode's points mean.
        """
        if "curve" not in self._cache:
            self._cache["curve"] = unique_dirty_curve(self)
        curve: UniqueDirtyCurve = self._cache["curve"]
        return curve

    def _frame(self, member: str) -> pd.DataFrame:
        if member not in self._cache:
            self._cache[member] = self._read(member).to_pandas()
        frame: pd.DataFrame = self._cache[member]
        return frame

    def _read(self, member: str) -> pa.Table:
        import pyarrow as pa

        total = self.meta.total_pages
        if self._pieces is None:
            with TraceArchive(self.path) as archive:
                held = [archive.read(f"{member}.parquet")]
            if fingerprint(held[0]) != self._fingerprints[member]:
                raise changed_trace(self.path)
        else:
            held = [piece.read() for piece in self._pieces[member]]
        try:
            tables = [read_member(data, member, total) for data in held if data is not None]
            return pa.concat_tables([empty_member(member, total), *tables])
        except (*MEMBER_DAMAGES, pa.ArrowException) as error:
            raise unreadable_trace(self.path, f"{member}.parquet is damaged ({error})") from error

    def __repr__(self) -> str:
        incomplete = "" if self.meta.complete else ", incomplete"
        return (
            f"<Trace {self.path.name}: {self.meta.collector}, {self.meta.duration_s:.1f} s, "
            f"{len(self.intervals)} intervals, {len(self.windows)} windows{incomplete}>"
        )

    def _repr_html_(self) -> str:
        from migsim.trace.render import to_html

        return to_html(self)


def _total(npages: npt.NDArray[Any]) -> int:
    return int(npages.sum(dtype=np.int64))


def _check_member(archive: TraceArchive, member: str, meta: TraceMeta, checks: MemberChecks) -> bytes:
    """Read a packed member once, row group by row group, check it, and return its fingerprint."""
    import pyarrow as pa

    data = archive.read(f"{member}.parquet")
    if data is not None:
        try:
            for table in member_tables(data, member, meta.total_pages):
                checks.check(member, member_columns(table))
        except (*MEMBER_DAMAGES, pa.ArrowException) as error:
            raise unreadable_trace(archive.path, f"{member}.parquet is damaged ({error})") from error
    return fingerprint(data)
