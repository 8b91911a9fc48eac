"""Where a guest's data lies: counted in cells, kept in the trace, checked as it is read."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import TraceError
from migsim.trace import RamBlock, Trace, TraceMeta, TraceWriter
from migsim.trace.data_map import LEAST_CELL_PAGES, MOST_CELLS, DataMap, DataMapCounter, cell_pages_of
from migsim.trace.render import summary

PAGES = 1000
COUNTS = (256, 0, 100, 232)
META = TraceMeta(
    "stream", "10.0.8", PAGES * 4096, zero_pages=PAGES - sum(COUNTS), data_map=DataMap(256, COUNTS)
)


def plain(**changes):
    return json.loads(META.to_json()) | changes


@given(st.integers(1, 1 << 35))
def test_cells_are_few_whatever_the_guest(total_pages):
    cell = cell_pages_of(total_pages)
    assert -(-total_pages // cell) <= MOST_CELLS
    assert cell & (cell - 1) == 0
    assert cell == LEAST_CELL_PAGES or -(-total_pages // cell) > MOST_CELLS // 2


@given(st.lists(st.sets(st.integers(0, PAGES - 1), max_size=80), max_size=6))
def test_the_counter_counts_each_page_in_its_cell(batches):
    counter = DataMapCounter(PAGES)
    for batch in batches:
        counter.add(np.array(sorted(batch), np.int64))
    pages = np.array([page for batch in batches for page in batch], np.int64)
    assert counter.map().data_pages == tuple(np.bincount(pages // 256, minlength=4).tolist())


def test_a_map_comes_back_as_it_was_written(tmp_path):
    with TraceWriter(tmp_path / "a.trace", META) as writer:
        writer.add_interval(0.0, 1.0, pages=[5, 6])
    trace = Trace.open(tmp_path / "a.trace")
    assert trace.meta.data_map == META.data_map
    (row,) = [text for label, text in summary(trace) if label == "data lies"]
    assert row.startswith("[####") and "counted by 1 MiB" in row


def test_a_trace_without_a_map_is_of_the_version_that_it_always_was(tmp_path):
    old = TraceMeta("stream", "10.0.8", PAGES * 4096, zero_pages=1)
    assert json.loads(old.to_json())["version"] == 1
    assert "data_map" not in json.loads(old.to_json())
    assert TraceMeta.from_json(old.to_json()) == old
    with TraceWriter(tmp_path / "a.trace", old) as writer:
        writer.add_interval(0.0, 1.0, pages=[5, 6])
    assert not [label for label, _ in summary(Trace.open(tmp_path / "a.trace")) if label == "data lies"]


def test_a_trace_with_a_map_is_of_a_version_of_its_own():
    assert plain()["version"] == 2


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ([], "no object"),
        ({"cell_pages": 256}, "no object"),
        ({"cell_pages": 256, "data_pages": list(COUNTS), "more": 1}, "no object"),
        ({"cell_pages": 256, "data_pages": {}}, "no list"),
        ({"cell_pages": 256, "data_pages": [0] * (MOST_CELLS + 1)}, "at most 4096"),
        ({"cell_pages": 512, "data_pages": [300, 288]}, "cells have 512 pages"),
        ({"cell_pages": True, "data_pages": list(COUNTS)}, "'True'"),
        ({"cell_pages": 256, "data_pages": list(COUNTS[:-1])}, "3 cells"),
        ({"cell_pages": 256, "data_pages": [256, 0, 100, 233]}, "cell 3 says 233"),
        ({"cell_pages": 256, "data_pages": [257, 0, 99, 232]}, "cell 0 says 257"),
        ({"cell_pages": 256, "data_pages": [-1, 1, 100, 232]}, "cell 0 says -1"),
        ({"cell_pages": 256, "data_pages": [256, 0, 100, 231.0]}, r"'231\.0'"),
        ({"cell_pages": 256, "data_pages": [256, 0, 100, None]}, "'None'"),
        ({"cell_pages": 256, "data_pages": [255, 0, 100, 232]}, "counts 587 pages"),
    ],
)
def test_a_map_that_cannot_be_is_refused(changed, says):
    with pytest.raises(TraceError, match=says):
        TraceMeta.from_json(json.dumps(plain(data_map=changed)))


def test_a_map_of_a_guest_of_several_blocks_covers_them_all():
    blocks = (RamBlock("pc.ram", 0, PAGES), RamBlock("vga.vram", PAGES, 300))
    meta = TraceMeta(
        "stream",
        "10.0.8",
        PAGES * 4096,
        ram_blocks=blocks,
        zero_pages=1300 - 20,
        data_map=DataMap(256, (0, 0, 0, 0, 0, 20)),
    )
    assert TraceMeta.from_json(meta.to_json()) == meta


@given(st.lists(st.integers(0, 256), min_size=1, max_size=40), st.integers(1, 80))
def test_the_picture_has_its_width_and_shows_zero_as_blank(counts, width):
    drawn = DataMap(256, tuple(counts)).drawn(len(counts) * 256, width)
    assert len(drawn) == width
    assert (drawn.strip() == "") == (sum(counts) == 0)
    if min(counts) == 256:
        assert drawn == "#" * width
