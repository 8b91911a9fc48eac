"""Reads the RAM part of QEMU's migration stream, as it arrives, without copying page contents.

The stream (QEMU 2.4 to 10.x, plain precopy; everything big-endian)::

    "QEVM" version   configuration   { command | section }...   end marker
    section          type, section id, [device name, instance, version when it starts], body, footer
    RAM body         block table (setup) or page records, closed by an end-of-section word
    page record      8-byte word: offset in its block | flags; the block's name unless CONTINUE is set; then
                     ZERO one fill byte, PAGE 4096 bytes, XBZRLE 1 + 2 + n bytes, COMPRESS 4 + n bytes

A run of normal pages of one block is a row of records of exactly 4104 bytes and a run of zero pages one of
9 bytes, so a strided numpy view reads all their words at once. Mirrors `migration/savevm.c`, `ram.c` and
`vmstate.c`. Left out: postcopy, multifd channels, RDMA, mapped-ram.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from migsim.errors import TraceError

__all__ = ["PAGE_BYTES", "RamBlock", "StreamParser", "StreamSink"]

PAGE_BYTES = 4096
_PAGE_BITS = 12
_MAGIC, _FILE_VERSION = 0x5145564D, 3
_EOF, _START, _PART, _END, _FULL, _SUBSECTION, _CONFIGURATION, _COMMAND, _FOOTER = (
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    0x7E,
)
_ZERO, _MEM_SIZE, _PAGE, _EOS, _CONTINUE, _XBZRLE = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40
_COMPRESS, _MULTIFD_FLUSH = 0x100, 0x200
_FLAGS = PAGE_BYTES - 1
_NORMAL_RECORD, _ZERO_RECORD = 8 + PAGE_BYTES, 9
_NORMAL, _ZEROED = _PAGE | _CONTINUE, _ZERO | _CONTINUE
_FIRST_WINDOW, _LAST_WINDOW = 32, 4096  # records looked at together: grows while a run goes on
_FLAGS_U64, _PAGE_BITS_U64 = np.uint64(_FLAGS), np.uint64(_PAGE_BITS)
_LONGEST_BODY = 1 << 16  # bound on the configuration and on one compressed page: more means we lost our place

_U16, _U32, _U64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")


@dataclass(frozen=True)
class RamBlock:
    """One RAM block of the stream's block table; `first_page` counts through all blocks in their order."""

    name: str
    used_bytes: int
    first_page: int

    @property
    def pages(self) -> int:
        """Pages of 4096 bytes."""
        return self.used_bytes // PAGE_BYTES


class StreamSink(Protocol):
    """What the parser calls. Arrays are views of the parser's buffer, valid during the call only."""

    def ram_blocks(self, blocks: Sequence[RamBlock]) -> None:
        """Take the block table; comes once, before any page."""

    def normal_pages(self, pages: npt.NDArray[np.int64], contents: npt.NDArray[np.uint8]) -> None:
        """Take global page numbers and their contents, shape (n, 4096)."""

    def zero_pages(self, pages: npt.NDArray[np.int64]) -> None:
        """Take global numbers of pages that are all zero."""

    def encoded_page(self, page: int, encoded_bytes: int) -> None:
        """Take one XBZRLE-encoded or compressed page."""

    def section_end(self, pages: int) -> None:
        """Note that one iterate call of the source ended after `pages` page records (not called for setup)."""


class _NeedMoreError(Exception):
    """The record that begins at the parser's position has not arrived whole."""


