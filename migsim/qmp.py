"""QEMU's monitor socket, spoken synchronously.

`QmpSession` is the only user of `qemu.qmp`: it runs that library's asyncio client in a thread of its own,
keeps every event with QEMU's time stamp, and turns whatever goes wrong into a `QmpError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from migsim.errors import QmpError
from migsim.qapi import QemuVersion

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

__all__ = ["QmpCommandError", "QmpEvent", "QmpSession"]

_T = TypeVar("_T")
# How much later than the loop's own deadline the calling thread gives up on the loop itself.
_GRACE_S = 5.0


class QmpCommandError(QmpError):
    """QEMU understood a command and refused it.

    Attributes
    ----------
    command : str
        The refused command.
    error_class : str
        QMP's class, as ``CommandNotFound`` or ``GenericError``.
    description : str
        QEMU's own words.
    """

    def __init__(self, command: str, error_class: str, description: str) -> None:
        self.command = command
        self.error_class = error_class
        self.description = description
        super().__init__(
            f"QEMU refused {command}: {description.rstrip('.')}.",
            f"This is QMP error class {error_class}.",
            "Check the command's arguments and that this QEMU version knows them.",
        )


@dataclass(frozen=True)
class QmpEvent:
    """One asynchronous message of QEMU.

    Attributes
    ----------
    name : str
        As ``STOP`` or ``MIGRATION_PASS``.
    data : dict
        The event's own members.
    seconds : float
        When it happened: QEMU's time stamp on the host's clock, seconds since 1970.
    """

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> QmpEvent:
        """Read one from QMP's wire form; a missing or odd time stamp counts as now.

        Examples
        --------
        >>> QmpEvent.from_message({"event": "STOP", "timestamp": {"seconds": 3, "microseconds": 500000}})
        QmpEvent(name='STOP', data={}, seconds=3.5)
        """
        stamp = message.get("timestamp")
        seconds = time.time()
        if isinstance(stamp, Mapping) and isinstance(stamp.get("seconds"), int) and stamp["seconds"] >= 0:
            seconds = stamp["seconds"] + int(stamp.get("microseconds", 0)) / 1e6
        data = message.get("data")
        return cls(str(message.get("event", "")), dict(data) if isinstance(data, Mapping) else {}, seconds)


class QmpSession:
    """A monitor socket, connected while the ``with`` block runs.

    Parameters
    ----------
    socket_path : path
        A unix socket that QEMU offers by ``-qmp unix:PATH,server=on,wait=off``.
    timeout_s : float
        How long connecting, and by default each command, may take.

    Attributes
    ----------
    events : list of QmpEvent
        All received so far, in order.
    version : QemuVersion
        From the greeting.
    peer_pid : int or None
        The process that listens on the socket.

    Raises
    ------
    QmpError
        From every method, and nothing else: no socket, not QMP, closed mid-way, refused, too late.

    Examples
    --------
    >>> with QmpSession("vm.sock") as qmp:  # doctest: +SKIP
    ...     qmp.execute("query-status")["status"]
    'running'
    """

    def __init__(self, socket_path: str | os.PathLike[str], *, timeout_s: float = 10.0) -> None:
        self.socket_path = os.fspath(socket_path)
        self.timeout_s = timeout_s
        self.events: list[QmpEvent] = []
        self.version = QemuVersion.parse("0.0")
        self.package = ""
        self.peer_pid: int | None = None
        self._waited_for: set[int] = set()
        self._arrival = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: QMPClient | None = None
        self._socket: socket.socket | None = None
        self._listener: asyncio.Task[None] | None = None
        self._lost: str | None = None

    # -- life ---------------------------------------------------------------------------------------------

    def __enter__(self) -> QmpSession:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether commands can still be sent."""
        return self._client is not None and self._lost is None

    def _open(self) -> None:
        from qemu.qmp import QMPClient

        # qemu.qmp logs at ERROR what it also raises; without a handler Python would print it on stderr.
        logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
        self._socket = self._dial()
        self.peer_pid = _peer_pid(self._socket)
        self._loop = asyncio.new_event_loop()
        # The loop prints exceptions that nobody awaited when they are collected: qemu.qmp leaves some behind
        # when QEMU dies, and what matters of them is raised by the call that they broke.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._thread = threading.Thread(target=self._loop.run_forever, name="migsim-qmp", daemon=True)
        self._thread.start()
        self._run(self._connect(QMPClient("migsim")), self.timeout_s, "the greeting")

    def _dial(self) -> socket.socket:
        dial = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        dial.settimeout(self.timeout_s)
        try:
            dial.connect(self.socket_path)
        except OSError as error:
            dial.close()
            raise QmpError(
                f"Cannot connect to the monitor socket {self.socket_path}: {error.strerror or error}.",
                "QEMU must be running and listening there.",
                "Start it with -qmp unix:PATH,server=on,wait=off, or check the path and its permissions.",
            ) from error
        dial.setblocking(False)
        return dial

    async def _connect(self, client: QMPClient) -> None:
        # A client that fails to connect closes the socket itself.
        await client.connect(self._socket)  # type: ignore[arg-type]
        self._client = client
        version: Any = client.greeting.QMP.version if client.greeting is not None else {}
        numbers = version["qemu"]
        self.version = QemuVersion(*(int(numbers[part]) for part in ("major", "minor", "micro")))
        self.package = str(version.get("package", ""))
        self._listener = asyncio.ensure_future(self._listen(client))

    async def _listen(self, client: QMPClient) -> None:
        """Move events to `self.events` until the connection ends, then say why it ended."""
        from qemu.qmp import Runstate

        ended = asyncio.ensure_future(client.runstate_changed())
        try:
            await asyncio.sleep(0)  # lets `ended` begin to wait: a change before that would pass it by
            while client.runstate == Runstate.RUNNING:
                message = asyncio.ensure_future(client.events.get())
                await asyncio.wait({message, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not message.done():
                    message.cancel()
                    break
                self._keep(message.result())
                while not client.events.empty():
                    self._keep(await client.events.get())
        finally:
            ended.cancel()
            reason = "QEMU closed the connection"
            try:
                await client.disconnect()
            except EOFError:
                pass
            except Exception as error:
                reason = _one_line(error)
            with self._arrival:
                self._lost = self._lost or reason
                self._arrival.notify_all()

    def _keep(self, message: Mapping[str, Any]) -> None:
        with self._arrival:
            self.events.append(QmpEvent.from_message(message))
            self._arrival.notify_all()

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            with self._arrival:
                self._lost = self._lost or "the session is closed"
                self._arrival.notify_all()
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(self._shut(), loop).result(_GRACE_S)
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(_GRACE_S)
            if not self._thread.is_alive():
                loop.close()
        if self._socket is not None:
            self._socket.close()
        self._client = None

    async def _shut(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._client.disconnect(), 1.0)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    # -- use ----------------------------------------------------------------------------------------------

    def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> Any:
        """Run one QMP command and return what QEMU answers.

        Raises
        ------
        QmpCommandError
            When QEMU refuses the command.
        QmpError
            When there is no connection (any more) or no answer in time.
        """
        client = self._client
        if client is None or self._lost is not None:
            raise self._gone(command)
        return self._run(
            client.execute(command, arguments), self.timeout_s if timeout_s is None else timeout_s, command
        )

    def wait_event(self, *names: str, timeout_s: float) -> QmpEvent:
        """Return the earliest event of one of `names` that no earlier call returned; wait for it if need be.

        Raises
        ------
        QmpError
            When none comes in time or the connection ends.
        """
        deadline = time.monotonic() + timeout_s
        with self._arrival:
            while True:
                for index, event in enumerate(self.events):
                    if event.name in names and index not in self._waited_for:
                        self._waited_for.add(index)
                        return event
                if self._lost is not None:
                    raise self._gone(f"event {' or '.join(names)}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise QmpError(
                        f"No event {' or '.join(names)} came within {timeout_s:g} s on {self.socket_path}.",
                        "QEMU sends it when the state changes.",
                        "Check that QEMU is running and what its log says.",
                    )
                self._arrival.wait(left)

    def _run(self, work: Coroutine[Any, Any, _T], timeout_s: float, what: str) -> _T:
        if self._loop is None:
            work.close()
            raise self._gone(what)
        future = asyncio.run_coroutine_threadsafe(_within(work, timeout_s), self._loop)
        try:
            return future.result(timeout_s + _GRACE_S)
        except TimeoutError as error:
            future.cancel()
            raise QmpError(
                f"No answer to {what} within {timeout_s:g} s on {self.socket_path}.",
                "A QMP monitor serves one client at a time and answers at once unless QEMU hangs.",
                "Close other monitor clients of this guest, or look at what QEMU is doing.",
            ) from error
        except (asyncio.CancelledError, ConnectionError, EOFError) as error:
            raise self._gone(what) from error
        except Exception as error:
            raise self._translate(error, what) from error

    def _translate(self, error: Exception, what: str) -> QmpError:
        from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, StateError

        if isinstance(error, ExecuteError):
            return QmpCommandError(what, error.error_class, str(error))
        if isinstance(error, ExecInterruptedError | StateError):
            return self._gone(what)
        cause = error.exc if isinstance(error, ConnectError) else error
        if isinstance(error, ConnectError):
            return QmpError(
                f"{self.socket_path} is not a QMP monitor: {_one_line(cause)}.",
                "QEMU greets every client with a JSON object named QMP.",
                "Give the socket of -qmp (not -monitor, -serial or a migration socket).",
            )
        return QmpError(
            f"{what} failed on {self.socket_path}: {_one_line(error)}.",
            "The monitor must answer in QMP's form.",
            "Check that the socket belongs to QEMU's QMP monitor.",
        )

    def _gone(self, what: str) -> QmpError:
        reason = self._lost or ("it is not open" if self._client is None else "QEMU closed the connection")
        return QmpError(
            f"No connection for {what} on {self.socket_path}: {reason}.",
            "A session lives from entering its block until QEMU or the caller closes it.",
            "Check that QEMU is still running.",
        )


async def _within(work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
    return await asyncio.wait_for(work, timeout_s)


def _peer_pid(dial: socket.socket) -> int | None:
    try:
        raw = dial.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid = int(struct.unpack("3i", raw)[0])
    return pid if pid > 0 else None


def _one_line(error: BaseException) -> str:
    """Return the first line of what an error says, with its kind where it says nothing."""
    if isinstance(error, EOFError):
        return "it closed the connection"
    text = " ".join(str(error).split())
    return (text[:200] or type(error).__name__).rstrip(".")
