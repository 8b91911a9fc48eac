"""A signal at any line of starting, using and ending a QEMU: nothing of it is left, and nothing is printed."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from migsim.lab import qemu
from migsim.lab.qemu import QemuProcess
from migsim.qmp import session

PLAYED = """
import json, socket, sys
path = next(word[5:].split(",")[0] for word in sys.argv if word.startswith("unix:"))
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
talk = server.accept()[0]
version = {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}
talk.sendall(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\\n")
while data := talk.recv(65536):
    answer = {"return": {"running": True, "status": "running"}, "id": json.loads(data).get("id")}
    talk.sendall(json.dumps(answer).encode() + b"\\n")
"""
Line = tuple[str, int]


class Tracer:
    """Notes the lines of QemuProcess and QmpSession that the main thread comes to; raises SIGINT at one of them."""

    FILES = (qemu.__file__, session.__file__)
    # No program can guard the moment at which a `with` block hands over to its __exit__.
    BEYOND = ("__exit__", "_close")

    def __init__(self, at: Line | None = None) -> None:
        self.at = at
        self.struck = False
        self.lines: dict[Line, None] = {}

    def __call__(self, frame: FrameType, event: str, _value: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        if code.co_filename not in self.FILES or code.co_name in self.BEYOND:
            return None
        # Nor does a signal strike between the last call in a lock's block and its release.
        lock = getattr(frame.f_locals.get("self"), "_lock", None)
        line = (code.co_filename, frame.f_lineno)
        if event == "line" and line not in self.lines and not (lock is not None and lock._is_owned()):
            self.lines[line] = None
            if line == self.at:
                self.struck = True
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self


def life(folder: Path, tracer: Tracer) -> None:
    folder.mkdir()
    program = folder.parent / "played"
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with QemuProcess([str(program)], folder, "source") as process:
            process.qmp.execute("query-status")
    finally:
        sys.settrace(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    program = tmp_path / "played"
    program.write_text(f"#!{sys.executable} -SE\n{PLAYED}")
    program.chmod(0o755)
    return tmp_path


def children() -> set[str]:
    own = os.getpid()
    return set(Path(f"/proc/{own}/task/{own}/children").read_text().split())


def left_over(folder: Path, line: Line) -> list[str] | None:
    """Interrupt one life at a line; return what it left and what was printed, None where it did not come there."""
    tracer = Tracer(line)
    printed: list[str] = []
    born, threads = children(), threading.active_count()
    hook, sys.unraisablehook = sys.unraisablehook, lambda what: printed.append(repr(what.exc_value))
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with contextlib.suppress(KeyboardInterrupt):
                life(folder, tracer)
                assert not tracer.struck
            gc.collect()
    finally:
        sys.unraisablehook = hook
    # What is only not closed before it is collected Python does not print.
    printed += [str(w.message) for w in warned if not issubclass(w.category, ResourceWarning)]
    printed += [f"process {pid}" for pid in children() - born]
    printed += ["a thread"] * (threading.active_count() - threads)
    return printed if tracer.struck else None


def test_an_interrupt_at_any_line_leaves_nothing(folder: Path) -> None:
    whole = Tracer()
    life(folder / "whole", whole)
    lines = list(whole.lines)[::2]  # half of them, for time: what is in hand stays so for some lines
    gc.freeze()  # what other tests hold is not gone through after each line
    try:
        left = {line: left_over(folder / str(k), line) for k, line in enumerate(lines)}
    finally:
        gc.unfreeze()
    assert sum(what is not None for what in left.values()) > 40  # the others are of a QEMU that starts slowly
    assert {line: what for line, what in left.items() if what} == {}
