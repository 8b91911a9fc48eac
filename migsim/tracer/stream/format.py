"""Parser for the framing of QEMU's migration stream, from its start to the end of the RAM sections.

The stream (QEMU 2.4 to 10.x, plain precopy; everything big-endian)::

    "QEVM" version   configuration   { command | section }...   end marker
    section          type, section id, [in the first: device name, instance, version], body, footer

The stream does not say how long a body is, so the section of a device can only be skipped by parsing it.
`migsim.tracer.stream.ram` parses the RAM's and `bitmap_section` that of block dirty bitmaps; any other device before
the RAM is an error. Mirrors
`migration/savevm.c` and `vmstate.c`. Left out: postcopy, multifd channels, RDMA, mapped-ram.
"""

from __future__ import annotations

from migsim.errors import TraceError
from migsim.tracer.stream.bitmap_section import BitmapSection
from migsim.tracer.stream.buffer import LONGEST_BODY, NeedMoreError, StreamBuffer
from migsim.tracer.stream.ram import RamSection
from migsim.tracer.stream.sink import StreamSink

__all__ = ["StreamParser"]

_MAGIC, _FILE_VERSION = 0x5145564D, 3
_EOF, _START, _PART, _END, _FULL, _SUBSECTION = 0, 1, 2, 3, 4, 5
_CONFIGURATION, _COMMAND, _FOOTER = 7, 8, 0x7E
_RAM, _BITMAPS = "ram", "dirty-bitmap"


