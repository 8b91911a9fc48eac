"""Writing a figure as a picture file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from migsim.errors import UsageError, near_misses
from migsim.files import atomic_path, check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "check_picture", "save_picture"]

FORMATS = ("png", "svg", "pdf", "jpg", "webp")
"""What the ending of a picture's name may be; none is png."""


def check_picture(path: Path) -> None:
    """Refuse a picture that `save_picture` could not write, before the work that leads to it.

    Raises
    ------
    UsageError
        When its ending is no format of ours.
    HostError
        When its folder cannot be written.

    Examples
    --------
    >>> check_picture(Path("prediction.gif"))
    Traceback (most recent call last):
    migsim.errors.UsageError: The picture prediction.gif would be a 'gif'. ...
    """
    ending = _ending(path)
    if ending not in FORMATS:
        raise UsageError(
            f"The picture {path} would be a {ending!r}.",
            f"The name's ending chooses the format: {', '.join(FORMATS)}.",
            near_misses(ending, FORMATS) or "Write it like prediction.png.",
        )
    check_writable(path)


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; the format follows the name's ending.

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
