"""Traces in use: the memory that their page numbers take, and files that change after they were opened."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from migsim import memory
from migsim.calibrate.workload.fit import fit_workload
from migsim.calibrate.workload.rounds import read_rounds
from migsim.engine.pages.writes import TraceWrites
from migsim.errors import TraceError
from migsim.study.xbzrle_advice import advise_xbzrle
from migsim.trace import Trace, TraceMeta, TraceWriter, pack_part
from migsim.trace import reader as reader_module
from migsim.trace.journal import whole_commits
from migsim.trace.members import member_table, open_parquet_writer

ROOT = Path(__file__).parents[2]
TIB = 1 << 40

MEASURED = """
import resource, runpy, sys
mib, words = int(sys.argv[1]), sys.argv[2:]
if mib:
    resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
sys.argv = ["migsim", *words]
code = 0
try:
    runpy.run_module("migsim", run_name="__main__")
except SystemExit as end:
    code = end.code
used = resource.getrusage(resource.RUSAGE_SELF)
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print("used", code, int(peak) >> 10, used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def measured(*words: str | Path, limit_mib: int = 0) -> tuple[int, str, int, float]:
    """Run the command line; return exit code, messages, peak of the resident memory in MiB, processor seconds."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(limit_mib), *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    *lines, last = done.stderr.splitlines()
    _, code, mib, seconds = last.split()
    return int(code), "\n".join(lines), int(mib), float(seconds)


def write_all_dirty(path: Path, ram_bytes: int, rounds: int = 4) -> Path:
    """Write a trace whose guest writes every page in every round: one row for each round."""
    pages = ram_bytes // 4096
    with TraceWriter(path, TraceMeta("stream", "10.0.8", ram_bytes, accel="kvm", zero_pages=0)) as writer:
        for number in range(rounds):
            writer.add_interval(number, number + 1, pages=[0], sent_pages=1)
        # the writer takes page numbers; what it has noted of the rows is replaced by runs of any length
        folder = Path(f"{path}.part")
        starts = np.arange(rounds, dtype=float)
        for piece in sorted(folder.glob("*.parquet")):
            number, member = int(piece.name[:8]), piece.name[9:-8]
            held = {
                "runs": {
                    "interval": [number] * len(_cut(pages)),
                    "first_page": _first(pages),
                    "npages": _cut(pages),
                },
                "intervals": {
                    "interval": [number],
                    "start_s": starts[[number]],
                    "end_s": starts[[number]] + 1,
                    "dirty_pages": [pages],
                    "sent_pages": [pages],
                    "zero_pages": [0],
                    "lost_events": [0],
                },
            }[member]
            _write(piece, member, pages, held)
    return path


def _cut(pages: int) -> list[int]:
    most = 1 << 31
    return [most] * (pages // most) + [pages % most] * bool(pages % most)


def _first(pages: int) -> list[int]:
    return [0, *np.cumsum(_cut(pages))[:-1].tolist()]


def _write(piece: Path, member: str, total_pages: int, columns: dict) -> None:
    table = member_table(member, total_pages, columns)
    with piece.open("wb") as stream, open_parquet_writer(stream, table.schema) as writer:
        writer.write_table(table)


@pytest.fixture(scope="module")
def vast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_all_dirty(tmp_path_factory.mktemp("vast") / "vast.trace", 64 * TIB)
    assert path.stat().st_size < 20_000
    return path


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("predict", ""),
        ("replay", ""),
        ("replay", "--set xbzrle=on"),
        ("calibrate trace", ""),
        ("trace xbzrle", ""),
        ("size", "--require total-time<60s --minimise max-bandwidth"),
        ("sweep", "--vary downtime-limit=100ms,300ms --output TMP/a.nc"),
        ("sensitivity", ""),
    ],
)
def test_64_tib_in_a_few_kilobytes_are_refused_before_they_are_taken(
    vast: Path, tmp_path: Path, command: str, options: str
) -> None:
    words = options.replace("TMP", str(tmp_path)).split()
    code, said, mib, seconds = measured(*command.split(), vast, *words)
    assert code == 3, said
    assert "Traceback" not in said and said.count("\n") < 3
    assert "vast.trace" in said and "of memory" in said and "17,179,869,184 pages" in said
    assert "may be taken" in said and "Check that a guest of this size was traced" in said
    assert mib < 400 and seconds < 20, (mib, seconds)


@pytest.mark.parametrize("command", ["predict", "replay"])
def test_the_limit_of_the_process_counts(tmp_path: Path, command: str) -> None:
    """A guest of 256 GiB, all dirty: 8 to 12 GB of page numbers, where the process may have 3 GB."""
    path = write_all_dirty(tmp_path / "a.trace", 256 << 30)
    code, said, mib, seconds = measured(command, path, limit_mib=3000)
    assert code == 3 and "may be taken" in said and "Traceback" not in said, said
    assert mib < 400 and seconds < 20, (mib, seconds)


@pytest.mark.parametrize("command", ["predict", "replay"])
def test_an_honest_guest_of_128_gib_needs_no_such_memory(command: str) -> None:
    code, said, mib, _ = measured(
        command, ROOT / "traces" / "full-128g.trace", "--set", "max-bandwidth=10Gbps", limit_mib=3000
    )
    assert code in (0, 4), said
    assert mib < 1500, mib


def test_info_of_such_a_trace_is_shown(vast: Path) -> None:
    code, said, mib, seconds = measured("trace", "info", vast)
    assert code == 0 and said == "" and mib < 300 and seconds < 20, (said, mib, seconds)


def test_one_interval_is_refused_too(vast: Path) -> None:
    with pytest.raises(TraceError, match=r"reading interval 2 needs .* of memory"):
        Trace.open(vast).pages(2)


TAKEN = """
import pathlib, sys
from migsim.calibrate.workload.rounds import read_rounds
from migsim.trace import Trace
def kib(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
asked = []
look = Trace.check_memory
Trace.check_memory = lambda self, step, needed: (asked.append(needed), look(self, step, needed))
read_rounds(Trace.open(sys.argv[1]))  # what imports and caches take
asked.clear()
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = kib("VmHWM")
read_rounds(Trace.open(sys.argv[2]))
print((kib("VmHWM") - before) << 10, max(asked))
"""


@pytest.mark.parametrize("rounds", [1, 4])
def test_no_more_is_taken_than_was_asked_for(tmp_path: Path, rounds: int) -> None:
    path = write_all_dirty(tmp_path / "a.trace", 8 << 30, rounds)
    done = subprocess.run(
        [sys.executable, "-c", TAKEN, small(tmp_path / "b.trace"), path],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    taken, asked = map(int, done.stdout.split())
    assert asked / 2 < taken <= asked


@pytest.mark.parametrize("usable_mib", [100, 130])
def test_what_is_asked_for_is_compared_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable_mib: int
) -> None:
    """4 rounds of 768 MiB: 786,432 page numbers each, and as many pages, need 120 MiB by the rule."""
    trace = Trace.open(write_all_dirty(tmp_path / "a.trace", 3 << 30))
    monkeypatch.setattr(reader_module, "usable_bytes", lambda: usable_mib << 20)
    if usable_mib < 120:
        with pytest.raises(TraceError, match=r"needs 120 MiB of memory.* 100 MiB may be taken"):
            read_rounds(trace)
    else:
        assert read_rounds(trace) is not None


@pytest.mark.parametrize("intervals", [255, 256, 65_535, 65_536, 70_000])
def test_hits_of_many_intervals_are_all_counted(intervals: int) -> None:
    writes = TraceWrites.__new__(TraceWrites)
    writes.total_pages, writes._numbers = 4, list(range(intervals))
    writes.trace = SimpleNamespace(pages=lambda _number: np.array([2]))  # type: ignore[assignment]  # a played trace
    assert writes._count_hits().tolist() == [0, 0, intervals, 0]


def test_groups_and_limits_are_looked_at(tmp_path: Path) -> None:
    two = tmp_path / "a" / "b"
    two.mkdir(parents=True)
    (tmp_path / "a" / "memory.max").write_text("1000000\n")
    (tmp_path / "a" / "memory.current").write_text("900000\n")
    (tmp_path / "a" / "memory.stat").write_text("anon 1\ninactive_file 300000\n")
    (two / "memory.max").write_text("max\n")
    (two / "memory.current").write_text("900000\n")
    (tmp_path / "memory" / "c").mkdir(parents=True)
    (tmp_path / "memory" / "c" / "memory.limit_in_bytes").write_text("5000\n")
    (tmp_path / "memory" / "c" / "memory.usage_in_bytes").write_text("2000\n")
    cgroup = tmp_path / "cgroup"
    for text, left in (
        ("0::/a/b\n", [400_000]),
        ("0::/\n", []),
        ("4:cpu:/c\n3:memory:/c\n", [3000]),
        ("3:memory:/c\n0::/a/b\n", [3000, 400_000]),
        ("odd", []),
        ("", []),
    ):
        cgroup.write_text(text)
        assert memory._left_in_groups(str(cgroup), tmp_path) == left, text
    assert memory._left_in_groups(str(tmp_path / "none"), tmp_path) == []


def small(path: Path, first: int = 0) -> Path:
    with TraceWriter(path, TraceMeta("stream", "10.0.8", 64 << 20, accel="kvm", zero_pages=9000)) as writer:
        for second in range(6):
            writer.add_interval(second, second + 1, pages=np.arange(first, 900 + first), sent_pages=900)
    return path


def uses(trace: Trace) -> list:
    return [
        lambda: trace.pages(0),
        lambda: trace.intervals,
        lambda: fit_workload(trace),
        lambda: TraceWrites(trace, np.random.default_rng(1)),
        lambda: advise_xbzrle(trace),
    ]


@pytest.mark.parametrize("use", range(5))
def test_a_file_that_is_another_one_by_now_is_not_used(tmp_path: Path, use: int) -> None:
    path = small(tmp_path / "a.trace")
    other = small(tmp_path / "b.trace", first=5)
    trace = Trace.open(path)
    stamp = path.stat()
    shutil.copyfile(other, path)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(TraceError, match=r"a\.trace is another file than the one that was opened"):
        for each in uses(trace)[use:]:
            each()
    assert len(Trace.open(path).pages(0)) == 900  # opened again, it is what it is


@pytest.mark.parametrize("after", [b"", b"no trace", None])
def test_a_file_that_is_no_trace_by_now_is_an_error_of_the_trace(tmp_path: Path, after: bytes | None) -> None:
    path = small(tmp_path / "a.trace")
    trace = Trace.open(path)
    path.unlink()
    if after is not None:
        path.write_bytes(after)
    with pytest.raises(TraceError, match=r"a\.trace"):
        fit_workload(trace)


def test_the_same_bytes_in_another_file_are_the_same_trace(tmp_path: Path) -> None:
    path = small(tmp_path / "a.trace")
    trace = Trace.open(path)
    shutil.copyfile(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    assert len(trace.pages(0)) == 900


def test_a_piece_of_a_recording_that_changed_is_neither_read_nor_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TraceWriter(tmp_path / "a.trace", TraceMeta("stream", "10.0.8", 64 << 20))
    for second in range(3):
        writer.add_interval(second, second + 1, pages=[second])
    folder = tmp_path / "a.trace.part"
    trace = Trace.open(folder)
    piece = folder / "00000001-runs.parquet"
    good = piece.read_bytes()
    other = (folder / "00000002-runs.parquet").read_bytes()
    piece.write_bytes(other)
    with pytest.raises(TraceError, match="another file than the one that was opened"):
        trace.pages(0)
    piece.write_bytes(good)

    def checked_then_changed(*arguments):
        found = whole_commits(*arguments)
        piece.write_bytes(other)
        return found

    monkeypatch.setattr("migsim.trace.writer.whole_commits", checked_then_changed)
    with pytest.raises(TraceError, match="another file than the one that was opened"):
        pack_part(folder, tmp_path / "a.trace")
    assert folder.is_dir() and not (tmp_path / "a.trace").exists()
