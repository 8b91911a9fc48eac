"""Real migrations: they end, they are recorded, and whatever happens no process is left."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from migsim.errors import GuestError, QemuError
from migsim.lab.cores import Cores
from migsim.lab.migrate import run_migration
from migsim.results import MigrationResult
from migsim.scenario import LabScenario

pytestmark = pytest.mark.live

SCENARIO = """
name = "smoke"
settle-s = 0.2
deadline-s = 30
transport = "{transport}"
[qemu]
command = "{command}"
version = "{version}"
accel = "{accel}"
[guest]
ram-bytes = "{ram}"
[guest.workload]
touched-pages = 10000
report-s = 0.2
check = {check}
[[guest.workload.classes]]
base-page = 0
pages = {pages}
[migration.parameters]
max-bandwidth = "{bandwidth}"
downtime-limit = "300ms"
"""


def scenario(**changes):
    given = {
        "command": "qemu-system-x86_64",
        "version": "7.2",
        "accel": "tcg",
        "ram": "1GiB",
        "transport": "unix",
        "check": "false",
        "pages": 1000,
        "bandwidth": "2Gbps",
    }
    return SCENARIO.format(**(given | changes))


@pytest.fixture
def children(monkeypatch):
    """The pids that the lab starts; at the end of the test none may be left."""
    started = []
    real = subprocess.Popen

    def note(*args, **kwargs):
        process = real(*args, **kwargs)
        started.append(process.pid)
        return process

    monkeypatch.setattr("migsim.lab.qemu.subprocess.Popen", note)
    yield started
    left = [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert left == []


@pytest.mark.parametrize(
    ("command", "version", "accel", "transport"),
    [
        ("qemu-system-x86_64", "7.2", "kvm", "unix"),
        ("$MIGSIM_QEMU_10", "10.0", "tcg", "tcp"),
    ],
)
def test_a_migration_is_recorded_from_both_sides(children, tmp_path, command, version, accel, transport):
    text = scenario(command=command, version=version, accel=accel, transport=transport)
    heard = []
    result = run_migration(LabScenario.from_toml(text), progress=heard.append)
    assert result.verdict == "completed", result.outcome
    assert result.qemu_version.startswith(version)
    assert len(children) == 2 and heard[-1]["status"] == "completed"
    assert 0 < result.downtime_ms <= result.total_time_ms < 30_000
    assert 0 < result.blackout_ms < 2000
    assert sum(result.downtime_parts_ms.values()) == pytest.approx(result.downtime_ms, abs=0.01)
    assert len(result.iterations) == result.rounds >= 2
    pages = result.iterations[["normal", "duplicate"]].to_numpy().sum()
    assert pages == pytest.approx(result.info["ram"]["normal"] + result.info["ram"]["duplicate"], abs=1)
    assert {"STOP", "RESUME", "MIGRATION_PASS"} <= {event["name"] for event in result.events}
    assert any("progress" in entry["line"] for entry in result.guest_log if entry["side"] == "destination")
    assert {thread["role"] for thread in result.host_load["threads"]} == {"source", "destination"}
    result.save(tmp_path / "record.json")
    again = MigrationResult.load(tmp_path / "record.json")
    assert again.metrics() == result.metrics()
    assert "/tmp" not in (tmp_path / "record.json").read_text()


def test_a_checked_guest_finds_its_memory_whole(children):
    result = run_migration(LabScenario.from_toml(scenario(check="true")))
    assert result.verdict == "completed", result.outcome
    assert any("check ok" in entry["line"] for entry in result.guest_log if entry["side"] == "destination")


@pytest.mark.parametrize(
    ("command", "version", "accel"),
    [("qemu-system-x86_64", "7.2", "tcg"), ("$MIGSIM_QEMU_10", "10.0", "kvm")],
)
def test_pinned_sides_run_on_cores_of_their_own(children, tmp_path, command, version, accel):
    seen = {}  # side and name of each thread: the cores it was ever allowed

    def look(info):
        for side, pid in zip(("source", "destination"), children, strict=True):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):  # it ended
                    name, cores = (task / "comm").read_text().strip(), os.sched_getaffinity(int(task.name))
                    seen.setdefault((side, name), set()).update(cores)

    cores = Cores.parse("auto")
    text = scenario(command=command, version=version, accel=accel, bandwidth="200Mbps")
    result = run_migration(LabScenario.from_toml(text), progress=look, pin=cores)
    assert result.verdict == "completed", result.outcome
    assert any("mig" in name for side, name in seen if side == "source"), seen
    assert {side for side, name in seen if name.startswith("CPU ")} == {"source", "destination"}
    for (side, name), found in seen.items():
        assert found == {*getattr(cores, side)}, name
    result.save(tmp_path / "record.json")
    assert MigrationResult.load(tmp_path / "record.json").cores == cores.as_dict()
    assert MigrationResult.load(tmp_path / "record.json").apart


def test_not_converging_is_a_result(children):
    # 20 Mbps moves 2.5 MB/s: far less than a guest that rewrites 10,000 pages all the time
    text = scenario(bandwidth="20Mbps", pages=10000).replace("deadline-s = 30", "deadline-s = 2")
    result = run_migration(LabScenario.from_toml(text))
    assert result.verdict == "not-converged"
    assert "Not converged after 2 s" in result.outcome.reason


@pytest.mark.parametrize("victim", ["source", "destination"])
def test_a_qemu_killed_in_the_middle_is_named(children, victim):
    def kill():
        deadline = time.monotonic() + 60
        while not hit and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(children[0 if victim == "source" else 1], signal.SIGKILL)

    hit = []
    killer = threading.Thread(target=kill)
    killer.start()
    text = scenario(bandwidth="20Mbps", pages=10000)
    with pytest.raises(QemuError, match=f"The {victim} QEMU .* was killed by SIGKILL"):
        run_migration(LabScenario.from_toml(text), progress=hit.append)
    killer.join()


def test_a_missing_qemu(children):
    with pytest.raises(QemuError, match="'no-such-qemu' does not exist or cannot be run"):
        run_migration(LabScenario.from_toml(scenario(command="no-such-qemu")))


def test_another_version_than_declared(children):
    with pytest.raises(QemuError, match=r"is a QEMU 7\.2.*says 8\.0"):
        run_migration(LabScenario.from_toml(scenario(version="8.0")))


def test_a_guest_that_is_never_ready(children):
    with pytest.raises(GuestError, match=r"not ready after 0\.05 s"):
        run_migration(LabScenario.from_toml(scenario()), ready_timeout_s=0.05)


def test_the_command_line_ends_clean_on_interrupt_and_on_bad_input(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(scenario(bandwidth="20Mbps", pages=10000))
    words = [sys.executable, "-m", "migsim", "lab", "migrate", str(path), "-o", str(tmp_path / "r.json")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 60
        children = []
        while len(children) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
            with Path(f"/proc/{run.pid}/task/{run.pid}/children").open() as stream:
                children = [int(pid) for pid in stream.read().split()]
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=30)[1]
    assert run.returncode == 130 and "Traceback" not in said
    # One that was being started when the signal came dies with its parent, a moment later.
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["s.toml"]
    done = subprocess.run(
        [*words[:-3], str(tmp_path / "none.toml"), *words[-2:]], capture_output=True, text=True
    )
    assert done.returncode == 3 and "Traceback" not in done.stderr
