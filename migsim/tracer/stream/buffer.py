"""The part of a migration stream that has arrived and is not yet parsed, in one buffer that is used again."""

from __future__ import annotations

import struct

from migsim.errors import TraceError

__all__ = ["LONGEST_BODY", "NeedMoreError", "StreamBuffer"]

LONGEST_BODY = 1 << 16  # bound on the configuration and on one compressed page: more means we lost our place
_U16, _U32, _U64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")


class NeedMoreError(Exception):
    """The item that begins at the buffer's position has not arrived whole."""


class StreamBuffer:
    """Bytes `begin` to `end` of `data`; readers' offsets count from `begin`, numbers are big-endian.

    Parameters
    ----------
    size : int
        Bytes; at least four of the longest items.

    Attributes
    ----------
    data : bytearray
        Never replaced or resized, so views of it stay good.
    begin, end : int
        The first byte not yet parsed, and the end of what has arrived.

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
        """Stream position of `begin`: bytes parsed so far."""
        return self._before + self.begin

    @property
    def full(self) -> bool:
        """Whether `rewind` should come first, as little room is left."""
        return 4 * self.end > 3 * len(self.data)

    def rewind(self) -> None:
        """Move what is not yet parsed to the front: less than one item, so there is room then."""
        rest = self.end - self.begin
        self._view[:rest] = bytes(self._view[self.begin : self.end])
        self._before += self.begin
        self.begin, self.end = 0, rest

    def free_space(self) -> memoryview:
        """Where the next bytes go."""
        return self._view[self.end :]

    def need(self, count: int) -> None:
        """Raise `NeedMoreError` unless `count` bytes are here."""
        if self.end - self.begin < count:
            raise NeedMoreError

    def u8(self, at: int) -> int:
        """One byte."""
        return self.data[self.begin + at]

    def u16(self, at: int) -> int:
        """Two bytes."""
        return int(_U16.unpack_from(self.data, self.begin + at)[0])

    def u32(self, at: int) -> int:
        """Four bytes."""
        return int(_U32.unpack_from(self.data, self.begin + at)[0])

    def u64(self, at: int) -> int:
        """Eight bytes."""
        return int(_U64.unpack_from(self.data, self.begin + at)[0])

    def put_u64(self, at: int, value: int) -> None:
        """Write eight bytes over what arrived."""
        _U64.pack_into(self.data, self.begin + at, value)

    def text(self, at: int, length: int) -> str:
        """A name."""
        return self.data[self.begin + at : self.begin + at + length].decode("ascii", "replace")

    def make_error(self, what: str, at: int | None = None) -> TraceError:
        """Make the error for bytes that no plain precopy stream has at `at` of `data`, or at `begin`."""
        position = self._before + (self.begin if at is None else at)
        return TraceError(
            f"{what}, at byte {position} of the migration stream.",
            "The stream collector reads plain precopy streams of QEMU 2.4 and newer.",
            "Turn off multifd, postcopy, mapped-ram and RDMA, or take another collector.",
        )
