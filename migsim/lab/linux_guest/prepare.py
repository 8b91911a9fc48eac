"""The boot of the Linux guest with a writable disk, in which it makes its database.

Some boots hang. A working boot writes to its disk every few seconds; one that does not is ended and started again from
the disk as it was laid out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from migsim.errors import GuestError
from migsim.lab.linux_guest.command_line import KERNEL_ARGUMENTS
from migsim.lab.qemu import QemuProcess, split_command

__all__ = ["BOOTS", "BOOT_TIMEOUT_S", "POWEROFF_S", "SILENCE_S", "prepare"]

BOOTS = 3
SILENCE_S = 120.0
"""Time without a write after which a boot counts as hung: thirty times the longest pause of a working boot."""
BOOT_TIMEOUT_S = 600.0
"""Longest time of a boot: ten times the usual one."""
POWEROFF_S = 10.0
"""Time for the guest to switch itself off; its disk is read-only and complete by then."""


def prepare(
    image_folder: Path, qemu: str, *, lay_out: Callable[[], None], tell: Callable[[str], None]
) -> None:
    """Boot the guest of `image_folder` with ``root.img`` writable until the database is loaded.

    Parameters
    ----------
    image_folder
        Holds ``vmlinuz`` and ``initrd.img``.
    qemu
        The command that starts QEMU.
    lay_out
        Writes ``root.img``; called before each boot.
    tell
        Called with a sentence about each boot that hung.

    Raises
    ------
    GuestError
        Where the guest reports an error, QEMU dies, or all boots hang; it says how each boot ended.
    """
    ends: list[str] = []
    while len(ends) < BOOTS:
        lay_out()
        why = _boot(image_folder, qemu)
        if why is None:
            return
        ends.append(f"boot {len(ends) + 1} {why}")
        tell(ends[-1].partition("; its console")[0])
    raise GuestError(
        f"The guest did not load its database: {'; '.join(ends)}.",
        "The image is booted under emulation while it is built; a boot that hangs is started again, "
        f"{BOOTS} boots at most.",
        "Build while the machine is less busy; if it fails again, report it with the text above.",
    )


def _boot(image_folder: Path, qemu: str) -> str | None:
    """Boot once; return None when the database is loaded, or else how the boot hung."""
    disk = image_folder / "root.img"
    command = [
        *split_command(qemu),
        # One processor: loading keeps no second one busy, and no vCPU waits for another that is not scheduled.
        *("-machine", "pc,accel=tcg", "-cpu", "max", "-smp", "1", "-m", "1G", "-display", "none"),
        *(
            "-nodefaults",
            "-no-reboot",
            "-kernel",
            str(image_folder / "vmlinuz"),
            "-initrd",
            str(image_folder / "initrd.img"),
        ),
        *("-append", f"{KERNEL_ARGUMENTS} migsim.prepare=1"),
        *("-drive", f"file={str(disk).replace(',', ',,')},if=virtio,format=raw,cache=unsafe"),
    ]
    # A Unix socket's path is short.
    with (
        tempfile.TemporaryDirectory(prefix="migsim-") as folder,
        QemuProcess(command, Path(folder), "guest", console=True) as guest,
    ):
        begun = latest_sign = time.monotonic()
        last_state: object = None
        while guest.alive:
            reports, now = guest.serial_text(), time.monotonic()
            if "migsim-linux error" in reports:
                break
            # The console is no sign of work: the kernel of a hung guest may go on writing to it.
            if (state := (reports, disk.stat().st_mtime_ns)) != last_state:
                last_state, latest_sign = state, now
            if "migsim-linux prepared" in reports:
                if now - latest_sign > POWEROFF_S:
                    break
            elif now - latest_sign > SILENCE_S:
                return f"stood still for {SILENCE_S:g} s: {_last_words(guest)}"
            elif now - begun > BOOT_TIMEOUT_S:
                return f"took more than {BOOT_TIMEOUT_S:g} s: {_last_words(guest)}"
            time.sleep(0.2)
        if "migsim-linux prepared" in guest.serial_text():
            return None
        raise GuestError(
            f"The guest did not load its database: {_last_words(guest)}.",
            "The image is booted once, under emulation, while it is built.",
            "Report this with the text above.",
        )


def _last_words(guest: QemuProcess) -> str:
    return (
        f"{guest.serial_text().strip()[-300:] or 'it said nothing'}; its console ends: "
        f"{guest.console_text().strip()[-1500:]}; QEMU says: {guest.last_words()}"
    )
