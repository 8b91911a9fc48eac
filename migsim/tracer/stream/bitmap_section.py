"""Parser for the body of a section of block dirty bitmaps, which says where the section ends; its bitmaps are ignored.

All numbers are big-endian::

    chunk    flags (1, 2 or 4 bytes), the node's name if DEVICE_NAME is set, the bitmap's if BITMAP_NAME is set; then
             START    4-byte granularity, 1 byte
             BITS     8-byte first sector, 4-byte number of sectors; unless ZEROES is set, 8-byte length and the bits
             COMPLETE nothing
             EOS      nothing: the section's end

A source that runs sends these sections at the setup only. Mirrors `migration/block-dirty-bitmap.c`.
"""

from __future__ import annotations

from migsim.tracer.stream.buffer import LONGEST_BODY, StreamBuffer

__all__ = ["BitmapSection"]

_EOS, _ZEROES, _BITMAP_NAME, _DEVICE_NAME, _START, _COMPLETE, _BITS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40
_MORE_FLAGS = 0x80


class BitmapSection:
    """Parses sections of dirty bitmaps.

    Parameters
    ----------
    buffer : StreamBuffer
        Parsed from its position on.

    Attributes
    ----------
    bitmaps : int
        Number of bitmaps announced so far.
    """

    def __init__(self, buffer: StreamBuffer) -> None:
        self.bitmaps = 0
        self._buffer = buffer

    def read(self) -> None:
        """Parse up to the end of the section.

        Raises
        ------
        NeedMoreError
            The section's end has not arrived; call again when more bytes have.
        TraceError
            The bytes are not of such a section.
        """
        while self._chunk():
            pass

    def _chunk(self) -> bool:
        """Parse one chunk; return False at the section's end."""
        buffer = self._buffer
        flags, at = self._flags()
        for name in (_DEVICE_NAME, _BITMAP_NAME):
            if flags & name:
                buffer.need(at + 1)
                at += 1 + buffer.u8(at)
        kind = flags & (_EOS | _START | _COMPLETE | _BITS)
        if kind == _START:
            at += 5
        elif kind == _BITS:
            at += 12
            if not flags & _ZEROES:
                buffer.need(at + 8)
                length = buffer.u64(at)
                if length > LONGEST_BODY:
                    raise buffer.make_error(f"Piece of a dirty bitmap of {length} bytes")
                at += 8 + length
        elif kind not in (_EOS, _COMPLETE):
            raise buffer.make_error(f"Chunk of a dirty bitmap with flags {flags:#x}")
        buffer.need(at)
        self.bitmaps += kind == _START
        buffer.begin += at
        return kind != _EOS

    def _flags(self) -> tuple[int, int]:
        """Return the flags at the buffer's position, and how many bytes they take."""
        buffer = self._buffer
        buffer.need(1)
        if not buffer.u8(0) & _MORE_FLAGS:
            return buffer.u8(0), 1
        buffer.need(2)
        if not buffer.u8(1) & _MORE_FLAGS:
            return buffer.u8(1), 2
        buffer.need(4)
        return buffer.u8(3), 4
