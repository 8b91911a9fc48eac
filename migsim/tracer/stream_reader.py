"""Moves a migration stream from a socket into the parser, in pieces large enough to be read fast."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from migsim.errors import MigsimError
from migsim.tracer.stream_format import StreamParser
from migsim.tracer.stream_rounds import RoundBook

__all__ = ["StreamReader", "receive"]

_PIECE_BYTES = 512 << 10  # fits the second-level cache, and is enough for the parser's strided views to pay


def receive(connection: socket.socket, parser: StreamParser) -> int:
    """Receive what is there, up to half a MiB, and parse it; wait only for the first byte.

    Returns
    -------
    int
        Bytes received; 0 when the other side closed the stream.

    Raises
    ------
    OSError
        The socket broke.
    TraceError
        The bytes are not a plain precopy stream.
    """
    space = parser.free_space()
    total = connection.recv_into(space)
    with contextlib.suppress(BlockingIOError):
        while 0 < total < _PIECE_BYTES:
            count = connection.recv_into(space[total:], 0, socket.MSG_DONTWAIT)
            if not count:
                break
            total += count
    parser.received(total)
    return total


class StreamReader(threading.Thread):
    """Accepts one connection and reads the stream from it into a `RoundBook` until it ends.

    Attributes
    ----------
    ended : threading.Event
        The stream ended or could not be read; `error` then says why, None for a plain end.
    """

    def __init__(self, listener: socket.socket, book: RoundBook) -> None:
        super().__init__(name="migsim-stream", daemon=True)
        self.book = book
        self.parser = StreamParser(book)
        self.ended = threading.Event()
        self.error: MigsimError | OSError | None = None
        self._listener = listener
        self._connection: socket.socket | None = None

    def run(self) -> None:
        """Read until the end."""
        try:
            self._connection, _ = self._listener.accept()
            while True:
                # Taken before the bytes: a round's pages are never dated before they were sent by more than a piece.
                if not self._receive(self._connection):
                    return
        except (MigsimError, OSError) as error:
            self.error = error
        finally:
            if self._connection is not None:
                self._connection.close()
            self.ended.set()

    def _receive(self, connection: socket.socket) -> int:
        self.book.now_s = time.time()
        return receive(connection, self.parser)
