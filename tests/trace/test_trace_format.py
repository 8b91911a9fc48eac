"""The trace format: written, read back, and refused where it is not a trace."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import HostError, TraceError
from migsim.trace import RamBlock, Trace, TraceMeta, TraceWriter
from migsim.trace.content import content_with_write_times
from migsim.trace.members import expand_runs, page_runs
from migsim.trace.render import summary

BLOCKS = RamBlock.stack([("pc.ram", 1 << 30), ("vga.vram", 16 << 20)])
META = TraceMeta(collector="stream", qemu_version="10.0.8", ram_bytes=1 << 30, ram_blocks=BLOCKS)
WINDOW = {
    "mode": "dirty-bitmap",
    "window_s": 1.0,
    "start_s": 0.0,
    "measured_s": 1.0,
    "dirty_bytes": 99 << 20,
    "resolution_bytes": 2 << 20,
    "sampled_pages": 0,
}


def write(path, meta=META):
    with TraceWriter(path, meta) as writer:
        writer.add_content([1, 9], [8, 4096], [1, 2], [11, -1])
        writer.add_interval(0.0, 1.0, pages=[9, 1, 2, 3, 3], sent_pages=4, zero_pages=1)
        writer.add_events([100, 200, 300], [5, 6, 5], [0, 1, 0])
        writer.add_interval(1.0, 1.5, runs=([0, 2000], [1000, 24]), lost_events=7)
        writer.add_interval(1.5, 2.0)
        writer.add_windows([WINDOW])
    return path


def test_a_trace_reads_back_as_written(tmp_path):
    trace = Trace.open(write(tmp_path / "a.trace"))
    assert trace.meta.ram_blocks == BLOCKS
    assert trace.meta.complete
    assert trace.meta.duration_s == 2.0
    assert trace.meta.lost_events == 7
    assert trace.pages(0).tolist() == [1, 2, 3, 9]
    assert trace.pages(1).tolist() == [*range(1000), *range(2000, 2024)]
    assert trace.pages(2).size == 0
    assert trace.intervals["dirty_pages"].tolist() == [4, 1024, -1]
    assert trace.events()[["interval", "time_us", "page", "vcpu"]].to_numpy().tolist() == [
        [1, 100, 5, 0],
        [1, 200, 6, 1],
        [1, 300, 5, 0],
    ]
    assert trace.content["xbzrle_bytes"].tolist() == [11, -1]
    assert trace.windows.to_dict("records") == [WINDOW]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.trace"]


def test_a_stored_zip_with_the_columns_of_the_design(tmp_path):
    import pyarrow.parquet as pq

    path = write(tmp_path / "a.trace")
    with zipfile.ZipFile(path) as archive:
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        with archive.open("runs.parquet") as stream:
            file = pq.ParquetFile(stream)
            assert file.schema_arrow.names == ["interval", "first_page", "npages"]
            column = file.metadata.row_group(0).column(1)
            assert column.compression == "ZSTD"
            assert "DELTA_BINARY_PACKED" in column.encodings
            assert not column.has_dictionary_page


def test_no_such_interval(tmp_path):
    trace = Trace.open(write(tmp_path / "a.trace"))
    with pytest.raises(TraceError, match="no interval 3"):
        trace.pages(3)


def test_page_numbers_beyond_32_bits(tmp_path):
    meta = TraceMeta("stream", "10.0", 1 << 46, ram_blocks=RamBlock.stack([("m", 1 << 46)]))
    with TraceWriter(tmp_path / "a.trace", meta) as writer:
        writer.add_interval(0, 1, pages=[5, (1 << 34) - 1])
    assert Trace.open(tmp_path / "a.trace").pages(0).tolist() == [5, (1 << 34) - 1]


@given(st.lists(st.integers(0, 1 << 20)))
def test_runs_hold_the_unique_pages(pages):
    first, npages = page_runs(pages)
    assert expand_runs(first, npages).tolist() == sorted(set(pages))
    assert len(first) == len({p for p in set(pages) if p - 1 not in pages})


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 262143), max_size=50), max_size=6))
def test_any_intervals_round_trip(tmp_path_factory, intervals):
    path = tmp_path_factory.mktemp("t") / "a.trace"
    with TraceWriter(path, META) as writer:
        for number, pages in enumerate(intervals):
            assert writer.add_interval(number, number + 1, pages=pages) == number
    trace = Trace.open(path)
    assert [trace.pages(i).tolist() for i in range(len(intervals))] == [sorted(set(p)) for p in intervals]


def test_a_recording_under_way_is_not_overwritten(tmp_path):
    writer = TraceWriter(tmp_path / "a.trace", META)
    with pytest.raises(HostError, match="exists"):
        TraceWriter(tmp_path / "a.trace", META)
    writer.close()


def test_missing_folder(tmp_path):
    with pytest.raises(HostError, match="Cannot create"):
        TraceWriter(tmp_path / "nowhere" / "a.trace", META)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 3},
        {"version": True},
        {"ram_bytes": "1GiB"},
        {"ram_bytes": True},
        {"ram_bytes": -1},
        {"ram_blocks": [{"name": "pc.ram"}]},
        {"ram_blocks": "pc.ram"},
        {"zero_pages": 1.5},
        {"collectr": "stream"},
    ],
)
def test_a_wrong_meta_is_refused(change):
    data = json.loads(META.to_json()) | change
    with pytest.raises(TraceError):
        TraceMeta.from_json(json.dumps(data))
    assert TraceMeta.from_json(META.to_json()) == META


def test_a_self_check_inside_guest_is_moved_out(tmp_path):
    declared = {"workload": {"seed": 1}}
    check = {"guest_stopped_ms": 0.0}
    data = json.loads(META.to_json())
    del data["self_check"]
    old = TraceMeta.from_json(json.dumps(data | {"guest": declared | {"self_check": check}}))
    assert (old.guest, old.self_check) == (declared, check)
    write(tmp_path / "a.trace", old)
    trace = Trace.open(tmp_path / "a.trace")
    assert (trace.meta.guest, trace.meta.self_check) == (declared, check)
    assert ("self-check", "guest stopped ms: 0.0") in summary(trace)
    (windows,) = (text for label, text in summary(trace) if label == "window lengths")
    assert sum(int(part.split()[0]) for part in windows.split("; ")[0].split(", ")) == len(
        trace.unique_dirty_curve()
    )


@given(st.text(max_size=40))
def test_any_text_as_meta_is_an_error_of_ours(text):
    with pytest.raises(TraceError):
        TraceMeta.from_json(text)


def test_foreign_files(tmp_path):
    for name, content in (("empty", b""), ("text", b"hello"), ("elf", b"\x7fELF" + bytes(100))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TraceError, match="Cannot read"):
            Trace.open(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(TraceError, match=r"without meta\.json"):
        Trace.open(tmp_path / "zip")
    (tmp_path / "folder").mkdir()
    with pytest.raises(TraceError, match=r"meta\.json"):
        Trace.open(tmp_path / "folder")
    with pytest.raises(TraceError, match="no trace"):
        Trace.open(tmp_path / "missing")


def test_page_numbers_of_blocks():
    assert [(b.first_page, b.pages) for b in BLOCKS] == [(0, 262144), (262144, 4096)]
    assert np.sum([b.pages for b in BLOCKS]) == META.total_pages


def test_content_samples_have_the_times_of_their_writes(tmp_path):
    path = tmp_path / "t.trace"
    with TraceWriter(path, META) as writer:
        # page 3 was last sent in the previous interval, page 4 long before it, page 5 at an unknown time
        writer.add_content([3, 4], [8, 8], [1, 1], [11, 11], between_s=[0.9, 7.0], after_sync_s=[0.1, 0.25])
        writer.add_content([5], [8], [1], [11])
        writer.add_interval(1.0, 2.0, sent_pages=3, zero_pages=0, pages=[3, 4, 5])
    samples = content_with_write_times(Trace.open(path))
    assert samples["since_s"].to_numpy() == pytest.approx([0.8, 1.0, 1.0])
    assert samples["after_s"].to_numpy() == pytest.approx([0.1, 0.25, 0.0])
