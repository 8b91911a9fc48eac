"""A guest's own migration settings while a recording has changed them: kept in the ``.part`` folder, and put back.

A recording that is killed puts nothing back. The next recording on that guest into the same folder does, and so does
``migsim trace restore``. The guest is known by its QEMU's process; where that is unknown, by its UUID.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import QmpError, TraceError
from migsim.files import write_text_atomically
from migsim.trace.journal import part_path
from migsim.tracer.preflight import IDLE
from migsim.tracer.stream.hold_node import NODE, remove_node

if TYPE_CHECKING:
    from migsim.qmp import QmpSession

__all__ = ["GuestSettings", "forget", "kept_in", "put_back_anew", "put_back_left_over", "restore_guest"]

_NAME = "guest-settings.json"
_LARGEST_FILE = 1 << 20
_ENDS_S = 10.0
_NO_UUID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class GuestSettings:
    """The settings of a guest before a recording, and which guest it is.

    Attributes
    ----------
    socket : str
        The guest's monitor.
    guest : str
        Its QEMU: process id, start and the host's boot; "" where they are unknown.
    uuid : str
        The guest's UUID; "" where it has none.
    recorder : str
        The recording process, as `guest`.
    parameters : dict
        The answer to ``query-migrate-parameters``.
    capabilities : dict of str to bool
        That to ``query-migrate-capabilities``.
    """

    socket: str = ""
    guest: str = ""
    uuid: str = ""
    recorder: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    capabilities: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, session: QmpSession) -> GuestSettings:
        """Ask a guest for its settings.

        Raises
        ------
        QmpError
        """
        return cls(
            socket=str(Path(getattr(session, "socket_path", "")).absolute()),
            guest=_process(session.peer_pid),
            uuid=_uuid(session),
            recorder=_process(os.getpid()),
            parameters=session.execute("query-migrate-parameters"),
            capabilities=_capabilities(session),
        )

    @classmethod
    def load(cls, folder: Path) -> GuestSettings | None:
        """Read what a recording kept in its ``.part`` folder; None where it kept nothing.

        Raises
        ------
        TraceError
        """
        path = folder / _NAME
        try:
            text = path.read_bytes()[: _LARGEST_FILE + 1] if path.is_file() else None
            if text is None:
                return None
            kept = json.loads(text)
            made = cls(**{name: kept[name] for name in asdict(cls())})
            kinds = {name: type(value) for name, value in asdict(cls()).items()}
            good = all(isinstance(getattr(made, name), kind) for name, kind in kinds.items())
            good = good and all(isinstance(state, bool) for state in made.capabilities.values())
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            good = False
        if good:
            return made
        raise TraceError(
            f"Cannot read the guest's settings in {path}.",
            "A recording keeps there, as JSON, what it has to put back.",
            "Look at the guest's settings with query-migrate-parameters, and set them by hand.",
        )

    def keep(self, target: Path) -> None:
        """Write the settings into the ``.part`` folder of the trace `target`; what is kept there stays.

        Raises
        ------
        HostError
        """
        path = part_path(target) / _NAME
        if not path.exists():
            write_text_atomically(path, json.dumps(asdict(self), indent=1) + "\n")

    def is_of(self, session: QmpSession) -> bool:
        """Whether these are settings of the guest that the session is connected to."""
        here = _process(session.peer_pid)
        if here and self.guest:
            return here == self.guest
        return bool(self.uuid) and self.uuid == _uuid(session)

    def is_recorded_elsewhere(self) -> bool:
        """Whether the process that keeps these settings is another one, and still runs."""
        if not self.recorder or self.recorder == _process(os.getpid()):
            return False
        return _runs(self.recorder)

    def put_back(self, session: QmpSession) -> list[str]:
        """Set what differs from these settings, and remove a recording's block node; return each change in words.

        Raises
        ------
        QmpError
        """
        states = _capabilities(session)
        switched = {
            name: state for name, state in self.capabilities.items() if states.get(name, state) != state
        }
        if switched:
            changes = [{"capability": name, "state": state} for name, state in switched.items()]
            session.execute("migrate-set-capabilities", {"capabilities": changes})
        now = session.execute("query-migrate-parameters")
        changed = {name: value for name, value in self.parameters.items() if now.get(name) != value}
        if changed:
            session.execute("migrate-set-parameters", changed)
        words = [f"block node {NODE} removed"] * remove_node(session)
        words += [f"{name} {'on' if state else 'off'}" for name, state in switched.items()]
        return [*words, *(f"{name} {value} (was {now.get(name)})" for name, value in changed.items())]


def forget(target: Path) -> None:
    """Remove what was kept for the trace `target`: it has been put back."""
    with contextlib.suppress(OSError):
        (part_path(target) / _NAME).unlink(missing_ok=True)


def kept_in(folder: Path) -> GuestSettings:
    """Read what a recording kept in its ``.part`` folder.

    Raises
    ------
    TraceError
        The folder keeps no settings, or damaged ones.
    """
    kept = GuestSettings.load(folder)
    if kept is not None:
        return kept
    raise TraceError(
        f"{folder} keeps no settings of a guest.",
        "A recording by --method stream keeps them there until it has put them back.",
        "Nothing has to be put back for this recording.",
    )


def restore_guest(session: QmpSession, folder: Path) -> list[str]:
    """Put back what a killed recording kept in its ``.part`` folder; return each change in words.

    Raises
    ------
    TraceError
        The folder keeps no settings, or those of another guest.
    QmpError
        The recording, or a migration, is under way.
    """
    kept = kept_in(folder)
    if not kept.is_of(session):
        raise TraceError(
            f"{folder} keeps the settings of another guest than the one at {session.socket_path}.",
            "Settings go back only to the QEMU process that they were taken from.",
            "Give that guest's socket, or remove the folder once the recording is of no use.",
        )
    if kept.is_recorded_elsewhere():
        raise QmpError(
            f"The recording in {folder} is under way.",
            "It puts the guest's settings back when it ends.",
            "Wait until it has ended, or end it.",
        )
    _wait_until_idle(session)
    changes = kept.put_back(session)
    with contextlib.suppress(OSError):
        (folder / _NAME).unlink()
    return changes


def put_back_left_over(session: QmpSession, target: Path) -> list[str]:
    """Put back what killed recordings of this guest left beside the trace `target`; return a line for each.

    Raises
    ------
    QmpError
    """
    said = []
    for path in sorted(target.absolute().parent.glob(f"*.part/{_NAME}")):
        with contextlib.suppress(TraceError, OSError):  # damaged or gone
            kept = GuestSettings.load(path.parent) if path.stat().st_uid in (0, os.geteuid()) else None
            if kept is None or kept.is_recorded_elsewhere() or not kept.is_of(session):
                continue
            changes = ", ".join(restore_guest(session, path.parent)) or "none differed"
            said.append(f"put back the guest's settings that {path.parent} kept: {changes}")
    return said


def put_back_anew(kept: GuestSettings | None, qmp: str | os.PathLike[str], target: Path) -> str:
    """Put back what a recording into `target` left when it lost its monitor, through another session.

    Where that fails too, the settings are kept in the ``.part`` folder.

    Returns
    -------
    str
        What is left to do, in a sentence; "" where nothing is.
    """
    from migsim.qmp import QmpSession

    if kept is None or not _runs(kept.guest):
        return ""
    try:
        with QmpSession(qmp) as session:
            if not kept.is_of(session):
                return ""
            _wait_until_idle(session, cancel=True)
            kept.put_back(session)
    except QmpError:
        folder = part_path(target)
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
        kept.keep(target)
        return f"The guest's own settings are not all put back: `migsim trace restore {folder}` does it."
    return ""


def _wait_until_idle(session: QmpSession, *, cancel: bool = False) -> None:
    """Wait for the end of the migration whose recorder is gone; cancel it where it waits before the switchover."""
    deadline = time.monotonic() + _ENDS_S
    while (status := session.execute("query-migrate").get("status", "none")) not in IDLE:
        if time.monotonic() > deadline:
            raise QmpError(
                f"A migration of this guest is under way (query-migrate says {status!r}).",
                "QEMU takes no other settings while it migrates.",
                "Wait until the migration has ended, or cancel it.",
            )
        if cancel or status == "pre-switchover":  # the guest is stopped, and stays so until somebody decides
            session.execute("migrate_cancel")
        time.sleep(0.1)


def _capabilities(session: QmpSession) -> dict[str, bool]:
    return {entry["capability"]: entry["state"] for entry in session.execute("query-migrate-capabilities")}


def _uuid(session: QmpSession) -> str:
    uuid = str(session.execute("query-uuid")["UUID"])
    return "" if uuid == _NO_UUID else uuid


def _process(pid: int | None) -> str:
    """Return what tells a process from all others, also from later ones of its number; "" where unknown."""
    if not pid:
        return ""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, IndexError):
        return ""
    return f"{pid} {started} {boot}"


def _runs(process: str) -> bool:
    """Whether a process, as `_process` tells it, still runs."""
    number = process.partition(" ")[0]
    return bool(process) and process == _process(
        int(number) if number.isdecimal() and len(number) < 12 else None
    )
