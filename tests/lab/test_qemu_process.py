"""Starting and ending QEMU, real and played."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from migsim.errors import HostError, QemuError
from migsim.lab import machine
from migsim.lab.host_load import HostLoad
from migsim.lab.machine import alias_file, check_host, machine_arguments
from migsim.lab.qemu import QemuProcess, split_command, without_folders
from migsim.scenario import GuestSpec, QemuSpec

MIB = 1 << 20


@pytest.fixture
def script(tmp_path):
    """Make a program that plays QEMU."""

    def make(text):
        path = tmp_path / "fake-qemu"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return [str(path)]

    return make


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_commands_are_split_like_a_shell_and_expanded(monkeypatch):
    monkeypatch.setenv("LAB_SHELL", "sh")
    assert split_command("$LAB_SHELL -L '/a b'/c")[1:] == ["-L", "/a b/c"]


@pytest.mark.parametrize("command", ["", "   ", "no-such-qemu -m 1", "/no/such/qemu", "sh 'open"])
def test_commands_that_cannot_be_run(command):
    with pytest.raises(QemuError):
        split_command(command)


def test_command_lines_are_recorded_without_folders():
    given = [
        "/opt/q/bin/qemu",
        "-L",
        "/opt/q/share",
        "-object",
        "memory-backend-file,id=a,mem-path=/dev/shm/x",
    ]
    assert without_folders(given) == ["qemu", "-L", "share", "-object", "memory-backend-file,id=a,mem-path=x"]


def test_a_program_that_dies_at_once_is_quoted(script, tmp_path):
    words = script("echo first >&2; echo 'unknown accelerator' >&2; exit 7")
    with pytest.raises(QemuError, match=r"exited with status 7.*first \| unknown accelerator"):
        QemuProcess(words, tmp_path, "source").__enter__()


def test_a_program_that_kills_itself_is_named_by_its_signal(script, tmp_path):
    with pytest.raises(QemuError, match="killed by SIGSEGV"):
        QemuProcess(script("kill -SEGV $$"), tmp_path, "source").__enter__()


def test_a_program_without_a_monitor_is_given_up_and_ended(script, tmp_path):
    words = script(f"echo $$ > {tmp_path}/pid; trap '' TERM; exec sleep 60")
    with pytest.raises(QemuError, match=r"has no monitor after 0\.3 s"):
        QemuProcess(words, tmp_path, "source", start_timeout_s=0.3).__enter__()
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_file_that_is_no_program(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"\x00\x01")
    path.chmod(0o755)
    with pytest.raises(QemuError, match="Cannot start"):
        QemuProcess([str(path)], tmp_path, "source").__enter__()


def test_no_kvm(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_KVM", tmp_path / "kvm")
    with pytest.raises(HostError, match="is not there"):
        check_host(QemuSpec(version="10.0", accel="kvm"))
    check_host(QemuSpec(version="10.0", accel="tcg"))


def test_aliased_memory_is_one_file_in_equal_pieces(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_SHM", tmp_path)
    guest = GuestSpec(ram_bytes=64 * MIB, memory="aliased", alias_bytes=16 * MIB)
    with alias_file(guest, fill=True) as backing:
        assert backing is not None
        data = backing.read_bytes()
        words = machine_arguments(QemuSpec(command="sh", version="7.2", accel="tcg"), guest, backing)
    assert not backing.exists()
    assert len(data) == 16 * MIB
    assert all(any(data[page : page + 4096]) for page in range(0, len(data), 4096))
    backends = [word for word in words if word.startswith("memory-backend-file")]
    assert len(backends) == 4
    assert all(f"mem-path={backing}" in word and "share=on" in word for word in backends)
    assert sum(word.startswith("node,") for word in words) == 4


def test_a_destinations_file_is_a_hole_and_goes_even_after_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_SHM", tmp_path)
    guest = GuestSpec(ram_bytes=64 * MIB, memory="aliased", alias_bytes=16 * MIB)
    with pytest.raises(ZeroDivisionError), alias_file(guest, fill=False) as backing:
        assert backing is not None and backing.stat().st_blocks == 0
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_aliased_memory():
    guest = GuestSpec(ram_bytes=1 << 40, memory="aliased", alias_bytes=1 << 40)
    with pytest.raises(HostError, match="free"), alias_file(guest, fill=True):
        pass


def test_host_load_sees_who_works():
    load = HostLoad([("me", os.getpid()), ("nobody", 2**22 - 1)])
    load.start()
    until = time.process_time() + 0.15
    while time.process_time() < until:
        pass
    seen = load.stop()
    assert {thread["role"] for thread in seen["threads"]} == {"me"}
    assert 0.05 <= sum(thread["cpu_s"] for thread in seen["threads"]) <= 2
    assert 0 < seen["busy_fraction"] <= 1


def tcg(tmp_path, role="source"):
    words = machine_arguments(QemuSpec(version="7.2", accel="tcg"), GuestSpec(ram_bytes=64 * MIB), None)
    return QemuProcess(words, tmp_path, role)


@pytest.mark.live
def test_a_real_qemu_answers_and_is_ended(tmp_path):
    with tcg(tmp_path) as qemu:
        assert qemu.alive
        assert qemu.qmp.peer_pid == qemu.pid
        assert qemu.qmp.version.major >= 7
        assert os.getpgid(qemu.pid) == qemu.pid
        assert qemu.qmp.execute("query-status")["status"] == "running"
        pid = qemu.pid
    assert gone(pid)


@pytest.mark.live
def test_a_stopped_qemu_is_ended_too(tmp_path):
    with tcg(tmp_path) as qemu:
        pid = qemu.pid
        os.kill(pid, signal.SIGSTOP)
    assert gone(pid)


@pytest.mark.live
def test_a_wrong_argument_comes_back_in_qemus_words(tmp_path):
    words = [*split_command("qemu-system-x86_64"), "-nodefaults", "-display", "none", "-no-such-option"]
    with pytest.raises(QemuError, match="no-such-option"):
        QemuProcess(words, tmp_path, "source").__enter__()


@pytest.mark.live
def test_qemu_ends_with_the_process_that_started_it(tmp_path):
    """PR_SET_PDEATHSIG: not even a SIGKILL of migsim leaves a QEMU."""
    code = (
        "import sys, time; from pathlib import Path; from migsim.lab.qemu import QemuProcess, split_command\n"
        "folder = Path(sys.argv[1])\n"
        "words = [*split_command('qemu-system-x86_64'), '-nodefaults', '-display', 'none', '-m', '64M']\n"
        "with QemuProcess(words, folder, 'source') as qemu: print(qemu.pid, flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        child.kill()
    deadline = time.monotonic() + 30
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)
