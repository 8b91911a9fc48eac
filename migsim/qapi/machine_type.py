"""Machine types: the release whose defaults a guest keeps, whatever QEMU runs it."""

from __future__ import annotations

import re
from functools import lru_cache

from migsim.errors import ParameterError
from migsim.qapi.version import QemuVersion

__all__ = ["UNVERSIONED", "check_machine_type", "machine_release"]

UNVERSIONED = ("pc", "q35", "microvm", "pseries", "s390-ccw-virtio", "virt")
"""Names that stand for the newest machine type of the running release."""

_VERSIONED = re.compile(r"[a-z][a-z0-9-]*-(\d{1,3})\.(\d{1,3})")


@lru_cache(maxsize=256)
def machine_release(machine_type: str) -> QemuVersion | None:
    """Return the release that a machine type is of; None for a name that stands for the running release's own.

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> str(machine_release("pc-i440fx-8.2")), machine_release("q35")
    ('8.2', None)
    """
    if machine_type in UNVERSIONED:
        return None
    match = _VERSIONED.fullmatch(machine_type)
    if match is None:
        raise ParameterError(
            f"machine-type is {machine_type!r}.",
            "A machine type ends with its release, or is one of " + ", ".join(UNVERSIONED) + ".",
            "Write it like pc-q35-8.2; for a distribution's own, name QEMU's that it is made of.",
        )
    return QemuVersion(int(match[1]), int(match[2]))


def check_machine_type(machine_type: str | None, version: QemuVersion) -> None:
    """Refuse a machine type of a release that is newer than QEMU itself.

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> check_machine_type("pc-q35-8.2", QemuVersion.parse("10.0"))
    """
    release = machine_release(machine_type) if machine_type else None
    if release is not None and release > version.release:
        raise ParameterError(
            f"machine-type is {machine_type}, and QEMU is {version}.",
            "A QEMU has the machine types of its own release and of older ones.",
            "Choose an older machine type, or a later --qemu-version.",
        )
