"""The stream parser, framing and RAM sections: built streams, cut and damaged anywhere."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import TraceError
from migsim.tracer.stream.format import StreamParser
from migsim.tracer.stream.rounds import SectionLog
from tests.tracer.stream.stream_bytes import (
    BLOCKS,
    CONTINUE,
    EOS,
    FLUSH,
    PAGE,
    ZERO,
    section,
    stream_head,
    text,
)


class ListingSink:
    """Lists everything that the parser reports, one entry a page."""

    def __init__(self):
        self.blocks, self.pages, self.sections = (), [], []

    def ram_blocks(self, blocks):
        self.blocks = blocks

    def normal_pages(self, pages, contents):
        contents = contents[np.arange(len(pages))]
        assert contents.shape == (len(pages), 4096)
        self.pages += [
            ("normal", p, int(c[0]), int(c[-1])) for p, c in zip(pages.tolist(), contents, strict=True)
        ]

    def zero_pages(self, pages):
        self.pages += [("zero", p) for p in pages.tolist()]

    def encoded_page(self, page, encoded_bytes):
        self.pages.append(("encoded", page, encoded_bytes))

    def section_end(self, pages):
        self.sections.append(pages)


def expected(records):
    first = {}
    start = 0
    for name, count in BLOCKS:
        first[name], start = start, start + count
    pages = []
    for page_kind, block, page in records:
        number = first[block] + page
        if page_kind == "normal":
            pages.append(("normal", number, 1 + page % 255, page % 7))
        elif page_kind == "zero":
            pages.append(("zero", number))
        else:
            pages.append(("encoded", number, 5 if page_kind == "xbzrle" else 3))
    return pages


@st.composite
def record_lists(draw):
    """Runs of one kind in one block, of every length."""
    records = []
    for _ in range(draw(st.integers(0, 6))):
        name, pages = draw(st.sampled_from(BLOCKS))
        kind = draw(st.sampled_from(["normal", "normal", "zero", "zero", "xbzrle", "compressed"]))
        begin, length = draw(st.integers(0, pages - 1)), draw(st.sampled_from([1, 2, 3, 31, 32, 33, 100]))
        records += [(kind, name, page) for page in range(begin, min(begin + length, pages))]
    return records


def by_kind(pages):
    """Sort by kind: within a section the parser may report zero pages early, but keeps the order of each kind."""
    return sorted(pages, key=lambda page: page[0])


def parse(data, cuts=()):
    listing = ListingSink()
    parser = StreamParser(listing)
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        parser.feed(data[begin:end])
    return listing, parser


@settings(max_examples=60, deadline=None)
@given(st.lists(record_lists(), max_size=3), st.booleans(), st.data())
def test_any_chunking_gives_the_same_pages(sections, footers, data):
    stream = stream_head(footers=footers) + b"".join(section(s, footers=footers) for s in sections)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    listing, parser = parse(stream, cuts)
    assert by_kind(listing.pages) == by_kind(page for records in sections for page in expected(records))
    assert listing.sections == [len(records) for records in sections]
    assert [(b.name, b.pages) for b in listing.blocks] == list(BLOCKS)
    assert parser.stream_bytes == len(stream)


def test_one_byte_at_a_time():
    records = [
        ("normal", "pc.ram", 3),
        ("normal", "pc.ram", 4),
        ("zero", "pc.ram", 5),
        ("xbzrle", "vga.vram", 6),
    ]
    stream = stream_head() + section(records)
    listing, _ = parse(stream, range(1, len(stream)))
    assert by_kind(listing.pages) == by_kind(expected(records))


def test_a_stream_larger_than_the_buffer():
    records = [("normal", "pc.ram", page) for page in range(600)] * 4
    stream = stream_head() + section(records) * 2
    listing = ListingSink()
    parser = StreamParser(listing, buffer_bytes=1 << 18)
    parser.feed(stream)
    assert listing.pages == expected(records) * 2


def test_commands_flush_words_and_configuration_subsections_are_skipped():
    commands = struct.pack(">BHH", 8, 1, 0) + struct.pack(">BHHI", 8, 2, 4, 1)
    capabilities = struct.pack(">I", 1) + text("x-ignore-shared")
    subsections = b"\5" + text("configuration/capabilities") + struct.pack(">I", 1) + capabilities
    subsections += b"\5" + text("configuration/target-page-bits") + struct.pack(">II", 1, 12)
    head = stream_head(commands=commands, subsections=subsections, setup_end=struct.pack(">Q", FLUSH))
    listing, parser = parse(head + section([("zero", "pc.ram", 9)]))
    assert listing.pages == [("zero", 9)]
    assert parser.machine == "pc-i440fx-10.0"


def test_what_follows_the_last_ram_section_is_ignored():
    stream = stream_head() + section([("zero", "pc.ram", 1)], kind=3) + b"\4device state, whatever it is"
    listing, parser = parse(stream)
    assert parser.finished
    assert listing.pages == [("zero", 1)]


def test_a_device_before_the_ram_is_named():
    with pytest.raises(TraceError, match="device '0000:00:04"):
        parse(b"QEVM\0\0\0\3" + struct.pack(">BI", 1, 5) + text("0000:00:04.0/vfio") + b"\0" * 8)


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (struct.pack(">BI", 2, 3), "never began"),
        (b"\x33", "Unknown section type"),
        (struct.pack(">BIQ", 2, 2, 5 << 12 | PAGE) + text("pc.rom"), "not in the block table"),
        (struct.pack(">BIQ", 2, 2, 700 << 12 | PAGE) + text("pc.ram"), "which has 600"),
        (struct.pack(">BIQ", 2, 2, 5 << 12 | PAGE | CONTINUE) + b"\0" * 4096, "without a RAM block"),
        (struct.pack(">BIQ", 2, 2, 5 << 12 | 0x80) + text("pc.ram"), "unknown flags"),
        (struct.pack(">BIQ", 2, 2, 5 << 12 | ZERO) + text("pc.ram") + b"\1", "fill byte"),
        (struct.pack(">BIQBI", 2, 2, EOS, 0x7E, 4), "Footer of section 4"),
    ],
)
def test_the_error_for_a_damaged_stream_says_what_is_wrong(tail, why):
    with pytest.raises(TraceError, match=why):
        parse(stream_head() + tail)


def test_a_page_outside_its_block_is_found_among_many_and_in_its_place():
    stream = stream_head() + section([("normal", "pc.ram", page) for page in range(400)])
    at = len(stream) - 13 - 4104 * 100
    wrong = stream[:at] + struct.pack(">Q", 601 << 12 | PAGE | CONTINUE) + stream[at + 8 :]
    for cuts in ((), (at - 5,), range(0, len(stream), 50_000)):
        with pytest.raises(TraceError, match=rf"Page 601 .*, which has 600, at byte {at} "):
            parse(wrong, cuts)


def test_a_section_begins_when_its_first_page_arrives_and_ends_with_its_footer():
    """The parser may give the pages to the sink later, which must not change the section's times."""
    section_log = SectionLog()
    parser = StreamParser(section_log)
    parser.feed(stream_head())
    section_log.keep_pages = True
    stream = section([("normal", "pc.ram", page) for page in range(600)])
    for seconds, at in enumerate(range(0, len(stream), 60_000), 1):
        section_log.now_s = float(seconds)
        parser.feed(stream[at : at + 60_000])
    found = section_log.cut_round(0.5, 1.5)
    assert (found.sent_s, found.pages.tolist()) == (float(seconds), [*range(600)])


