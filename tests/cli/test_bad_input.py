"""Bad input through the real command line: one paragraph, exit code 3 (2 for usage), nothing half-written."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migsim.calibrate.host.probe_runs import KeptProbes
from migsim.cli import main
from migsim.lab import guest_log, machine
from migsim.lab.qemu import QemuProcess
from migsim.profiles.terms import HOST_TERMS
from migsim.results import MigrationResult, Outcome
from migsim.scenario import LabScenario
from migsim.trace import TraceMeta, TraceWriter
from tests.factories import host_profile

Run = Callable[[str], tuple[int, str, str]]

SCENARIO = """
name = "small"
[qemu]
version = "7.2"
accel = "tcg"
[guest]
ram-bytes = "64MiB"
[guest.workload]
touched-pages = 100
[migration.parameters]
downtime-limit = "300ms"
"""
# A program that answers as QEMU 7.2 does, with a guest that never says a word.
FAKE_QEMU = """
import json, os, signal, socket, sys
if "--version" in sys.argv:
    print("QEMU emulator version 7.2.0")
    sys.exit()
paths = [word[5:].split(",")[0] for word in sys.argv if word.startswith("unix:")]
servers = []
for path in paths:
    servers.append(socket.socket(socket.AF_UNIX))
    servers[-1].bind(path)
    servers[-1].listen()
talk = servers[-1].accept()[0]
def say(message):
    talk.sendall(json.dumps(message).encode() + b"\\n")
version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
say({"QMP": {"version": version, "capabilities": []}})
while data := talk.recv(65536):
    say({"return": {}, "id": json.loads(data).get("id")})
    if "dies" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
"""
INFO = {"status": "completed", "total-time": 100, "downtime": 10}


def write_trace(path: Path) -> None:
    meta = TraceMeta("stream", "10.0.8", 64 << 20, accel="kvm", zero_pages=10_000)
    with TraceWriter(path, meta) as writer:
        for second in range(6):
            writer.add_interval(second, second + 1, pages=range(5_000), sent_pages=5_000, zero_pages=0)


def write_record(path: Path, scenario: dict[str, object]) -> None:
    MigrationResult(
        kind="measured",
        name="small",
        qemu_version="7.2",
        accel="tcg",
        outcome=Outcome("completed"),
        info=INFO,
        scenario=scenario,
    ).save(path)


def damaged(folder: Path, good: Path) -> None:
    """Put copies of a good file beside it, each broken in its own way: ``cut-NAME``, ``newer-NAME``, ..."""
    whole = good.read_bytes()
    (folder / f"cut-{good.name}").write_bytes(whole[: len(whole) // 2])
    (folder / f"short-{good.name}").write_bytes(whole[:-9])
    (folder / f"empty-{good.name}").write_bytes(b"")
    (folder / f"noise-{good.name}").write_bytes(bytes(range(256)) * 20)
    (folder / f"text-{good.name}").write_text("hello\n")
    (folder / f"folder-{good.name}").mkdir()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good files and of bad ones."""
    folder = tmp_path_factory.mktemp("inputs")
    write_trace(folder / "good.trace")
    profile = host_profile(dict.fromkeys(HOST_TERMS, 1e-5), qemu_version="10.0")
    profile.save(folder / "host.json")
    write_record(folder / "record.json", LabScenario.from_toml(SCENARIO).as_dict())
    KeptProbes(folder / "kept.zip").add("probe-cold-1", MigrationResult.load(folder / "record.json"))
    for name in ("good.trace", "host.json", "record.json", "kept.zip"):
        damaged(folder, folder / name)
    for name in ("host.json", "record.json"):
        data = json.loads((folder / name).read_text())
        (folder / f"newer-{name}").write_text(json.dumps(data | {"version": 2}))
        (folder / f"foreign-{name}").write_text(json.dumps({"format": "other", "version": 1}))
    few = {name: term for name, term in profile.terms.items() if name != "zero_page_s"}
    profile.replace(terms=few).save(folder / "lacking-host.json")
    write_record(folder / "orphan-record.json", {})
    with zipfile.ZipFile(folder / "good.trace") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(members["meta.json"])
    others = {
        "newer": {"meta.json": json.dumps(meta | {"version": 3}).encode()},
        "alien": {"meta.json": json.dumps({"format": "other"}).encode()},
        "foreign": {"word/document.xml": b"<x/>"},
        "broken": members | {"intervals.parquet": members["intervals.parquet"][:-40]},
        "pointless": {"meta.json": members["meta.json"]},
    }
    for name, held in others.items():
        with zipfile.ZipFile(folder / f"{name}-good.trace", "w") as archive:
            for member, data in held.items():
                archive.writestr(member, data)
    (folder / "cut-good.toml").write_text(SCENARIO[:40])
    (folder / "good.toml").write_text(SCENARIO)
    (folder / "fake-qemu").write_text(f"#!{sys.executable}\n{FAKE_QEMU}")
    (folder / "fake-qemu").chmod(0o755)
    return folder


