"""RecordRuns of records, found at once, against a walk record by record."""

import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.tracer.stream.record_runs import NORMAL, ZERO, RecordRuns

SIZES = {NORMAL: 4104, ZERO: 9}
BEFORE = b"\xff" * 13


def walk(data, at, end):
    """The slow way: positions of normal and of zero records, and where they end."""
    found = {NORMAL: [], ZERO: []}
    while at + 8 <= end:
        flags = struct.unpack_from(">Q", data, at)[0] & 4095
        if flags not in SIZES or at + SIZES[flags] > end or (flags == ZERO and data[at + 8]):
            break
        found[flags].append(at)
        at += SIZES[flags]
    return found[NORMAL], found[ZERO], at


def found(rows):
    normal, zero = rows.positions()
    return normal.tolist(), zero.tolist()


def records(kind, count, fill):
    """Records whose contents look like words themselves."""
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
def test_the_same_as_a_walk(runs, tail, data):
    stream = bytearray(BEFORE + b"".join(records(*run) for run in runs) + tail)
    end = data.draw(st.one_of(st.just(len(stream)), st.integers(len(BEFORE), len(stream))))
    rows = RecordRuns()
    last = rows.find(stream, len(BEFORE), end)
    assert (*found(rows), last) == walk(stream, len(BEFORE), end)


@settings(max_examples=60, deadline=None)
@given(st.lists(RUN, max_size=6), st.data())
def test_pieces_that_arrive_one_after_the_other_add_up(runs, data):
    stream = bytearray(BEFORE + b"".join(records(*run) for run in runs))
    ends = sorted(data.draw(st.lists(st.integers(len(BEFORE), len(stream)), max_size=8)))
    rows, at = RecordRuns(), len(BEFORE)
    for end in [*ends, len(stream)]:
        at = rows.find(stream, at, end)
    assert (*found(rows), at) == walk(stream, len(BEFORE), len(stream))
    rows.clear()
    assert not rows
    assert found(rows) == ([], [])


def test_a_long_run_that_breaks_off():
    for broken in (24, 87, 88, 89, 343, 344, 345, 2000):
        stream = bytearray(records(ZERO, 3000, 0))
        stream[9 * broken + (7 if broken % 2 else 8)] ^= 1
        rows = RecordRuns()
        end = rows.find(stream, 0, len(stream))
        assert end == 9 * broken
        assert np.array_equal(rows.positions()[1], np.arange(0, end, 9))
