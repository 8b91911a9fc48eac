"""The source's side of a stream recording: a migration that is started, steered, never completed, and undone.

What it changes for the time being and puts back: migration parameters and capabilities. What guards the guest:
`switchover-ack` (8.1+: we never acknowledge, so the source may not switch over) and `pause-before-switchover`
(older versions: should the switchover begin because nothing is left to send, it waits, and is cancelled).
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from migsim.errors import HostError, QemuError, QmpError
from migsim.qapi import QemuVersion
from migsim.tracer.preflight import refuse_while_busy
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.qmp import QmpSession

__all__ = ["SelfCheck", "StreamSource", "listening_socket"]

_ENDED = ("none", "completed", "failed", "cancelled")
_SWITCHING = ("pre-switchover", "device", "completed")
_CANCEL_S = 30.0
_STUCK_S = 0.05  # a cancelled thread that goes on has ended by then, or is woken for nothing
_SETTLE_S = 0.02  # from STOP to the wait before the switchover QEMU takes a millisecond or two
_ACK_SINCE = QemuVersion.parse("8.1")


@dataclass
class SelfCheck:
    """What shows that the guest ran on untouched.

    Attributes
    ----------
    running : bool
        `query-status` said so at the end.
    stopped_ms : float
        How long the guest stood still (STOP to RESUME), 0.0 where no STOP was seen.
    restored : bool
        Parameters and capabilities read back as they were before.
    """

    running: bool = False
    stopped_ms: float = 0.0
    restored: bool = False

    @property
    def ok(self) -> bool:
        """Whether the guest was left as it was found and never stood still."""
        return self.running and self.restored and not self.stopped_ms

    def as_dict(self) -> dict[str, Any]:
        """As the trace's meta data keeps it."""
        return {
            "guest_running_at_end": self.running,
            "guest_stopped_ms": round(self.stopped_ms, 3),
            "settings_restored": self.restored,
        }


