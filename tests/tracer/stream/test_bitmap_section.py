"""Sections of dirty bitmaps in a migration stream: read over, cut anywhere, and damaged."""

import struct
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import TraceError
from migsim.tracer.stream.format import StreamParser
from migsim.tracer.stream.rounds import SectionLog
from tests.tracer.stream.stream_bytes import bitmap_section, section, stream_head

RECORDS = [("normal", "pc.ram", 3), ("zero", "pc.ram", 4)]
BITS = b"\x40" + struct.pack(">QIQ", 0, 8, 32) + b"\xff" * 32
ZEROES = b"\x42" + struct.pack(">QI", 8, 8)
COMPLETE = b"\x20"
LONG_FLAGS = b"\x80\x20" + b"\x80\x80\x00\x20"  # of two and of four bytes


def parse(stream, piece=None):
    log = SectionLog()
    parser = StreamParser(log)
    for at in range(0, len(stream), piece or len(stream)):
        parser.feed(stream[at : at + (piece or len(stream))])
    return log, parser


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([BITS, ZEROES, COMPLETE, LONG_FLAGS]), max_size=4),
    st.integers(0, 3),
    st.booleans(),
    st.integers(1, 400),
)
def test_pages_around_the_section_are_found(chunks, bitmaps, footers, piece):
    stream = (
        stream_head(footers=footers)
        + bitmap_section(bitmaps, footer=footers)
        + section(RECORDS, footers=footers)
        + bitmap_section(kind=2, bitmaps=0, chunks=b"".join(chunks), footer=footers)
        + section(RECORDS, footers=footers)
    )
    log, parser = parse(stream, piece)
    assert parser.bitmaps == bitmaps
    assert parser.iterating
    assert log.pages_received == 4
    assert parser.stream_bytes == len(stream)
    assert not parser.finished


def test_bitmaps_are_known_when_the_setup_is_over():
    for stream in (
        stream_head() + bitmap_section(2),
        bitmap_section(2).join((stream_head()[:8], stream_head()[8:])),
    ):
        _, parser = parse(stream)
        assert parser.bitmaps == 2 and not parser.iterating


def test_only_the_last_section_of_the_ram_ends_the_stream():
    stream = stream_head() + bitmap_section() + bitmap_section(kind=3, bitmaps=0, chunks=BITS + COMPLETE)
    _, parser = parse(stream)
    assert not parser.finished
    parser.feed(section(RECORDS, kind=3))
    assert parser.finished


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (b"\x41", "flags 0x41"),  # bits and the end at once
        (b"\x00", "flags 0x0"),
        (b"\x40" + struct.pack(">QIQ", 0, 8, 1 << 40), "1099511627776 bytes"),
    ],
)
def test_the_error_for_a_damaged_section_says_what_is_wrong(chunk, why):
    with pytest.raises(TraceError, match=why):
        parse(stream_head() + bitmap_section(chunks=chunk))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_sections_never_raise_anything_else(data):
    stream = bytearray(bitmap_section(2, chunks=BITS + ZEROES + COMPLETE) + section(RECORDS))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(stream_head() + bytes(stream[: data.draw(st.integers(0, len(stream)))]))
    except TraceError as error:
        assert error.rule and error.todo


@given(st.binary(max_size=200))
def test_random_bytes_in_a_section_never_raise_anything_else(random_bytes):
    parser = StreamParser(Mock())
    parser.feed(stream_head() + bitmap_section()[:-6])
    try:
        parser.feed(random_bytes)
    except TraceError as error:
        assert error.rule and error.todo
