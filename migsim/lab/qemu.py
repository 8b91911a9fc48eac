"""One QEMU process: started, commanded over QMP, and always ended and reaped.

The process has its own process group: a Ctrl-C at the terminal reaches migsim only, which then ends QEMU. It dies with
the thread that started it. Monitor socket, serial output and trace log lie in a folder that the caller gives.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from migsim.errors import QemuError, QmpError
from migsim.qmp import QmpSession

__all__ = ["QemuProcess", "split_command", "without_folders"]

_TERM_WAIT_S = 2.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def split_command(command: str) -> list[str]:
    """Split a QEMU command string as a shell would, with ``$NAME`` and ``~`` expanded.

    Raises
    ------
    QemuError
        Where the string is empty, has an open quote, or names no program that can be run.

    Examples
    --------
    >>> split_command("sh -c 'exit 0'")[1:]
    ['-c', 'exit 0']
    """
    try:
        words = [os.path.expanduser(os.path.expandvars(word)) for word in shlex.split(command)]  # noqa: PTH111 - words, not paths
    except ValueError as error:
        raise QemuError(
            f"The QEMU command {command!r} cannot be split: {error}.",
            "The command is split as a shell does it, quotes included.",
            "Close the quote.",
        ) from error
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise QemuError(
            f"The QEMU program {words[0] if words else command!r} does not exist or cannot be run.",
            "It is looked up on PATH unless it holds a slash.",
            "Install it (Debian: qemu-system-x86) or give the scenario's qemu.command its full path.",
        )
    return [program, *words[1:]]


def without_folders(arguments: Sequence[str]) -> list[str]:
    """Return a command line with paths cut to file names, so that a record does not show the machine's folders.

    Examples
    --------
    >>> without_folders(["/usr/bin/qemu", "-qmp", "unix:/tmp/x/qmp.sock,server=on", "-m", "1G"])
    ['qemu', '-qmp', 'unix:qmp.sock,server=on', '-m', '1G']
    """
    return [_short(word) for word in arguments]


def _short(word: str) -> str:
    pieces = []
    for piece in word.split(","):
        head, path = "", piece
        for mark in ("=", ":"):
            before, found, after = piece.partition(mark)
            if found and after.startswith("/"):
                head, path = before + mark, after
                break
        pieces.append(head + (Path(path).name or path) if path.startswith("/") else piece)
    return ",".join(pieces)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold signals back during a short block, and raise the first of them after it.

    Blocking them would not do: another thread would take a signal, and Python would still handle it in this one.
    """
    caught: list[int] = []
    handlers: dict[int, Callable[..., Any]] = {}
    if threading.current_thread() is threading.main_thread():
        signs = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
        handlers = {sign: handler for sign in signs if callable(handler := signal.getsignal(sign))}
    for sign in handlers:
        signal.signal(sign, lambda number, _frame: caught.append(number))
    try:
        yield
    finally:
        for sign, handler in handlers.items():
            signal.signal(sign, handler)
        if caught:
            handlers[caught[0]](caught[0], None)


