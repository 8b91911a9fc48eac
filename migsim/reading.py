"""Bounded reading of files that others wrote: regular files of a bounded size, JSON and TOML of sane depth and numbers.

Every function raises the error type of its file kind, never a decoder's own error. What is refused here could not come
from a file that migsim wrote: devices and pipes, nesting deeper than `DEEPEST`, numbers that no 64-bit machine holds.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import tomllib
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from migsim.errors import MigsimError

__all__ = [
    "DEEPEST",
    "LARGEST_TEXT",
    "LARGEST_TEXT_OF_A_RECORD",
    "check_values",
    "open_regular",
    "parse_json",
    "parse_toml",
    "read_bytes",
    "read_file_text",
]

DEEPEST = 64
"""Levels of arrays and objects that a text file may nest."""
LARGEST_TEXT = 1 << 20
"""Bytes of a profile, a scenario, a workload, and of a trace's ``meta.json``."""
LARGEST_TEXT_OF_A_RECORD = 8 << 20
"""Bytes of a record, which holds a timeline and the guest's log."""
_LARGEST_INTEGER = 1 << 64
_LONGEST_NUMBER = 400  # characters; Python reads integers in quadratic time


def open_regular(path: str | os.PathLike[str], error_type: type[MigsimError], *, most: int = 0) -> BinaryIO:
    """Open a regular file for reading.

    Parameters
    ----------
    path : path
    error_type : type of MigsimError
        What is raised for a file that cannot be opened, a folder, device, pipe or socket, or one that is too large.
    most : int
        Largest number of bytes; 0 for any.

    Examples
    --------
    >>> from migsim.errors import TraceError
    >>> open_regular("/dev/zero", TraceError)
    Traceback (most recent call last):
    migsim.errors.TraceError: Cannot read /dev/zero: it is a device. Only regular files are read. Check the path.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for its writer
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise _unreadable(path, getattr(error, "strerror", None) or str(error), error_type) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        why = _kind(os.fstat(handle).st_mode)
        os.close(handle)
        raise _unreadable(path, why, error_type, "Only regular files are read.")
    stream = os.fdopen(handle, "rb")
    size = os.fstat(handle).st_size
    if most and size > most:
        stream.close()
        raise _unreadable(path, f"it has {size} bytes", error_type, f"Files of its kind have at most {most}.")
    return stream


def read_bytes(
    path: str | os.PathLike[str], error_type: type[MigsimError], *, most: int = LARGEST_TEXT
) -> bytes:
    """Return the bytes of a regular file, at most `most` of them."""
    with open_regular(path, error_type, most=most) as stream:
        try:
            return stream.read(most)
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error), error_type) from None


def read_file_text(path: str | Path, error_type: type[MigsimError], *, most: int = LARGEST_TEXT) -> str:
    """Read a text file, or raise `error_type` with the reason."""
    try:
        return read_bytes(path, error_type, most=most).decode("utf-8")
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not text", error_type) from None


def parse_json(text: str | bytes, where: str, error_type: type[MigsimError]) -> Any:
    """Parse JSON of bounded depth, whose numbers are finite and fit into 64 bits.

    Raises
    ------
    MigsimError
        Of `error_type`, where `text` is not JSON or beyond these bounds; `where` (a file) begins the error's text.

    Examples
    --------
    >>> from migsim.errors import RecordError
    >>> parse_json('{"downtime": 1' + "0" * 400 + "}", "a.json", RecordError)
    Traceback (most recent call last):
    migsim.errors.RecordError: a.json is not whole JSON: a number of 401 characters is too large. ...
    """
    try:
        data = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_no_number)
        check_values(data)
    except RecursionError:
        raise _damaged(where, "whole JSON", f"it nests deeper than {DEEPEST} levels", error_type) from None
    except ValueError as error:  # a decoding error is one too
        raise _damaged(where, "whole JSON", str(error).rstrip("."), error_type) from None
    return data


def parse_toml(text: str, where: str, error_type: type[MigsimError]) -> dict[str, Any]:
    """Parse TOML within the bounds of `parse_json`, but that TOML has NaN and infinity."""
    try:
        data = tomllib.loads(text)
        check_values(data)
    except RecursionError:
        raise _damaged(where, "TOML", f"it nests deeper than {DEEPEST} levels", error_type) from None
    except ValueError as error:
        raise _damaged(where, "TOML", str(error).rstrip("."), error_type) from None
    return data


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters is too large")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is not finite")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def check_values(data: Any, *, finite: bool = False) -> None:
    """Raise ValueError for nesting, integers and texts beyond the bounds; with `finite`, for NaN and infinity too.

    Examples
    --------
    >>> check_values({"downtime": 1 << 70})
    Traceback (most recent call last):
    ValueError: a number of 22 characters is too large
    """
    level = [data]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(value)
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
            elif isinstance(value, str):
                if not value.isascii():
                    value.encode()  # a lone surrogate is no text
            elif isinstance(value, int) and not -_LARGEST_INTEGER < value < _LARGEST_INTEGER:
                raise ValueError(f"a number of {len(str(value))} characters is too large")
            elif finite and isinstance(value, float) and not math.isfinite(value):
                raise ValueError("a number is not finite")
        if not inner:
            return
        level = inner
    raise ValueError(f"it nests deeper than {DEEPEST} levels")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return os.strerror(errno.EISDIR)
    return "it is a pipe" if stat.S_ISFIFO(mode) else "it is a device"


def _unreadable(
    path: str | os.PathLike[str], why: str, error_type: type[MigsimError], rule: str = ""
) -> MigsimError:
    return error_type(f"Cannot read {os.fspath(path)}: {why}.", rule, "Check the path.")


def _damaged(where: str, form: str, why: str, error_type: type[MigsimError]) -> MigsimError:
    return error_type(
        f"{where} is not {form}: {why}.",
        f"Numbers are finite and fit into 64 bits, and what is nested has at most {DEEPEST} levels.",
        "Make the file again.",
    )
