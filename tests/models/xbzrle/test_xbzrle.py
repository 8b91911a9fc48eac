"""XBZRLE's encoder and its length against a twin that goes byte by byte; records, counters, costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import ParameterError
from migsim.models.xbzrle.encoding import (
    counted_bytes,
    decode,
    encode,
    page_change,
    record_bytes,
    xbzrle_length,
    xbzrle_seconds,
)
from migsim.qapi import QemuVersion


def uleb128(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


def slow_encode(old, new, limit=None):
    """The encoded page, or None on overflow: the slow twin."""
    size, out, at = len(new), b"", 0
    limit = size if limit is None else limit
    while at < size:
        if len(out) + 2 > limit:
            return None
        begin = at
        while at < size and old[at] == new[at]:
            at += 1
        if at == size:
            break
        equal, begin = at - begin, at
        while at < size and old[at] != new[at]:
            at += 1
        out += uleb128(equal) + uleb128(at - begin) + bytes(new[begin:at])
        if len(out) > limit:
            return None
    return out


def slow_decode(old, encoded):
    page, at, position = bytearray(old), 0, 0
    while at < len(encoded):
        numbers = []
        for _ in range(2):
            value = encoded[at]
            at += 1
            if value & 128:
                value = value & 127 | encoded[at] << 7
                at += 1
            numbers.append(value)
        position += numbers[0]
        page[position : position + numbers[1]] = encoded[at : at + numbers[1]]
        at, position = at + numbers[1], position + numbers[1]
    return bytes(page)


@st.composite
def page_pairs(draw, size=4096):
    """An old page and a new one that differs in a few stretches, in scattered bytes, or everywhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    old = rng.integers(0, 256, size, dtype=np.uint8)
    new = old.copy()
    for _ in range(draw(st.integers(0, 6))):
        begin = draw(st.integers(0, size - 1))
        length = draw(st.sampled_from([1, 2, 7, 127, 128, 129, 500, 4096]))
        step = draw(st.sampled_from([1, 1, 2, 3, 300]))
        new[begin : begin + length : step] ^= np.uint8(draw(st.integers(1, 255)))
    return old, new


@settings(max_examples=150, deadline=None)
@given(st.lists(page_pairs(), min_size=1, max_size=4))
def test_length_is_that_of_the_encoding(pairs):
    old, new = (np.array(column) for column in zip(*pairs, strict=True))
    change = page_change(old, new)
    for row, (before, after) in enumerate(pairs):
        encoded = slow_encode(before, after)
        assert change.xbzrle_bytes[row] == (-1 if encoded is None else len(encoded))
        assert change.changed_bytes[row] == int((before != after).sum())
        if encoded is not None:
            assert slow_decode(before.tobytes(), encoded) == after.tobytes()


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_overflow_on_tiny_pages_where_every_edge_case_is_near(old, new):
    old, new = (np.frombuffer(page, np.uint8) % 3 for page in (old, new))
    encoded = slow_encode(old, new)
    assert xbzrle_length(old[None], new[None])[0] == (-1 if encoded is None else len(encoded))


@pytest.mark.parametrize(
    ("runs", "length"),
    [
        ([], 0),
        ([(0, 8)], 10),
        ([(8, 8)], 10),
        ([(200, 8)], 11),
        ([(1001, 15), (1019, 1), (1021, 1)], 24),  # the worked example of QEMU's own documentation
        ([(0, 4096)], -1),
        ([(0, 4093)], 4096 - 4096 - 1),  # 1 + 2 + 4093 = 4096 fits, but the tail finds no room
        ([(0, 4091)], 4094),
        ([(3, 4093)], 4096),  # no tail: exactly a page
    ],
)
def test_known_lengths(runs, length):
    old = np.zeros((1, 4096), np.uint8)
    new = old.copy()
    for begin, count in runs:
        new[0, begin : begin + count] = 1
    assert xbzrle_length(old, new)[0] == length
    assert page_change(old, new).runs[0] == len(runs)


