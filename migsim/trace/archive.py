"""The zip file of a trace: its directory is checked before a member is read.

A trace's members are stored, not compressed, so that none can be larger than the file. The directory is small, at the
file's very end, and names each member once.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from migsim.errors import TraceError
from migsim.reading import LARGEST_TEXT, open_regular
from migsim.trace.members import MEMBERS

__all__ = ["MEMBER_DAMAGES", "TraceArchive", "changed_trace", "fingerprint", "unreadable_trace"]

MEMBER_DAMAGES = (
    *(OSError, EOFError, ValueError, RuntimeError, KeyError, OverflowError, MemoryError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)
"""What reading a damaged zip file raises."""

_META = "meta.json"
_NAMES = frozenset((_META, *(f"{member}.parquet" for member in MEMBERS)))
_END = 22  # bytes of the end record, which is the file's last as it carries no comment
_LOCATOR, _END_64 = 20, 56  # bytes of what stands before it in a file of 4 GiB or more
_LARGEST_DIRECTORY = 1 << 12  # six members need a tenth of it


class TraceArchive:
    """A packed trace's members; a context manager.

    Raises
    ------
    TraceError
        The file is missing, no regular file, no zip file, or holds what no trace holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = open_regular(path, TraceError)
        try:
            _check_end(self._stream)
            self._archive = zipfile.ZipFile(self._stream)
            self._sizes = self._checked_sizes()
        except MEMBER_DAMAGES as error:
            self._stream.close()
            raise unreadable_trace(path, getattr(error, "strerror", None) or str(error)) from error

    def read(self, name: str) -> bytes | None:
        """Return a member's bytes, with its checksum checked; None where the trace lacks it."""
        if name not in self._sizes:
            return None
        try:
            # reading the whole member checks its CRC; seeking inside it would not
            return self._archive.read(name)
        except MEMBER_DAMAGES as error:
            raise unreadable_trace(self.path, f"{name} is damaged ({error})") from error

    def __enter__(self) -> TraceArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()
        self._stream.close()

    def _checked_sizes(self) -> dict[str, int]:
        size = self._stream.seek(0, 2)
        found: dict[str, int] = {}
        if _META not in self._archive.namelist():
            raise ValueError("it is a zip without meta.json")
        for entry in self._archive.infolist():
            name = entry.filename
            if name not in _NAMES:
                raise ValueError(f"it holds {name!r}, which is no member of a trace")
            if name in found:
                raise ValueError(f"it holds {name!r} twice")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise ValueError(
                    f"{name} is compressed or encrypted; a trace's members are stored as they are"
                )
            if entry.file_size != entry.compress_size or not 0 <= entry.file_size <= size:
                raise ValueError(f"{name} claims {entry.file_size} bytes in a file of {size}")
            found[name] = entry.file_size
        if found[_META] > LARGEST_TEXT:
            raise ValueError(f"meta.json claims {found[_META]} bytes; it has at most {LARGEST_TEXT}")
        if sum(found.values()) > size:
            raise ValueError(f"its members claim {sum(found.values())} bytes in a file of {size}")
        return found


def _check_end(stream: BinaryIO) -> None:
    """Check the zip file's end records: `zipfile` reads as large a directory as they claim."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _END - _LOCATOR - _END_64))
    tail = stream.read(_END + _LOCATOR + _END_64)
    end = tail[-_END:]
    if len(end) < _END or end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise ValueError("it is not a zip file, or was cut short")
    claimed = int.from_bytes(end[12:16], "little")
    if tail[-_END - _LOCATOR : -_END][:4] == b"PK\6\7":
        record = tail[: -_END - _LOCATOR]
        if len(record) != _END_64:
            raise ValueError("its zip64 end record is cut off")
        claimed = int.from_bytes(record[40:48], "little")
    if claimed > min(size, _LARGEST_DIRECTORY):
        raise ValueError(f"its directory claims {claimed} bytes")


def unreadable_trace(path: Path, why: str) -> TraceError:
    """Return the error for a file that is no whole trace."""
    return TraceError(
        f"Cannot read {path} as a trace: {why}.",
        "`migsim trace record` writes traces: zip files of meta.json and Parquet members.",
        "Check the path; copy the file again if the copy was cut short.",
    )


def fingerprint(data: bytes | None) -> bytes:
    """Return what tells a member's bytes, None where it is missing, from any others.

    Examples
    --------
    >>> fingerprint(b"PAR1") == fingerprint(b"PAR2")
    False
    """
    return b"" if data is None else hashlib.sha256(data).digest()


def changed_trace(path: Path) -> TraceError:
    """Return the error for a file that is no longer the one that was opened."""
    return TraceError(
        f"{path} is another file than the one that was opened: its contents have changed.",
        "A trace is checked as it is opened, and what is read later has to be what was checked.",
        "Open it again, and leave the file as it is meanwhile.",
    )
