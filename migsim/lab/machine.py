"""QEMU's arguments for a scenario's machine: a minimal one, with its accelerator and its memory.

Memory is ``plain`` (anonymous and unreserved: untouched pages take no host memory) or ``aliased``: several memory nodes
map one file in ``/dev/shm``, so that a large guest full of data fits a small host. KVM logs dirty pages by guest
address, so a migration treats the aliases as different pages.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.errors import HostError
from migsim.lab.qemu import split_command
from migsim.units import format_bytes

if TYPE_CHECKING:
    from migsim.scenario import GuestSpec, QemuSpec

__all__ = ["alias_file", "check_host", "free_shared_bytes", "machine_arguments"]

_KVM = Path("/dev/kvm")
_SHM = Path("/dev/shm")  # noqa: S108 - the point is memory that two mappings share
_BLOCK_BYTES = 4 << 20


def check_host(qemu: QemuSpec) -> None:
    """Raise HostError where this machine lacks what the scenario's accelerator needs."""
    if qemu.accel == "kvm" and not os.access(_KVM, os.R_OK | os.W_OK):
        state = "may not be opened by this user" if _KVM.exists() else "is not there"
        raise HostError(
            f"{_KVM} {state}.",
            "qemu.accel = 'kvm' needs the host's KVM.",
            "Load the kvm module, join the group kvm, or choose accel = 'tcg' (and expect other figures).",
        )


def machine_arguments(qemu: QemuSpec, guest: GuestSpec, backing: Path | None) -> list[str]:
    """Return the program and the arguments of a machine without devices.

    Parameters
    ----------
    qemu, guest : QemuSpec, GuestSpec
        Of the scenario.
    backing : Path or None
        File behind aliased memory.

    Raises
    ------
    QemuError
        Where the QEMU program cannot be found.
    """
    accel: str = qemu.accel
    if qemu.accel == "kvm" and qemu.dirty_ring_size:
        accel += f",dirty-ring-size={qemu.dirty_ring_size}"
    return [
        *split_command(qemu.expanded_command()),
        *("-name", "migsim,debug-threads=on", "-no-user-config", "-nodefaults"),
        *("-display", "none", "-vga", "none", "-net", "none"),
        *("-accel", accel, "-smp", str(guest.vcpus), "-m", f"{guest.ram_bytes >> 20}M"),
        *_memory_arguments(guest, backing),
        *qemu.extra_arguments,
    ]


def _memory_arguments(guest: GuestSpec, backing: Path | None) -> list[str]:
    if guest.memory == "plain":
        backend = f"memory-backend-ram,id=ram0,size={guest.ram_bytes},reserve=off"
        return ["-object", backend, "-machine", "pc,memory-backend=ram0"]
    arguments = ["-machine", "pc"]
    for node in range(guest.ram_bytes // (guest.alias_bytes or guest.ram_bytes)):
        options = f"id=ram{node},size={guest.alias_bytes},mem-path={backing},share=on"
        arguments += ["-object", f"memory-backend-file,{options}"]
        arguments += ["-numa", f"node,nodeid={node},memdev=ram{node}"]
    return arguments


@contextlib.contextmanager
def alias_file(guest: GuestSpec, *, fill: bool) -> Iterator[Path | None]:
    """Yield the file behind aliased memory, None for plain memory; it is deleted at the end of the block.

    Parameters
    ----------
    guest : GuestSpec
        Of the scenario.
    fill : bool
        Whether every page is filled with data, as a source needs it; a destination's file stays empty.

    Raises
    ------
    HostError
        Where ``/dev/shm`` cannot hold it.
    """
    size = guest.alias_bytes
    if size is None:
        yield None
        return
    _check_room(size)
    try:
        handle, name = tempfile.mkstemp(prefix="migsim-", dir=_SHM)
    except OSError as error:
        raise HostError(
            f"Cannot create a file in {_SHM}: {error.strerror}.",
            "Aliased memory is a file in it.",
            "Mount a tmpfs there.",
        ) from error
    path = Path(name)
    try:
        with os.fdopen(handle, "r+b", buffering=0) as stream:
            stream.truncate(size)
            if fill:
                _fill(stream.fileno(), size)
        yield path
    finally:
        path.unlink(missing_ok=True)


def free_shared_bytes() -> int:
    """Return the free bytes of ``/dev/shm``, 0 where it does not exist."""
    try:
        status = os.statvfs(_SHM)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def _check_room(size: int) -> None:
    free = free_shared_bytes()
    if free < size:
        raise HostError(
            f"{_SHM} has {format_bytes(free)} free, and aliased memory of {format_bytes(size)} is to go there.",
            "Source and destination of an aliased guest each keep alias-bytes of memory there.",
            "Choose smaller alias-bytes, or enlarge /dev/shm.",
        )


def _fill(handle: int, size: int) -> None:
    """Fill the file with random data, without a zero page: one block of 4 MiB over and over."""
    block = random.Random(size).randbytes(_BLOCK_BYTES)
    try:
        for start in range(0, size, _BLOCK_BYTES):
            os.pwrite(handle, block[: size - start], start)
    except OSError as error:
        raise HostError(
            f"Cannot fill {format_bytes(size)} in {_SHM}: {error.strerror}.",
            "The file is the guest's memory.",
            "Choose smaller alias-bytes, or free memory.",
        ) from error
