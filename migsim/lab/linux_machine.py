"""A Linux guest on QEMU's command line: kernel, read-only root disk, where its image lies, what it is told.

All disks are read-only and every file system that is written to lives in RAM, so RAM is all that a migration moves.
Source and destination share one image file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migsim.lab.linux_guest import LinuxImage
    from migsim.scenario import LinuxWorkload

__all__ = ["IMAGE_VARIABLE", "image_facts", "image_folder", "linux_arguments"]

IMAGE_VARIABLE = "MIGSIM_LINUX_GUEST"
_PROJECT = Path(__file__).parents[2]
_PROGRAMS = ("linux-image", "postgresql", "redis")


def image_folder() -> Path:
    """Return where the Linux guest's image is looked for: ``$MIGSIM_LINUX_GUEST``, else ``build/linux-guest``."""
    return Path(os.environ.get(IMAGE_VARIABLE) or _PROJECT / "build" / "linux-guest")


def image_facts() -> dict[str, Any]:
    """Return what a record or a trace keeps of the image: kernel, versions of its programs, digest of its sources.

    Raises
    ------
    HostError
        When there is no whole image.
    """
    from migsim.lab.linux_guest import LinuxImage

    image = LinuxImage.load(image_folder())
    programs = {name: made for name, made in image.packages.items() if name.startswith(_PROGRAMS)}
    return {"kernel": image.kernel_release, "packages": programs, "sources_sha256": image.sources_sha256}


def linux_arguments(image: LinuxImage, workload: LinuxWorkload) -> list[str]:
    """Return what QEMU's command line needs for a Linux guest, beside machine, memory and serial ports.

    A guest that reboots or halts is kept, paused, so that its console can still be read.

    Parameters
    ----------
    image : LinuxImage
        Built before.
    workload : LinuxWorkload
        What it does.
    """
    from migsim.lab.linux_guest import kernel_command_line

    words = kernel_command_line(
        workload=workload.workload,
        users=workload.users,
        think_ms=round(workload.think_s * 1000),
        shared_buffers_percent=workload.shared_buffers_percent,
        report_ms=round(workload.report_s * 1000),
        seed=workload.seed,
    )
    # The image is shared by both sides: nobody writes to it, so nobody needs a lock on it.
    root = str(image.root).replace(",", ",,")
    drive = f"file={root},format=raw,if=none,id=root,readonly=on,file.locking=off"
    return [
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", words),
        *("-drive", drive, "-device", "virtio-blk-pci,drive=root"),
        *("-action", "reboot=shutdown,shutdown=pause"),
    ]
