"""Atomic writes of files: a reader sees the old file or the whole new one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migsim.errors import HostError

__all__ = ["atomic_path", "check_writable", "write_text_atomically"]


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; it replaces `target` when the block ends without an error.

    Where `target` is a symbolic link, the file that it names is replaced, and the link stays.

    Raises
    ------
    HostError
        Where the folder does not exist or cannot be written, the disk is full, or `target` is a folder or a
        device. The temporary file is removed.
    """
    target = Path(target)
    _refuse_special(target)
    final = Path(os.path.realpath(target))
    try:
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.")
    except OSError as error:
        raise _cannot_write(target, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(final)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(target: str | os.PathLike[str]) -> None:
    """Raise HostError where `atomic_path` could not write `target`, so that a command fails before its work.

    Examples
    --------
    >>> check_writable("/no/such/folder/out.json")
    Traceback (most recent call last):
    migsim.errors.HostError: Cannot write /no/such/folder/out.json: No such file or directory. ...
    """
    target = Path(target)
    _refuse_special(target)
    try:
        handle, name = tempfile.mkstemp(dir=Path(os.path.realpath(target)).parent, prefix=f".{target.name}.")
    except OSError as error:
        raise _cannot_write(target, error) from error
    os.close(handle)
    Path(name).unlink(missing_ok=True)


def write_text_atomically(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `target`, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _refuse_special(target: Path) -> None:
    # renaming over /dev/null would replace the device for everybody
    if target.exists() and not target.is_file():
        raise HostError(
            f"Cannot write {target}: it is a {'folder' if target.is_dir() else 'device, pipe or socket'}.",
            "Files are written beside their target and renamed over it, so the target has to be a file.",
            "Give the path of a file.",
        )


def _cannot_write(target: Path, error: OSError) -> HostError:
    return HostError(
        f"Cannot write {target}: {error.strerror or error}.",
        "Files are written beside their target and renamed, so nothing half-written is left.",
        "Check that the folder exists, may be written and has room.",
    )
