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
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from migsim.errors import QmpError
from migsim.qapi import QemuVersion
from migsim.qmp.messages import QmpCommandError, QmpEvent

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

__all__ = ["QmpSession"]

_T = TypeVar("_T")
# How much later than the loop's own deadline the calling thread gives up on the loop itself.
_GRACE_S = 5.0
_PARTING_S = 1.0


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
        self._lock = threading.RLock()
        self._arrival = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: set[Future[Any]] = set()
        self._client: QMPClient | None = None
        self._lost: str | None = None

    # -- life ---------------------------------------------------------------------------------------------

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

    @property
    def connected(self) -> bool:
        """Whether commands can still be sent."""
        return self._client is not None and self._lost is None

    def _open(self) -> None:
        import qemu.qmp  # noqa: F401  here, where an import may be interrupted

        # qemu.qmp logs at ERROR what it also raises; without a handler Python would print it on stderr.
        logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
        greeted: Future[None] = Future()
        self._answers.add(greeted)
        self._thread = threading.Thread(target=self._serve, args=(greeted,), name="migsim-qmp", daemon=True)
        self._thread.start()
        self._answer(greeted, self.timeout_s, "the greeting")

    def _serve(self, greeted: Future[None]) -> None:
        """Live from the dialling to the end, in the session's own thread.

        Loop and socket are made and closed in here, where no signal is handled: an interrupt of the main thread
        meets neither half-made.
        """
        end: BaseException = ConnectionError()
        try:
            with contextlib.closing(self._dial()) as dial:
                self.peer_pid = _peer_pid(dial)
                asyncio.run(self._live(dial, greeted))
        except asyncio.CancelledError:
            pass  # by close()
        except Exception as error:
            end = error
        finally:
            with self._lock:
                self._loop = None
                self._lost = self._lost or "QEMU closed the connection"
                self._arrival.notify_all()
            for answer in list(self._answers):
                if not answer.done():
                    answer.set_exception(end)

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

    async def _live(self, dial: socket.socket, greeted: Future[None]) -> None:
        from qemu.qmp import QMPClient

        loop = asyncio.get_running_loop()
        # The loop prints exceptions that nobody awaited when they are collected: qemu.qmp leaves some behind
        # when QEMU dies, and what matters of them is raised by the call that they broke.
        loop.set_exception_handler(lambda _loop, _context: None)
        with self._lock:
            if self._lost is not None:  # closed meanwhile
                return
            self._loop, self._life = loop, asyncio.current_task()
        client = QMPClient("migsim")
        try:
            # A client that fails to connect disconnects by itself.
            await asyncio.wait_for(client.connect(dial), self.timeout_s)
            try:
                self._read_greeting(client)
                greeted.set_result(None)
                await self._listen(client)
            finally:
                await self._part(client)
        finally:
            with self._lock:
                self._life = None

    def _read_greeting(self, client: QMPClient) -> None:
        version: Any = client.greeting.QMP.version if client.greeting is not None else {}
        numbers = version["qemu"]
        self.version = QemuVersion(*(int(numbers[part]) for part in ("major", "minor", "micro")))
        self.package = str(version.get("package", ""))
        self._client = client

    async def _listen(self, client: QMPClient) -> None:
        """Move events to `self.events` until the connection ends."""
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

    async def _part(self, client: QMPClient) -> None:
        """Disconnect, say why the connection ended, and let those who wait for an answer know."""
        with self._lock:
            self._life = None  # from here on nothing is cut short
        reason = "QEMU closed the connection"
        try:
            await asyncio.wait_for(client.disconnect(), _PARTING_S)
        except EOFError:
            pass
        except Exception as error:
            reason = _one_line(error)
        with self._lock:
            self._lost = self._lost or reason
            self._arrival.notify_all()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PARTING_S)

    def _keep(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self.events.append(QmpEvent.from_message(message))
            self._arrival.notify_all()

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        with self._lock:
            self._lost = self._lost or "the session is closed"
            self._arrival.notify_all()
            if self._loop is not None and self._life is not None:
                self._loop.call_soon_threadsafe(self._life.cancel)
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # it was interrupted before it began
                self._thread.join(_GRACE_S)
        self._client = None

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
        within_s = self.timeout_s if timeout_s is None else timeout_s
        answer: Future[Any] = Future()

        def ask(client: QMPClient) -> None:  # in the loop's thread
            task = asyncio.ensure_future(_settle(answer, client.execute(command, arguments), within_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        with self._lock:
            if self._client is None or self._loop is None or self._lost is not None:
                raise self._gone(command)
            self._answers.add(answer)
            self._loop.call_soon_threadsafe(ask, self._client)
        return self._answer(answer, within_s, command)

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

    def _answer(self, answer: Future[_T], timeout_s: float, what: str) -> _T:
        try:
            return answer.result(timeout_s + _GRACE_S)
        except QmpError:
            raise
        except TimeoutError as error:
            raise QmpError(
                f"No answer to {what} within {timeout_s:g} s on {self.socket_path}.",
                "A QMP monitor serves one client at a time and answers at once unless QEMU hangs.",
                "Close other monitor clients of this guest, or look at what QEMU is doing.",
            ) from error
        except (asyncio.CancelledError, ConnectionError, EOFError) as error:
            raise self._gone(what) from error
        except Exception as error:
            raise self._translate(error, what) from error
        finally:
            self._answers.discard(answer)

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


async def _settle(answer: Future[Any], work: Coroutine[Any, Any, Any], within_s: float) -> None:
    """Put what comes of a coroutine into `answer`, for another thread."""
    try:
        got = await asyncio.wait_for(work, within_s)
    except BaseException as error:
        answer.set_exception(error)
    else:
        answer.set_result(got)


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
