"""Records found many at once by `RecordRuns`, against a walk record by record."""

import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.tracer.stream.record_runs import NORMAL, ZERO, RecordRuns

SIZES = {NORMAL: 4104, ZERO: 9}
BEFORE = b"\xff" * 13


def walk(data, at, end):
    """Find the records one by one: positions of normal and of zero records, and the end of the last."""
    found = {NORMAL: [], ZERO: []}
    while at + 8 <= end:
        flags = struct.unpack_from(">Q", data, at)[0] & 4095
        if flags not in SIZES or at + SIZES[flags] > end or (flags == ZERO and data[at + 8]):
            break
        found[flags].append(at)
        at += SIZES[flags]
    return found[NORMAL], found[ZERO], at


def found(runs):
    normal, zero = runs.positions()
    return normal.tolist(), zero.tolist()


def records(kind, count, fill):
    """Make records whose contents look like words of other records."""
    words = ((7 * page) << 12 | kind for page in range(count))
    body = (struct.pack(">Q", fill) * 512) if kind == NORMAL else b"\0"
    return b"".join(struct.pack(">Q", word) + body for word in words)


RUN = st.tuples(
    st.sampled_from([NORMAL, ZERO]),
    st.sampled_from([1, 2, 3, 60, 400]),
    st.sampled_from([0, NORMAL, ZERO, 1 << 12 | NORMAL, 0x128]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(RUN, max_size=6), st.sampled_from([b"", b"\0" * 7 + b"\x10", b"\0" * 6 + b"\1\x28"]), st.data()
)
def test_the_same_as_a_walk(drawn_runs, tail, data):
    stream = bytearray(BEFORE + b"".join(records(*run) for run in drawn_runs) + tail)
    end = data.draw(st.one_of(st.just(len(stream)), st.integers(len(BEFORE), len(stream))))
    runs = RecordRuns()
    last = runs.find(stream, len(BEFORE), end)
    assert (*found(runs), last) == walk(stream, len(BEFORE), end)


@settings(max_examples=60, deadline=None)
@given(st.lists(RUN, max_size=6), st.data())
def test_pieces_that_arrive_one_after_the_other_add_up(drawn_runs, data):
    stream = bytearray(BEFORE + b"".join(records(*run) for run in drawn_runs))
    ends = sorted(data.draw(st.lists(st.integers(len(BEFORE), len(stream)), max_size=8)))
    runs, at = RecordRuns(), len(BEFORE)
    for end in [*ends, len(stream)]:
        at = runs.find(stream, at, end)
    assert (*found(runs), at) == walk(stream, len(BEFORE), len(stream))
    runs.clear()
    assert not runs
    assert found(runs) == ([], [])


def test_a_long_run_that_breaks_off():
    for broken in (24, 87, 88, 89, 343, 344, 345, 2000):
        stream = bytearray(records(ZERO, 3000, 0))
        stream[9 * broken + (7 if broken % 2 else 8)] ^= 1
        runs = RecordRuns()
        end = runs.find(stream, 0, len(stream))
        assert end == 9 * broken
        assert np.array_equal(runs.positions()[1], np.arange(0, end, 9))
