"""The version of a QEMU command, from its ``--version``."""

from __future__ import annotations

import re
import subprocess

from migsim.errors import QemuError
from migsim.lab.qemu import split_command
from migsim.qapi import QemuVersion

__all__ = ["installed_version"]


def installed_version(command: str) -> QemuVersion:
    """Ask a QEMU command for its version.

    Raises
    ------
    QemuError
        Where the program is missing, or does not answer as QEMU does.
    """
    words = split_command(command)
    try:
        answer = subprocess.run(
            [*words, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_answer(command, str(error)) from error
    found = re.search(r"QEMU emulator version (\d+\.\d+\.\d+)", answer.stdout)
    if found is None:
        raise _no_answer(command, (answer.stdout + answer.stderr).strip().partition("\n")[0][:200])
    return QemuVersion.parse(found[1])


def _no_answer(command: str, said: str) -> QemuError:
    return QemuError(
        f"{command!r} --version answered {said!r}.",
        "A QEMU system emulator says 'QEMU emulator version X.Y.Z'.",
        "Give the command of a qemu-system-x86_64.",
    )