class StreamParser:
    """Parses a stream piece by piece: write bytes to `free_space()`, then call `received` with their number.

    Parameters
    ----------
    sink : StreamSink
        Receives the block table and the pages.
    buffer_bytes : int
        Size of the buffer; it is always large enough for the longest item.

    Attributes
    ----------
    machine : str
        Machine type, from the configuration section.
    iterating : bool
        Whether the setup has been parsed.
    finished : bool
        Whether the last RAM section has arrived. The device state that follows it is ignored.

    Examples
    --------
    >>> from unittest.mock import Mock
    >>> parser = StreamParser(Mock())
    >>> parser.feed(bytes.fromhex("5145564d 00000003"))
    >>> parser.stream_bytes
    8
    """

    def __init__(self, sink: StreamSink, *, buffer_bytes: int = 2 << 20) -> None:
        self.machine = ""
        self.iterating = False
        self.finished = False
        self._buffer = StreamBuffer(buffer_bytes)
        self._ram = RamSection(self._buffer, sink)
        self._bitmaps = BitmapSection(self._buffer)
        self._state = self._file_header
        self._sections: dict[int, str] = {}
        self._section_id = 0
        self._section_type = 0

    @property
    def bitmaps(self) -> int:
        """Number of block dirty bitmaps that the source has announced."""
        return self._bitmaps.bitmaps

    @property
    def stream_bytes(self) -> int:
        """Number of bytes parsed so far."""
        return self._buffer.position

    def free_space(self) -> memoryview:
        """Return the part of the buffer that the next bytes are to be written to; it is never empty.

        Raises
        ------
        TraceError
            As `received` does.
        """
        if self._buffer.full:
            self._ram.hand_over()
            self._buffer.rewind()
        return self._buffer.free_space()

    def received(self, count: int) -> None:
        """Parse `count` bytes that were written to `free_space()`.

        Raises
        ------
        TraceError
            The bytes are not of a plain precopy stream; the parser cannot be used afterwards.
        """
        self._buffer.end += count
        try:
            while not self.finished:
                self._state()
        except NeedMoreError:
            return
        self._buffer.begin = self._buffer.end

    def hand_over(self) -> None:
        """Give the pages parsed so far to the sink, which otherwise gets many at once.

        Raises
        ------
        TraceError
            As `received` does.
        """
        self._ram.hand_over()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Parse `data`, which may be of any length."""
        rest = memoryview(data)
        while rest:
            space = self.free_space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            self.received(count)
            rest = rest[count:]

    # ---- states: each parses one item at the buffer's position, or raises NeedMoreError and changes nothing ----

    def _file_header(self) -> None:
        self._buffer.need(8)
        magic, version = self._buffer.u32(0), self._buffer.u32(4)
        if magic != _MAGIC:
            raise self._buffer.make_error(
                f"The stream begins with {magic:#010x}, not with QEMU's magic 'QEVM'"
            )
        if version != _FILE_VERSION:
            raise self._buffer.make_error(f"The stream has file version {version}, not {_FILE_VERSION}")
        self._buffer.begin += 8
        self._state = self._section

    def _ram_body(self) -> None:
        self._ram.read()
        self._state = self._section

    def _bitmap_body(self) -> None:
        self._bitmaps.read()
        self._state = self._section

    def _section(self) -> None:
        buffer = self._buffer
        buffer.need(1)
        kind = buffer.u8(0)
        if kind in (_PART, _END):
            buffer.need(5)
            self._open_section(kind, buffer.u32(1), 5)
        elif kind == _START:
            self._start_section()
        elif kind == _COMMAND:
            buffer.need(5)
            length = buffer.u16(3)
            buffer.need(5 + length)
            buffer.begin += 5 + length
        elif kind == _CONFIGURATION:
            self._configuration()
        elif kind == _FOOTER:
            buffer.need(5)
            if buffer.u32(1) != self._section_id:
                raise buffer.make_error(
                    f"Footer of section {buffer.u32(1)} inside section {self._section_id}"
                )
            buffer.begin += 5
            self.finished = self._section_type == _END and self._sections.get(self._section_id) == _RAM
        elif kind == _FULL:
            raise _foreign_device(self._section_name()[0])
        elif kind == _EOF:
            buffer.begin += 1
            self.finished = True
        else:
            raise buffer.make_error(f"Unknown section type {kind:#x}")

    def _start_section(self) -> None:
        name, length = self._section_name()
        if name not in (_RAM, _BITMAPS):
            raise _foreign_device(name)
        section_id = self._buffer.u32(1)
        self._sections[section_id] = name
        self._open_section(_START, section_id, length)

    def _section_name(self) -> tuple[str, int]:
        """Return the device name of a first section, and the length of the section's head."""
        self._buffer.need(6)
        length = self._buffer.u8(5)
        self._buffer.need(6 + length + 8)
        return self._buffer.text(6, length), 6 + length + 8

    def _open_section(self, kind: int, section_id: int, length: int) -> None:
        if section_id not in self._sections:
            raise self._buffer.make_error(f"Section {section_id} continues but never began")
        self._section_id, self._section_type = section_id, kind
        self.iterating = kind != _START
        self._buffer.begin += length
        if self._sections[section_id] == _BITMAPS:
            self._state = self._bitmap_body
            return
        self._ram.open(setup=kind == _START)
        self._state = self._ram_body

    def _configuration(self) -> None:
        buffer = self._buffer
        buffer.need(5)
        length = buffer.u32(1)
        if length > LONGEST_BODY:
            raise buffer.make_error(f"Machine name of {length} bytes")
        at = 5 + length
        buffer.need(at + 1)
        while buffer.u8(at) == _SUBSECTION:
            at = self._skip_subsection(at)
            buffer.need(at + 1)
        self.machine = buffer.text(5, length)
        buffer.begin += at

    def _skip_subsection(self, at: int) -> int:
        """Return the position after the subsection of the configuration at `at`."""
        buffer = self._buffer
        buffer.need(at + 2)
        length = buffer.u8(at + 1)
        body = at + 2 + length + 4
        buffer.need(body)
        name = buffer.text(at + 2, length)
        if name == "configuration/target-page-bits":
            return body + 4
        if name == "configuration/uuid":
            return body + 16
        if name == "configuration/capabilities":
            buffer.need(body + 4)
            count = buffer.u32(body)
            body += 4
            if count > 255:
                raise buffer.make_error(f"Configuration with {count} capabilities")
            for _ in range(count):
                buffer.need(body + 1)
                body += 1 + buffer.u8(body)
            return body
        raise _foreign_device(name)


def _foreign_device(device: str) -> TraceError:
    return TraceError(
        f"The migration stream holds a section of device '{device}' before the RAM.",
        "The stream does not say where a device's section ends, so nothing after it can be read.",
        "Trace this guest with the dirty-rate or dirty-ring collector.",
    )
