"""The source's side of a stream recording: a migration that is started, steered, cancelled and never completed.

Migration parameters and capabilities are changed during the recording and put back at its end. Three things keep the
guest on the source. With `switchover-ack` (8.1 to 11.0) the source may not switch over before the destination
acknowledges, which the collector never does. Before 8.0, the node of `migsim.tracer.stream.hold_node` stays pending.
With `pause-before-switchover`, where neither can be had, a switchover that begins because nothing is left to send
waits, and is cancelled.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from migsim.errors import HostError, QemuError, QmpError
from migsim.qapi import QemuVersion
from migsim.tracer.guest_settings import GuestSettings
from migsim.tracer.preflight import refuse_while_busy
from migsim.tracer.stream import hold_node
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.qmp import QmpSession

__all__ = ["ACK_UNTIL", "RoundProgress", "SelfCheck", "StreamSource", "listening_socket"]

_ENDED = ("none", "completed", "failed", "cancelled")
_SWITCHING = ("pre-switchover", "device", "completed")
_CANCEL_S = 30.0
_STUCK_S = 0.05  # a migration that is still "cancelling" after this time is woken up
_SETTLE_S = 0.02  # QEMU takes a millisecond or two from STOP to the pause before the switchover
# Many more than are asked for. A guest that falls idle while it is free to sync is synced thousands of times a second
# until the collector takes notice.
_SYNCS, _SYNCS_PER_S = 20_000, 100
_ACK_SINCE = QemuVersion.parse("8.1")
_HELD_SINCE = QemuVersion.parse("8.2")  # the ack holds the source, and avail-switchover-bandwidth its syncs
ACK_UNTIL = QemuVersion.parse("11.1")
"""From this version on, a source waits for acknowledgements only where a device asks for them."""


@dataclass
class SelfCheck:
    """Whether the recording left the guest as it was.

    Attributes
    ----------
    running : bool
        Whether the guest was running at the end, by `query-status`.
    stopped_ms : float
        How long the guest was stopped (STOP to RESUME); 0.0 if no STOP event came.
    restored : bool
        Whether parameters and capabilities were the same before and after.
    """

    running: bool = False
    stopped_ms: float = 0.0
    restored: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the entries of the trace's `self_check`."""
        return {
            "guest_running_at_end": self.running,
            "guest_stopped_ms": round(self.stopped_ms, 3),
            "settings_restored": self.restored,
        }


class RoundProgress(NamedTuple):
    """A round under way: its number (1 sends all of RAM), the pages sent in all once it is sent, and those left."""

    number: int
    pages_at_end: int
    pages_left: int


