"""The guest boots, writes what it is told, and finds damage."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from migsim.lab.guest import build_image, guest_command_line, image_path, workload_page_to_ram_page
from migsim.lab.guest.serial import SerialLog, parse_serial
from migsim.scenario import GuestWorkload, PageClass

pytestmark = pytest.mark.live


def run_guest(
    tmp_path, line: str, until: Callable[[SerialLog], object], *, accel="tcg", ram="64M", extra=(), image=None
) -> SerialLog:
    """Run a guest until `until` of its log holds; fails after a minute."""
    serial = tmp_path / "serial.log"
    command = ["qemu-system-x86_64", "-accel", accel, "-m", ram, "-nodefaults", "-display", "none"]
    command += ["-serial", f"file:{serial}", "-kernel", str(image or image_path()), "-append", line, *extra]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            log = parse_serial(serial.read_text()) if serial.exists() else SerialLog()
            if until(log):
                return log
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        pytest.fail(f"not within a minute: {serial.read_text()!r}")
    finally:
        process.kill()
        process.communicate()


EVERYTHING = GuestWorkload(
    touched_pages=2000,
    classes=(
        PageClass(base_page=0, pages=500, share=3, changed_bytes=8),
        PageClass(base_page=0, pages=900, share=1, changed_bytes=100),
        PageClass(base_page=400, pages=500, share=1, content="page"),
        PageClass(base_page=900, pages=500, share=1, pattern="sweep", content="zero"),
        PageClass(base_page=1400, pages=2000, share=2, pattern="zipf", zipf_exponent=1.1, changed_bytes=1),
    ),
    report_s=0.2,
)


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_boots_and_writes_under_tcg(tmp_path, machine):
    log = run_guest(
        tmp_path, guest_command_line(EVERYTHING), lambda g: len(g.progress) >= 3, extra=("-machine", machine)
    )
    assert log.ready.ram_bytes == 64 << 20
    assert log.ready.touched == 2000
    assert log.ready.workload_base == 16 << 20
    assert log.progress[0].writes < log.progress[1].writes < log.progress[2].writes
    log.raise_for_fault()


def written_pages(memory: Path, first_page: int) -> list[int]:
    """Non-zero pages of a guest's RAM from `first_page` on; holes of the file are skipped."""
    pages = []
    with memory.open("rb") as file:
        at, end = first_page * 4096, memory.stat().st_size
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole up to the end
                break
            until = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            for page in range(at // 4096, until // 4096):
                file.seek(page * 4096)
                if any(file.read(4096)):
                    pages.append(page)
            at = until
    return pages


@pytest.mark.parametrize(("machine", "hole"), [("pc", 3 << 18), ("q35", 2 << 18)])
def test_pages_are_where_they_are_said_to_be(tmp_path, machine, hole):
    """8 GiB: touched pages, a class on both sides of the PCI hole, and one at the very end of RAM."""
    last = (8 << 18) - 4096
    workload = GuestWorkload(
        touched_pages=30,
        classes=(
            PageClass(base_page=hole - 4096 - 4700, pages=4800, pattern="sweep"),
            PageClass(base_page=last - 100, pages=100, pattern="sweep"),
        ),
        report_s=0.2,
    )
    memory = tmp_path / "ram"
    backend = f"memory-backend-file,id=m,size=8G,mem-path={memory},share=on"
    extra = ("-object", backend, "-machine", f"{machine},memory-backend=m")
    line = guest_command_line(workload)
    log = run_guest(
        tmp_path, line, lambda g: g.progress and g.progress[-1].writes > 10_000, ram="8G", extra=extra
    )
    assert log.ready.ram_bytes == 8 << 30
    expected = [*range(30), *range(hole - 4096 - 4700, hole - 3996), *range(last - 100, last)]
    firmware = range(hole - 4608, hole)  # its workspace: may hold anything
    got = [page for page in written_pages(memory, 4096) if page not in firmware]
    assert got == [p for p in map(workload_page_to_ram_page, expected) if p not in firmware]


def test_check_passes_over_every_kind_of_write(tmp_path):
    line = guest_command_line(EVERYTHING.model_copy(update={"check": True}))
    log = run_guest(tmp_path, line, lambda g: g.failed or {"stamps", "words"} <= {p.kind for p in g.passes})
    assert log.failures == []
    assert {p.pages for p in log.passes} == {3400}


@pytest.mark.parametrize("page", [0, 1999, 3399])
def test_check_finds_one_flipped_bit(tmp_path, page):
    idle = EVERYTHING.model_copy(
        update={"check": True, "classes": (PageClass(base_page=3399, pages=1, share=1),)}
    )
    line = guest_command_line(idle) + f" damage={page}"
    log = run_guest(tmp_path, line, lambda g: g.failures)
    assert log.failures[0].page == page


def test_clock_paced_rate_is_the_hosts(tmp_path):
    """Guest time against the host's clock: the calibrated counter and the pacing are both right."""
    workload = GuestWorkload(
        classes=(PageClass(base_page=0, pages=100),), pace="clock", writes_per_s=5000, report_s=0.1
    )
    seen = []

    def until(log):
        if log.progress:
            seen.append((time.monotonic(), log.progress[-1].t_us / 1e6))
        return seen and seen[-1][0] - seen[0][0] > 2

    log = run_guest(tmp_path, guest_command_line(workload), until)
    # A busy host looks late, never early: the least late look of each half counts.
    ahead = [host_s - guest_s for host_s, guest_s in seen]
    early, late = min(ahead[: len(ahead) // 2]), min(ahead[len(ahead) // 2 :])
    assert late - early == pytest.approx(0, abs=0.2)
    assert log.writes_per_s() == pytest.approx(5000, rel=0.03)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-- foo=3", "unknown setting: foo=3"),
        ("-- touch=1x", "touch=1x"),
        ("-- class=0:100:1:random", "random"),
        ("-- class=0:100:1:random:bytes=0", "bytes"),
        ("-- class=0:100:1:wild:page", "pattern"),
        ("-- touch=100000000", "beyond RAM"),
        ("-- class=20000:1:1:sweep:page", "beyond RAM"),
        ("-- pace=clock", "rate"),
        ("nothing", "no --"),
    ],
)
def test_bad_settings_are_refused_in_words(tmp_path, line, words):
    log = run_guest(tmp_path, line, lambda g: g.fault or g.ready)
    assert log.ready is None
    assert words in log.fault.message


def test_rebuilt_image_boots(tmp_path):
    image = build_image(tmp_path / "guest.bin")
    line = guest_command_line(EVERYTHING)
    log = run_guest(tmp_path, line, lambda g: len(g.progress) >= 2, image=image)
    assert log.writes_per_s() > 0


def test_boots_and_checks_under_kvm(tmp_path):
    line = guest_command_line(
        EVERYTHING.model_copy(update={"check": True, "touched_pages": 500, "classes": EVERYTHING.classes[:1]})
    )
    log = run_guest(tmp_path, line, lambda g: g.failed or (g.passes and len(g.progress) >= 2), accel="kvm")
    assert log.failures == []
    assert log.writes_per_s() > 100
