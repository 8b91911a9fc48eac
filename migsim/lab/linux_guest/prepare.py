"""The one boot of the Linux guest with its disk writable, in which it makes its database.

A build was seen to wait for this boot until its time was over. A boot that works touches its disk every few
seconds; one that stays silent is ended and begun again from the disk as it was laid out.
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
"""Thirty times the longest time that a working boot leaves its disk alone."""
BOOT_TIMEOUT_S = 600.0
"""Ten times what a boot takes."""
POWEROFF_S = 10.0
"""What the guest gets to switch itself off; its disk is read-only by then, and whole."""


def prepare(made: Path, qemu: str, *, lay_out: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Boot the guest of folder `made` with ``root.img`` writable until the database is in it.

    Parameters
    ----------
    made
        Holds ``vmlinuz`` and ``initrd.img``.
    qemu
        The command that starts QEMU.
    lay_out
        Makes ``root.img`` anew; called before each boot.
    tell
        Told each boot that came to nothing.

    Raises
    ------
    GuestError
        If the guest says that it cannot, if QEMU dies, or if no boot gets there; says how each one ended.
    """
    ends: list[str] = []
    while len(ends) < BOOTS:
        lay_out()
        why = _boot(made, qemu)
        if why is None:
            return
        ends.append(f"boot {len(ends) + 1} {why}")
        tell(ends[-1].partition("; its console")[0])
    raise GuestError(
        f"The guest did not load its database: {'; '.join(ends)}.",
        "The image is booted once, under emulation, while it is built; a boot that stands still is begun again, "
        f"{BOOTS} boots at most.",
        "Try it while the machine has less to do; report this with the text above if it comes again.",
    )


def _boot(made: Path, qemu: str) -> str | None:
    """Boot once; None when the database is loaded, or how the boot stood still."""
    disk = made / "root.img"
    command = [
        *split_command(qemu),
        # one processor: the load keeps no second one busy, and nothing waits for another one that is not run
        *("-machine", "pc,accel=tcg", "-cpu", "max", "-smp", "1", "-m", "1G", "-display", "none"),
        *("-nodefaults", "-no-reboot", "-kernel", str(made / "vmlinuz"), "-initrd", str(made / "initrd.img")),
        *("-append", f"{KERNEL_ARGUMENTS} migsim.prepare=1"),
        *("-drive", f"file={str(disk).replace(',', ',,')},if=virtio,format=raw,cache=unsafe"),
    ]
    # its sockets want a short path
    with (
        tempfile.TemporaryDirectory(prefix="migsim-") as folder,
        QemuProcess(command, Path(folder), "guest", console=True) as guest,
    ):
        begun = heard = time.monotonic()
        sign: object = None
        while guest.alive:
            said, now = guest.serial_text(), time.monotonic()
            if "migsim-linux error" in said:
                break
            # its kernel may go on complaining on the console, so that is no sign of work
            if (latest := (said, disk.stat().st_mtime_ns)) != sign:
                sign, heard = latest, now
            if "migsim-linux prepared" in said:
                if now - heard > POWEROFF_S:
                    break
            elif now - heard > SILENCE_S:
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