@contextlib.contextmanager
def listening_socket() -> Iterator[tuple[socket.socket, str]]:
    """Yield a listening unix socket in a new temporary folder, and its path; both are removed at the end.

    Raises
    ------
    HostError
        No temporary folder can be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="migsim-stream-")
    except OSError as error:
        raise HostError(
            f"Cannot create a temporary folder: {error.strerror}.",
            "The stream collector needs one for its socket.",
            "Set TMPDIR to a folder that you may write to.",
        ) from error
    with folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = Path(folder.name) / "stream"
        listener.bind(str(path))
        # QEMU may run as another user, so every user may connect; StreamReader checks the peer's process id.
        path.parent.chmod(0o711)
        path.chmod(0o666)
        listener.listen(1)
        yield listener, str(path)


@dataclass
class StreamSource:
    """One migration to `socket_path`; a context manager that makes the guest ready for it, and undoes all on exit.

    Parameters
    ----------
    session : QmpSession
        Connected to the guest's QEMU.
    socket_path : str
        The socket that QEMU connects to.
    keep : callable, optional
        Called with the guest's own settings before the first is changed.

    Attributes
    ----------
    began_s : float
        When the migration was started (host clock, seconds since 1970).
    check : SelfCheck
        Set on exit.
    why_not : str
        Why a source that has sent everything cannot wait without switching over; "" where it can.
    bitmap : bool
        Whether a dirty bitmap holds it, which QEMU has to announce in the stream.

    Raises
    ------
    QmpError
        On entering: a migration is active already, or QEMU refuses a setting.
    """

    session: QmpSession
    socket_path: str
    keep: Callable[[GuestSettings], None] | None = None
    began_s: float = 0.0
    check: SelfCheck = field(default_factory=SelfCheck)
    why_not: str = ""
    bitmap: bool = False
    _old: GuestSettings = field(default_factory=GuestSettings)
    _next_event: int = 0
    _syncs: list[float] = field(default_factory=list)
    _status: str = "setup"
    _stops: list[tuple[str, float]] = field(default_factory=list)
    _started: bool = False

    def __enter__(self) -> StreamSource:
        refuse_while_busy(self.session)
        self._old = GuestSettings.of(self.session)
        if self.keep is not None:
            self.keep(self._old)
        self._next_event = len(self.session.events)
        try:
            if not _HELD_SINCE <= self.session.version < ACK_UNTIL:
                self._add_bitmap()
            self._set_capabilities(self._wanted_capabilities())
            if self._old.parameters.get("tls-creds"):
                self._set({"tls-creds": ""})
        except BaseException:
            with contextlib.suppress(QmpError):
                self._restore()
            raise
        return self

    def start(self, parameters: Mapping[str, int]) -> None:
        """Start the migration with these parameters, named as in `set`.

        Raises
        ------
        QmpError
            QEMU refuses the migration.
        """
        self.set(**parameters)
        self.began_s = time.time()
        self._started = True
        self.session.execute("migrate", {"uri": f"unix:{self.socket_path}"})

    def _add_bitmap(self) -> None:
        old = self._old
        self.why_not = hold_node.why_not(self.session, old.parameters, old.capabilities)
        if not self.why_not:
            self.why_not = hold_node.add_node(self.session)
        self.bitmap = not self.why_not
        if self.bitmap and hold_node.MAPPING in old.parameters:
            self._set({hold_node.MAPPING: hold_node.own_mapping()})

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self.cancel()
            self._restore()
        except QmpError:
            if error is None:
                raise  # after another error, that one goes up

    # ---- steering ----

    def set(self, **parameters: int) -> None:
        """Set migration parameters; write names with underscores for hyphens."""
        self._set({name.replace("_", "-"): value for name, value in parameters.items()})

    def syncs(self) -> list[float]:
        """Return the times of the bitmap syncs so far (host clock, seconds since 1970); the first is the setup's."""
        self._read_events()
        syncs = self._syncs
        if len(syncs) > _SYNCS + _SYNCS_PER_S * max(time.time() - self.began_s, 0.0):
            raise QmpError(
                f"The monitor announces {len(syncs):,} bitmap syncs in {time.time() - self.began_s:.0f} s.",
                f"A recorded migration syncs less than {_SYNCS_PER_S} times a second.",
                "Check that the socket belongs to QEMU's QMP monitor.",
            )
        return syncs

    def status(self) -> str:
        """Return the migration's state from QEMU's last event."""
        self._read_events()
        return self._status

    def switching(self) -> bool:
        """Say whether the switchover has begun or the guest was stopped."""
        return self.status() in _SWITCHING or bool(self._stops)

    def progress(self) -> RoundProgress:
        """Ask QEMU how far the round under way is; no sync comes in between."""
        ram = self.session.execute("query-migrate").get("ram", {})
        left = int(ram.get("remaining", 0)) // PAGE_BYTES
        sent = int(ram.get("normal", 0)) + int(ram.get("duplicate", 0))
        return RoundProgress(int(ram.get("dirty-sync-count", 0)), sent + left, left)

    def failure(self) -> QemuError:
        """Return the error for a migration that ended although nobody cancelled it."""
        info = self.session.execute("query-migrate")
        reason = info.get("error-desc") or f"its status is {info.get('status')!r}"
        return QemuError(
            f"The migration that was being recorded ended by itself: {reason}.",
            "The stream collector needs a guest that QEMU can migrate.",
            "Trace this guest with the dirty-rate or dirty-ring collector.",
        )

    # ---- the end ----

    def cancel(self) -> None:
        """Cancel the migration and wait until QEMU has ended it; a second call does nothing."""
        if not self._started:
            return
        self._started = False
        began = time.monotonic()
        # QEMU stops the guest shortly before it pauses; it may lose a cancel that comes in between
        while self.switching() and self.status() not in _SWITCHING and time.monotonic() - began < _SETTLE_S:
            time.sleep(0.001)
        stuck_since = time.monotonic()
        self.session.execute("migrate_cancel")
        while (status := self.session.execute("query-migrate").get("status", "none")) not in _ENDED:
            now = time.monotonic()
            if now - began > _CANCEL_S:
                raise QmpError(
                    f"The migration has not ended {_CANCEL_S:.0f} s after migrate_cancel.",
                    "QEMU should end it at once.",
                    "Check the guest with query-migrate, and try migrate_cancel by hand.",
                )
            if status == "cancelling" and now - stuck_since > _STUCK_S:
                stuck_since = now
                self._wake_up()
            time.sleep(0.02)

    def _wake_up(self) -> None:
        """Wake QEMU's migration thread if it waits in the pause before the switchover although it is cancelled.

        In `migration_maybe_pause` the thread checks whether it is cancelled, releases the big QEMU lock, and waits.
        A cancel between the check and the wait does not wake it, and the guest would stay stopped for ever.
        """
        from migsim.qmp import QmpCommandError

        with contextlib.suppress(QmpCommandError):  # QEMU refuses if the migration has ended meanwhile
            self.session.execute("migrate-continue", {"state": "cancelling"})

    def _restore(self) -> None:
        """Put capabilities and parameters back, remove the node, and set `check`."""
        self._old.put_back(self.session)
        # If a switchover stopped the guest, the cancelled migration starts it again a moment later.
        deadline = time.monotonic() + 2.0
        while (
            not (running := self.session.execute("query-status")["running"]) and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        now = GuestSettings.of(self.session)
        self.check = SelfCheck(
            running=bool(running),
            stopped_ms=self._stopped_ms(),
            restored=now.capabilities == self._old.capabilities and now.parameters == self._old.parameters,
        )

    def _stopped_ms(self) -> float:
        self._read_events()
        stopped, since = 0.0, 0.0
        for name, seconds in self._stops:
            if name == "STOP":
                since = since or seconds
            elif since:
                stopped, since = stopped + seconds - since, 0.0
        return 1000 * (stopped + (time.time() - since if since else 0.0))

    def _wanted_capabilities(self) -> dict[str, bool]:
        """Return the capabilities for the recording: those that change the stream off, the two safeguards on."""
        wanted = dict.fromkeys(self._old.capabilities, False)
        wanted.update({"events": True, "pause-before-switchover": True})
        if self.session.version >= _ACK_SINCE:
            wanted.update({"return-path": True, "switchover-ack": True})
        if self.bitmap:
            wanted[hold_node.CAPABILITY] = True
        return wanted

    def _set_capabilities(self, states: dict[str, bool]) -> None:
        current = {
            entry["capability"]: entry["state"]
            for entry in self.session.execute("query-migrate-capabilities")
        }
        changes = [
            {"capability": name, "state": state}
            for name, state in states.items()
            if current.get(name) != state
        ]
        if changes:
            self.session.execute("migrate-set-capabilities", {"capabilities": changes})

    def _set(self, parameters: dict[str, Any]) -> None:
        self.session.execute("migrate-set-parameters", parameters)

    def _read_events(self) -> None:
        """Take in the events since the last call."""
        events = self.session.events
        while self._next_event < len(events):
            event = events[self._next_event]
            self._next_event += 1
            if event.name == "MIGRATION_PASS":
                self._syncs.append(event.seconds)
            elif event.name == "MIGRATION" and isinstance(event.data.get("status"), str):
                self._status = str(event.data["status"])
            elif event.name == "STOP" or (event.name == "RESUME" and self._stops):
                self._stops.append((event.name, event.seconds))
