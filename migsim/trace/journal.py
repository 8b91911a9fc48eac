"""The `FILE.part` folder: a trace while it is recorded, and after a crash.

Each commit is a set of small Parquet files ``NNNNNNNN-member.parquet``. Each file is renamed into place when it is
whole. ``intervals`` is written last: a commit without it is not whole. A reader takes all commits before the first
damaged one.
"""

from __future__ import annotations

import contextlib
import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migsim.errors import HostError, TraceError
from migsim.files import write_text_atomically
from migsim.reading import read_bytes
from migsim.trace.archive import MEMBER_DAMAGES, changed_trace, fingerprint
from migsim.trace.checks import MemberChecks
from migsim.trace.members import MEMBERS, member_columns, member_tables, open_parquet_writer
from migsim.trace.meta import TraceMeta

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CommittedFile", "Journal", "part_path", "whole_commits"]

_PIECE = re.compile(rf"(\d{{8}})-({'|'.join(MEMBERS)})\.parquet")

_LARGEST_PIECE = 1 << 31  # bytes of one member of one commit


class CommittedFile(NamedTuple):
    """A file of a commit, as it was checked."""

    path: Path
    fingerprint: bytes

    def read(self) -> bytes:
        """Return its bytes; raise TraceError where they are not those that were checked."""
        data = read_bytes(self.path, TraceError, most=_LARGEST_PIECE)
        if fingerprint(data) != self.fingerprint:
            raise changed_trace(self.path)
        return data


def part_path(target: Path) -> Path:
    """Return the folder in which `target` grows while it is recorded."""
    return target.with_name(target.name + ".part")


class Journal:
    """Writes a ``.part`` folder; creates the folder, which must not exist.

    Raises
    ------
    HostError
        The folder exists already, cannot be created, or the disk is full.
    """

    def __init__(self, target: Path, meta: TraceMeta) -> None:
        self.folder = part_path(target)
        self._commits = 0
        try:
            self.folder.mkdir()
        except FileExistsError as error:
            raise HostError(
                f"The folder {self.folder} exists.",
                "It holds a recording that is under way or was interrupted; migsim never overwrites one.",
                f"Look at it with `migsim trace info {self.folder}`, then remove it, or record elsewhere.",
            ) from error
        except OSError as error:
            raise HostError(
                f"Cannot create {self.folder}: {error.strerror}.",
                "A trace grows in this folder while it is recorded.",
                "Check that the parent folder exists, may be written and has room.",
            ) from error
        self.write_meta(meta)

    def write_meta(self, meta: TraceMeta) -> None:
        """Replace ``meta.json``."""
        write_text_atomically(self.folder / "meta.json", meta.to_json())

    def commit(self, pieces: dict[str, pa.Table]) -> None:
        """Write the tables of one commit in the given order; the caller puts ``intervals`` last."""
        for member, table in pieces.items():
            name = f"{self._commits:08d}-{member}.parquet"
            temporary = self.folder / f"{name}.tmp"
            self._write_piece(temporary, self.folder / name, table)
        self._commits += 1

    def _write_piece(self, temporary: Path, final: Path, table: pa.Table) -> None:
        try:
            with temporary.open("wb") as stream, open_parquet_writer(stream, table.schema) as writer:
                writer.write_table(table)
            temporary.replace(final)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise HostError(
                f"Cannot write to {self.folder}: {error.strerror or error}.",
                "All intervals recorded before are whole and readable.",
                f"{'Make room, then look' if full else 'Look'} at them with `migsim trace info {self.folder}`.",
            ) from error


def whole_commits(folder: Path, meta: TraceMeta) -> tuple[dict[str, list[CommittedFile]], int]:
    """Return each member's files of all whole commits, in order, and the number of commits left out at the end.

    Raises
    ------
    TraceError
        The folder cannot be listed.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if _PIECE.fullmatch(path.name))
    except OSError as error:
        raise TraceError(
            f"Cannot read {folder}: {error.strerror}.", "", "Check the path and its permissions."
        ) from error
    commits: dict[str, list[tuple[str, Path]]] = {}
    for path in paths:
        number, _, rest = path.name.partition("-")
        commits.setdefault(number, []).append((rest.removesuffix(".parquet"), path))
    pieces: dict[str, list[CommittedFile]] = {member: [] for member in MEMBERS}
    checks = MemberChecks(meta)
    for expected, number in enumerate(sorted(commits)):
        held = _whole(commits[number], meta, checks) if int(number) == expected else None
        if held is None:
            return pieces, len(commits) - expected
        for member, file in held.items():
            pieces[member].append(file)
    return pieces, 0


def _whole(
    commit: list[tuple[str, Path]], meta: TraceMeta, checks: MemberChecks
) -> dict[str, CommittedFile] | None:
    """Return a commit's files by member; None where it is not complete, or holds what no trace may hold there."""
    import pyarrow as pa

    paths = dict(commit)
    if paths.keys() != {"windows"} and "intervals" not in paths:
        return None
    held: dict[str, CommittedFile] = {}
    try:
        for member in MEMBERS:  # intervals are the first
            if member in paths:
                data = read_bytes(paths[member], TraceError, most=_LARGEST_PIECE)
                held[member] = CommittedFile(paths[member], fingerprint(data))
                for table in member_tables(data, member, meta.total_pages):
                    checks.check(member, member_columns(table))
        checks.finish()
    except (TraceError, *MEMBER_DAMAGES, pa.ArrowException):
        return None
    return held
