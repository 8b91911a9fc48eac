"""A trace is checked as it is opened: what it claims against what it holds, within a bounded memory."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migsim.errors import TraceError
from migsim.trace import Trace, TraceMeta, TraceWriter
from tests.fuzz.mutators import pack

PAGES = 16384
WINDOW = {
    "mode": "dirty-bitmap",
    "window_s": 0.1,
    "start_s": 0.0,
    "measured_s": 0.1,
    "dirty_bytes": 1 << 20,
    "resolution_bytes": 1000,
    "sampled_pages": 0,
}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("good") / "good.trace"
    meta = TraceMeta("stream", "10.0.8", PAGES * 4096, accel="kvm", zero_pages=9_000)
    with TraceWriter(path, meta) as writer:
        for second in range(4):
            writer.add_content([1, 3], [8, 8], [1, 1], [11, -1], 1.0, 0.1)
            writer.add_events([second * 1_000_000], [5], [0])
            writer.add_interval(second, second + 1, pages=range(second, 300, 3), sent_pages=100)
        writer.add_windows([WINDOW])
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def opened(folder: Path, members: dict[str, bytes], **options: int) -> Trace:
    (folder / "a.trace").write_bytes(pack(list(members.items()), **options))
    return Trace.open(folder / "a.trace")


def with_column(data: bytes, name: str, row: int, value: object) -> bytes:
    table = pq.read_table(io.BytesIO(data))
    values = table[name].to_pylist()
    values[row] = value
    place = table.column_names.index(name)
    changed = table.set_column(
        place, table.schema.field(name), pa.array(values, table.schema.field(name).type)
    )
    target = io.BytesIO()
    pq.write_table(changed, target)
    return target.getvalue()


def with_meta(members: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    return members | {"meta.json": json.dumps(json.loads(members["meta.json"]) | changes).encode()}


BLOCK = {"name": "pc.ram", "first_page": 0, "pages": PAGES}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"zero_pages": 1 << 40}, "zero_pages is 1099511627776, not between 0 and 16384"),
        ({"zero_pages": -1}, "zero_pages is -1"),
        ({"page_bytes": 1 << 62}, "page_bytes is 4611686018427387904"),
        ({"page_bytes": 0}, "page_bytes is 0"),
        ({"page_bytes": 5000}, "power of two"),
        ({"ram_bytes": 10**400}, "a number of 401 characters is too large"),
        ({"ram_bytes": 1 << 50}, "ram_bytes is"),
        ({"ram_bytes": -1}, "ram_bytes is -1"),
        ({"vcpus": 1 << 40}, "vcpus is"),
        ({"vcpus": -1}, "vcpus is -1"),
        ({"duration_s": 1e300}, r"duration_s is 1e\+300"),
        ({"duration_s": -1.0}, "duration_s is -1.0"),
        ({"lost_events": -1}, "lost_events is -1"),
        ({"collector": "guess"}, "collector is 'guess'"),
        ({"accel": "xen"}, "accel is 'xen'"),
        ({"ram_blocks": [BLOCK | {"first_page": 1}]}, "does not begin where"),
        ({"ram_blocks": [BLOCK, BLOCK]}, "does not begin where"),
        ({"ram_blocks": [BLOCK | {"pages": -5}]}, "does not begin where"),
        ({"ram_blocks": [BLOCK | {"pages": 1 << 50}]}, "size of all RAM blocks"),
        ({"ram_blocks": [BLOCK | {"pages": 7}]}, "size of all RAM blocks"),
        ({"guest": json.loads("[" * 70 + "]" * 70)}, "nests deeper than 64 levels"),
    ],
)
def test_what_a_trace_says_of_itself(tmp_path, members, changes, said):
    with pytest.raises(TraceError, match=said):
        opened(tmp_path, with_meta(members, **changes))


@pytest.mark.parametrize(
    ("column", "row", "value", "said"),
    [
        ("runs.interval", 2, 2**31 - 1, "interval is 2147483647 in row 2, but it is between 0 and 3"),
        ("runs.interval", 2, -1, "interval is -1"),
        ("runs.interval", 0, 3, "runs ascend"),
        ("runs.first_page", 5, 2**31, "first_page is 2147483648 in row 5"),
        ("runs.first_page", 5, 0, "runs ascend"),
        ("runs.npages", 5, 200_000_000, "npages is 200000000 in row 5"),
        ("runs.npages", 5, 0, "npages is 0"),
        ("runs.npages", 99, 2, "interval 0 says 100 dirty pages, its runs have 101"),
        ("runs.npages", 5, 4, "runs ascend"),
        ("intervals.interval", 1, 2, "numbered from 0 without a gap"),
        ("intervals.dirty_pages", 1, PAGES + 1, "dirty_pages is 16385"),
        ("intervals.dirty_pages", 1, -2, "dirty_pages is -2"),
        ("intervals.dirty_pages", 1, 4, "interval 1 says 4 dirty pages"),
        ("intervals.start_s", 1, 0.5, "intervals follow each other"),
        ("intervals.end_s", 1, 0.5, "does not end before it starts"),
        ("intervals.end_s", 1, float("nan"), "end_s is nan"),
        ("intervals.end_s", 3, 1e308, r"end_s is 1e\+308"),
        ("intervals.sent_pages", 1, -1, "sent_pages is -1"),
        ("intervals.lost_events", 1, 2**60, "lost_events is"),
        ("content.interval", 5, 99, "interval is 99 in row 5, but it is between 0 and 3"),
        ("content.interval", 0, 3, "in the order of their intervals"),
        ("content.page", 5, PAGES, "page is 16384"),
        ("content.changed_bytes", 5, 5000, "changed_bytes is 5000"),
        ("content.xbzrle_bytes", 5, -2, "xbzrle_bytes is -2"),
        ("content.between_s", 5, 1e30, "times are below"),
        ("events.page", 1, PAGES, "page is 16384"),
        ("events.time_us", 1, 2**62, "time_us is"),
        ("events.vcpu", 1, -1, "vcpu is -1"),
        ("windows.mode", 0, "guess\x1b[2J", "a mode is one of"),
        ("windows.measured_s", 0, 0.0, "measured_s is 0.0"),
        ("windows.window_s", 0, float("inf"), "window_s is inf"),
        ("windows.dirty_bytes", 0, 2**62, "dirty_bytes is"),
        ("windows.sampled_pages", 0, -1, "sampled_pages is -1"),
        ("runs.npages", 5, None, "npages has missing values"),
    ],
)
def test_what_its_rows_say(tmp_path, members, column, row, value, said):
    member, _, name = column.partition(".")
    name_in_zip = f"{member}.parquet"
    changed = members | {name_in_zip: with_column(members[name_in_zip], name, row, value)}
    with pytest.raises(TraceError, match=said):
        opened(tmp_path, changed)


def test_the_same_rows_unchanged_are_accepted(tmp_path, members):
    same = with_column(members["runs.parquet"], "npages", 5, 1)
    assert len(opened(tmp_path, members | {"runs.parquet": same}).pages(0)) == 100


def test_columns_of_other_types_are_refused(tmp_path, members):
    table = pq.read_table(io.BytesIO(members["runs.parquet"]))
    for changed, said in (
        (table.set_column(0, "interval", table["interval"].cast(pa.float64())), "interval is of type double"),
        (table.set_column(2, "npages", table["npages"].cast(pa.string())), "npages is of type string"),
        (table.drop_columns(["npages"]), "lacks npages"),
        (table.append_column("npages", table["npages"]), "its columns are"),
    ):
        target = io.BytesIO()
        pq.write_table(changed, target)
        with pytest.raises(TraceError, match=said):
            opened(tmp_path, members | {"runs.parquet": target.getvalue()})


def test_the_zip_is_looked_at_before_a_member_is_read(tmp_path, members):
    with pytest.raises(TraceError, match="compressed or encrypted"):
        opened(tmp_path, members, compression=zipfile.ZIP_DEFLATED)
    doubled = pack([*members.items(), ("runs.parquet", members["runs.parquet"])])
    (tmp_path / "a.trace").write_bytes(doubled)
    with pytest.raises(TraceError, match=r"'runs\.parquet' twice"):
        Trace.open(tmp_path / "a.trace")
    with pytest.raises(TraceError, match="is no member of a trace"):
        opened(tmp_path, members | {"../../evil": b""})
    with pytest.raises(TraceError, match=r"meta\.json claims"):
        opened(tmp_path, members | {"meta.json": b" " * (2 << 20)})
    many = pack([(f"{number}.json", b"") for number in range(10_000)])
    (tmp_path / "a.trace").write_bytes(many)
    with pytest.raises(TraceError, match="its directory claims"):
        Trace.open(tmp_path / "a.trace")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "it is a pipe"),
        (Path("/dev/zero"), "it is a device"),
        (Path("/dev/null"), "it is a device"),
    ):
        with pytest.raises(TraceError, match=said):
            Trace.open(path)
    (tmp_path / "b.trace.part").mkdir()
    os.mkfifo(tmp_path / "b.trace.part" / "meta.json")
    with pytest.raises(TraceError, match="it is a pipe"):
        Trace.open(tmp_path / "b.trace")


def test_a_pipe_among_the_pieces_of_a_recording_is_a_damaged_piece(tmp_path):
    writer = TraceWriter(tmp_path / "a.trace", TraceMeta("stream", "10.0", 1 << 26))
    for number in range(3):
        writer.add_interval(number, number + 1, pages=[number])
    piece = tmp_path / "a.trace.part" / "00000001-runs.parquet"
    piece.unlink()
    os.mkfifo(piece)
    trace = Trace.open(tmp_path / "a.trace")
    assert len(trace.intervals) == 1 and "2 damaged part(s)" in trace.meta.note


def test_impossible_rows_end_a_recording_there(tmp_path):
    writer = TraceWriter(tmp_path / "a.trace", TraceMeta("stream", "10.0", 1 << 26))
    for number in range(3):
        writer.add_interval(number, number + 1, pages=[number])
    piece = tmp_path / "a.trace.part" / "00000001-runs.parquet"
    piece.write_bytes(with_column(piece.read_bytes(), "npages", 0, 200_000_000))
    trace = Trace.open(tmp_path / "a.trace")
    assert len(trace.intervals) == 1 and "2 damaged part(s)" in trace.meta.note


def bomb(rows: int, groups: int) -> bytes:
    """Return runs that claim many rows in few bytes."""
    schema = pa.schema([("interval", pa.int32()), ("first_page", pa.uint32()), ("npages", pa.uint32())])
    zeros = pa.table([np.zeros(rows, np.int32), *[np.zeros(rows, np.uint32)] * 2], schema=schema)
    target = io.BytesIO()
    with pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=False) as writer:
        for _ in range(groups):
            writer.write_table(zeros)
    return target.getvalue()


READ = """
import sys, pathlib
import migsim.trace, pyarrow.parquet
from migsim.errors import TraceError
from migsim.trace import Trace
def kib(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
Trace.open(sys.argv[1])  # what imports and caches take is not the next file's
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = kib("VmHWM")
try:
    Trace.open(sys.argv[2])
    print("accepted")
except TraceError as error:
    print("refused:", error)
print(kib("VmHWM") - before)
"""


def memory_of(good: Path, path: Path) -> tuple[str, int]:
    """Return what opening a trace says, and the bytes by which the peak of the resident memory rose."""
    done = subprocess.run(
        [sys.executable, "-c", READ, good, path],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    said, kib = done.stdout.splitlines()
    return said, int(kib) << 10


def test_memory_is_bounded_by_the_file(tmp_path, members):
    opened(tmp_path, members)
    good = tmp_path / "a.trace"
    free = 64 << 20
    rows = bomb(4_000_000, 25)  # 1.2 GB
    (tmp_path / "bomb.trace").write_bytes(pack(list((members | {"runs.parquet": rows}).items())))
    path = tmp_path / "bomb.trace"
    said, used = memory_of(good, path)
    assert "it claims 100000000 rows" in said
    assert used <= 2 * path.stat().st_size + free

    many = with_column(members["runs.parquet"], "npages", 5, 200_000_000)
    path.write_bytes(pack(list((members | {"runs.parquet": many}).items())))
    said, used = memory_of(good, path)
    assert said.startswith("refused") and used <= 2 * path.stat().st_size + free


def test_memory_of_a_large_honest_trace_is_bounded_too(tmp_path, members):
    opened(tmp_path, members)
    meta = TraceMeta("dirty-ring", "10.0.8", 16 << 30, accel="kvm")
    rng = np.random.default_rng(1)
    with TraceWriter(tmp_path / "large.trace", meta) as writer:
        for number in range(8):
            pages = np.sort(rng.choice(4 << 20, 1 << 19, replace=False))
            writer.add_events(np.full(pages.size, number), pages, np.zeros(pages.size, int))
            writer.add_interval(number, number + 1, pages=pages)
    path = tmp_path / "large.trace"
    said, used = memory_of(tmp_path / "a.trace", path)
    assert said == "accepted"
    assert used <= 2 * path.stat().st_size + (64 << 20), (used >> 20, path.stat().st_size >> 20)


def test_a_page_that_claims_two_gigabytes_is_not_decompressed(tmp_path, members):
    """The footer is honest; the header of a page in the middle of the file is not."""
    zeros = pa.table({"mode": ["x" * (64 << 20)]})
    target = io.BytesIO()
    pq.write_table(zeros, target, compression="zstd", use_dictionary=False, write_statistics=False)
    large = target.getvalue()
    honest = pq.read_table(io.BytesIO(members["windows.parquet"]))
    columns = {name: honest[name] for name in honest.column_names} | {"mode": zeros["mode"]}
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target, compression="zstd", use_dictionary=False)
    assert len(target.getvalue()) < 100_000 and len(large) < 100_000
    with pytest.raises(TraceError, match=r"claims? \d+ bytes for 1 values"):
        opened(tmp_path, members | {"windows.parquet": target.getvalue()})
