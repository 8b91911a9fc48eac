"""Reading a trace, packed or left over."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from migsim.errors import TraceError
from migsim.trace.curve import UniqueDirtyCurve, unique_dirty_curve
from migsim.trace.journal import part_path, whole_commits
from migsim.trace.members import MEMBERS, column_array, expand_runs, member_schema, read_member
from migsim.trace.meta import TraceMeta

if TYPE_CHECKING:
    import os

    import pandas as pd
    import pyarrow as pa

__all__ = ["Trace"]


class Trace:
    """A recorded trace; members are read when first asked for.

    Attributes
    ----------
    path : Path
    meta : TraceMeta

    Examples
    --------
    >>> trace = Trace.open("db.trace")                                # doctest: +SKIP
    >>> trace.unique_dirty_curve().table()                            # doctest: +SKIP
    """

    def __init__(self, path: Path, meta: TraceMeta, pieces: dict[str, list[Path]] | None = None) -> None:
        self.path = path
        self.meta = meta
        self._pieces = pieces
        self._cache: dict[str, Any] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Trace:
        """Open a ``.trace`` file, or a ``.part`` folder that a crash left over.

        Where the file is missing but its ``.part`` folder is there, the folder is opened.

        Raises
        ------
        TraceError
            Missing, foreign, truncated or corrupt.
        """
        path = Path(path)
        if not path.exists() and part_path(path).is_dir():
            path = part_path(path)
        if path.is_dir():
            return cls._open_part(path)
        try:
            with zipfile.ZipFile(path) as archive:
                meta = TraceMeta.from_json(archive.read("meta.json"), str(path))
                names = set(archive.namelist()) - {"meta.json"}
        except FileNotFoundError as error:
            raise TraceError(f"There is no trace at {path}.", "", "Check the path.") from error
        except KeyError as error:
            raise _unreadable(path, "it is a zip without meta.json") from error
        except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
            raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
        foreign = names - {f"{member}.parquet" for member in MEMBERS}
        if foreign:
            raise _unreadable(path, f"it holds a foreign member {min(foreign)!r}")
        return cls(path, meta)

    @classmethod
    def _open_part(cls, folder: Path) -> Trace:
        from dataclasses import replace

        try:
            meta = TraceMeta.from_json((folder / "meta.json").read_bytes(), str(folder))
        except OSError as error:
            raise _unreadable(folder, f"the folder has no readable meta.json ({error.strerror})") from error
        pieces, left_out = whole_commits(folder, meta.total_pages)
        notes = [meta.note, "recording was cut off"]
        if left_out:
            notes.append(f"{left_out} damaged part(s) at the end left out")
        trace = cls(folder, replace(meta, complete=False, note="; ".join(filter(None, notes))), pieces)
        ends = [0.0, *trace.intervals["end_s"], *(trace.windows["start_s"] + trace.windows["measured_s"])]
        trace.meta = replace(
            trace.meta,
            duration_s=float(max(ends)),
            lost_events=max(meta.lost_events, int(trace.intervals["lost_events"].sum())),
        )
        return trace

    @property
    def intervals(self) -> pd.DataFrame:
        """One row an interval: ``interval start_s end_s dirty_pages sent_pages zero_pages lost_events``."""
        return self._frame("intervals")

    @property
    def windows(self) -> pd.DataFrame:
        """One row a ``calc-dirty-rate`` answer."""
        return self._frame("windows")

    @property
    def content(self) -> pd.DataFrame:
        """One row a sampled re-sent page; ``xbzrle_bytes`` is -1 where the encoding overflows.

        `between_s` and `after_sync_s` are NaN where the trace does not tell (see `content_with_write_times`).
        """
        return self._frame("content")

    def events(self) -> pd.DataFrame:
        """Dirty-ring events in time order: ``interval time_us page vcpu``."""
        return self._frame("events")

    def pages(self, interval: int) -> npt.NDArray[np.int64]:
        """Page numbers dirtied in an interval, ascending.

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
        return expand_runs(runs["first_page"][low:high], runs["npages"][low:high])

    def columns(self, member: str) -> dict[str, npt.NDArray[Any]]:
        """Arrays of a member, by the names of its columns: what `intervals` and its like are made of, without pandas.

        Parameters
        ----------
        member : {"intervals", "runs", "windows", "events", "content"}
        """
        key = f"{member} columns"
        if key not in self._cache:
            table = self._read(member)
            self._cache[key] = {name: column_array(table[name]) for name in table.column_names}
        columns: dict[str, npt.NDArray[Any]] = self._cache[key]
        return columns

    def unique_dirty_curve(self) -> UniqueDirtyCurve:
        """Unique dirty pages against window length, pooled from all that the trace holds.

        See `migsim.trace.curve` for what each mode's points mean.
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
        empty = pa.Table.from_batches([], schema=member_schema(member, total))  # empty_table() loads pandas
        try:
            if self._pieces is not None:
                return pa.concat_tables(
                    [empty, *(read_member(p, member, total) for p in self._pieces[member])]
                )
            with zipfile.ZipFile(self.path) as archive:
                if f"{member}.parquet" not in archive.namelist():
                    return empty
                # read() checks the member's CRC, which seeking inside it would not.
                data = archive.read(f"{member}.parquet")
            return read_member(pa.BufferReader(data), member, total)
        except (OSError, EOFError, ValueError, RuntimeError, pa.ArrowException, zipfile.BadZipFile) as error:
            raise _unreadable(self.path, f"{member}.parquet is damaged ({error})") from error

    def __repr__(self) -> str:
        whole = "" if self.meta.complete else ", incomplete"
        return (
            f"<Trace {self.path.name}: {self.meta.collector}, {self.meta.duration_s:.1f} s, "
            f"{len(self.intervals)} intervals, {len(self.windows)} windows{whole}>"
        )

    def _repr_html_(self) -> str:
        from migsim.trace.render import to_html

        return to_html(self)


def _unreadable(path: Path, why: str) -> TraceError:
    return TraceError(
        f"Cannot read {path} as a trace: {why}.",
        "A trace is what `migsim trace record` writes: a zip of meta.json and Parquet members.",
        "Check the path; a copy that was cut short must be copied again.",
    )
