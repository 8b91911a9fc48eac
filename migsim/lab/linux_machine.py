"""QEMU's arguments for a Linux guest: kernel, read-only root disk, kernel command line; and where its image lies.

The disk is read-only and every writable file system lives in RAM, so a migration moves RAM only. Source and destination
share one image file.
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
    """Return the folder of the Linux guest's image: ``$MIGSIM_LINUX_GUEST``, or else ``build/linux-guest``."""
    return Path(os.environ.get(IMAGE_VARIABLE) or _PROJECT / "build" / "linux-guest")


def image_facts() -> dict[str, Any]:
    """Return the image's kernel, versions of its programs, and digest of its sources, for a record or a trace.

    Raises
    ------
    HostError
        Where there is no complete image.
    """
    from migsim.lab.linux_guest import LinuxImage

    image = LinuxImage.load(image_folder())
    programs = {name: version for name, version in image.packages.items() if name.startswith(_PROGRAMS)}
    return {"kernel": image.kernel_release, "packages": programs, "sources_sha256": image.sources_sha256}


def linux_arguments(image: LinuxImage, workload: LinuxWorkload) -> list[str]:
    """Return QEMU's arguments for a Linux guest; machine, memory and serial ports are not among them.

    A guest that reboots or halts stays as a paused QEMU, so that its console can still be read.
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
    # Both sides open the image. Neither writes to it, so QEMU's lock would only get in the way.
    root = str(image.root).replace(",", ",,")
    drive = f"file={root},format=raw,if=none,id=root,readonly=on,file.locking=off"
    return [
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", words),
        *("-drive", drive, "-device", "virtio-blk-pci,drive=root"),
        *("-action", "reboot=shutdown,shutdown=pause"),
    ]
