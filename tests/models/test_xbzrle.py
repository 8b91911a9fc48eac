"""XBZRLE's encoded length against an encoder that really encodes, byte by byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.models.xbzrle import page_change, xbzrle_length


def uleb128(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


def encode(old, new):
    """The encoded page, or None on overflow: the slow twin."""
    size, out, at = len(new), b"", 0
    while at < size:
        if len(out) + 2 > size:
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
        if len(out) > size:
            return None
    return out


def decode(old, encoded):
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
        encoded = encode(before, after)
        assert change.xbzrle_bytes[row] == (-1 if encoded is None else len(encoded))
        assert change.changed_bytes[row] == int((before != after).sum())
        if encoded is not None:
            assert decode(before.tobytes(), encoded) == after.tobytes()


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_overflow_on_tiny_pages_where_every_edge_case_is_near(old, new):
    old, new = (np.frombuffer(page, np.uint8) % 3 for page in (old, new))
    encoded = encode(old, new)
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
