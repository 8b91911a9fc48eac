"""Probe migrations: running those that are missing, and keeping their records.

A record is kept as soon as its probe has ended, so that a killed calibration loses none. In a folder it is a file; an
archive is written anew beside itself and renamed. Its members are in the order of their names and bear no date: the
same records make the same archive.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migsim.errors import HostError, RecordError, near_misses
from migsim.files import atomic_path, check_writable
from migsim.results import MigrationResult
from migsim.results.record_file import parse_record, record_text
from migsim.scenario import LabScenario

__all__ = ["KeptProbes", "Probe", "run_probes"]

_DAMAGES = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What reading an archive raises where its bytes are not those that were written."""


@dataclass(frozen=True)
class Probe:
    """One probe migration: what it is for, the scenario, and how often it runs in each repeat."""

    purpose: str
    scenario: LabScenario
    runs: int = 1


class KeptProbes:
    """Records of probes by name, in a folder or a ``.zip`` archive; iterating gives them in the order of their names.

    Parameters
    ----------
    path : str or Path
        The folder or archive. It need not be there: then it holds nothing yet.

    Raises
    ------
    RecordError
        Where a file is there that does not end in ``.zip``.

    Examples
    --------
    >>> fit_profile(KeptProbes("probes-10.0.zip"), qemu)    # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._packed = self.path.suffix.lower() == ".zip" and not self.path.is_dir()
        if self.path.exists() and not self._packed and not self.path.is_dir():
            raise RecordError(
                f"{self.path} is a file that does not end in .zip.",
                "Records of probes are kept in a folder or a .zip archive.",
                "Give the path of either, or one where nothing is.",
            )

    def names(self) -> list[str]:
        """Return the names of the records: the probe's, and a number.

        Raises
        ------
        RecordError
            Where the archive is damaged.
        """
        if not self._packed:
            return [path.stem for path in sorted(self.path.glob("*.json"))]
        if not self.path.exists():
            return []
        with self._reading() as archive:
            members = sorted(set(archive.namelist()))
        return [name.removesuffix(".json") for name in members if name.endswith(".json")]

    def load(self, name: str) -> MigrationResult:
        """Read a record.

        Raises
        ------
        RecordError
            Where it is not there, or is damaged.
        """
        if not self._packed:
            return MigrationResult.load(self.path / f"{name}.json")
        if name not in (held := self.names()):
            raise RecordError(
                f"{self.path} holds no record {name!r}.",
                f"It holds {len(held)} records of probes.",
                near_misses(name, held) or "Give one of their names.",
            )
        with self._reading() as archive:
            text = archive.read(f"{name}.json").decode("utf-8")
        return MigrationResult(**parse_record(text, f"{self.path}: {name}.json"))

    def __iter__(self) -> Iterator[MigrationResult]:
        return map(self.load, self.names())

    def prepare(self) -> None:
        """Make the folder, and find out what would keep a record from being added.

        Raises
        ------
        RecordError
            Where the archive is damaged.
        HostError
            Where it cannot be written.
        """
        if self._packed:
            self._members()
        folder = self.path.parent if self._packed else self.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"Cannot make the folder {folder}: {error.strerror or error}.",
                "Records of probes are kept there.",
                "Give another path.",
            ) from error
        check_writable(self.path if self._packed else self.path / "probe.json")

    def add(self, name: str, record: MigrationResult) -> None:
        """Keep a record, whole or not at all.

        Raises
        ------
        RecordError
            Where the archive is damaged, or the record's info is not what ``query-migrate`` answers.
        HostError
            Where it cannot be written.
        """
        if not self._packed:
            record.save(self.path / f"{name}.json")
            return
        self._write(self._members() | {f"{name}.json": record_text(record).encode()})

    def _write(self, members: Mapping[str, bytes]) -> None:
        """Write the archive anew, with nothing in it but these members."""
        with (
            atomic_path(self.path) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        ):
            for member in sorted(members):
                info = zipfile.ZipInfo(member)  # dated 1980
                info.compress_type = zipfile.ZIP_DEFLATED
                info.create_system = 3  # as on Unix, whatever this is
                info.external_attr = 0o644 << 16
                archive.writestr(info, members[member], compresslevel=9)

    def _members(self) -> dict[str, bytes]:
        """Every member of the archive."""
        if not self.path.exists():
            return {}
        with self._reading() as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    @contextmanager
    def _reading(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except _DAMAGES as error:
            raise RecordError(
                f"Cannot read the records in {self.path}: {str(error).rstrip('.')}.",
                "Records of probes are kept in a zip archive that is whole.",
                "Give another path, or take the file away: the probes then run again.",
            ) from None


def run_probes(
    every: Sequence[tuple[Probe, int]],
    *,
    progress: Callable[[int, str], None] | None = None,
    keep: str | Path | None = None,
    command: str = "",
) -> list[MigrationResult]:
    """Run probes one after the other; those whose records are kept are read instead.

    Parameters
    ----------
    every : sequence of (Probe, int)
        The probes in order, each with the number of its run.
    progress : callable, optional
        Called with (probes done, what the next is for).
    keep : str or Path, optional
        As `KeptProbes` takes it.
    command : str
        The command line, for the records.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`.
    RecordError
        Where a kept record cannot be read.
    """
    from migsim.lab.migrate import run_migration

    kept = None if keep is None else KeptProbes(keep)
    if kept:
        kept.prepare()
    there = set(kept.names()) if kept else set()
    runs: list[MigrationResult] = []
    for done, (probe, number) in enumerate(every):
        if progress:
            progress(done, probe.purpose)
        name = f"{probe.scenario.name}-{number}"
        if kept and name in there:
            runs.append(kept.load(name))
            continue
        runs.append(run_migration(probe.scenario, command=command))
        if kept:
            kept.add(name, runs[-1])
    return runs
