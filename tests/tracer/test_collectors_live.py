"""The dirty-rate and dirty-ring collectors on real guests of our own image; the guest must run on unchanged."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import migsim.lab.guest
from migsim.errors import HostError
from migsim.lab.qemu import QemuProcess
from migsim.qmp import QmpSession
from migsim.trace import Trace
from migsim.tracer import record_trace
from migsim.tracer.ring.collector import emulates_instructions
from migsim.tracer.ring.tracefs import TRACEFS

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

IMAGE = Path(migsim.lab.guest.__file__).with_name("migsim-guest.bin")
FIRST_PAGE = 4096  # where the guest's workload begins
HOT, WARM, TOUCHED = 2000, 6000, 20000
WORKLOAD = f"touch={TOUCHED} class=0:{HOT}:9:random:bytes=8 class={HOT}:{WARM}:1:random:bytes=8 pace=clock rate=20000"
QEMUS = {"7.2": "qemu-system-x86_64", "10.0": os.environ.get("MIGSIM_QEMU_10", "")}


@contextmanager
def guest(folder, version, accel="kvm", memory="256M", workload=WORKLOAD):
    arguments = [
        *QEMUS[version].split(),
        *("-accel", accel, "-m", memory, "-nodefaults", "-display", "none"),
        *("-kernel", str(IMAGE), "-append", f"-- {workload}"),
    ]
    with QemuProcess(arguments, folder, "source") as qemu:
        deadline = time.monotonic() + 60
        while not any("progress" in line for line in serial_lines(qemu)):
            assert time.monotonic() < deadline, serial_lines(qemu)
            time.sleep(0.1)
        qemu.qmp.close()
        yield qemu


def serial_lines(qemu):
    """Whole lines only."""
    return qemu.serial_path.read_text(errors="replace").split("\n")[:-1] if qemu.serial_path.exists() else []


def writes(qemu):
    return [int(line.split("writes=")[1].split()[0]) for line in serial_lines(qemu) if "progress" in line]


def runs_on(qemu):
    before = len(writes(qemu))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        now = writes(qemu)
        if len(now) >= before + 2:
            return now[-1] > now[-2]
        time.sleep(0.1)
    return False


def expected_pages(window_s, writes_per_s=20000):
    hot = HOT * (1 - (1 - 1 / HOT) ** (0.9 * writes_per_s * window_s))
    return hot + WARM * (1 - (1 - 1 / WARM) ** (0.1 * writes_per_s * window_s))


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_dirty_rate(tmp_path, version):
    with guest(tmp_path, version) as qemu:
        recording = record_trace(
            qemu.socket_path,
            tmp_path / "a.trace",
            method="dirty-rate",
            duration_s=7 if version == "7.2" else 5,
        )
        assert runs_on(qemu)
    assert recording.complete
    trace = Trace.open(tmp_path / "a.trace")
    assert trace.meta.qemu_version.startswith(version)
    assert trace.meta.accel == "kvm"
    assert trace.meta.ram_bytes == 256 << 20
    assert trace.meta.ram_blocks[0].name == "pc.ram"
    assert set(trace.windows["mode"]) == {"dirty-bitmap", "page-sampling"}
    assert 0 < trace.meta.zero_pages < trace.meta.total_pages - TOUCHED + 1
    # The emulated guest does not always keep its pace on a busy host, so only the size is checked.
    for mode in ("dirty-bitmap", "page-sampling"):
        curve = trace.unique_dirty_curve().only(mode)
        window, dirty = curve.window_s[-1], curve.dirty_pages[-1]
        assert 0.4 * expected_pages(window) < dirty < 1.3 * expected_pages(window), (mode, window, dirty)


@pytest.mark.skipif(os.geteuid() != 0, reason="tracefs needs root")
def test_dirty_ring(tmp_path):
    mounted = (TRACEFS / "instances").is_dir()
    with guest(tmp_path, "10.0", "kvm,dirty-ring-size=65536") as qemu:
        record_trace(qemu.socket_path, tmp_path / "a.trace", method="dirty-ring", duration_s=3)
        assert runs_on(qemu)
    assert (TRACEFS / "instances").is_dir() == mounted
    if mounted:
        assert not list((TRACEFS / "instances").glob("migsim-*"))
    trace = Trace.open(tmp_path / "a.trace")
    assert trace.meta.lost_events == 0
    events = trace.events()
    assert events["time_us"].is_monotonic_increasing
    last = len(trace.intervals) - 1
    mine = events[events["interval"] == last]
    assert sorted(set(mine["page"])) == trace.pages(last).tolist()
    # Every page written lies in the workload, but for the guest's own few pages of stack and serial port.
    inside = events["page"].between(FIRST_PAGE, FIRST_PAGE + HOT + WARM - 1)
    outside = events["page"][~inside]
    assert outside.nunique() < 50, sorted(set(outside))
    hot = events["page"].between(FIRST_PAGE, FIRST_PAGE + HOT - 1)
    assert hot.sum() / inside.sum() == pytest.approx(0.9, abs=0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="tracefs needs root")
def test_dirty_ring_knows_memory_above_four_gib_from_below(tmp_path):
    low, high, span = 1000, 900_000, 500  # 3 GiB of RAM are below the machine's hole
    classes = " ".join(f"class={first}:{span}:1:random:bytes=8" for first in (low, high))
    workload = f"touch=100 {classes} pace=clock rate=5000"
    with guest(tmp_path, "10.0", "kvm,dirty-ring-size=65536", "6G", workload) as qemu:
        record_trace(qemu.socket_path, tmp_path / "a.trace", method="dirty-ring", duration_s=2)
    page = Trace.open(tmp_path / "a.trace").events()["page"]
    for first in (low, high):
        mine = page[page.between(FIRST_PAGE + first, FIRST_PAGE + first + span - 1)]
        assert mine.nunique() > 0.9 * span
    assert page.max() < FIRST_PAGE + high + span


@pytest.mark.skipif(
    not emulates_instructions(), reason="only hosts without hardware virtualisation overrun rings"
)
def test_a_ring_that_could_fill_is_refused(tmp_path):
    with guest(tmp_path, "10.0", "kvm,dirty-ring-size=4096") as qemu:
        with pytest.raises(HostError, match="hangs a guest"):
            record_trace(qemu.socket_path, tmp_path / "a.trace", method="dirty-ring", duration_s=3)
        assert not (tmp_path / "a.trace").exists()
        with QmpSession(qemu.socket_path) as session:
            assert session.execute("query-dirty-rate")["status"] == "unstarted"


@contextmanager
def recorder(socket, trace, duration="30s"):
    command = [sys.executable, "-m", "migsim", "trace", "record", "--qmp", str(socket), "-o", str(trace)]
    command += ["--method", "dirty-rate", "--duration", duration]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        folder = trace.with_name(trace.name + ".part")
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*.parquet"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_ctrl_c_and_a_dying_qemu_leave_readable_traces(tmp_path):
    with guest(tmp_path, "10.0") as qemu:
        with recorder(qemu.socket_path, tmp_path / "a.trace") as process:
            process.send_signal(signal.SIGINT)
            _, text = process.communicate(timeout=60)
            assert process.returncode == 130, text
            assert "interrupted" in text and "keeps" in text
        assert runs_on(qemu)
        first = Trace.open(tmp_path / "a.trace")
        assert len(first.windows) >= 2 and not first.meta.complete
        time.sleep(0.5)
        with recorder(qemu.socket_path, tmp_path / "b.trace") as process:
            os.kill(qemu.pid, signal.SIGKILL)
            _, text = process.communicate(timeout=60)
        assert process.returncode == 3, text
        assert "Traceback" not in text
        assert "keeps what was recorded" in text
        assert len(Trace.open(tmp_path / "b.trace").windows) >= 2
        assert not list(tmp_path.glob("*.part"))


def test_not_while_a_migration_is_active(tmp_path):
    with guest(tmp_path, "10.0") as qemu:
        with QmpSession(qemu.socket_path) as session:
            session.execute("migrate-set-parameters", {"max-bandwidth": 1 << 20})
            session.execute("migrate", {"uri": "exec:cat>/dev/null"})
            time.sleep(0.5)
        command = [sys.executable, "-m", "migsim", "trace", "record", "--method", "dirty-rate"]
        command += ["--qmp", str(qemu.socket_path), "-o", str(tmp_path / "a.trace")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 3
        assert "migration of this guest is under way" in done.stderr
        assert not list(tmp_path.glob("a.trace*"))
