"""Signals that end a command: the first unwinds the stack, a second one always ends the process.

An exception that a signal handler raises is lost where it comes up in a callback whose exceptions are swallowed: in a
``__del__``, or in what numba's compiler calls. While the main thread is in C code no handler runs at all. So a thread
reads the signals too: after the second one it gives what is being cleaned up a few seconds, and then ends the process.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["ended_by_signals", "first_signal_asks"]

GRACE_S = 5.0
"""Seconds between the second signal and the end of the process, whatever it does."""
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that processes are ended and files removed.

    A second signal while the stack unwinds lets that go on for `GRACE_S`. Otherwise the first one was swallowed, and
    the second unwinds the stack. A shell starts background jobs with SIGINT ignored; here SIGINT interrupts them too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised: BaseException | None = None

    def end(number: int, _frame: Any) -> None:
        nonlocal raised
        if raised is None or not _is_handled(raised):
            raised = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
            raise raised

    watched = [number for number in _ENDING if number == signal.SIGINT or _is_heard(number)]
    with _second_signal_ends(watched), _handled_by(end, watched), _swallowed_in_silence(lambda: raised):
        try:
            yield
        finally:
            raised = None


@contextlib.contextmanager
def first_signal_asks() -> Iterator[Callable[[], int]]:
    """Let the first signal ask for an orderly end, and the second one unwind the stack.

    Yields
    ------
    callable
        Returns the number of the signal that asked, 0 before one did.
    """
    asked = 0

    def note(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            handler = before[number]
            (handler if callable(handler) else signal.default_int_handler)(number, frame)
        asked = asked or number

    watched = [number for number in _ENDING if _is_heard(number)]
    before: dict[int, Any] = {number: signal.getsignal(number) for number in watched}
    with _handled_by(note, watched):
        yield lambda: asked


def _is_heard(number: int) -> bool:
    """Whether a signal is not ignored; nohup has SIGHUP ignored."""
    return signal.getsignal(number) is not signal.SIG_IGN


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, Any], None], numbers: list[signal.Signals]) -> Iterator[None]:
    """Set a handler for signals; those before are set again at the end."""
    before: dict[signal.Signals, Any] = {}
    try:
        for number in numbers:
            before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def _swallowed_in_silence(raised: Callable[[], BaseException | None]) -> Iterator[None]:
    """Let Python print no traceback where a ``__del__`` swallows what a signal raised."""
    before = sys.unraisablehook

    def say(what: sys.UnraisableHookArgs) -> None:
        if what.exc_value is None or what.exc_value is not raised():
            before(what)

    sys.unraisablehook = say
    try:
        yield
    finally:
        sys.unraisablehook = before


def _is_handled(error: BaseException) -> bool:
    """Whether an exception unwinds the stack now: a ``finally``, ``except`` or ``__exit__`` runs because of it."""
    found, seen = sys.exc_info()[1], 0
    while found is not None and found is not error and seen < 100:
        found, seen = found.__context__, seen + 1
    return found is error


@contextlib.contextmanager
def _second_signal_ends(numbers: list[signal.Signals]) -> Iterator[None]:
    """End the process `GRACE_S` after the second of some signals, by a thread that sees them at once."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(
        target=_watch, args=(reading, frozenset(numbers)), name="migsim-signals", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)  # the thread reads the end


def _watch(reading: int, numbers: frozenset[int]) -> None:
    first, deadline = 0, math.inf
    with open(reading, "rb", buffering=0) as signals:
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                _leave(128 + first)
            if not select.select([signals], [], [], left_s if left_s < math.inf else None)[0]:
                continue
            came = signals.read(64)
            if not came:
                return
            for number in came:
                if number in numbers and not first:
                    first = number
                elif number in numbers:
                    deadline = min(deadline, time.monotonic() + GRACE_S)


def _leave(code: int) -> None:
    """End the process at once; QEMUs that it started end with it. A progress bar had hidden the terminal's cursor."""
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")
    os._exit(code)
