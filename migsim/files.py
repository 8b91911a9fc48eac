"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migsim.errors import HostError

__all__ = ["atomic_path", "write_text_atomically"]


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces it when the block ends well.

    Raises
    ------
    HostError
        When the folder does not exist, cannot be written, or the disk is full; nothing is left behind.
    """
    target = Path(target)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
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
        temporary.replace(target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `target`, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cannot_write(target: Path, error: OSError) -> HostError:
    return HostError(
        f"Cannot write {target}: {error.strerror or error}.",
        "Files are written beside their target and renamed, so nothing half-written is left.",
        "Check that the folder exists, may be written and has room.",
    )