class StreamParser:
    """Push parser: receive into `free_space`, then say how much with `received`.

    Parameters
    ----------
    sink : StreamSink
        Gets what is found.
    buffer_bytes : int
        Size of the buffer; at least two page records.

    Attributes
    ----------
    blocks : list of RamBlock
        The block table, once it has arrived.
    machine : str
        Machine type named by the configuration section.
    stream_bytes : int
        Bytes parsed so far.
    finished : bool
        Whether the source sent its last RAM section; what follows is device state and is ignored.

    Examples
    --------
    >>> from unittest.mock import Mock
    >>> parser = StreamParser(Mock())
    >>> parser.feed(bytes.fromhex("5145564d 00000003"))
    >>> parser.stream_bytes
    8
    """

    def __init__(self, sink: StreamSink, *, buffer_bytes: int = 4 << 20) -> None:
        if buffer_bytes < 4 * _LONGEST_BODY:
            buffer_bytes = 4 * _LONGEST_BODY
        self.sink = sink
        self.blocks: list[RamBlock] = []
        self.machine = ""
        self.finished = False
        self._buffer = bytearray(buffer_bytes)
        self._view = memoryview(self._buffer)
        self._begin = 0  # first unparsed byte
        self._end = 0  # end of what was received
        self._parsed_before = 0  # stream position of buffer[0]
        self._state = self._file_header
        self._block: RamBlock | None = None
        self._by_name: dict[str, RamBlock] = {}
        self._sections: dict[int, str] = {}
        self._section_id = 0
        self._section_type = 0
        self._section_pages = 0
        self._table_left = 0
        self._window = _FIRST_WINDOW

    @property
    def stream_bytes(self) -> int:
        """Bytes parsed so far."""
        return self._parsed_before + self._begin

    @property
    def between_sections(self) -> bool:
        """Whether the bytes so far end at a section's boundary."""
        return self._begin == self._end and self._state == self._section

    def free_space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        rest = self._end - self._begin
        # Less than one record is left, so moving it is cheap, and the buffer's first pages stay in cache.
        if rest:
            self._view[:rest] = bytes(self._view[self._begin : self._end])
        self._parsed_before += self._begin
        self._begin, self._end = 0, rest
        return self._view[rest:]

    def received(self, count: int) -> None:
        """Parse after `count` bytes were put into `free_space()`.

        Raises
        ------
        TraceError
            When the bytes are not a plain precopy stream; the parser is of no use afterwards.
        """
        self._end += count
        try:
            while not self.finished:
                self._state()
        except _NeedMoreError:
            return
        self._begin = self._end

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Parse `data`, of any length."""
        rest = memoryview(data)
        while rest:
            space = self.free_space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            self.received(count)
            rest = rest[count:]

    # ---- states: each handles one item at self._begin, or raises _NeedMoreError and changes nothing ----

    def _file_header(self) -> None:
        self._need(8)
        magic, version = self._u32(0), self._u32(4)
        if magic != _MAGIC:
            raise self._lost(f"The stream begins with {magic:#010x}, not with QEMU's magic 'QEVM'")
        if version != _FILE_VERSION:
            raise self._lost(f"The stream has file version {version}, known is {_FILE_VERSION}")
        self._begin += 8
        self._state = self._section

    def _section(self) -> None:
        self._need(1)
        kind = self._buffer[self._begin]
        if kind in (_PART, _END):
            self._need(5)
            self._open_section(kind, self._u32(1), 5)
        elif kind == _START:
            self._start_section()
        elif kind == _COMMAND:
            self._need(5)
            length = _U16.unpack_from(self._buffer, self._begin + 3)[0]
            self._need(5 + length)
            self._begin += 5 + length
        elif kind == _CONFIGURATION:
            self._configuration()
        elif kind == _FOOTER:
            self._need(5)
            if self._u32(1) != self._section_id:
                raise self._lost(f"Footer of section {self._u32(1)} inside section {self._section_id}")
            self._begin += 5
            self.finished = self._section_type == _END
        elif kind == _FULL:
            name = self._section_name()[0]
            raise _unreadable(name)
        elif kind == _EOF:
            self._begin += 1
            self.finished = True
        else:
            raise self._lost(f"Unknown section type {kind:#x}")

    def _start_section(self) -> None:
        name, length = self._section_name()
        if name != "ram":
            raise _unreadable(name)
        section_id = self._u32(1)
        self._sections[section_id] = name
        self._open_section(_START, section_id, length)

    def _section_name(self) -> tuple[str, int]:
        self._need(6)
        length = self._buffer[self._begin + 5]
        self._need(6 + length + 8)
        return self._text(6, length), 6 + length + 8

    def _open_section(self, kind: int, section_id: int, length: int) -> None:
        if section_id not in self._sections:
            raise self._lost(f"Section {section_id} goes on but never began")
        self._section_id, self._section_type, self._section_pages = section_id, kind, 0
        self._begin += length
        self._state = self._records

    def _configuration(self) -> None:
        self._need(5)
        length = self._u32(1)
        if length > _LONGEST_BODY:
            raise self._lost(f"Machine name of {length} bytes")
        self._need(5 + length + 1)
        at = 5 + length
        while self._buffer[self._begin + at] == _SUBSECTION:
            at = self._skip_subsection(at)
            self._need(at + 1)
        self.machine = self._text(5, length)
        self._begin += at

    def _skip_subsection(self, at: int) -> int:
        self._need(at + 2)
        length = self._buffer[self._begin + at + 1]
        name_end = at + 2 + length
        self._need(name_end + 4)
        name = self._text(at + 2, length)
        body = name_end + 4
        if name == "configuration/target-page-bits":
            return body + 4
        if name == "configuration/uuid":
            return body + 16
        if name == "configuration/capabilities":
            self._need(body + 4)
            count = self._u32(body)
            body += 4
            if count > 255:
                raise self._lost(f"Configuration with {count} capabilities")
            for _ in range(count):
                self._need(body + 1)
                body += 1 + self._buffer[self._begin + body]
            return body
        raise _unreadable(name)

    def _block_table(self) -> None:
        self._need(1)
        length = self._buffer[self._begin]
        self._need(1 + length + 8)
        name, used = self._text(1, length), self._u64(1 + length)
        if used == 0 or used % PAGE_BYTES or used > self._table_left:
            raise self._lost(
                f"RAM block '{name}' of {used} bytes, {self._table_left} bytes left in the table"
            )
        if name in self._by_name:
            raise self._lost(f"RAM block '{name}' comes twice")
        first = self.blocks[-1].first_page + self.blocks[-1].pages if self.blocks else 0
        block = RamBlock(name, used, first)
        self.blocks.append(block)
        self._by_name[name] = block
        self._begin += 1 + length + 8
        self._table_left -= used
        if not self._table_left:
            self.sink.ram_blocks(tuple(self.blocks))
            self._state = self._records

    def _records(self) -> None:
        """Handle one run of page records, or one other record, of the open RAM section."""
        self._need(8)
        word = self._u64(0)
        flags = word & _FLAGS
        if flags == _NORMAL and self._block is not None:
            self._normal_run(self._block)
        elif flags == _ZEROED and self._block is not None:
            self._zero_run(self._block)
        elif word == _EOS:
            self._begin += 8
            self._state = self._section
            if self._section_type != _START:
                self.sink.section_end(self._section_pages)
        elif word == _MULTIFD_FLUSH:
            self._begin += 8
        elif flags & _MEM_SIZE:
            self._open_table(word & ~_FLAGS)
        else:
            self._odd_record(word, flags)

    def _normal_run(self, block: RamBlock) -> None:
        at = self._begin
        self._need(_NORMAL_RECORD)
        pages = self._run(block, at, _NORMAL_RECORD, _NORMAL)
        count = len(pages)
        contents: npt.NDArray[np.uint8] = np.ndarray(
            (count, PAGE_BYTES), np.uint8, self._buffer, at + 8, (_NORMAL_RECORD, 1)
        )
        self._begin = at + count * _NORMAL_RECORD
        self._section_pages += count
        self.sink.normal_pages(pages, contents)

    def _zero_run(self, block: RamBlock) -> None:
        at = self._begin
        self._need(_ZERO_RECORD)
        pages = self._run(block, at, _ZERO_RECORD, _ZEROED)
        count = len(pages)
        if np.ndarray((count,), np.uint8, self._buffer, at + 8, (_ZERO_RECORD,)).any():
            raise self._lost("A zero page whose fill byte is not zero")
        self._begin = at + count * _ZERO_RECORD
        self._section_pages += count
        self.sink.zero_pages(pages)

    def _run(self, block: RamBlock, at: int, record: int, kind: int) -> npt.NDArray[np.int64]:
        """Page numbers of the records of `kind` that follow each other from `at`, as many as are here."""
        here = (self._end - at) // record
        after = at + record
        if here == 1 or _U64.unpack_from(self._buffer, after)[0] & _FLAGS != kind:
            page = _U64.unpack_from(self._buffer, at)[0] >> _PAGE_BITS
            if page >= block.pages:
                raise self._outside(block, page)
            return np.array([page + block.first_page], dtype=np.int64)
        here = min(here, self._window)
        words = np.ndarray((here,), ">u8", self._buffer, at, (record,)).astype(np.uint64)
        other = (words & _FLAGS_U64) != kind
        first_other = int(other.argmax())
        if other[first_other]:
            words = words[:first_other]
            self._window = _FIRST_WINDOW
        else:
            self._window = min(2 * self._window, _LAST_WINDOW)
        pages = (words >> _PAGE_BITS_U64).view(np.int64)
        highest = int(pages.max())
        if highest >= block.pages:
            raise self._outside(block, highest)
        pages += block.first_page
        return pages

    def _odd_record(self, word: int, flags: int) -> None:
        """Handle a record that names its block, or an encoded page."""
        kind = flags & ~_CONTINUE
        at = 8
        block = self._block
        if kind not in (_ZERO, _PAGE, _XBZRLE, _COMPRESS):
            raise self._lost(f"Page record with unknown flags {flags:#x}")
        if not flags & _CONTINUE:
            self._need(9)
            length = self._buffer[self._begin + 8]
            at = 9 + length
            self._need(at)
            name = self._text(9, length)
            block = self._by_name.get(name)
            if block is None:
                raise self._lost(f"Page of RAM block '{name}', which is not in the block table")
        if block is None:
            raise self._lost("Page record without a RAM block")
        page = word >> _PAGE_BITS
        if page >= block.pages:
            raise self._outside(block, page)
        if kind in (_PAGE, _ZERO):
            # Once the name is taken off, the record is like those that follow it.
            self._need(at + (PAGE_BYTES if kind == _PAGE else 1))
            self._begin += at - 8
            _U64.pack_into(self._buffer, self._begin, word | _CONTINUE)
        else:
            self._encoded(block.first_page + page, at, kind)
        self._block = block

    def _encoded(self, page: int, at: int, kind: int) -> None:
        head = 3 if kind == _XBZRLE else 4
        self._need(at + head)
        length = _U16.unpack_from(self._buffer, self._begin + at + 1)[0] if kind == _XBZRLE else self._u32(at)
        if length > _LONGEST_BODY:
            raise self._lost(f"Encoded page of {length} bytes")
        self._need(at + head + length)
        self._begin += at + head + length
        self._section_pages += 1
        self.sink.encoded_page(page, length)

    def _open_table(self, total: int) -> None:
        if self.blocks or self._section_type != _START or not total:
            raise self._lost("A second or empty RAM block table")
        self._table_left = total
        self._begin += 8
        self._state = self._block_table

    # ---- reading relative to self._begin ----

    def _need(self, count: int) -> None:
        if self._end - self._begin < count:
            raise _NeedMoreError

    def _u32(self, at: int) -> int:
        return int(_U32.unpack_from(self._buffer, self._begin + at)[0])

    def _u64(self, at: int) -> int:
        return int(_U64.unpack_from(self._buffer, self._begin + at)[0])

    def _text(self, at: int, length: int) -> str:
        return self._buffer[self._begin + at : self._begin + at + length].decode("ascii", "replace")

    def _outside(self, block: RamBlock, page: int) -> TraceError:
        return self._lost(f"Page {page} of RAM block '{block.name}', which has {block.pages}")

    def _lost(self, what: str) -> TraceError:
        return TraceError(
            f"{what}, at byte {self.stream_bytes} of the migration stream.",
            "The stream collector reads plain precopy streams of QEMU 2.4 and newer.",
            "Turn off multifd, postcopy, mapped-ram and RDMA, or take another collector.",
        )


def _unreadable(device: str) -> TraceError:
    return TraceError(
        f"The migration stream holds a section of device '{device}' before the RAM.",
        "Only QEMU itself knows where a device's own section ends, so nothing after it can be read.",
        "Trace this guest with the dirty-rate or dirty-ring collector.",
    )
