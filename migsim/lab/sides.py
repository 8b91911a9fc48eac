"""The two sides of a migration: QEMUs with the scenario's guest, started, checked, set up, and left to work."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.errors import MigsimError, QemuError, QmpError
from migsim.lab.linux_machine import image_folder, linux_arguments
from migsim.lab.machine import alias_file, machine_arguments
from migsim.lab.qemu import QemuProcess
from migsim.lab.trace_events import enable_trace_events

if TYPE_CHECKING:
    from migsim.lab.guest_log import SerialWatch
    from migsim.qmp import QmpSession
    from migsim.scenario import GuestSpec, LabScenario

__all__ = ["cause_of", "check_version", "ready_within_s", "set_up_sides", "settle", "start_side"]

_LOOK_S = 0.1
_READY_S = {"own": 180.0, "linux": 900.0}


def ready_within_s(scenario: LabScenario, asked_s: float | None) -> float:
    """Return how long the scenario's guest may take until it is ready."""
    return asked_s if asked_s is not None else _READY_S["own" if scenario.guest.linux is None else "linux"]


def start_side(stack: contextlib.ExitStack, scenario: LabScenario, folder: Path, role: str) -> QemuProcess:
    """Start one QEMU with the scenario's guest; it is ended when `stack` is closed.

    Raises
    ------
    HostError, QemuError
        As `run_migration`.
    """
    guest = scenario.guest
    backing = stack.enter_context(alias_file(guest, fill=role == "source"))
    arguments = [*machine_arguments(scenario.qemu, guest, backing), *_guest_arguments(guest)]
    if role == "destination":
        arguments += ["-incoming", "defer"]
    process = stack.enter_context(QemuProcess(arguments, folder, role, console=guest.linux is not None))
    if backing is not None:
        backing.unlink()  # QEMU keeps it open; a killed migsim leaves no gigabytes behind
    return process


def _guest_arguments(guest: GuestSpec) -> list[str]:
    if guest.linux is not None:
        from migsim.lab.linux_guest import LinuxImage

        return linux_arguments(LinuxImage.load(image_folder()), guest.linux)
    from migsim.lab.guest import guest_command_line, image_path

    return ["-kernel", str(image_path()), "-append", guest_command_line(guest.workload)]


def check_version(scenario: LabScenario, qmp: QmpSession) -> None:
    """Raise QemuError where the QEMU that answers is not of the declared version."""
    declared = scenario.qemu.qemu_version
    if qmp.version.release != declared.release:
        raise QemuError(
            f"qemu.command is a QEMU {qmp.version}, and qemu.version says {declared}.",
            "Settings are checked against, and records are labelled with, the declared version.",
            "Correct qemu.version, or point qemu.command at that QEMU.",
        )


def set_up_sides(scenario: LabScenario, source: QemuProcess, destination: QemuProcess, folder: Path) -> str:
    """Set trace events, capabilities and parameters on both sides; return the URI to migrate to."""
    settings = scenario.migration
    for side in (source, destination):
        enable_trace_events(side.qmp)
        capabilities = {"events": True} | settings.capabilities
        states = [{"capability": name, "state": state} for name, state in capabilities.items()]
        side.qmp.execute("migrate-set-capabilities", {"capabilities": states})
        if settings.parameters:
            side.qmp.execute("migrate-set-parameters", settings.parameters)
    if scenario.transport == "unix":
        uri = f"unix:{folder / 'migration'}"
        destination.qmp.execute("migrate-incoming", {"uri": uri})
        return uri
    destination.qmp.execute("migrate-incoming", {"uri": "tcp:127.0.0.1:0"})
    for address in destination.qmp.execute("query-migrate").get("socket-address", []):
        if address.get("type") == "inet":
            return f"tcp:{address['host']}:{address['port']}"
    raise QemuError(
        "The destination does not say on which TCP port it listens.",
        "QEMU 4.0 and later report it as socket-address.",
        "Use transport = 'unix'.",
    )


def settle(duration_s: float, *sides: QemuProcess, serial_watch: SerialWatch | None = None) -> None:
    """Let the guests work for `duration_s`; `serial_watch`, where given, stamps their lines."""
    deadline = time.monotonic() + duration_s
    while time.monotonic() < deadline:
        time.sleep(min(_LOOK_S, max(deadline - time.monotonic(), 0.0)))
        for side in sides:
            side.check_alive()
        if serial_watch is not None:
            serial_watch.stamp_new_lines()


def cause_of(error: QmpError, *sides: QemuProcess) -> MigsimError:
    """Return why a monitor stopped answering: the death of a QEMU where one died within a second, or else `error`."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        for side in sides:
            if not side.alive:
                return side.death()
        time.sleep(0.05)
    return error