def test_not_a_migration_stream():
    with pytest.raises(TraceError, match="QEVM"):
        parse(b"SSH-2.0-OpenSSH_9.2")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_streams_never_raise_anything_else(data):
    records = [("normal", "pc.ram", page) for page in range(3)] + [("zero", "vga.vram", p) for p in range(40)]
    stream = bytearray(stream_head() + section(records) + section(records))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        listing, _ = parse(bytes(stream[: data.draw(st.integers(0, len(stream)))]))
    except TraceError:
        return
    assert all(0 <= page[1] < 642 for page in listing.pages)


@given(st.binary(max_size=300))
def test_random_bytes_after_a_valid_head(random_bytes):
    try:
        parse(stream_head() + random_bytes)
    except TraceError as error:
        assert error.rule and error.todo


@pytest.mark.parametrize("run", [1, 3, 600])
def test_runs_of_any_length_arrive_in_few_calls(run):
    """With a call for each page the parser could not keep up with a migration."""
    calls = []

    class Counting(ListingSink):
        def normal_pages(self, pages, _contents):
            calls.append(len(pages))

        def zero_pages(self, pages):
            calls.append(len(pages))

    records = [("zero" if page // run % 2 else "normal", "pc.ram", page) for page in range(600)]
    parser = StreamParser(Counting())
    parser.feed(stream_head() + section(records))
    assert sum(calls) == 600
    assert len(calls) < 20