class QemuProcess:
    """A running QEMU; it is ended at the end of its ``with`` block.

    Parameters
    ----------
    arguments : sequence of str
        Program and machine arguments; this class adds monitor, serial ports and log.
    folder : Path
        An existing folder for the monitor socket and the outputs.
    role : str
        Name of the side, ``source`` or ``destination``; the files carry it.
    start_timeout_s : float
        How long QEMU may take until its monitor answers.
    console : bool
        Whether the guest's first serial port is its console and the second carries its reports.

    Raises
    ------
    QemuError
        Where QEMU dies before its monitor answers; quotes the end of its stderr.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        role: str,
        *,
        start_timeout_s: float = 30.0,
        console: bool = False,
    ) -> None:
        self.role = role
        self.folder = folder
        self.start_timeout_s = start_timeout_s
        self.socket_path = folder / f"{role}.qmp"
        self.serial_path = folder / f"{role}.serial"
        self.console_path = folder / f"{role}.console" if console else None
        self.trace_path = folder / f"{role}.trace"
        self.stderr_path = folder / f"{role}.stderr"
        self.arguments = [
            *arguments,
            *("-qmp", f"unix:{self.socket_path},server=on,wait=off"),
            *(("-serial", f"file:{self.console_path}") if console else ()),
            *("-serial", f"file:{self.serial_path}"),
            *("-D", str(self.trace_path), "-msg", "timestamp=on"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._session: QmpSession | None = None

    def __enter__(self) -> QemuProcess:
        try:
            with _interrupts_held():
                self._process = self._spawn()
            self._connect()
            return self
        except BaseException:
            self._close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        try:
            with _interrupts_held():
                self._disconnect_and_end()
        finally:
            self._disconnect_and_end()  # does nothing, unless a signal came before signals were held

    def _disconnect_and_end(self) -> None:
        if self._session is not None:
            self._session.close()
        self._end()

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise QemuError(f"The {self.role} QEMU was never started.", "", "Enter its block first.")
        return self._process.pid

    @property
    def qmp(self) -> QmpSession:
        """The monitor."""
        if self._session is None:
            raise QemuError(f"The {self.role} QEMU was never started.", "", "Enter its block first.")
        return self._session

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def killed(self) -> bool:
        """Whether a signal ended the process."""
        return not self.alive and self._process is not None and (self._process.returncode or 0) < 0

    def check_alive(self) -> None:
        """Raise QemuError, with the end of its stderr, where the process has ended."""
        if not self.alive:
            raise self.death()

    def death(self) -> QemuError:
        """Return the error that says how the process ended."""
        code = self._process.poll() if self._process is not None else None
        how = "still runs" if code is None else f"exited with status {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = f"was killed by {signal.Signals(-code).name}"
        return QemuError(
            f"The {self.role} QEMU ({Path(self.arguments[0]).name}) {how}; last words: {self.last_words()}.",
            "The lab needs both QEMU processes until the migration has ended.",
            "Read these words; check command, accel and extra-arguments under [qemu] of the scenario.",
        )

    def last_words(self, lines: int = 5) -> str:
        """Return the last lines of stderr, joined into one line; '(none)' where stderr is empty."""
        written = [line.strip() for line in _text(self.stderr_path).splitlines() if line.strip()]
        return " | ".join(written[-lines:]) or "(none)"

    def serial_text(self) -> str:
        """Return the guest's reports on its serial port so far."""
        return _text(self.serial_path)

    def console_text(self) -> str:
        """Return what the guest's kernel has written on the console; "" where it has no console."""
        return _text(self.console_path) if self.console_path is not None else ""

    def trace_lines(self) -> list[str]:
        """Return the complete lines of QEMU's trace log."""
        return _text(self.trace_path).split("\n")[:-1]

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.stderr_path.open("wb") as stderr:
            try:
                return subprocess.Popen(
                    self.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    process_group=0,
                    preexec_fn=_die_with_parent,
                )
            except OSError as error:
                raise QemuError(
                    f"Cannot start {self.arguments[0]}: {error.strerror or error}.",
                    "qemu.command must name a program that this machine can run.",
                    "Check the path and its execute permission.",
                ) from error

    def _connect(self) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while True:
            self.check_alive()
            if self.socket_path.exists():
                self._session = QmpSession(self.socket_path, timeout_s=self.start_timeout_s)
                try:
                    self._session.__enter__()
                except QmpError:
                    # QEMU may not be listening yet, or has died since it made the socket.
                    time.sleep(0.05)
                    self.check_alive()
                    if time.monotonic() > deadline:
                        raise
                else:
                    return
            if time.monotonic() > deadline:
                raise QemuError(
                    f"The {self.role} QEMU has no monitor after {self.start_timeout_s:g} s.",
                    "QEMU opens its monitor within a second of starting.",
                    f"Its stderr says: {self.last_words()}",
                )
            time.sleep(0.02)

    def _end(self) -> None:
        if self._process is None:
            return
        for sign, wait_s in ((signal.SIGTERM, _TERM_WAIT_S), (signal.SIGKILL, None)):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
                return


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