@contextlib.contextmanager
def listening_socket() -> Iterator[tuple[socket.socket, str]]:
    """Yield a listening unix socket in a folder of its own, and its path; both go at the end.

    Raises
    ------
    HostError
        No temporary folder can be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="migsim-stream-")
    except OSError as error:
        raise HostError(
            f"Cannot make a temporary folder: {error.strerror}.",
            "The stream collector needs one for its socket.",
            "Set TMPDIR to a folder that may be written.",
        ) from error
    with folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = Path(folder.name) / "stream"
        listener.bind(str(path))
        # QEMU may run as another user; its peer process id is checked when it connects.
        path.parent.chmod(0o711)
        path.chmod(0o666)
        listener.listen(1)
        yield listener, str(path)


@dataclass
class StreamSource:
    """A context manager around one migration into `socket_path`; leaving it cancels and restores.

    Parameters
    ----------
    session : QmpSession
        Of the guest.
    socket_path : str
        Where QEMU shall connect to.
    parameters : dict
        Migration parameters to begin with.

    Raises
    ------
    QmpError
        On entering: a migration is active already, or QEMU refuses.
    """

    session: QmpSession
    socket_path: str
    parameters: dict[str, int]
    began_s: float = 0.0
    check: SelfCheck = field(default_factory=SelfCheck)
    _old_parameters: dict[str, Any] = field(default_factory=dict)
    _old_capabilities: dict[str, bool] = field(default_factory=dict)
    _first_event: int = 0
    _started: bool = False
    holds_since: ClassVar[QemuVersion] = QemuVersion.parse(
        "8.2"
    )  # can wait, all sent, without switching over

    def __enter__(self) -> StreamSource:
        refuse_while_busy(self.session)
        self._old_parameters = self.session.execute("query-migrate-parameters")
        self._old_capabilities = {
            entry["capability"]: entry["state"]
            for entry in self.session.execute("query-migrate-capabilities")
        }
        self._first_event = len(self.session.events)
        try:
            self._set_capabilities(self._wanted_capabilities())
            if self._old_parameters.get("tls-creds"):
                self._set({"tls-creds": ""})
            self.set(**self.parameters)
            self.began_s = time.time()
            self._started = True
            self.session.execute("migrate", {"uri": f"unix:{self.socket_path}"})
        except BaseException:
            with contextlib.suppress(QmpError):
                self._restore()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self.cancel()
            self._restore()
        except QmpError:
            if error is None:
                raise  # otherwise the first failure is the story

    # ---- steering ----

    def set(self, **parameters: int) -> None:
        """Set migration parameters; underscores stand for hyphens."""
        self._set({name.replace("_", "-"): value for name, value in parameters.items()})

    def syncs(self) -> list[float]:
        """Times of the bitmap syncs so far (host clock, seconds since 1970), the one of the setup first."""
        return [event.seconds for event in self._events() if event.name == "MIGRATION_PASS"]

    def status(self) -> str:
        """State of the migration as QEMU last announced it."""
        announced = [event.data["status"] for event in self._events() if event.name == "MIGRATION"]
        return str(announced[-1]) if announced else "setup"

    def switching(self) -> bool:
        """Whether the switchover began or the guest stopped."""
        return self.status() in _SWITCHING or any(event.name == "STOP" for event in self._events())

    def remaining_pages(self) -> int:
        """Pages known dirty and not yet sent."""
        ram = self.session.execute("query-migrate").get("ram", {})
        return int(ram.get("remaining", 0)) // PAGE_BYTES

    def failure(self) -> QemuError:
        """Say why the migration ended although nobody cancelled it."""
        info = self.session.execute("query-migrate")
        reason = info.get("error-desc") or f"its status is {info.get('status')!r}"
        return QemuError(
            f"The migration that was to be recorded ended by itself: {reason}.",
            "The stream collector needs a guest that QEMU can migrate.",
            "Trace this guest with the dirty-rate or dirty-ring collector.",
        )

    # ---- the end ----

    def cancel(self) -> None:
        """Cancel the migration and wait until QEMU has done so; a second call does nothing."""
        if not self._started:
            return
        self._started = False
        began = time.monotonic()
        # a guest that was stopped is about to wait, and a cancel before that may be lost
        while self.switching() and self.status() not in _SWITCHING and time.monotonic() - began < _SETTLE_S:
            time.sleep(0.001)
        looked = time.monotonic()
        self.session.execute("migrate_cancel")
        while (status := self.session.execute("query-migrate").get("status", "none")) not in _ENDED:
            now = time.monotonic()
            if now - began > _CANCEL_S:
                raise QmpError(
                    f"The migration is not cancelled {_CANCEL_S:.0f} s after migrate_cancel.",
                    "QEMU should end it at once.",
                    "Look at the guest: query-migrate, and migrate_cancel by hand.",
                )
            if status == "cancelling" and now - looked > _STUCK_S:
                looked = now
                self._wake_up()
            time.sleep(0.02)

    def _wake_up(self) -> None:
        """Let QEMU's migration thread go on where it waits before the switchover although it is cancelled.

        It looks whether it is cancelled, gives the big lock away and waits; a cancel that comes in between wakes
        nobody (`migration_maybe_pause`), and the guest would stand still for ever.
        """
        from migsim.qmp import QmpCommandError

        with contextlib.suppress(QmpCommandError):  # it has ended meanwhile
            self.session.execute("migrate-continue", {"state": "cancelling"})

    def _restore(self) -> None:
        """Put capabilities and parameters back, and check the guest."""
        self._set_capabilities(self._old_capabilities)
        now = self.session.execute("query-migrate-parameters")
        changed = {name: value for name, value in self._old_parameters.items() if now.get(name) != value}
        if changed:
            self._set(changed)
        # A guest that was stopped by a switchover is started by the cancelled migration, a moment later.
        deadline = time.monotonic() + 2.0
        while (
            not (running := self.session.execute("query-status")["running"]) and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        capabilities = {
            entry["capability"]: entry["state"]
            for entry in self.session.execute("query-migrate-capabilities")
        }
        self.check = SelfCheck(
            running=bool(running),
            stopped_ms=self._stopped_ms(),
            restored=capabilities == self._old_capabilities
            and self.session.execute("query-migrate-parameters") == self._old_parameters,
        )

    def _stopped_ms(self) -> float:
        stopped, since = 0.0, 0.0
        for event in self._events():
            if event.name == "STOP":
                since = since or event.seconds
            elif event.name == "RESUME" and since:
                stopped, since = stopped + event.seconds - since, 0.0
        return 1000 * (stopped + (time.time() - since if since else 0.0))

    def _wanted_capabilities(self) -> dict[str, bool]:
        """Everything off that changes the stream, and on what keeps the guest from switching over."""
        wanted = dict.fromkeys(self._old_capabilities, False)
        wanted.update({"events": True, "pause-before-switchover": True})
        if self.session.version >= _ACK_SINCE:
            wanted.update({"return-path": True, "switchover-ack": True})
        return wanted

    def _set_capabilities(self, states: dict[str, bool]) -> None:
        now = {
            entry["capability"]: entry["state"]
            for entry in self.session.execute("query-migrate-capabilities")
        }
        changes = [
            {"capability": name, "state": state} for name, state in states.items() if now.get(name) != state
        ]
        if changes:
            self.session.execute("migrate-set-capabilities", {"capabilities": changes})

    def _set(self, parameters: dict[str, Any]) -> None:
        self.session.execute("migrate-set-parameters", parameters)

    def _events(self) -> list[Any]:
        return self.session.events[self._first_event :]
