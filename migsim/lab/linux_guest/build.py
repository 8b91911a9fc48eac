"""Builds the Linux guest's image from Debian packages and the sources beside this file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from migsim.errors import HostError
from migsim.lab.linux_guest.image import LinuxImage

__all__ = ["build_image"]


def build_image(folder: Path, *, progress: Callable[[str], None] | None = None) -> LinuxImage:
    """Build the Linux guest's image.

    Parameters
    ----------
    folder
        Where it goes; replaced if it holds an older image.
    progress
        Told each step in a few words.

    Returns
    -------
    LinuxImage
        The image, checked.

    Raises
    ------
    HostError
        If a tool, a package or disk space is missing; nothing is left in `folder`.
    """
    raise HostError("The builder is not written yet.")
