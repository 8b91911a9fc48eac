"""The `FILE.part` folder: a trace while it is being recorded, and what is left of it after a crash.

Each commit is a set of small Parquet files ``NNNNNNNN-member.parquet``, each renamed into place when whole;
``intervals`` comes last and seals the commit. A reader takes whole commits up to the first damaged one.
"""

from __future__ import annotations

import contextlib
import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.errors import HostError, TraceError
from migsim.files import write_text_atomically
from migsim.trace.members import MEMBERS, open_parquet_writer, read_member
from migsim.trace.meta import TraceMeta

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Journal", "part_path", "whole_commits"]

_PIECE = re.compile(rf"(\d{{8}})-({'|'.join(MEMBERS)})\.parquet")


def part_path(target: Path) -> Path:
    """Where `target` grows while it is being recorded."""
    return target.with_name(target.name + ".part")


class Journal:
    """The writing end of a ``.part`` folder; creates the folder, which must not exist.

    Raises
    ------
    HostError
        The folder exists already, cannot be made, or the disk is full.
    """

    def __init__(self, target: Path, meta: TraceMeta) -> None:
        self.folder = part_path(target)
        self._commits = 0
        try:
            self.folder.mkdir()
        except FileExistsError as error:
            raise HostError(
                f"{self.folder} exists.",
                "It holds a recording that was interrupted or is under way; migsim never overwrites either.",
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
        """Write one commit's tables, in the order given; put ``intervals`` last."""
        for member, rows in pieces.items():
            name = f"{self._commits:08d}-{member}.parquet"
            temporary = self.folder / f"{name}.tmp"
            self._put(temporary, self.folder / name, member, rows)
        self._commits += 1

    def _put(self, temporary: Path, final: Path, member: str, rows: pa.Table) -> None:
        try:
            with temporary.open("wb") as stream, open_parquet_writer(stream, member, rows.schema) as writer:
                writer.write_table(rows)
            temporary.replace(final)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise HostError(
                f"Cannot write to {self.folder}: {error.strerror or error}.",
                "What was recorded before is whole and readable.",
                f"{'Make room, then look' if full else 'Look'} at it with `migsim trace info {self.folder}`.",
            ) from error


def whole_commits(folder: Path, total_pages: int) -> tuple[dict[str, list[Path]], int]:
    """List each member's readable pieces in order, and how many commits had to be left out at the end.

    Raises
    ------
    TraceError
        The folder cannot be listed.
    """
    try:
        found = sorted(path for path in folder.iterdir() if _PIECE.fullmatch(path.name))
    except OSError as error:
        raise TraceError(
            f"Cannot read {folder}: {error.strerror}.", "", "Check the path and its rights."
        ) from error
    commits: dict[str, list[tuple[str, Path]]] = {}
    for path in found:
        number, _, rest = path.name.partition("-")
        commits.setdefault(number, []).append((rest.removesuffix(".parquet"), path))
    pieces: dict[str, list[Path]] = {member: [] for member in MEMBERS}
    for whole, (expected, number) in enumerate(enumerate(sorted(commits))):
        if int(number) != expected or not _is_whole(commits[number], total_pages):
            return pieces, len(commits) - whole
        for member, path in commits[number]:
            pieces[member].append(path)
    return pieces, 0


def _is_whole(commit: list[tuple[str, Path]], total_pages: int) -> bool:
    members = {member for member, _ in commit}
    if members != {"windows"} and "intervals" not in members:
        return False
    return all(_reads(path, member, total_pages) for member, path in commit)


def _reads(path: Path, member: str, total_pages: int) -> bool:
    import pyarrow as pa

    try:
        read_member(path, member, total_pages)
    except (OSError, ValueError, pa.ArrowException):
        return False
    return True
