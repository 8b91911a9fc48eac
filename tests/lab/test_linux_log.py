"""What the lab makes of a Linux guest's two ports, and its command line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from migsim.errors import GuestError, HostError
from migsim.lab import guest_log, linux_machine, record
from migsim.lab.linux_log import parse_linux
from migsim.lab.linux_machine import image_folder, linux_arguments
from migsim.lab.migrate import ObservedRun
from migsim.lab.running import RunningGuest
from migsim.scenario import LinuxWorkload

READY = "migsim-linux ready clock_us=9000000 workload=store users=75\n"


def work(second, done):
    return (
        f"migsim-linux work clock_us={9_000_000 + second * 1_000_000} get={done}:5 set={done}:5 busy_us=1\n"
    )


@dataclass
class Guest:
    said: str = ""
    console: str = ""
    role: str = "source"
    console_path: Path | None = Path("console")

    def serial_text(self):
        return self.said

    def console_text(self):
        return self.console

    def check_alive(self):
        pass


def test_ready_and_work_are_heard():
    log = parse_linux(READY + work(1, 5) + work(2, 9) + "migsim-linux wor", "[ 0.0] Linux version 6.1\n")
    assert log.ready is not None and len(log.progress) == 2 and log.failed == 0
    log.raise_for_fault()


@pytest.mark.parametrize(
    "line",
    [
        "[   12.3] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
        "[   12.3] BUG: unable to handle page fault for address: ffff88",
        "[   12.3] postgres[77]: segfault at 0 ip 0000 sp 0000 error 4",
        "[   12.3] Out of memory: Killed process 77 (postgres)",
        "[   12.3] general protection fault, probably for non-canonical address",
    ],
)
def test_what_a_kernel_complains_of_is_a_fault(line):
    with pytest.raises(GuestError, match=r"The Linux guest failed: .*12\.3"):
        parse_linux(READY, f"boot\r\n{line}\r\n").raise_for_fault()
    assert parse_linux(READY, line).failed == 0  # not whole yet


@pytest.mark.parametrize(
    "line", ["watchdog: BUG: soft lockup - CPU#0 stuck for 23s!", "EXT4-fs mounted", "clocksource: tsc"]
)
def test_what_a_slow_guest_says_is_none(line):
    parse_linux(READY, f"[ 1.0] {line}\n").raise_for_fault()


def test_the_guests_own_error_ends_the_wait():
    guest = Guest("migsim-linux boot version=1 kernel=6\nmigsim-linux error no room for the data\n")
    with pytest.raises(GuestError, match="no room for the data"):
        guest_log.wait_ready(guest, 5.0)


def test_a_guest_that_says_nothing_is_quoted():
    with pytest.raises(
        GuestError, match=r"not ready after 0\.1 s; its last lines: .*Linux version 6.*--ready-timeout"
    ):
        guest_log.wait_ready(Guest(console="Linux version 6\n"), 0.1)


def test_it_goes_on_when_its_lines_come():
    guest = Guest(READY)
    guest_log.wait_ready(guest, 1.0)
    assert not guest_log.wait_progress(guest, lines=1, passes=0, deadline_s=0.1)
    serial_watch = guest_log.SerialWatch(guest)

    class Speaks(guest_log.SerialWatch):
        def stamp_new_lines(self, *, first=False):
            guest.said += work(guest.said.count("\n"), 5)
            serial_watch.stamp_new_lines()

    assert guest_log.wait_progress(guest, lines=2, passes=0, deadline_s=5.0, serial_watch=Speaks())


def test_lines_cut_off_and_the_console_are_told_apart():
    guest = Guest(READY.replace("\n", "\r\n") + "migsim-linux wo", "[ 1.0] a\r\n\r\n[ 2.0] b\r\n")
    rows = guest_log.SerialWatch(guest).lines(0.0)
    assert rows == [
        {"side": "source", "line": READY.strip()},
        {"side": "source", "line": "migsim-linux wo", "cut": True},
        {"side": "source", "line": "[ 1.0] a", "port": "console"},
        {"side": "source", "line": "[ 2.0] b", "port": "console"},
    ]


def test_a_traced_guest_says_how_it_worked(monkeypatch):
    monkeypatch.setattr("migsim.lab.running.image_facts", lambda: {"kernel": "6"})
    guest = Guest(READY + work(0, 0) + work(1, 10) + work(2, 20))
    running = RunningGuest(Path("s"), guest, linux=True, reports_before=3)
    assert running.self_check()["operations_per_s_traced"] is None
    guest.said += work(3, 25) + work(4, 30)
    found = running.self_check()
    assert (found["operations_per_s_before"], found["operations_per_s_traced"]) == (20.0, 10.0)
    assert found["linux_image"] == {"kernel": "6"}
    guest.console = "Kernel panic - not syncing\n"
    with pytest.raises(GuestError):
        running.self_check()
    assert RunningGuest(Path("s"), guest).self_check() == {}


@dataclass
class Image:
    folder: Path
    kernel = Path("/i/vmlinuz")
    initrd = Path("/i/initrd.img")
    root = Path("/i,j/root.img")


def test_the_command_line_shares_a_disk_that_nobody_writes():
    words = linux_arguments(
        Image(Path("/i")), LinuxWorkload(workload="store", users=9, think_s=0.25, report_s=2)
    )
    drive = words[words.index("-drive") + 1]
    assert "file=/i,,j/root.img" in drive and "readonly=on" in drive and "file.locking=off" in drive
    told = words[words.index("-append") + 1].split()
    for setting in ("workload=store", "users=9", "think_ms=250", "report_ms=2000", "seed=1"):
        assert f"migsim.{setting}" in told
    assert "console=ttyS0" in told


def test_where_the_image_is(monkeypatch, tmp_path):
    monkeypatch.delenv("MIGSIM_LINUX_GUEST", raising=False)
    assert image_folder().parts[-2:] == ("build", "linux-guest")
    monkeypatch.setenv("MIGSIM_LINUX_GUEST", str(tmp_path))
    assert image_folder() == tmp_path
    with pytest.raises(HostError, match="build-guest"):
        linux_machine.image_facts()


def test_times_of_lines_are_numbers_or_left_out():
    guest = Guest(READY)
    serial_watch = guest_log.SerialWatch(guest)
    guest.said += work(1, 1)
    serial_watch.stamp_new_lines()
    (first, second) = serial_watch.lines(0.0)
    assert "t_s" not in first and math.isfinite(second["t_s"])


def test_a_fault_on_either_side_makes_a_failed_run():
    well, panicked = Guest(READY), Guest(READY, "[ 9.0] Kernel panic - not syncing: x\n", role="destination")
    assert record._fault(well) is None
    seen = ObservedRun(well, panicked, progressed=True)
    outcome = record._after_arrival(seen)
    assert outcome.status == "failed" and "Kernel panic" in outcome.reason
    assert record._after_arrival(ObservedRun(panicked, well, progressed=True)).status == "failed"
    assert record._after_arrival(ObservedRun(well, well, progressed=True)).status == "completed"
    assert "stayed silent" in record._after_arrival(ObservedRun(well, well, progressed=False)).reason
    stopped = ObservedRun(panicked, well, not_converged=True)
    assert record._outcome(stopped, {}, []).status == "failed"
