"""The Linux guest boots, works at once and steadily, and its clock stands still with the machine."""

import contextlib
import time

import pytest

from migsim.lab.linux_guest import kernel_command_line
from migsim.lab.qemu import QemuProcess

pytestmark = pytest.mark.live

KINDS = {
    "order-entry": (
        "customer-registration",
        "browse-products",
        "order-products",
        "process-orders",
        "browse-orders",
    ),
    "store": ("get", "set"),
}


def guest(image, folder, **settings):
    return QemuProcess(
        [
            *("qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "max", "-m", "1G", "-nodefaults"),
            *("-display", "none", "-kernel", str(image.kernel), "-initrd", str(image.initrd)),
            *("-append", kernel_command_line(**settings)),
            *("-drive", f"file={image.root},format=raw,if=virtio,readonly=on"),
        ],
        folder,
        settings["workload"],
        console=True,
    )


def lines(process, kind):
    """The guest's whole lines of a kind, as dictionaries."""
    found = [line.split() for line in process.serial_text().replace("\r", "").split("\n")[:-1]]
    return [
        dict(w.split("=", 1) for w in words[2:]) for words in found if words[:2] == ["migsim-linux", kind]
    ]


def wait(process, kind, count, seconds):
    deadline = time.monotonic() + seconds
    while len(lines(process, kind)) < count:
        process.check_alive()
        said = process.serial_text()
        assert "migsim-linux error" not in said, said + process.console_text()[-2000:]
        assert time.monotonic() < deadline, said + process.console_text()[-2000:]
        time.sleep(0.1)
    return lines(process, kind)


@pytest.mark.timeout(600)
def test_both_workloads_work_and_their_clock_stops_with_the_machine(linux_image, tmp_path):
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                guest(linux_image, tmp_path, workload=workload, users=12, think_ms=100, report_ms=200, seed=3)
            )
            for workload in KINDS
        ]
        for process in running:
            [ready] = wait(process, "ready", 1, 200)
            assert (ready["workload"], ready["users"]) == (process.role, "12")
            assert int(ready["think_us"]) == 100_000
            assert 350e6 < int(ready["shared_buffers_bytes"]) < 430e6
            assert 100e6 < int(ready["data_bytes"]) < 430e6
            assert "tsc" in process.console_text().split("\n")
        for process in running:
            works = wait(process, "work", 15, 60)
            check_work(process.role, works, int(lines(process, "ready")[0]["clock_us"]))
        for process in running:
            check_stop(process)


def check_work(workload, works, ready_us):
    clocks = [int(work["clock_us"]) for work in works]
    busy = [int(work["busy_us"]) for work in works]
    assert clocks == sorted(clocks) and clocks[0] > ready_us and busy == sorted(busy)
    assert 0 < busy[-1] <= (clocks[-1] - ready_us) * 1.1 + 50_000
    for kind in KINDS[workload]:
        counts = [int(work[kind].split(":")[0]) for work in works]
        spent = [int(work[kind].split(":")[1]) for work in works]
        assert counts == sorted(counts) and spent == sorted(spent)
        # 12 users, 100 ms of thinking, 3 s: 360 questions at most on average, a tenth of them of the rarest kind
        assert 3 <= counts[-1] < 1000, kind
        assert 10 < spent[-1] / counts[-1] < 2_000_000, kind
    for work in works:
        # a closed loop: each question waits for the last answer, and thinking takes its time
        asked = sum(int(work[kind].split(":")[0]) for kind in KINDS[workload])
        elapsed_s = (int(work["clock_us"]) - ready_us) / 1e6
        assert asked < 12 * elapsed_s / 0.1 * 1.3 + 40


def check_stop(process):
    process.qmp.execute("stop")
    stopped_s = 3.0
    time.sleep(0.2)
    before = lines(process, "work")
    time.sleep(stopped_s)
    assert len(lines(process, "work")) == len(before)
    process.qmp.execute("cont")
    after = wait(process, "work", len(before) + 3, 30)
    step = int(after[len(before)]["clock_us"]) - int(before[-1]["clock_us"])
    # one report's time and what a busy host adds, but not the three seconds
    assert 0 < step < 1_500_000


def test_a_workload_that_it_does_not_know_is_told(linux_image, tmp_path):
    process = guest(linux_image, tmp_path, workload="idle")
    at = process.arguments.index("-append") + 1
    process.arguments[at] = process.arguments[at].replace("workload=idle", "workload=sleep")
    with process:
        deadline = time.monotonic() + 100
        while "migsim-linux error migsim.workload is 'sleep'" not in process.serial_text():
            assert time.monotonic() < deadline, process.serial_text() + process.console_text()[-500:]
            time.sleep(0.1)
