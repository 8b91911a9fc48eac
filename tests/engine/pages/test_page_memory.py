"""The page memory: what a trace records comes out of it again, pages walk and are protected as QEMU has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.engine.guest_clock import GuestClock
from migsim.engine.pages.contents import SampledLengths
from migsim.engine.pages.memory import PageMemory
from migsim.engine.pages.replay import zero_map
from migsim.engine.pages.writes import TraceWrites
from migsim.engine.pages.xbzrle import PageXbzrle
from migsim.engine.sending import SendCosts
from migsim.errors import TraceError
from migsim.models.loop.switchover import PagesLeft
from migsim.qapi import QemuVersion
from migsim.trace import RamBlock, Trace, TraceMeta, TraceWriter
from migsim.trace.data_map import DataMap
from tests.engine.pages.known_traces import stream_trace

FREE = SendCosts(0.0, 0.0, 0.0, 0.0)
COSTS = SendCosts(normal_page_s=1e-6, cold_page_s=2e-6, fresh_page_s=3e-6, zero_page_s=1e-7)
NO_LIMIT = float("inf")
CHUNK = 262_144
RECORDED = sorted((Path(__file__).parents[3] / "traces").glob("*.trace"))
STREAMS = [path for path in RECORDED if Trace.open(path).meta.collector == "stream"]


def trace_of(
    path, intervals, *, ram_pages=4096, zero_pages=None, collector="stream", blocks=(), data_map=None
):
    """A trace of (length, pages) intervals."""
    meta = TraceMeta(
        collector=collector,
        qemu_version="10.0.2",
        ram_bytes=ram_pages * 4096,
        ram_blocks=RamBlock.stack(blocks or [("pc.ram", ram_pages * 4096)]),
        zero_pages=zero_pages,
        data_map=data_map,
    )
    at = 0.0
    with TraceWriter(path, meta) as writer:
        for length, pages in intervals:
            writer.add_interval(at, at + length, pages=np.array(pages, np.int64))
            at += length
    return Trace.open(path)


def memory_of(trace, *, seed=1, dirty_fault_s=0.0, **options):
    writes = TraceWrites(trace, np.random.default_rng(seed), dirty_fault_s=dirty_fault_s)
    memory = PageMemory(writes, zero_map(trace, writes), **options)
    memory.start(0.0)
    return memory


def test_a_map_says_which_pages_are_zero(tmp_path):
    counts = (256, 100, 0, 256)
    trace = trace_of(
        tmp_path / "a.trace",
        [(1.0, [600, 1000]), (1.0, [300])],
        ram_pages=1024,
        zero_pages=1024 - sum(counts),
        data_map=DataMap(256, counts),
    )
    zero = zero_map(trace, TraceWrites(trace, np.random.default_rng(1), dirty_fault_s=0.0))
    assert zero.sum() == trace.meta.zero_pages
    data = np.add.reduceat(~zero, np.arange(4) * 256, dtype=int)
    # 600 was zero in the first round and written later: as in a trace without a map, another page is zero for it
    assert abs(data - [256, 100, 1, 256]).sum() <= 1
    assert not zero[[300, 600, 1000]].any()
    assert not zero[256:355].any() and zero[357:512].all() and zero[512:600].all()


def send_all(memory, now=0.0, costs=FREE):
    return memory.send(now, NO_LIMIT, NO_LIMIT, costs)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_recorded_precopy_replayed_at_its_own_syncs_sends_its_own_pages(path):
    """A stream trace is a real precopy that never ended: each of its rounds, page by page, zero pages and all."""
    trace = Trace.open(path)
    assert trace.meta.complete
    memory = memory_of(trace)
    first = send_all(memory)
    assert (first.zero, first.zero + first.normal) == (trace.meta.zero_pages, trace.meta.total_pages)
    now = 0.0
    for row in trace.intervals.itertuples():
        now += float(row.end_s - row.start_s)
        assert memory.sync(now) == row.sent_pages
        assert np.array_equal(np.flatnonzero(memory.dirty), trace.pages(row.interval))
        sent = send_all(memory, now)
        assert sent.normal + sent.zero == row.sent_pages
        if "linux" not in (trace.meta.guest or {}):
            # Linux clears pages that were data; a trace counts such pages and does not name them.
            assert sent.zero == row.zero_pages


def test_a_cut_interval_gives_each_part_its_share_and_loses_none(tmp_path):
    trace = trace_of(tmp_path / "a.trace", [(1.0, range(2000)), (1.0, range(1000, 1100))], zero_pages=2096)
    writes = TraceWrites(trace, np.random.default_rng(3))
    parts = [np.concatenate([w.pages for w in writes.advance(0.25)]) for _ in range(4)]
    assert np.array_equal(np.unique(np.concatenate(parts)), np.arange(2000))
    # Few are seen in both seconds, so that a write or little more was to each page that was seen.
    for part in parts:
        assert 430 < len(part) < 620
        assert len(np.unique(part // 100)) == 20  # from everywhere
    (rest,) = writes.advance(1.0)
    assert np.array_equal(rest.pages, np.arange(1000, 1100))
    assert writes.guest_s == pytest.approx(2.0)


def test_the_trace_starts_over(tmp_path):
    trace = trace_of(tmp_path / "a.trace", [(1.0, [1, 2]), (0.5, [3])])
    writes = TraceWrites(trace, np.random.default_rng(3))
    pages = [w.pages.tolist() for w in writes.advance(3.5)]
    assert pages[:4] == [[1, 2], [3], [1, 2], [3]]
    # A long stretch adds nothing after a whole lap, and ends where it has to.
    long = list(writes.advance(1e6))
    assert len(long) < 12 and writes.guest_s == pytest.approx(1e6 + 3.5)
    assert long[-1].end_s == pytest.approx(1e6)


def test_time_lost_to_faults_is_the_traces_own_and_the_replays_own(tmp_path):
    """1000 first writes of 0.1 ms in a second: the guest ran 0.9 s, and needs a second again when all of them fault."""
    trace = trace_of(tmp_path / "a.trace", [(1.0, range(1000)), (1.0, [])])
    writes = TraceWrites(trace, np.random.default_rng(3), dirty_fault_s=1e-4)
    assert writes.lap_s == pytest.approx(1.9)
    none = next(writes.advance(1.0, lambda pages: np.zeros(len(pages), bool)))
    assert (len(none.pages), none.end_s) == (1000, pytest.approx(0.9))
    writes = TraceWrites(trace, np.random.default_rng(3), dirty_fault_s=1e-4)
    every = next(writes.advance(1.5, lambda pages: np.ones(len(pages), bool)))
    assert (len(every.pages), every.end_s) == (1000, pytest.approx(1.0))
    half = TraceWrites(trace, np.random.default_rng(3), dirty_fault_s=1e-4)
    (part,) = half.advance(0.5, lambda pages: np.ones(len(pages), bool))
    assert part.end_s == 0.5
    assert half.guest_s + 1e-4 * len(part.pages) == pytest.approx(0.5, abs=0.003)


def test_a_slowed_guest_gets_through_less_of_the_trace(tmp_path):
    trace = trace_of(tmp_path / "a.trace", [(1.0, [1]), (1.0, [2])])
    clock = GuestClock()
    memory = memory_of(trace, clock=clock)
    send_all(memory)
    clock.set_speed(0.0, 0.25)
    assert memory.sync(4.0) == 1
    assert np.flatnonzero(memory.dirty).tolist() == [1]
    assert memory.guest_s == pytest.approx(1.0) and memory.guest_now_s(6.0) == pytest.approx(1.5)


def test_writes_with_times_are_cut_at_their_times(tmp_path):
    meta = TraceMeta(collector="dirty-ring", qemu_version="10.0.2", ram_bytes=4096 * 64)
    with TraceWriter(tmp_path / "a.trace", meta) as writer:
        writer.add_events([100_000, 200_000, 600_000, 700_000, 800_000], [5, 9, 5, 7, 7], 0)
        writer.add_interval(0.0, 1.0, pages=[5, 7, 9])
    writes = TraceWrites(Trace.open(tmp_path / "a.trace"), np.random.default_rng(1))
    (first,) = writes.advance(0.5)
    (second,) = writes.advance(0.25)
    assert (first.pages.tolist(), first.writes.tolist()) == ([5, 9], [1, 1])
    assert (second.pages.tolist(), second.writes.tolist()) == ([5, 7], [1, 1])
    assert [w.pages.tolist() for w in writes.advance(0.25)] == [[7]]


# The protect window


@pytest.mark.parametrize("chunked", [True, False])
def test_a_page_sent_counts_from_its_chunks_clearing_on(tmp_path, chunked):
    """Pages of one write each, at any instant of 10 s; their chunk was cleared after 4 s."""
    trace = trace_of(tmp_path / "a.trace", [(1e4, [])] * 3 + [(10.0, range(4000))], ram_pages=5000)
    memory = memory_of(trace, chunked=chunked)
    list(memory.writes.advance(3e4))  # to the interval with the writes
    send_all(memory, 4.0)
    new = memory.sync(10.0)
    expected = 2400 if chunked else 4000
    assert new == pytest.approx(expected, abs=4 * np.sqrt(4000 * 0.4 * 0.6) if chunked else 0)


def test_chunks_have_their_own_clearing(tmp_path):
    pages = [*range(CHUNK - 1000, CHUNK), *range(CHUNK, CHUNK + 1000)]
    trace = trace_of(
        tmp_path / "a.trace", [(1e4, [])] * 3 + [(10.0, pages)], ram_pages=2 * CHUNK, zero_pages=None
    )
    memory = memory_of(trace)
    list(memory.writes.advance(3e4))
    memory.send(0.0, NO_LIMIT, CHUNK * 4104, FREE)
    assert memory.cursor == CHUNK
    memory.send(8.0, NO_LIMIT, NO_LIMIT, FREE)
    memory.sync(10.0)
    assert memory.dirty[:CHUNK].sum() == 1000
    assert memory.dirty[CHUNK:].sum() == pytest.approx(200, abs=50)


def test_a_page_still_to_be_sent_stays(tmp_path):
    memory = memory_of(trace_of(tmp_path / "a.trace", [(1.0, [1, 2, 3])], ram_pages=100))
    memory.send(0.0, NO_LIMIT, 50 * 4104, FREE)
    assert memory.sync(1.0) == 3
    assert memory.remaining_pages == 53


# The walk


def walked(dirty, cursor, count, block_ends):
    """Slow twin: (pages in the order of sending, cursor) for a budget of `count` pages."""
    sent, n = [], len(dirty)
    while len(sent) < count:
        ahead = [p for p in [*range(cursor, n), *range(cursor)] if dirty[p]]
        if not ahead:
            return sent, next(end for end in block_ends if end >= cursor)
        sent.append(ahead[0])
        dirty[ahead[0]] = False
        cursor = ahead[0] + 1
    return sent, cursor


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_walk_is_the_twins(data, tmp_path_factory):
    n = 40
    intervals = data.draw(
        st.lists(
            st.tuples(st.just(1.0), st.lists(st.integers(0, n - 1), unique=True)), min_size=1, max_size=6
        )
    )
    path = tmp_path_factory.mktemp("walk") / "a.trace"
    trace = trace_of(path, intervals, ram_pages=n)
    memory = memory_of(trace, chunked=False, block_pages=[30, 10])
    slow, cursor = np.ones(n, bool), 0
    for k, (_, pages) in enumerate(intervals, 1):
        count = data.draw(st.integers(1, n + 1))
        done = memory.send(k - 1.0, NO_LIMIT, count * 4104, FREE)
        expected, cursor = walked(slow, cursor, count, [30, 40])
        assert done.normal == len(expected)
        assert (memory.cursor, memory.dirty.tolist()) == (cursor, slow.tolist())
        memory.sync(float(k))
        slow[pages] = True
        assert memory.dirty.tolist() == slow.tolist()
        assert memory.remaining_pages == slow.sum()


def test_a_sync_leaves_the_cursor_and_a_search_that_finds_nothing_does_not(tmp_path):
    trace = trace_of(tmp_path / "a.trace", [(1.0, [10, 80]), (1.0, [10, 80])], ram_pages=100)
    memory = memory_of(trace, block_pages=[60, 40])
    memory.send(0.0, NO_LIMIT, 50 * 4104, FREE)
    memory.sync(1.0)
    assert memory.cursor == 50
    memory.send(1.0, NO_LIMIT, 51 * 4104, FREE)  # 50 to 99, and 10: all, and no budget to search on
    assert memory.cursor == 11
    memory.send(1.0, NO_LIMIT, 1.0, FREE)
    assert memory.cursor == 60
    memory.sync(2.0)
    memory.send(2.0, NO_LIMIT, 1.0, FREE)
    assert memory.cursor == 81 and memory.dirty[10]


def test_what_a_page_costs(tmp_path):
    trace = trace_of(tmp_path / "a.trace", [(1.0, range(100))], ram_pages=1000, zero_pages=600)
    memory = memory_of(trace, fresh_pages=250)
    assert memory.remaining_by_kind() == PagesLeft(0, 150, 250, 600)
    sent = send_all(memory, costs=COSTS)
    assert sent.seconds == pytest.approx(250 * 3e-6 + 150 * 2e-6 + 600 * 1e-7)
    assert sent.stream_bytes == 400 * 4104 + 600 * 9
    memory.sync(1.0 + sent.seconds)
    again = memory.remaining_by_kind()
    assert (again.again, again.first, again.fresh, again.zero) == (memory.remaining_pages, 0, 0, 0)


def test_a_budget_of_time_buys_pages_at_their_cost(tmp_path):
    memory = memory_of(trace_of(tmp_path / "a.trace", [(1.0, [1])]))
    sent = memory.send(0.0, 0.003, NO_LIMIT, COSTS)
    assert sent.normal == 1000 and sent.seconds == pytest.approx(0.003)
    assert memory.send(0.0, 0.0, NO_LIMIT, COSTS).normal == 0


# XBZRLE


def coder_of(memory_writes, cache_bytes, version="10.0"):
    return PageXbzrle(
        SampledLengths(memory_writes),
        memory_writes.rng,
        cache_size_bytes=cache_bytes,
        version=QemuVersion.parse(version),
        terms={"xbzrle_hit_s": 1e-6, "xbzrle_miss_s": 1e-6},
    )


def coded_memory(trace, cache_bytes=1 << 22, version="10.0"):
    writes = TraceWrites(trace, np.random.default_rng(1))
    zero = zero_map(trace, writes)
    memory = PageMemory(writes, zero, xbzrle=coder_of(writes, cache_bytes, version))
    memory.start(0.0)
    return memory


def test_it_begins_when_ram_was_gone_through_and_then_misses_once(tmp_path):
    trace = stream_trace(
        tmp_path / "a.trace", [(100, 500, 5000.0, "random")], ram_pages=1000, bytes_a_write=8
    )
    memory = coded_memory(trace)
    counters = memory.xbzrle.counters
    for k, hits in ((0, 0), (1, 0), (2, 1)):
        sent = send_all(memory, float(k))
        dirty = memory.sync(k + 1.0)
        assert dirty == 500
        assert (counters.pages > 0) == bool(hits)
        assert sent.normal == (0 if hits else (500 if k else 1000))
    assert counters.cache_miss == 500 and counters.overflow == 0
    assert counters.pages == 500 and counters.bytes > 500 * 14


def test_a_page_that_was_not_written_since_is_unchanged(tmp_path):
    """Written once, before it was sent but after its chunk was cleared: dirty again, found, and not sent."""
    quiet, burst = (1e6, []), (10.0, range(2000, 4000))
    trace = trace_of(tmp_path / "a.trace", [quiet, quiet, burst], ram_pages=4096)
    memory = coded_memory(trace, cache_bytes=1 << 24)
    list(memory.writes.advance(2e6))
    memory.dirty[:] = False
    memory.dirty[2000:4000] = True
    memory._left = 2000
    memory.xbzrle.start()
    memory.send(0.0, NO_LIMIT, 4104, FREE)  # clears the chunk
    memory.send(5.0, NO_LIMIT, NO_LIMIT, FREE)
    assert memory.sync(10.0) == pytest.approx(2000, abs=1)
    before = memory.xbzrle.counters.pages
    sent = memory.send(10.0, NO_LIMIT, NO_LIMIT, FREE)
    found = memory.xbzrle.counters.pages - before
    assert found == 2000
    assert found - memory.xbzrle.counters.overflow == pytest.approx(
        1000, abs=130
    )  # written in the first 5 of 10 s
    assert sent.normal == memory.xbzrle.counters.overflow  # no samples: what changed overflows
    assert memory.remaining_pages == 0


def test_the_last_stage_takes_nothing_in(tmp_path):
    trace = stream_trace(tmp_path / "a.trace", [(0, 800, 9000.0, "random")], ram_pages=1000, bytes_a_write=8)
    memory = coded_memory(trace)
    send_all(memory)
    memory.sync(1.0)
    assert memory.encode_left(1.0).raw == memory.xbzrle.counters.cache_miss == 800
    assert memory.xbzrle.cache.held.size == 0
    assert memory.remaining_pages == 0


def test_lengths_are_those_of_pages_alike(tmp_path):
    """Sampled pages of two regions change by 8 and by 512 bytes a write."""
    few = stream_trace(tmp_path / "few.trace", [(0, 600, 900.0, "random")], ram_pages=1200, bytes_a_write=8)
    writes = TraceWrites(few, np.random.default_rng(1))
    lengths = SampledLengths(writes)
    rng = np.random.default_rng(2)
    pages = np.repeat(np.arange(600), 20)
    means = [lengths.draw(pages, np.full(len(pages), since), rng).mean() for since in (0.2, 1.0, 3.0)]
    for since, mean in zip((0.2, 1.0, 3.0), means, strict=True):
        writes_each = 1.5 * since / -np.expm1(-1.5 * since)  # of pages known to have changed
        assert mean == pytest.approx(writes_each * 11, rel=0.12)


# Traces that cannot be replayed


def test_a_trace_without_page_numbers_is_refused(tmp_path):
    meta = TraceMeta(collector="dirty-rate", qemu_version="10.0.2", ram_bytes=1 << 30)
    with TraceWriter(tmp_path / "a.trace", meta) as writer:
        writer.add_interval(0.0, 1.0, dirty_pages=500)
    with pytest.raises(TraceError, match="names no pages"):
        TraceWrites(Trace.open(tmp_path / "a.trace"), np.random.default_rng(1))


def test_a_page_outside_ram_is_refused(tmp_path):
    """Packing a recording leaves an impossible interval out."""
    trace = trace_of(tmp_path / "a.trace", [(1.0, [63, 64])], ram_pages=64)
    with pytest.raises(TraceError, match="names no pages"):
        TraceWrites(trace, np.random.default_rng(1))
