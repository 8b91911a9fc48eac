"""Writing a trace: interval by interval into `FILE.part`, packed into `FILE` at the end."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from migsim.errors import HostError, MigsimError, TraceError
from migsim.files import atomic_path
from migsim.reading import read_bytes
from migsim.trace.journal import CommittedFile, Journal, whole_commits
from migsim.trace.members import (
    MEMBERS,
    member_schema,
    member_table,
    open_parquet_writer,
    page_runs,
    read_member,
)
from migsim.trace.meta import TraceMeta

if TYPE_CHECKING:
    import os

__all__ = ["TraceWriter", "pack_part"]

_ROW_GROUP = 1 << 20


class TraceWriter:
    """Writes a trace; a context manager that packs the trace on exit, also after an exception.

    After an exception the trace is closed with ``complete=False`` and the exception as its note. If nothing was
    recorded until then, no file is left.

    Parameters
    ----------
    path : path
        The ``.trace`` file to write; ``path + ".part"`` must not exist.
    meta : TraceMeta

    Raises
    ------
    HostError
        The disk is full or cannot be written. Earlier intervals stay readable in ``path + ".part"``.

    Examples
    --------
    >>> import tempfile
    >>> meta = TraceMeta(collector="stream", qemu_version="10.0.8", ram_bytes=1 << 30)
    >>> path = Path(tempfile.mkdtemp()) / "a.trace"
    >>> with TraceWriter(path, meta) as writer:
    ...     writer.add_interval(0.0, 1.0, pages=[5, 6, 7])
    0
    >>> path.exists()
    True
    """

    def __init__(self, path: str | os.PathLike[str], meta: TraceMeta) -> None:
        self.path = Path(path)
        self.meta = meta
        self.intervals = 0
        self.windows = 0
        self._end_s = 0.0
        self._events: list[dict[str, Any]] = []
        self._content: list[dict[str, Any]] = []
        self._closed = False
        self._journal = Journal(self.path, meta)

    def add_interval(
        self,
        start_s: float,
        end_s: float,
        *,
        dirty_pages: int | None = None,
        sent_pages: int = 0,
        zero_pages: int = 0,
        lost_events: int = 0,
        pages: npt.ArrayLike | None = None,
        runs: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> int:
        """Add one interval, with the events and content added since the previous one, as one commit.

        Parameters
        ----------
        start_s, end_s : float
            Seconds since the trace began.
        dirty_pages : int, optional
            Unique pages dirtied. By default they are counted from `pages` or `runs`; -1 (unknown) without either.
        sent_pages, zero_pages, lost_events : int
        pages : array of int, optional
            Global numbers of the dirtied pages, in any order.
        runs : (first_page, npages), optional
            The dirtied pages as ascending runs, instead of `pages`.

        Returns
        -------
        int
            The interval's number.
        """
        number = self.intervals
        if pages is not None:
            runs = page_runs(pages)
        if dirty_pages is None:
            dirty_pages = -1 if runs is None else int(np.sum(runs[1], dtype=np.int64))
        pieces = {}
        if runs is not None and np.size(runs[0]):
            pieces["runs"] = self._table("runs", interval=number, first_page=runs[0], npages=runs[1])
        for member, parts in (("events", self._events), ("content", self._content)):
            if parts:
                columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
                pieces[member] = self._table(member, interval=number, **columns)
        pieces["intervals"] = self._table(
            "intervals",
            interval=number,
            start_s=[start_s],
            end_s=end_s,
            dirty_pages=dirty_pages,
            sent_pages=sent_pages,
            zero_pages=zero_pages,
            lost_events=lost_events,
        )
        self._journal.commit(pieces)
        self._events, self._content = [], []
        self.intervals += 1
        self._end_s = max(self._end_s, end_s)
        self.meta = replace(self.meta, lost_events=self.meta.lost_events + lost_events)
        return number

    def add_windows(self, windows: Iterable[dict[str, Any]]) -> None:
        """Add ``calc-dirty-rate`` answers: mappings with the columns of ``windows.parquet``."""
        rows = list(windows)
        if rows:
            names = member_schema("windows", self.meta.total_pages).names
            columns = {name: [row[name] for row in rows] for name in names}
            self._journal.commit({"windows": self._table("windows", **columns)})
            self.windows += len(rows)
            self._end_s = max(self._end_s, *(row["start_s"] + row["measured_s"] for row in rows))

    def add_events(self, time_us: npt.ArrayLike, page: npt.ArrayLike, vcpu: npt.ArrayLike) -> None:
        """Add dirty-ring events of the current interval; they are written with the next `add_interval`."""
        self._events.append(_equal_length_arrays(time_us=time_us, page=page, vcpu=vcpu))

    def add_content(
        self,
        page: npt.ArrayLike,
        changed_bytes: npt.ArrayLike,
        runs: npt.ArrayLike,
        xbzrle_bytes: npt.ArrayLike,
        between_s: npt.ArrayLike = np.nan,
        after_sync_s: npt.ArrayLike = np.nan,
    ) -> None:
        """Add statistics of re-sent pages; they are written with the next `add_interval`.

        `between_s` is the time between the two sendings that were compared. `after_sync_s` is the time from the sync
        that found the page dirty until its second sending. Both are NaN where unknown.
        """
        self._content.append(
            _equal_length_arrays(
                page=page,
                changed_bytes=changed_bytes,
                runs=runs,
                xbzrle_bytes=xbzrle_bytes,
                between_s=np.broadcast_to(between_s, np.shape(page)),
                after_sync_s=np.broadcast_to(after_sync_s, np.shape(page)),
            )
        )

    def update_meta(self, **changes: Any) -> None:
        """Change fields of the meta data, in memory and on disk."""
        self.meta = replace(self.meta, **changes)
        self._journal.write_meta(self.meta)

    def close(self, complete: bool = True, note: str = "") -> None:
        """Pack the folder into the file; a second call does nothing.

        If nothing was recorded and `complete` is false, the folder is removed and no file is written.
        """
        if self._closed:
            return
        self._closed = True
        if not complete and not self.intervals and not self.windows:
            shutil.rmtree(self._journal.folder, ignore_errors=True)
            return
        notes = "; ".join(part for part in (self.meta.note, note) if part)
        duration = self.meta.duration_s or self._end_s
        self.meta = replace(self.meta, complete=complete, note=notes, duration_s=duration)
        try:
            self._journal.write_meta(self.meta)
        except HostError as error:
            raise _error_naming_folder(self._journal.folder, error) from error
        pack_part(self._journal.folder, self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        note = (
            "interrupted"
            if isinstance(error, KeyboardInterrupt)
            else f"{kind.__name__ if kind else ''}: {error}"
        )
        try:
            self.close(complete=False, note=note)
        except MigsimError as second:
            # The first error goes up; the folder stays readable without packing.
            error.add_note(str(second))

    def _table(self, member: str, **columns: Any) -> Any:
        return member_table(member, self.meta.total_pages, columns)


def _equal_length_arrays(**columns: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
    """Turn columns into arrays; a scalar is repeated to the length of the longest."""
    arrays = {name: np.atleast_1d(np.asarray(value)) for name, value in columns.items()}
    length = max(array.size for array in arrays.values())
    return {name: np.broadcast_to(array, (length,)) for name, array in arrays.items()}


def pack_part(folder: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Pack the undamaged intervals of a ``.part`` folder into the file `target`, and remove the folder.

    Raises
    ------
    HostError
        The disk is full or cannot be written; the folder then stays as it is.
    TraceError
        The folder holds no trace, or a file in it changed meanwhile; the folder then stays as it is.
    """
    folder, target = Path(folder), Path(target)
    meta = TraceMeta.from_json(read_bytes(folder / "meta.json", TraceError), str(folder))
    pieces, left_out = whole_commits(folder, meta)
    if left_out:
        note = f"{left_out} damaged part(s) at the end are left out"
        meta = replace(meta, complete=False, note="; ".join(filter(None, (meta.note, note))))
    try:
        with (
            atomic_path(target) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
        ):
            archive.writestr("meta.json", meta.to_json())
            for member in MEMBERS:
                if pieces[member]:
                    with archive.open(f"{member}.parquet", "w", force_zip64=True) as stream:
                        _write_member(stream, member, pieces[member], meta.total_pages)
    except HostError as error:
        raise _error_naming_folder(folder, error) from error
    shutil.rmtree(folder, ignore_errors=True)


def _error_naming_folder(folder: Path, error: HostError) -> HostError:
    """Return an error of packing that names the folder in which the recording still is."""
    return HostError(error.what, f"The recording is whole and readable in {folder}.", error.todo)


def _write_member(stream: IO[bytes], member: str, pieces: list[CommittedFile], total_pages: int) -> None:
    """Concatenate pieces into row groups of about a million rows, so that memory stays bounded."""
    import pyarrow as pa

    positioned: Any = _PositionedStream(stream)  # what pyarrow calls of a file, and no more
    writer = open_parquet_writer(positioned, member_schema(member, total_pages))
    with writer:
        tables: list[Any] = []
        for piece in pieces:
            tables.append(read_member(piece.read(), member, total_pages))
            if sum(table.num_rows for table in tables) >= _ROW_GROUP:
                writer.write_table(pa.concat_tables(tables))
                tables = []
        if tables:
            writer.write_table(pa.concat_tables(tables))


class _PositionedStream:
    """A write-only stream that knows its position: Parquet asks for it, and a zip member does not have one."""

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Do nothing: every write goes to the zip at once."""

    def close(self) -> None:
        self.closed = True
