"""A synchronous session over QEMU's monitor socket.

`QmpSession` runs the asyncio client of `qemu.qmp` in a thread of its own, keeps every event with QEMU's time stamp,
and turns every error into a `QmpError`.
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
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from migsim.errors import QmpError
from migsim.qapi import QemuVersion
from migsim.qmp.answers import check_answer
from migsim.qmp.messages import QmpCommandError, QmpEvent

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

__all__ = ["QmpSession"]

_T = TypeVar("_T")
# How long after a command's timeout the calling thread still waits for the loop to report it.
_GRACE_S = 5.0
_DISCONNECT_S = 1.0
EVENTS_AT_MOST = 200_000
"""Events that a session keeps. QEMU sends one each round of a migration, and few others."""
EVENT_LETTERS_AT_MOST = 32_000_000
"""Letters of all their data."""


class QmpSession:
    """A monitor socket, connected while the ``with`` block runs.

    Parameters
    ----------
    socket_path : path
        A unix socket that QEMU listens on: ``-qmp unix:PATH,server=on,wait=off``.
    timeout_s : float
        Time limit for connecting, and by default for each command.

    Attributes
    ----------
    events : list of QmpEvent
        All events received so far, in order: at most `EVENTS_AT_MOST`. A monitor that sends more is no longer listened
        to; the session then ends.
    version : QemuVersion
        QEMU's version, from the greeting.
    peer_pid : int or None
        Process id of QEMU, which listens on the socket.

    Raises
    ------
    QmpError
        The only error that the methods raise: there is no socket, it is not a QMP monitor, the connection was closed,
        QEMU refused a command, an answer has not the shape of QEMU's, or the time limit is over.

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
        self._returned_events: set[int] = set()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client_task: asyncio.Task[None] | None = None
        self._command_tasks: set[asyncio.Task[None]] = set()
        self._open_answers: set[Future[Any]] = set()
        self._client: QMPClient | None = None
        self._end_reason: str | None = None
        self._event_letters = 0

    # -- connecting and disconnecting ---------------------------------------------------------------------

    def __enter__(self) -> QmpSession:
        try:
            self._open()
            return self
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        # Imported in the calling thread, because Ctrl-C can interrupt only that one.
        import qemu.qmp  # noqa: F401 - the loop's thread finds it loaded

        # qemu.qmp logs every error that it raises; without a handler Python would print it on stderr.
        logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
        greeting: Future[None] = Future()
        self._open_answers.add(greeting)
        self._thread = threading.Thread(
            target=self._run_thread, args=(greeting,), name="migsim-qmp", daemon=True
        )
        self._thread.start()
        self._wait_for_answer(greeting, self.timeout_s, "the greeting")

    def _run_thread(self, greeting: Future[None]) -> None:
        """Run the connection from its start to its end, in the session's thread.

        The loop and the socket are created and closed in this thread. No signal is handled here, so Ctrl-C cannot
        interrupt these steps halfway.
        """
        end: BaseException = ConnectionError()
        try:
            with contextlib.closing(self._connect_socket()) as monitor:
                self.peer_pid = _peer_pid(monitor)
                asyncio.run(self._run_client(monitor, greeting))
        except asyncio.CancelledError:
            pass  # close() cancelled the client
        except Exception as error:
            end = error
        finally:
            with self._lock:
                self._loop = None
                self._end_reason = self._end_reason or "QEMU closed the connection"
                self._changed.notify_all()
            for answer in list(self._open_answers):
                if not answer.done():
                    answer.set_exception(end)

    def _connect_socket(self) -> socket.socket:
        monitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        monitor.settimeout(self.timeout_s)
        try:
            monitor.connect(self.socket_path)
        except OSError as error:
            monitor.close()
            raise QmpError(
                f"Cannot connect to the monitor socket {self.socket_path}: {error.strerror or error}.",
                "QEMU must be running and listening there.",
                "Start it with -qmp unix:PATH,server=on,wait=off, or check the path and its permissions.",
            ) from error
        monitor.setblocking(False)
        return monitor

    async def _run_client(self, monitor: socket.socket, greeting: Future[None]) -> None:
        from qemu.qmp import QMPClient

        loop = asyncio.get_running_loop()
        # When QEMU ends, qemu.qmp leaves exceptions that nobody awaits, and the loop would print them. The call
        # that they concern raises them anyway.
        loop.set_exception_handler(lambda _loop, _context: None)
        with self._lock:
            if self._end_reason is not None:  # close() was called meanwhile
                return
            self._loop, self._client_task = loop, asyncio.current_task()
        client = QMPClient("migsim")
        try:
            # If connecting fails, the client disconnects without being told to.
            await asyncio.wait_for(client.connect(monitor), self.timeout_s)
            try:
                self._read_greeting(client)
                greeting.set_result(None)
                await self._listen(client)
            finally:
                await self._disconnect(client)
        finally:
            with self._lock:
                self._client_task = None

    def _read_greeting(self, client: QMPClient) -> None:
        version: Any = client.greeting.QMP.version if client.greeting is not None else {}
        numbers = version["qemu"]
        self.version = QemuVersion(*(int(numbers[part]) for part in ("major", "minor", "micro")))
        self.package = str(version.get("package", ""))
        self._client = client

    async def _listen(self, client: QMPClient) -> None:
        """Add the client's events to `self.events` until the connection ends."""
        from qemu.qmp import Runstate

        ended = asyncio.ensure_future(client.runstate_changed())
        try:
            await asyncio.sleep(0)  # `ended` starts to wait only now; it would miss an earlier change
            while client.runstate == Runstate.RUNNING:
                message = asyncio.ensure_future(client.events.get())
                await asyncio.wait({message, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not message.done():
                    message.cancel()
                    break
                self._add_event(message.result())
                while not client.events.empty():
                    self._add_event(await client.events.get())
                if self._end_reason is not None:
                    break
        finally:
            ended.cancel()

    async def _disconnect(self, client: QMPClient) -> None:
        """Disconnect, note why the connection ended, and wait for the open commands to fail."""
        with self._lock:
            self._client_task = None  # from here on close() must not cancel the client
        reason = "QEMU closed the connection"
        try:
            await asyncio.wait_for(client.disconnect(), _DISCONNECT_S)
        except EOFError:
            pass
        except Exception as error:
            reason = _one_line(error)
        with self._lock:
            self._end_reason = self._end_reason or reason
            self._changed.notify_all()
        if self._command_tasks:
            await asyncio.wait(self._command_tasks, timeout=_DISCONNECT_S)

    def _add_event(self, message: Mapping[str, Any]) -> None:
        event = QmpEvent.from_message(message)
        with self._lock:
            self._event_letters += len(event.name) + len(repr(event.data)) if event.data else len(event.name)
            if len(self.events) >= EVENTS_AT_MOST or self._event_letters > EVENT_LETTERS_AT_MOST:
                self._end_reason = self._end_reason or (
                    f"it sent more events than migsim keeps ({EVENTS_AT_MOST:,}, {EVENT_LETTERS_AT_MOST:,} letters)"
                )
            else:
                self.events.append(event)
            self._changed.notify_all()

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        with self._lock:
            self._end_reason = self._end_reason or "the session is closed"
            self._changed.notify_all()
            if self._loop is not None and self._client_task is not None:
                self._loop.call_soon_threadsafe(self._client_task.cancel)
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # Ctrl-C may have come before the thread was started
                self._thread.join(_GRACE_S)
        self._client = None

    # -- commands and events ------------------------------------------------------------------------------

    def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> Any:
        """Run one QMP command and return QEMU's answer.

        Raises
        ------
        QmpCommandError
            QEMU refuses the command.
        QmpError
            There is no connection, no answer within the time limit, or one of another shape than QEMU's.
        """
        answer_timeout_s = self.timeout_s if timeout_s is None else timeout_s
        answer: Future[Any] = Future()

        def start_command(client: QMPClient) -> None:  # runs in the loop's thread
            task = asyncio.ensure_future(
                _set_answer(answer, client.execute(command, arguments), answer_timeout_s)
            )
            self._command_tasks.add(task)
            task.add_done_callback(self._command_tasks.discard)

        with self._lock:
            if self._client is None or self._loop is None or self._end_reason is not None:
                raise self._no_connection(command)
            self._open_answers.add(answer)
            self._loop.call_soon_threadsafe(start_command, self._client)
        result = self._wait_for_answer(answer, answer_timeout_s, command)
        check_answer(command, result)
        return result

    def wait_event(self, *names: str, timeout_s: float) -> QmpEvent:
        """Return the earliest event of one of `names` that no earlier call returned; wait for it if necessary.

        Raises
        ------
        QmpError
            No such event comes within the time limit, or the connection ends.
        """
        deadline = time.monotonic() + timeout_s
        looked_at = 0
        with self._changed:
            while True:
                for index in range(looked_at, len(self.events)):
                    event = self.events[index]
                    if event.name in names and index not in self._returned_events:
                        self._returned_events.add(index)
                        return event
                looked_at = len(self.events)
                if self._end_reason is not None:
                    raise self._no_connection(f"event {' or '.join(names)}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise QmpError(
                        f"No event {' or '.join(names)} came within {timeout_s:g} s on {self.socket_path}.",
                        "QEMU sends such an event when the state of the guest or of the migration changes.",
                        "Check that QEMU is running, and read its log.",
                    )
                self._changed.wait(left)

    def _wait_for_answer(self, answer: Future[_T], timeout_s: float, request: str) -> _T:
        try:
            return answer.result(timeout_s + _GRACE_S)
        except QmpError:
            raise
        except TimeoutError as error:
            raise QmpError(
                f"No answer to {request} within {timeout_s:g} s on {self.socket_path}.",
                "A QMP monitor serves one client at a time, and answers at once unless QEMU hangs.",
                "Close other monitor clients of this guest, or check whether QEMU hangs.",
            ) from error
        except (asyncio.CancelledError, ConnectionError, EOFError) as error:
            raise self._no_connection(request) from error
        except Exception as error:
            raise self._translate(error, request) from error
        finally:
            self._open_answers.discard(answer)

    def _translate(self, error: Exception, request: str) -> QmpError:
        from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, StateError

        if isinstance(error, ExecuteError):
            return QmpCommandError(request, error.error_class, str(error))
        if isinstance(error, ExecInterruptedError | StateError):
            return self._no_connection(request)
        cause = error.exc if isinstance(error, ConnectError) else error
        if isinstance(error, ConnectError):
            return QmpError(
                f"{self.socket_path} is not a QMP monitor: {_one_line(cause)}.",
                "A QMP monitor greets every client with a JSON object named QMP.",
                "Give the socket of QEMU's option -qmp (not of -monitor or -serial, and no migration socket).",
            )
        return QmpError(
            f"{request} failed on {self.socket_path}: {_one_line(error)}.",
            "The monitor must answer with QMP messages.",
            "Check that the socket belongs to QEMU's QMP monitor.",
        )

    def _no_connection(self, request: str) -> QmpError:
        reason = self._end_reason or (
            "it is not open" if self._client is None else "QEMU closed the connection"
        )
        return QmpError(
            f"No connection for {request} on {self.socket_path}: {reason}.",
            "A session is open inside its `with` block, until QEMU or the caller closes it.",
            "Check that QEMU is still running.",
        )


async def _set_answer(answer: Future[Any], work: Coroutine[Any, Any, Any], answer_timeout_s: float) -> None:
    """Await a coroutine, and put its result or its exception into `answer` for the calling thread."""
    try:
        result = await asyncio.wait_for(work, answer_timeout_s)
    except BaseException as error:
        answer.set_exception(error)
    else:
        answer.set_result(result)


def _peer_pid(monitor: socket.socket) -> int | None:
    try:
        raw = monitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid = int(struct.unpack("3i", raw)[0])
    return pid if pid > 0 else None


def _one_line(error: BaseException) -> str:
    """Return an error's text in one line of at most 200 characters; its type where it has no text."""
    if isinstance(error, EOFError):
        return "it closed the connection"
    text = " ".join(str(error).split())
    return (text[:200] or type(error).__name__).rstrip(".")
