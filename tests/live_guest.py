"""The guest of the live tests about recordings: our own image with 128 MiB, under KVM."""

from __future__ import annotations

import os
from pathlib import Path

from migsim.lab.guest import image_path
from migsim.lab.qemu import QemuProcess, split_command

BUSY = "-- touch=3000 class=1000:400:3:sweep:bytes=8 report=200 check=1"


def live_guest(folder: Path, version: str, append: str = BUSY, *, monitor: str | None = None) -> QemuProcess:
    """Return the guest, not yet started.

    Parameters
    ----------
    folder : Path
        Where its sockets and logs are.
    version : {"7.2", "10.0"}
        QEMU's.
    append : str
        The guest's command line.
    monitor : str, optional
        Name of a second QMP socket in `folder`: the guest's first is the lab's.
    """
    command = "qemu-system-x86_64" if version == "7.2" else os.environ["MIGSIM_QEMU_10"]
    machine = ["-nodefaults", "-display", "none", "-vga", "none", "-accel", "kvm", "-m", "128M"]
    guest = ["-kernel", str(image_path()), "-append", append]
    second = [] if monitor is None else ["-qmp", f"unix:{folder / monitor},server=on,wait=off"]
    return QemuProcess([*split_command(command), *machine, *guest, *second], folder, "source")
