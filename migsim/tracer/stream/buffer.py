"""The buffer of a migration stream: bytes that have arrived and are not yet parsed."""

from __future__ import annotations

import struct

from migsim.errors import TraceError

__all__ = ["LONGEST_BODY", "NeedMoreError", "StreamBuffer"]

LONGEST_BODY = (
    1 << 16
)  # limit for the configuration and for one encoded page; a longer one is a parsing error
_U16, _U32, _U64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")


class NeedMoreError(Exception):
    """The item at the buffer's position has not completely arrived."""


class StreamBuffer:
    """The bytes `begin` to `end` of `data`; offsets given to the methods count from `begin`.

    Parameters
    ----------
    size : int
        Size of the buffer in bytes; at least four times `LONGEST_BODY` is used.

    Attributes
    ----------
    data : bytearray
        Never replaced or resized, so views of it stay valid.
    begin, end : int
        Index of the first byte not yet parsed, and of the end of the arrived bytes.

    Examples
    --------
    >>> buffer = StreamBuffer(1 << 20)
    >>> buffer.free_space()[:4] = bytes.fromhex("00000102")
    >>> buffer.end += 4
    >>> buffer.u32(0)
    258
    """

    def __init__(self, size: int) -> None:
        self.data = bytearray(max(size, 4 * LONGEST_BODY))
        self.begin = 0
        self.end = 0
        self._view = memoryview(self.data)
        self._before = 0  # stream position of data[0]

    @property
    def position(self) -> int:
        """The stream position of `begin`, which is the number of bytes parsed so far."""
        return self._before + self.begin

    @property
    def full(self) -> bool:
        """Whether so little space is left that `rewind` should be called before the next bytes are received."""
        return 4 * self.end > 3 * len(self.data)

    def rewind(self) -> None:
        """Move the bytes not yet parsed to the front; they are less than one item, so this makes room."""
        rest = self.end - self.begin
        self._view[:rest] = bytes(self._view[self.begin : self.end])
        self._before += self.begin
        self.begin, self.end = 0, rest

    def free_space(self) -> memoryview:
        """Return the part of the buffer that the next bytes are to be written to."""
        return self._view[self.end :]

    def need(self, count: int) -> None:
        """Raise `NeedMoreError` unless `count` bytes after `begin` have arrived."""
        if self.end - self.begin < count:
            raise NeedMoreError

    def u8(self, at: int) -> int:
        """Read one byte."""
        return self.data[self.begin + at]

    def u16(self, at: int) -> int:
        """Read a big-endian number of two bytes."""
        return int(_U16.unpack_from(self.data, self.begin + at)[0])

    def u32(self, at: int) -> int:
        """Read a big-endian number of four bytes."""
        return int(_U32.unpack_from(self.data, self.begin + at)[0])

    def u64(self, at: int) -> int:
        """Read a big-endian number of eight bytes."""
        return int(_U64.unpack_from(self.data, self.begin + at)[0])

    def put_u64(self, at: int, value: int) -> None:
        """Overwrite eight arrived bytes with a big-endian number."""
        _U64.pack_into(self.data, self.begin + at, value)

    def text(self, at: int, length: int) -> str:
        """Read a name."""
        return self.data[self.begin + at : self.begin + at + length].decode("ascii", "replace")

    def make_error(self, problem: str, at: int | None = None) -> TraceError:
        """Make the error for bytes that are not of a plain precopy stream, at index `at` of `data`, or at `begin`."""
        position = self._before + (self.begin if at is None else at)
        return TraceError(
            f"{problem}, at byte {position} of the migration stream.",
            "The stream collector reads plain precopy streams of QEMU 2.4 and newer.",
            "Turn off multifd, postcopy, mapped-ram and RDMA, or use another collector.",
        )