def children() -> list[str]:
    """Process ids that this process has started and not reaped."""
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
            found += (task / "children").read_text().split()
    return found


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where command lines keep their sockets, whose names hold 107 bytes at most; `tmp_path` is longer under xdist."""
    with tempfile.TemporaryDirectory(prefix="migsim-test-") as folder:
        yield Path(folder)


@pytest.fixture
def migsim(
    inputs: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str, str]]:
    """Run a command line among the inputs; whatever it says, it leaves no file and no process."""
    monkeypatch.chdir(inputs)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def run(line: str) -> tuple[int, str, str]:
        before = sorted(inputs.rglob("*")), children()
        with pytest.raises(SystemExit) as end:
            main.run(shlex.split(line))
        assert (sorted(inputs.rglob("*")), children()) == before
        assert list(scratch.iterdir()) == []
        assert isinstance(end.value.code, int)
        return end.value.code, *capsys.readouterr()

    return run


def refused(done: tuple[int, str, str], words: str, code: int = 3) -> None:
    assert (done[0], done[1]) == (code, ""), done
    assert "Traceback" not in done[2]
    if done[2].startswith("migsim: "):  # a box, where typer itself refuses
        assert len(done[2].splitlines()) == 1
        assert not re.search(r"\.\.(\s|$)|\s\s", done[2]), "a paragraph of whole sentences"
    else:
        assert code == 2
    assert re.search(words, done[2]), done[2]


READERS = (
    "predict {} --host host.json",
    "trace info {}",
    "calibrate trace {} --host host.json",
    "compare record.json --trace {} --host host.json",
)
BAD_TRACES = {
    "missing.trace": "There is no trace at",
    "cut-good.trace": "not a zip",
    "short-good.trace": "not a zip",
    "empty-good.trace": "not a zip",
    "noise-good.trace": "not a zip",
    "text-good.trace": "not a zip",
    "folder-good.trace": "no readable meta.json",
    "foreign-good.trace": "without meta.json",
    "alien-good.trace": "not a migsim trace",
    "newer-good.trace": "version 3.*reads versions 1 and 2",
    "broken-good.trace": "intervals.parquet is damaged",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", BAD_TRACES)
def test_a_trace_that_is_none(migsim: Run, reader: str, name: str) -> None:
    refused(migsim(reader.format(name)), BAD_TRACES[name])


BAD_LINES = {
    # a trace that is whole and says nothing
    "predict pointless-good.trace --host host.json": "holds no window and no round",
    "calibrate trace pointless-good.trace --host host.json": "holds no window and no round",
    # units
    "predict good.trace --host host.json --set max-bandwidth=10G": "10GiB/s .*10GB/s .*10Gbps",
    "predict good.trace --host host.json --set max-bandwidth=10Gb": "ends in /s or ps",
    "predict good.trace --host host.json --set downtime-limit=5m": "minutes or milliseconds",
    "predict good.trace --host host.json --link 10G": "link is '10G'.*three readings",
    "predict good.trace --host host.json --link fast": "link is 'fast'",
    "predict good.trace --host host.json --deadline 5m": "deadline is '5m'",
    "trace record --qmp no.sock -o t.trace --duration 5m": "--duration is '5m'",
    "trace record --qmp no.sock -o t.trace --windows 20ms,5m": "--windows is '5m'",
    "lab trace good.toml -o t.trace --duration 5m": "--duration is '5m'",
    "lab migrate good.toml -o r.json --ready-timeout 3m": "--ready-timeout is '3m'",
    "lab migrate good.toml -o r.json --pin both": "The cores are 'both'",
    "lab migrate good.toml -o r.json --pin 0:0": "give core 0 to both sides",
    "lab migrate good.toml -o r.json --pin 0:4095": "name core 4095",
    "calibrate host -o h.json --qemu-version 7.2 --pin 0-x:1": "hold '0-x'",
    "calibrate host -o h.json --qemu-version 7.2 --pin 0:4095": "name core 4095",
    "predict good.trace --sides both": "sides is 'both'",
    # parameters and capabilities
    "predict good.trace --host host.json --set max-bandwith=1Gbps": "Did you mean 'max-bandwidth'",
    "predict good.trace --host host.json --set max_bandwidth=1Gbps": "Did you mean 'max-bandwidth'",
    "predict good.trace --host host.json --qemu-version 7.2 --set avail-switchover-bandwidth=1Gbps": (
        "QEMU 7.2 has no parameter.*8.2 and later"
    ),
    "predict good.trace --host host.json --qemu-version 7.2 --set mapped-ram=on": "9.0 and later",
    "predict good.trace --host host.json --set downtime-limit=3000s": "0 to 2000000 ms",
    "predict good.trace --host host.json --set cpu-throttle-initial=200": "1 to 99.*nearest.* is 99",
    "predict good.trace --host host.json --set xbzrle-cache-size=1KiB": "nearest value that it takes is 4096",
    "predict good.trace --host host.json --set xbzrle=on": "no term 'xbzrle_hit_s'",
    "predict good.trace --host host.json --set dirty-limit=on": "no dirty ring.*--dirty-ring-size",
    "predict good.trace --host host.json --set dirty-limit=on --set auto-converge=on": "both on",
    "predict good.trace --host host.json --set dirty-limit=on --dirty-ring-size 3000": "power of two",
    "predict good.trace --host host.json --set dirty-limit=on --qemu-version 7.2": "8.1 and later",
    "predict good.trace --host host.json --set xbzrle-cache-size=3MiB": "powers of two",
    "predict good.trace --host host.json --set xbzrle=maybe": "on or off",
    "predict good.trace --host host.json --set xbzrle": "NAME=VALUE",
    "predict good.trace --host host.json --set =5": "'' is no migration parameter",
    "predict good.trace --host host.json --set max-bandwidth=": "max-bandwidth is ''",
    "predict good.trace --host host.json --set max-bandwidth=-1": "max-bandwidth is '-1'",
    "predict good.trace --host host.json --set xbzrle=on --set multifd=on": "both on",
    "predict good.trace --host host.json --set zero-copy-send=on": "without 'multifd'",
    "predict good.trace --host host.json --set max-cpu-throttle=10 --set cpu-throttle-initial=50": "below",
    "predict good.trace --host host.json --qemu-version ten": "QEMU version is 'ten'",
    "predict good.trace --host host.json --qemu-version 0.1": "QEMU 0.1.*1.2 and later",
    # records
    "compare missing.json --trace good.trace --host host.json": "No such file",
    "compare cut-record.json --trace good.trace --host host.json": "not whole JSON",
    "compare short-record.json --trace good.trace --host host.json": "not whole JSON",
    "compare noise-record.json --trace good.trace --host host.json": "not text",
    "compare folder-record.json --trace good.trace --host host.json": "Is a directory",
    "compare newer-record.json --trace good.trace --host host.json": "version 2",
    "compare foreign-record.json --trace good.trace --host host.json": "no migration record",
    "compare host.json --trace good.trace --host host.json": "no migration record",
    "compare orphan-record.json --trace good.trace --host host.json": "record of 'small'.*name is missing",
    "compare record.json --traces nowhere --host host.json": "traces in nowhere is of the guest",
    "compare record.json --trace good.trace --hosts nowhere": "There is no folder nowhere",
    # profiles
    "predict good.trace --host missing.json": "No such file",
    "predict good.trace --host cut-host.json": "not whole JSON",
    "predict good.trace --host noise-host.json": "not text",
    "predict good.trace --host newer-host.json": "version 2",
    "predict good.trace --host foreign-host.json": "no migsim-host-profile",
    "predict good.trace --host record.json": "no migsim-host-profile",
    "predict good.trace --host folder-host.json": "Is a directory",
    "predict good.trace --host lacking-host.json": "no term 'zero_page_s'",
    "predict good.trace --host host.json --draws 0": "draws is 0",
    "predict good.trace --host host.json --seed -1": "seed is -1",
    "predict good.trace --host host.json --deadline 0": "deadline is '0'",
    "predict good.trace --host host.json --link 0": "link is '0'",
    "predict good.trace --host host.json --load 0": "load is '0'",
    "predict good.trace --host host.json --load 200%": "load is '200%'",
    "predict good.trace --host host.json --load much": "load is 'much'",
    "predict good.trace --host host.json --writes-scale -1": "writes-scale is '-1'",
    "predict good.trace --host host.json --fresh-pages some": "fresh-pages is 'some'",
    "predict good.trace --host host.json --dirty-ring-size -1": "dirty-ring-size",
    "predict good.trace --host host.json --dirty-ring-size 1000": "power of two",
    # records of probes
    "calibrate host -o h.json --qemu-version 7.2 --keep host.json": "does not end in .zip",
    "calibrate host -o h.json --qemu-version 7.2 --keep cut-kept.zip": "Cannot read the records in cut-kept.zip",
    "calibrate host -o h.json --qemu-version 7.2 --keep host.json/k.zip": "Cannot make the folder host.json",
    "calibrate host -o h.json --qemu-version 7.2 --keep /proc/k.zip": "Cannot write /proc/k.zip",
    "calibrate multifd host.json --keep noise-kept.zip": "Cannot read the records in noise-kept.zip",
    # where to write
    "predict good.trace --host host.json --plot nowhere/p.png": "Cannot write nowhere/p.png",
    "calibrate trace good.trace --host host.json --plot nowhere/p.png": "Cannot write nowhere/p.png",
    "calibrate trace good.trace --host host.json -o nowhere/w.json": "Cannot write nowhere/w.json",
    "calibrate trace good.trace --host host.json -o folder-host.json": "it is a folder",
    "calibrate trace good.trace --host host.json -o /dev/null": "it is a device",
    "calibrate host -o nowhere/h.json": "Cannot write nowhere/h.json",
    "lab migrate good.toml -o nowhere/r.json": "Cannot write nowhere/r.json",
    "lab migrate good.toml -o /proc/r.json": "Cannot write /proc/r.json",
    "lab migrate good.toml -o folder-host.json": "it is a folder",
    "lab trace good.toml -o nowhere/t.trace": "Cannot write nowhere/t.trace",
    "trace record --qmp no.sock -o nowhere/t.trace": "Cannot write nowhere/t.trace",
    # scenarios
    "lab migrate missing.toml -o r.json": "No such file",
    "lab migrate cut-good.toml -o r.json": "cut-good.toml",
    "lab migrate noise-host.json -o r.json": "not text",
    "lab migrate host.json -o r.json": "not TOML",
    "lab trace good.toml -o t.trace --dirty-ring-size 3": "power of two",
    # QEMU and its monitor
    "calibrate host -o h.json --qemu no-such-qemu": "'no-such-qemu' does not exist",
    "calibrate host -o h.json --qemu true": "'true' --version answered",
    "calibrate host -o h.json --qemu 'sh \"open'": "Close the quote",
    "calibrate host -o h.json --qemu $MIGSIM_NONE": "environment has no MIGSIM_NONE",
    "calibrate host -o h.json --qemu ./fake-qemu --qemu-version 8.0 --accel tcg": "is a QEMU 7.2.*says 8.0",
    "trace record --qmp no.sock -o t.trace": "Cannot connect",
    "trace record --qmp good.toml -o t.trace": "Cannot connect",
    f"trace record --qmp {'x' * 200} -o t.trace": "Cannot connect",
}
BAD_USAGE = {
    "predict good.trace --host host.json --format nonsense": "table or json",
    "compare record.json --trace good.trace --host host.json --format nonsense": "table or csv",
    "predict good.trace --host host.json --draws many": "--draws",
    "predict good.trace --host host.json --plot p.gif": "png, svg, pdf",
    "predict good.trace --hots host.json": "--host",
    "predict": "TRACE",
    "calibrate trace good.trace --host host.json --plot p.nonsense": "png, svg, pdf",
    "calibrate host -o h.json --accel xen": "kvm or tcg",
    "calibrate host -o h.json --repeats 0": "--repeats",
    "lab migrate good.toml -o r.json --repeat 0": "--repeat",
    "lab migrate good.toml -o r.json --ready-timeout 0": "--ready-timeout is '0'",
    "lab trace good.toml -o t.trace --method strem": "Did you mean 'stream'",
    "lab trace good.toml -o t.trace --duration 0": "--duration is '0'",
    "trace record --qmp no.sock -o t.trace --method strem": "Did you mean 'stream'",
    "trace record --qmp no.sock -o t.trace --duration 0s": "--duration is '0s'",
    "trace record --qmp no.sock -o t.trace --windows 1s,0ms": "--windows is '0ms'",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_input_is_3(migsim: Run, line: str) -> None:
    refused(migsim(line), BAD_LINES[line])


@pytest.mark.parametrize("line", BAD_USAGE)
def test_bad_usage_is_2(migsim: Run, line: str) -> None:
    refused(migsim(line), BAD_USAGE[line], 2)


BAD_SCENARIOS = {
    ('"64MiB"', '"64M"'): "ram-bytes is '64M'.*three readings",
    ('"300ms"', '"5m"'): "downtime-limit is '5m'",
    ("ram-bytes", "ram-byts"): "ram-byts is unknown.*Did you mean 'ram-bytes'",
    ('name = "small"', 'name = "small"\nsettle-s = "5m"'): "settle-s is '5m'",
    ("downtime-limit", "downtime-limt"): "Did you mean 'downtime-limit'",
    ("downtime-limit", "avail-switchover-bandwidth"): "QEMU 7.2 has no parameter",
    ("touched-pages = 100", "touched-pages = 20000"): "reaches page 20000",
    ("touched-pages = 100", 'pace = "clock"'): "needs writes-per-s",
    ('"tcg"', '"tcg"\ndirty-ring-size = 4096'): "needs accel",
    ('"64MiB"', '"64MiB"\nmemory = "aliased"'): "alias-bytes goes with",
    ('"64MiB"', '"1024GiB"\nmemory = "aliased"\nalias-bytes = "512GiB"'): "/dev/shm has .* free",
    (
        "[guest]",
        "[migration.capabilities]\nbackground-snapshot = true\npostcopy-ram = true\n[guest]",
    ): "both on",
    ("[guest]", "[migration.capabilities]\nmapped-ram = true\n[guest]"): "9.0 and later",
    ("[qemu]", '[qemu]\ncommand = "no-such-qemu"'): "'no-such-qemu' does not exist",
    ("[qemu]", '[qemu]\ncommand = "true"'): "exited with status 0",
    ("[qemu]", '[qemu]\ncommand = "$MIGSIM_NONE"'): "environment has no MIGSIM_NONE",
    (
        '[qemu]\nversion = "7.2"',
        '[qemu]\ncommand = "./fake-qemu"\nversion = "8.0"',
    ): "is a QEMU 7.2.*says 8.0",
    ("[qemu]", '[qemu]\ncommand = "./fake-qemu"'): r"not ready after 0\.3 s",
    ("[qemu]", '[qemu]\ncommand = "./fake-qemu dies"'): "was killed by SIGKILL",
    ('"tcg"', '"kvm"'): "/dev/kvm.* is not there",
}


@pytest.mark.parametrize("command", ["migrate", "trace"])
@pytest.mark.parametrize("change", BAD_SCENARIOS)
def test_a_scenario_that_cannot_run(
    migsim: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], command: str
) -> None:
    monkeypatch.setattr(machine, "_KVM", inputs / "dev" / "kvm")
    monkeypatch.setattr(guest_log, "wait_ready", impatient)
    assert change[0] in SCENARIO
    path = inputs / "changed.toml"
    path.write_text(SCENARIO.replace(*change))
    refused(migsim(f"lab {command} changed.toml -o out"), BAD_SCENARIOS[change])


def impatient(guest: QemuProcess, _deadline_s: float) -> None:
    """Wait for the guest as the lab does, but not for minutes."""
    patient(guest, 0.3)


patient = guest_log.wait_ready


def test_a_host_without_kvm_is_not_calibrated(migsim: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_KVM", Path("/no/dev/kvm"))
    refused(migsim("calibrate host -o h.json --qemu ./fake-qemu"), "is not there.*needs the host's KVM")


GREETING = b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}\n'


@pytest.mark.parametrize(
    "said", [b"SSH-2.0\r\n", b"", b'{"QMP": 7}\n', b'{"return": {}}\n', b"\xff\x00\n", GREETING]
)
def test_a_socket_that_is_no_monitor(migsim: Run, inputs: Path, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(inputs / "odd.sock"))
        server.listen()

        def answer() -> None:
            client, _ = server.accept()
            client.sendall(said)
            if said == GREETING:
                client.recv(1000)
            client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            refused(migsim("trace record --qmp odd.sock -o t.trace"), "odd.sock")
        finally:
            thread.join()
            (inputs / "odd.sock").unlink()


def command(line: str, **options: Any) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "migsim", *shlex.split(line)]
    environment = os.environ | {"PYTHONPATH": str(Path(main.__file__).parents[2])}
    given: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": environment,
    }
    return subprocess.Popen(words, **(given | options))


@pytest.mark.parametrize(
    "line",
    [
        "predict good.trace --host host.json --draws 1",
        "predict good.trace --host host.json --draws 1 --format json",
        "compare record.json --trace good.trace --host host.json --draws 1 --format csv",
        "trace info good.trace",
        "--help",
    ],
)
def test_a_reader_that_goes_away(inputs: Path, line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with command(line, cwd=inputs, stdout=writing) as run:
        os.close(writing)
        said = run.communicate(timeout=60)[1]
    assert (run.returncode, said) == (141, "")


def test_a_full_disk_under_the_output(inputs: Path) -> None:
    with (
        Path("/dev/full").open("w") as full,
        command("trace info good.trace", cwd=inputs, stdout=full) as run,
    ):
        said = run.communicate(timeout=60)[1]
    refused((run.returncode, "", said), "No space left")


@pytest.mark.parametrize(
    "line",
    [
        "predict good.trace --host host.json --draws 1 --plot {}/p.png",
        "calibrate trace good.trace --host host.json -o {}/w.json",
    ],
)
def test_a_full_disk_under_a_file(inputs: Path, tmp_path: Path, line: str) -> None:
    importlib.import_module("matplotlib.font_manager")  # makes the font cache, which the limit would forbid

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    with command(line.format(tmp_path), cwd=inputs, preexec_fn=little_room) as run:
        out, said = run.communicate(timeout=60)
    refused((run.returncode, out, said), f"Cannot write {tmp_path}.*File too large")
    assert list(tmp_path.iterdir()) == []


LONG_LINES = [
    "lab migrate waits.toml -o {}/r.json",
    "lab trace waits.toml -o {}/t.trace",
    "calibrate host --qemu ./fake-qemu --accel tcg -o {}/h.json",
]


@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("line", LONG_LINES)
def test_a_signal_leaves_nothing(
    inputs: Path, scratch: Path, tmp_path: Path, line: str, sign: int, code: int
) -> None:
    (inputs / "waits.toml").write_text(SCENARIO.replace("[qemu]", '[qemu]\ncommand = "./fake-qemu"'))
    out = tmp_path / "out"
    out.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(main.__file__).parents[2]), "TMPDIR": str(scratch)}

    def as_a_background_job() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored

    with command(line.format(out), cwd=inputs, env=environment, preexec_fn=as_a_background_job) as run:
        deadline = time.monotonic() + 60
        while not (sockets := list(scratch.glob("*/source.qmp"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert sockets
        started = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        assert started
        run.send_signal(sign)
        said = run.communicate(timeout=60)[1]
    assert (run.returncode, said) == (code, "")
    assert list(scratch.iterdir()) == list(out.iterdir()) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


def test_a_name_with_brackets_is_only_a_name(migsim: Run, inputs: Path) -> None:
    data = json.loads((inputs / "record.json").read_text())
    (inputs / "brackets.json").write_text(json.dumps(data | {"name": "a[/b]c"}))
    code, out, _ = migsim("compare brackets.json --trace good.trace --host host.json --draws 1")
    assert code == 0 and "a[/b]c" in out


@pytest.mark.live
def test_a_real_guest_that_is_never_ready(migsim: Run, inputs: Path) -> None:
    """It has a gigabyte to fill: none is that fast, however late the first look at it is on a busy machine."""
    much = SCENARIO.replace("64MiB", "1280MiB").replace("touched-pages = 100", "touched-pages = 300000")
    (inputs / "much.toml").write_text(much)
    done = migsim("lab migrate much.toml -o r.json --ready-timeout 1ms")
    refused(done, r"not ready after 0\.001 s")
