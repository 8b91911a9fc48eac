"""How a guest's RAM lies in the batch engine, against a slow and readable layout, and what blocks of it change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.engine import segments as engine_segments
from migsim.engine.batch.layout import SEGMENTS_TOGETHER, extent_records, lay_out, memory_of
from migsim.engine.batch.left import page_s_of
from migsim.engine.batch.memory import begin
from migsim.engine.batch.ram import DATA_PART, ZERO_PART
from migsim.engine.batch.records import CELL, STATE
from migsim.engine.batch.sending import send
from migsim.engine.batch.windows import alike_pages
from migsim.engine.segments import cut, cut_extent, extents_of, most_segments
from migsim.models.dirty.log import CHUNK_PAGES
from migsim.workload import Workload, WorkloadClass
from tests.engine.batch.test_batch import base, check, workloads

PAGE_S = {
    "normal_page_s": 2e-6,
    "cold_page_s": 3e-6,
    "fresh_page_s": 1e-5,
    "zero_page_s": 3e-7,
    "raw_bytes": 4104.0,
    "zero_bytes": 9.0,
}


@st.composite
def one_over_the_other(draw):
    """A guest whose classes' extents overlap, as where their pages alternate."""
    pages = draw(st.integers(64, 3 * CHUNK_PAGES))
    classes, left, count = [], pages, draw(st.integers(2, 4))
    for later in range(count - 1, -1, -1):
        size = draw(st.integers(4, left - 4 * later))
        first = draw(st.integers(0, pages - size))
        left -= size
        classes.append(
            WorkloadClass(
                pages=size,
                writes_per_page_per_s=draw(st.sampled_from([0.0, 0.01, 0.01, 2.0])),
                pattern=draw(st.sampled_from(["random", "random", "sweep"])),
                extents=((first, size),),
            )
        )
    zero = draw(st.integers(0, pages - sum(c.pages for c in classes))) if draw(st.booleans()) else 0
    return Workload(
        ram_bytes=pages * 4096, ram_total_bytes=pages * 4096, zero_pages=zero, classes=tuple(classes)
    )


guests = st.one_of(workloads(), one_over_the_other()).filter(lambda w: extents_of(w))


def by_records(array):
    return array.view(np.recarray) if array.dtype.names else array


def laid_out(workload, apart):
    """What the compiled loop makes of it, by the same functions run as Python."""
    extents = extents_of(workload)
    room = memory_of(extents, len(workload.classes))
    room = type(room)(*map(by_records, room))
    return lay_out(room, by_records(extent_records(extents)), apart)


def readable(workload, apart):
    """The segments as rows (first page, pages, chunk, part), and the parts as (class, chunk, pages, offset, length)."""
    s = cut(workload)
    chunks = {chunk: k for k, chunk in enumerate(sorted(set(s.chunk.tolist())))}
    parts, rows = {}, []
    for i in range(len(s)):
        chunk, of_class = chunks[s.chunk[i]], int(s.of_class[i])
        part = ZERO_PART if s.is_zero[i] else DATA_PART
        if s.rate[i] > 0:
            key = (of_class, chunk, i if s.is_sweep[i] else None)
            part = list(parts).index(key) if key in parts else len(parts)
            parts.setdefault(key, [of_class, chunk, 0.0, s.offset[i], s.length[i]])[2] += s.pages[i]
        rows.append([s.first_page[i], s.pages[i], chunk, part])
    loud = {chunk for _, _, chunk, part in rows if part >= 0}
    joined, before = [], None
    for row in rows:
        same = before is not None and row[3] == before[3] and row[3] < 0 and not apart
        if same and (row[2] == before[2] or not {row[2], before[2]} & loud):
            joined[-1][1] += row[1]
        else:
            joined.append(list(row))
        before = row
    return joined, list(parts.values())


