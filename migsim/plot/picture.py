"""Picture files: their formats, and how a figure is written to one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from migsim.errors import UsageError, near_misses
from migsim.files import atomic_path, check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "check_picture", "save_picture"]

FORMATS = ("png", "svg", "pdf", "jpg", "webp")
"""Endings that a picture's name may have; a name without ending is a PNG file."""


def check_picture(path: Path) -> None:
    """Refuse a path that `save_picture` could not write; call this before the work that leads to the picture.

    Raises
    ------
    UsageError
        When the ending is not in `FORMATS`.
    HostError
        When the folder cannot be written to.

    Examples
    --------
    >>> check_picture(Path("prediction.gif"))
    Traceback (most recent call last):
    migsim.errors.UsageError: The picture prediction.gif ends in 'gif'. ...
    """
    ending = _ending(path)
    if ending not in FORMATS:
        raise UsageError(
            f"The picture {path} ends in {ending!r}.",
            f"The ending chooses the format: {', '.join(FORMATS)}.",
            near_misses(ending, FORMATS) or "Choose a name like prediction.png.",
        )
    check_writable(path)


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure to a file, completely or not at all; the file's ending chooses the format.

    Raises
    ------
    UsageError, HostError
        As `check_picture`.
    """
    check_picture(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=_ending(path), dpi=130)


def _ending(path: Path) -> str:
    return path.suffix.lstrip(".").lower() or "png"
