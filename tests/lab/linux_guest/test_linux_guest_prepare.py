"""A boot that stands still is begun again from a fresh disk; what the guest says decides the rest."""

import sys
import textwrap

import psutil
import pytest

from migsim.errors import GuestError
from migsim.lab.linux_guest import prepare as prepare_module
from migsim.lab.linux_guest.prepare import prepare

PLAYED = """\
    import json, re, socket, sys, threading, time
    from pathlib import Path

    words = sys.argv[1:]
    given = dict(zip(words, words[1:]))
    console, serial = [word.removeprefix("file:") for word in words if word.startswith("file:")]
    disk = Path(re.search("file=([^,]*)", given["-drive"])[1])
    here = Path(__file__).parent
    assert disk.read_text() == "laid out"
    disk.write_text("touched")
    with (here / "boots").open("a") as log:
        log.write(given["-smp"])
    how = (here / "plan").read_text().split()[len((here / "boots").read_text()) - 1]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(re.search("unix:([^,]*)", given["-qmp"])[1])
    listener.listen()

    spoken = threading.Event()

    def monitor():
        link, _ = listener.accept()
        version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
        send = lambda answer: link.sendall(json.dumps(answer).encode() + b"\\r\\n")
        send({"QMP": {"version": version, "capabilities": []}})
        while text := link.recv(65536):  # a client that waits for its answer sends one request at a time
            asked = json.loads(text)
            send({"return": {}} | ({"id": asked["id"]} if "id" in asked else {}))
            spoken.set()

    threading.Thread(target=monitor, daemon=True).start()
    spoken.wait(30)
    say = Path(serial).write_text
    say("migsim-linux boot")
    if how == "slow":
        for number in range(8):
            time.sleep(0.3)
            disk.write_text(f"part {number}")
    if how in {"loads", "slow", "stays"}:
        disk.write_text("database")
        say("migsim-linux prepared")
        time.sleep(0.5)
        sys.exit(0) if how != "stays" else time.sleep(60)
    if how == "refuses":
        say("migsim-linux error initdb failed")
    if how == "dies":
        time.sleep(0.3)
        sys.exit("no room for a terabyte")
    number = 0
    while True:
        Path(console).write_text("" if how == "silent" else f"rcu: stalled {number}")
        number += 1
        if how == "endless":
            disk.write_text(f"{number}")
        time.sleep(0.1)
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Prepare an image with a played QEMU whose boots go as planned; what it was told, and its boots."""
    monkeypatch.setattr(prepare_module, "SILENCE_S", 2.0)
    monkeypatch.setattr(prepare_module, "POWEROFF_S", 1.0)
    monkeypatch.setattr(prepare_module, "BOOT_TIMEOUT_S", 5.0)
    program = tmp_path / "qemu"
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(PLAYED)}")
    program.chmod(0o700)
    disk = tmp_path / "root.img"

    def run(plan):
        (tmp_path / "plan").write_text(plan)
        told = []
        prepare(tmp_path, str(program), lay_out=lambda: disk.write_text("laid out"), tell=told.append)
        assert disk.read_text() == "database"
        return told, len((tmp_path / "boots").read_text())

    return run


def children():
    return psutil.Process().children()


@pytest.mark.parametrize("plan", ["loads", "slow", "stays"])
def test_a_boot_that_works_is_the_only_one(build, plan):
    before = children()
    assert build(plan) == ([], 1)
    assert not [child for child in children() if child not in before]


@pytest.mark.parametrize("stuck", ["silent", "complains"])
def test_a_boot_that_stands_still_is_begun_again(build, stuck):
    told, boots = build(f"{stuck} {stuck} loads")
    assert boots == 3
    assert told == [f"boot {n} stood still for 2 s: migsim-linux boot" for n in (1, 2)]


def test_after_three_boots_it_is_given_up_and_each_end_is_told(build, tmp_path):
    before = children()
    with pytest.raises(GuestError) as caught:
        build("silent complains endless loads")
    said = str(caught.value)
    assert "boot 1 stood still" in said and "boot 2 stood still" in said and "rcu: stalled" in said
    assert "boot 3 took more than 5 s" in said
    assert (tmp_path / "boots").read_text() == "111"
    assert not [child for child in children() if child not in before]


def test_what_the_guest_refuses_is_not_tried_again(build, tmp_path):
    with pytest.raises(GuestError, match="initdb failed"):
        build("refuses loads")
    assert (tmp_path / "boots").read_text() == "1"


def test_a_qemu_that_dies_is_quoted(build, tmp_path):
    with pytest.raises(GuestError, match="no room for a terabyte"):
        build("dies loads")
    assert (tmp_path / "boots").read_text() == "1"