@settings(max_examples=150, deadline=None)
@given(guests, st.booleans())
def test_the_layout_is_the_readable_one(workload, apart):
    m = laid_out(workload, apart)
    rows, parts = readable(workload, apart)
    first, pages, chunk, part = map(np.array, zip(*rows, strict=True))
    np.testing.assert_allclose(m.first_page, first, rtol=1e-12)
    np.testing.assert_allclose(m.pages, pages, rtol=1e-9, atol=1e-9)
    assert m.chunk.tolist() == chunk.tolist()
    assert m.part.tolist() == part.tolist()
    assert [(p.of_class, p.chunk) for p in m.parts] == [(p[0], p[1]) for p in parts]
    np.testing.assert_allclose(m.parts.pages, [p[2] for p in parts], rtol=1e-9)
    sweeps = m.parts.sweeps > 0
    np.testing.assert_allclose(m.parts.offset[sweeps], np.array([p[3] for p in parts])[sweeps], atol=1e-9)
    np.testing.assert_allclose(m.parts.length[sweeps], np.array([p[4] for p in parts])[sweeps], rtol=1e-9)
    data = np.where(m.part == ZERO_PART, 0.0, m.pages)
    np.testing.assert_array_equal(m.data, data)
    np.testing.assert_allclose(m.before, np.cumsum(data) - data, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(guests, st.booleans())
def test_stretches_and_blocks_go_over_every_segment_once(workload, apart):
    m = laid_out(workload, apart)
    written = [i for begin, end, part in m.stretches for i in range(begin, end) if m.part[i] == part]
    assert written == np.flatnonzero(m.part >= 0).tolist()
    assert all(m.part[end - 1] != m.part[end] for _, end, _ in m.stretches if end < len(m.part)), (
        "a stretch ends where its part does"
    )
    i = 0
    while i < len(m.pages):
        end = m.block_end[i]
        assert i < end <= i + SEGMENTS_TOGETHER
        assert set(m.block_end[i:end].tolist()) == {end}
        assert len(set(m.chunk[i:end].tolist())) == 1
        i = end
    assert i == len(m.pages)


@settings(max_examples=100)
@given(
    st.integers(0, 3 * CHUNK_PAGES),
    st.integers(1, 9 * CHUNK_PAGES),
    st.sampled_from([1, 1, 2, 5, 48]),
    st.booleans(),
)
def test_an_extent_is_cut_into_pieces_and_at_chunks(first, pages, pieces, together):
    whole = engine_segments.Extent(first, pages, 1.0, 0.0, pages, pieces, together, False, 0)
    room = most_segments(whole)
    starts, sizes = [0.0] * room, [0.0] * room
    count = cut_extent(first, pages, pieces, together, starts, sizes, 0)
    begins, ends = np.array(starts[:count]), np.array(starts[:count]) + sizes[:count]
    assert (begins[0], ends[-1]) == (first, pytest.approx(first + pages))
    np.testing.assert_allclose(begins[1:], ends[:-1])
    inside = np.arange(first // CHUNK_PAGES + 1, np.ceil((first + pages) / CHUNK_PAGES)) * CHUNK_PAGES
    edges = first + pages / pieces * np.arange(1, pieces)
    missed = [x for x in (*inside, *edges) if np.abs(begins - x).min() > 1e-6]
    if not together:
        assert not missed
        return
    assert count <= 3 * pieces  # what comes before whole chunks, these, and what comes after
    # Chunk boundaries alone are missed, and those only inside of what holds whole chunks.
    holders = [(low, high) for low, high in zip(begins, ends, strict=True) if high - low > CHUNK_PAGES]
    assert all(x in inside and any(low < x < high for low, high in holders) for x in missed)
    assert all(low % CHUNK_PAGES == 0 == high % CHUNK_PAGES for low, high in holders)


@settings(max_examples=30, deadline=None)
@given(one_over_the_other().filter(extents_of), st.sampled_from([{}, {"xbzrle": True}]), st.booleans())
def test_classes_one_over_the_other_go_as_in_the_event_engine(workload, capabilities, drawn):
    migration = base(
        workload=workload,
        capabilities=capabilities,
        parameters={"max-bandwidth": 300_000_000, "downtime-limit": 100},
        deadline_s=20.0,
    )
    check([migration], seeds=[5] if drawn else None)


def ready(workload, fresh_pages, sent_share):
    """A guest's memory after some of it went and was written again, and the state that goes with it."""
    m = laid_out(workload, True)
    s, c = np.zeros(1, STATE).view(np.recarray)[0], np.zeros(1, CELL).view(np.recarray)[0]
    for name, value in PAGE_S.items():
        setattr(c, name, value)
    c.fresh_pages, c.load_fraction, s.speed = fresh_pages, 1.0, 1.0
    begin(m, s, c)
    again = int(sent_share * len(m.pages))
    m.first[:again] = m.fresh[:again] = 0.0
    m.unsent[:again] *= 0.3
    s.remaining, s.first_left = m.unsent.sum(), m.first.sum()
    s.zero_left = m.unsent[m.part == ZERO_PART].sum()
    return m, s, c


@settings(max_examples=100, deadline=None)
@given(
    guests,
    st.sampled_from([0.0, 5000.0, np.inf]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.floats(0, 1),
    st.floats(0.001, 1.2),
    st.sampled_from(["time", "bytes"]),
)
def test_segments_taken_together_go_as_one_by_one(workload, fresh_pages, sent_share, cursor, share, limit):
    made = []
    for together in (True, False):
        m, s, c = ready(workload, fresh_pages, sent_share)
        s.cursor = int(cursor * (len(m.pages) - 1))
        if not together:
            m.block_end[:] = np.arange(1, len(m.pages) + 1)
        pages = share * s.remaining
        budget_s, budget_bytes = (pages * 4e-6, np.inf) if limit == "time" else (np.inf, pages * 4104.0)
        done = send(m, s, c, budget_s, budget_bytes, 1000.0, 0.01, False)
        made.append((done, m, s))
    (done, m, s), (slow, n, t) = made
    assert done.seconds == pytest.approx(slow.seconds, rel=1e-9)
    assert done.stream_bytes == pytest.approx(slow.stream_bytes, rel=1e-9)
    assert done.full == slow.full or s.remaining == pytest.approx(0, abs=1e-3)
    for name in ("unsent", "sent", "first", "fresh", "cleared"):
        np.testing.assert_allclose(getattr(m, name), getattr(n, name), rtol=1e-9, atol=1e-5, err_msg=name)
    for name in ("remaining", "normal", "duplicate", "first_left", "zero_left"):
        assert s[name] == pytest.approx(t[name], rel=1e-9, abs=1e-5), name
    assert s.remaining + s.normal + s.duplicate == pytest.approx(
        ready(workload, 0.0, sent_share)[1].remaining
    )


@settings(max_examples=100, deadline=None)
@given(
    guests,
    st.sampled_from([0.0, 5000.0, np.inf]),
    st.sampled_from([0.0, 0.5]),
    st.floats(0, 1),
    st.booleans(),
)
def test_pages_that_cost_alike_are_found_together_as_one_by_one(workload, fresh, sent_share, cursor, once):
    m, s, c = ready(workload, fresh, sent_share)
    i = int(cursor * (len(m.pages) - 1))
    page_s = page_s_of(m, s, c, i)
    blocks = alike_pages(m, s, c, i, 1e300, page_s, once)
    m.block_end[:] = np.arange(1, len(m.pages) + 1)
    assert blocks == pytest.approx(alike_pages(m, s, c, i, 1e300, page_s, once))
    assert alike_pages(m, s, c, i, blocks / 2, page_s, once) >= blocks / 2


def test_segments_that_cost_as_much_in_the_mean_are_not_alike():
    """Half goes again, half to memory yet to be found: in the mean as dear as pages that go for the first time."""
    hot = WorkloadClass(pages=9600, writes_per_page_per_s=1.0, extents=((0, 9600),))
    guest = Workload(ram_bytes=9600 * 4096, ram_total_bytes=9600 * 4096, zero_pages=0, classes=(hot,))
    m, s, c = ready(guest, np.inf, 0.0)
    c.normal_page_s, c.cold_page_s, c.fresh_page_s = 2.0, 3.0, 4.0
    m.fresh[:], m.first[1:17], m.fresh[17:33] = 0.0, 0.0, m.pages[17:33]
    m.block_end[0], m.block_end[1:33] = 1, 33
    assert alike_pages(m, s, c, 0, 1e300, 3.0, False) == m.pages[0]


@pytest.mark.parametrize("zero_pages", [0, 3000])
def test_classes_without_places_are_laid_from_page_0(zero_pages):
    nowhere = WorkloadClass(pages=100, writes_per_page_per_s=1.0)
    guest = Workload(ram_bytes=1 << 24, ram_total_bytes=1 << 24, zero_pages=zero_pages, classes=(nowhere,))
    laid = extents_of(guest)
    assert [e.of_class for e in laid] == [0, *([engine_segments.ZERO_CLASS] if zero_pages else [])]
    assert (laid[0].first_page, laid[0].pages) == (0, 100)
    check([base(workload=guest)])