def test_every_second_byte_overflows():
    old = np.zeros((1, 4096), np.uint8)
    new = old.copy()
    new[0, ::2] = 1
    assert xbzrle_length(old, new)[0] == -1


@settings(max_examples=150, deadline=None)
@given(page_pairs())
def test_encoder_writes_what_the_twin_writes_and_the_decoder_reads_it(pair):
    before, after = (page.tobytes() for page in pair)
    encoded = encode(before, after)
    assert encoded == slow_encode(before, after)
    if encoded is not None:
        assert decode(before, encoded) == after
    if before == after:
        assert encoded == b""


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=24, max_size=24), st.binary(min_size=24, max_size=24), st.integers(2, 40))
def test_encoder_overflows_where_the_twin_does(old, new, limit):
    old, new = (bytes(byte % 3 for byte in page) for page in (old, new))
    encoded = encode(old, new, limit)
    assert encoded == slow_encode(old, new, limit)
    if encoded is not None:
        assert decode(old, encoded) == new


def test_worked_example_of_qemus_documentation():
    """docs/xbzrle.txt, "Example": the buffers and the 24 bytes as printed there."""
    old = bytes(1001) + bytes.fromhex("05060708090a0b0c0d0e0f10111213680000 6b006d") + bytes(3074)
    new = bytes(1001) + bytes.fromhex("0102030405060708090a0b0c0d0e0f680000 670069") + bytes(3074)
    encoded = encode(old, new)
    assert encoded.hex(" ") == "e9 07 0f 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 03 01 67 01 01 69"
    assert len(encoded) == 24
    assert decode(old, encoded) == new


def test_pages_that_no_encoding_compares():
    with pytest.raises(ParameterError, match="4096 bytes before and 4095 after"):
        encode(bytes(4096), bytes(4095))
    with pytest.raises(ParameterError, match="at most 16383 bytes"):
        encode(bytes(1 << 14), bytes(1 << 14))


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x00",  # no second length
        b"\x00\x05abc",  # fewer bytes than the run says
        b"\x00\x00",  # an empty changed run
        b"\x02\x01a\x00\x01b",  # an empty equal run that is not the first
        b"\x0e\x03abc",  # over the page's end
        b"\xff\xff\x01a",  # a third byte of length
        b"\x80",
    ],
)
def test_decoder_refuses_what_the_encoder_does_not_write(encoded):
    with pytest.raises(ParameterError):
        decode(bytes(16), encoded)


def test_records():
    assert record_bytes([11, 4096]).tolist() == [22, 4107]
    assert 4104 // record_bytes(11) == 186  # one changed word, as the law book says


def test_counters_of_a_published_run():
    """QEMU 2.2's counters under the load of docs/xbzrle.txt, which adds 1 to four bytes of every page.

    ChenLiang, commit message of QEMU 27af7d6ea5 (2014-11): 194,823 pages, 5,066,763 bytes. What is over,
    7 bytes a time, is the name of the block ("pc.ram") in records where it changed.
    """
    old = np.zeros((1, 4096), np.uint8)
    new = old.copy()
    new[0, ::1024] += 1
    length = int(xbzrle_length(old, new)[0])
    assert length == 15
    a_page = int(counted_bytes(length, QemuVersion.parse("2.2")))
    over = 5_066_763 - 194_823 * a_page
    assert 0 <= over < 0.001 * 5_066_763
    assert over % 7 == 0


def test_sender_pays_for_hits_and_for_what_goes_into_the_cache():
    assert xbzrle_seconds(10, 0, xbzrle_hit_s=2.0, xbzrle_miss_s=1.0) == 20.0
    assert xbzrle_seconds(0, 10, xbzrle_hit_s=2.0, xbzrle_miss_s=1.0, refused=10) == 0.0
    assert xbzrle_seconds(1, 10, xbzrle_hit_s=2.0, xbzrle_miss_s=1.0, refused=4) == 8.0
