"""How signals end a command: the first unwinds the stack, a second one ends the process in any case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from migsim.trace import Trace
from tests.tracer.played_qemu import PlayedQemu, monitor_of

CODES = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
HEAD = """
import os, signal, sys, time
from migsim.cli import main, signals
signals.GRACE_S = 0.5
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
sign = int(sys.argv[1])

def strike():
    os.kill(os.getpid(), sign)
    time.sleep(0.05)

def play():
    try:
        work()
    finally:
        print("cleaned up", flush=True)

import types
module = types.ModuleType("migsim.cli.predict")
def predict(name: str, depth: int = 1) -> None:
    play()
module.predict = predict
sys.modules["migsim.cli.predict"] = module
"""
TAIL = '\nmain.run(["predict", "x"])\n'


def run(work: str, sign: int) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + work + TAIL, str(int(sign))],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("sign", "code"), CODES)
def test_the_first_signal_unwinds_the_stack(sign: int, code: int) -> None:
    assert run("def work():\n    strike()\n    print('went on')\n", sign) == (code, "cleaned up\n", "")


@pytest.mark.parametrize(("sign", "code"), CODES)
def test_where_the_first_is_swallowed_the_second_unwinds_the_stack(sign: int, code: int) -> None:
    swallowed = """
class Swallows:
    def __del__(self):
        strike()

def work():
    Swallows()
    print("swallowed", flush=True)
    strike()
    print("went on")
"""
    assert run(swallowed, sign) == (code, "swallowed\ncleaned up\n", "")


def test_where_each_is_swallowed_the_process_ends_all_the_same() -> None:
    swallowing = """
class Swallows:
    def __del__(self):
        strike()

def work():
    for _ in range(1000):
        Swallows()
        time.sleep(0.05)
"""
    ended, out, _ = run(swallowing, signal.SIGTERM)
    assert (ended, out) == (143, "")


def test_a_thread_in_c_code_does_not_keep_the_process() -> None:
    """The second signal comes while no handler can run: a long C call that holds no lock."""
    waits = """
import ctypes, threading
def work():
    pid = os.getpid()
    threading.Thread(target=lambda: [(time.sleep(0.2), os.kill(pid, sign)) for _ in range(2)], daemon=True).start()
    libc = ctypes.CDLL(None)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # a signal interrupts poll(); the call begins again without Python's handler
        try:
            libc.usleep(60_000_000)
        except BaseException:
            pass
"""
    ended, out, _ = run(waits, signal.SIGTERM)
    assert (ended, out) == (143, "")


def test_what_is_being_cleaned_up_goes_on_after_a_second_signal() -> None:
    cleaning = """
def work():
    try:
        strike()
    finally:
        try:
            strike()
            raise ValueError("of the cleaning up")
        except ValueError:
            strike()
        print("whole", flush=True)
"""
    assert run(cleaning, signal.SIGTERM) == (143, "whole\ncleaned up\n", "")


def test_what_hangs_while_it_cleans_up_is_ended() -> None:
    hanging = """
def work():
    try:
        strike()
    finally:
        strike()
        time.sleep(600)
"""
    began = os.times().elapsed
    assert run(hanging, signal.SIGTERM) == (143, "", "")
    assert os.times().elapsed - began < 300


def test_one_signal_while_a_qemu_is_started_counts_once() -> None:
    held = """
from migsim.lab.qemu import _interrupts_held
def work():
    try:
        with _interrupts_held():
            strike()
            print("held", flush=True)
    finally:
        time.sleep(1.5)
        print("whole", flush=True)
"""
    assert run(held, signal.SIGTERM) == (143, "held\nwhole\ncleaned up\n", "")


@pytest.mark.parametrize(("sign", "code"), CODES)
def test_a_recording_is_ended_in_order_and_says_by_what(tmp_path: Path, sign: int, code: int) -> None:
    qemu = PlayedQemu([[31, 32], [33]] + [[31]] * 1000)
    before = dict(qemu.parameters), dict(qemu.capabilities)
    with monitor_of(qemu, tmp_path / "q"):
        words = ["trace", "record", "--qmp", "q", "-o", "a.trace", "--method", "stream", "--duration", "300s"]

        def as_a_job_of_a_terminal() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)

        recorder = subprocess.Popen(
            [sys.executable, "-m", "migsim", *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=as_a_job_of_a_terminal,
        )
        part = tmp_path / "a.trace.part"
        deadline = time.monotonic() + 120
        while not list(part.glob("*-intervals.parquet")) and time.monotonic() < deadline:
            time.sleep(0.02)
        recorder.send_signal(sign)
        said = recorder.communicate()[1]
    assert recorder.returncode == code, said
    assert "interrupted; a.trace keeps" in said and "Traceback" not in said
    trace = Trace.open(tmp_path / "a.trace")
    assert len(trace.intervals) and not trace.meta.complete
    assert (qemu.parameters, qemu.capabilities) == before and qemu.running
