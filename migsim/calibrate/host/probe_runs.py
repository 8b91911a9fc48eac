"""Running the probe migrations, and keeping their records in a folder or a ``.zip`` archive.

A record is kept as soon as its probe has ended, so that a killed calibration loses none. An archive is rewritten beside
itself and renamed. Its members are sorted by name and carry no date, so that the same records make the same archive.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.calibrate.host.probes import Probe
from migsim.errors import HostError, RecordError, near_misses
from migsim.files import atomic_path, check_writable
from migsim.reading import LARGEST_TEXT_OF_A_RECORD, open_regular
from migsim.results import MigrationResult
from migsim.results.record_file import parse_record, record_text

if TYPE_CHECKING:
    from migsim.lab.cores import Cores

__all__ = ["KeptProbes", "run_probes"]

_DAMAGES = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""Errors that reading a damaged archive raises."""


class KeptProbes:
    """Records of probes in a folder or a ``.zip`` archive; iterating yields them in the order of their names.

    Parameters
    ----------
    path : str or Path
        The folder or archive; it may not exist yet.

    Raises
    ------
    RecordError
        Where `path` is a file that does not end in ``.zip``.

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
                "Give the path of a folder or an archive, or one that does not exist yet.",
            )

    def names(self) -> list[str]:
        """Return the names of the records: the probe's name, ``pinned`` where it was, and the run's number.

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
            Where the record is missing or damaged.
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
            text = _member(archive, f"{name}.json").decode("utf-8")
        return MigrationResult(**parse_record(text, f"{self.path}: {name}.json"))

    def __iter__(self) -> Iterator[MigrationResult]:
        return map(self.load, self.names())

    def prepare(self) -> None:
        """Make the folder, and check that records can be added.

        Raises
        ------
        RecordError
            Where the archive is damaged.
        HostError
            Where the folder or archive cannot be written.
        """
        if self._packed:
            self._members()
        folder = self.path.parent if self._packed else self.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"Cannot make the folder {folder}: {error.strerror or error}.",
                "Records of probes are kept in it.",
                "Give another path.",
            ) from error
        check_writable(self.path if self._packed else self.path / "probe.json")

    def add(self, name: str, record: MigrationResult) -> None:
        """Write a record, whole or not at all.

        Raises
        ------
        RecordError
            Where the archive is damaged, or the record's info is no answer to ``query-migrate``.
        HostError
            Where the file cannot be written.
        """
        if not self._packed:
            record.save(self.path / f"{name}.json")
            return
        self._write(self._members() | {f"{name}.json": record_text(record).encode()})

    def _write(self, members: Mapping[str, bytes]) -> None:
        """Write the archive with these members and no others."""
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
        """Return all members of the archive."""
        if not self.path.exists():
            return {}
        with self._reading() as archive:
            return {name: _member(archive, name) for name in archive.namelist()}

    @contextmanager
    def _reading(self) -> Iterator[zipfile.ZipFile]:
        try:
            with open_regular(self.path, RecordError) as stream, zipfile.ZipFile(stream) as archive:
                yield archive
        except _DAMAGES as error:
            raise RecordError(
                f"Cannot read the records in {self.path}: {str(error).rstrip('.')}.",
                "Records of probes are kept in a zip archive.",
                "Give another path, or remove the file: the probes then run again.",
            ) from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member that is no larger than a record may be."""
    size = archive.getinfo(name).file_size
    if size > LARGEST_TEXT_OF_A_RECORD:
        raise ValueError(f"{name} claims {size} bytes; a record has at most {LARGEST_TEXT_OF_A_RECORD}")
    return archive.read(name)


def run_probes(
    every: Sequence[tuple[Probe, int]],
    *,
    progress: Callable[[int, str], None] | None = None,
    keep: str | Path | None = None,
    pin: Cores | None = None,
    command: str = "",
) -> list[MigrationResult]:
    """Run probes one after the other; a probe whose record is kept is read instead.

    Parameters
    ----------
    every : sequence of (Probe, int)
        The probes in order, each with the number of its run.
    progress : callable, optional
        Called with the number of probes done and the purpose of the next one.
    keep : str or Path, optional
        As `KeptProbes` takes it.
    pin : Cores, optional
        The cores of pinned probes.
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
    names = set(kept.names()) if kept else set()
    runs: list[MigrationResult] = []
    for done, (probe, number) in enumerate(every):
        if progress:
            progress(done, probe.purpose)
        name = f"{probe.scenario.name}{'-pinned' if probe.pinned else ''}-{number}"
        if kept and name in names:
            runs.append(kept.load(name))
            continue
        runs.append(run_migration(probe.scenario, pin=pin if probe.pinned else None, command=command))
        if kept:
            kept.add(name, runs[-1])
    return runs
