"""Cores of the two sides: how they are read and refused, and that every thread of a process gets its own."""

import os
import subprocess
import sys
import types

import psutil
import pytest

from migsim.errors import HostError, ParameterError
from migsim.lab.cores import Cores

FOUR = {0, 1, 2, 3}
TWO = sorted(os.sched_getaffinity(0))[:2]


@pytest.mark.parametrize(
    ("text", "allowed", "source", "destination"),
    [
        ("auto", {0, 1}, (0,), (1,)),
        (" auto ", {4, 6, 9}, (4,), (6, 9)),
        ("auto", FOUR, (0, 1), (2, 3)),
        ("0:1", FOUR, (0,), (1,)),
        ("3:0-2", FOUR, (3,), (0, 1, 2)),
        ("2,0 : 1,3-3", FOUR, (0, 2), (1, 3)),
    ],
)
def test_cores_are_read(text, allowed, source, destination):
    assert Cores.parse(text, allowed=allowed) == Cores(source, destination)


@pytest.mark.parametrize(
    "text", ["", "0", "0:1:2", ":1", "0:", "0;1", "a:b", "1-0:2", "-1:0", "0-:1", "0:9999999", "0:1.5"]
)
def test_another_form_is_refused(text):
    with pytest.raises(ParameterError, match="0:1 or 0-3:4-7") as refused:
        Cores.parse(text, allowed=FOUR)
    assert refused.value.rule


def test_a_core_has_one_side():
    with pytest.raises(ParameterError, match="core 1 to both"):
        Cores.parse("0-1:1-2", allowed=FOUR)


@pytest.mark.parametrize("text", ["auto", "0:1"])
def test_one_core_is_too_few(text):
    with pytest.raises(HostError, match=r"may run on 1 core \(0\)"):
        Cores.parse(text, allowed={0})


def test_a_core_that_is_not_there_is_named():
    with pytest.raises(HostError, match=r"name core 4[\s\S]*0, 1, 2, 3"):
        Cores.parse("0:4", allowed=FOUR)


def test_by_default_the_cores_of_this_process_count():
    beyond = max(os.sched_getaffinity(0)) + 1
    with pytest.raises(HostError, match=str(beyond)):
        Cores.parse(f"{TWO[0]}:{beyond}")


@pytest.fixture
def side():
    """A process of ours with three threads."""
    program = (
        "import threading, time\n"
        "[threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(2)]\n"
        "print(1, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline()
        yield types.SimpleNamespace(role="source", pid=process.pid)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("role", ["source", "destination"])
def test_every_thread_of_a_side_is_pinned(side, role):
    first, second = TWO
    side.role = role
    Cores((first,), (second,)).pin(side)
    found = [os.sched_getaffinity(thread.id) for thread in psutil.Process(side.pid).threads()]
    assert found == [{first if role == "source" else second}] * 3


def test_cores_are_plain_data_for_a_record():
    assert Cores((0,), (1, 2)).as_dict() == {"source": [0], "destination": [1, 2]}
