"""The thread that reads a migration stream from a socket and parses it."""

from __future__ import annotations

import socket
import struct
import threading
import time

from migsim.errors import TraceError
from migsim.tracer.stream.format import StreamParser
from migsim.tracer.stream.rounds import SectionLog

__all__ = ["StreamReader", "receive"]

_STOP_POLL_S = 0.05
_RECORD_BYTES = 4104  # of a normal page
_CLOSES_S = 5.0  # how long the source may take to close a stream that is no longer wanted


def receive(
    connection: socket.socket, parser: StreamParser, section_log: SectionLog, most_bytes: int | None = None
) -> int:
    """Wait for bytes, receive all that have arrived, or `most_bytes`, and parse them.

    Returns
    -------
    int
        Number of bytes received; 0 when the source has closed the stream.

    Raises
    ------
    OSError
        The connection broke.
    TraceError
        The bytes are not of a plain precopy stream.
    """
    total = connection.recv_into(parser.free_space()[:most_bytes])
    section_log.now_s = time.time()
    parser.received(total)
    return total


class StreamReader(threading.Thread):
    """Accepts one connection, and reads the stream from it into a `SectionLog` until the stream ends.

    Parameters
    ----------
    listener : socket
        Listens on the path that QEMU was told to connect to.
    section_log : SectionLog
        Receives the parsed pages.
    peer_pid : int or None
        QEMU's process, where it is known; connections of other processes are closed.

    Attributes
    ----------
    ended : threading.Event
        Set once the stream has ended or cannot be parsed.
    error : TraceError or None
        Why the stream cannot be parsed.
    """

    def __init__(self, listener: socket.socket, section_log: SectionLog, peer_pid: int | None = None) -> None:
        super().__init__(name="migsim-stream", daemon=True)
        self.section_log = section_log
        self.parser = StreamParser(section_log)
        self.ended = threading.Event()
        self.error: TraceError | None = None
        self._peer_pid = peer_pid
        self._listener = listener
        self._closing = threading.Event()
        self._stops: tuple[tuple[int, float], ...] = ()
        self._stops_changed = threading.Event()

    def stop_at(self, *stops: tuple[int, float]) -> None:
        """Read late, instead of what was said before.

        Parameters
        ----------
        *stops : (int, float)
            From so many page records on (in ascending order), nothing is read until a time (host clock).
        """
        self._stops = stops
        self._stops_changed.set()

    def run(self) -> None:
        """Read until the stream ends."""
        try:
            with self._accept() as connection:
                while receive(connection, self.parser, self.section_log, self._most_bytes()):
                    self._wait_at_stops()
        except TraceError as error:
            self.error = error
        except OSError:
            pass  # the source closed or reset the connection: the stream has ended
        finally:
            self.ended.set()

    def close(self) -> None:
        """Wait for the thread; it ends when the source has closed the stream."""
        self._closing.set()
        if self.is_alive():
            self.join(_CLOSES_S)

    def _most_bytes(self) -> int | None:
        """Return how much may be read before the next stop."""
        if not self._stops:
            return None
        pages, now = self.section_log.pages_so_far, time.time()
        ahead = [at - pages for at, until_s in self._stops if until_s > now]
        return _RECORD_BYTES * max(min(ahead), 1) if ahead else None

    def _wait_at_stops(self) -> None:
        """Wait where a stop says so; the source waits too, once the socket's buffer is full."""
        while self._stops:
            self._stops_changed.clear()
            stops = self._stops
            self.parser.hand_over()
            pages = self.section_log.pages_so_far
            until_s = max((until_s for at, until_s in stops if at <= pages), default=0.0)
            left_s = until_s - time.time()
            if left_s <= 0 or self._closing.is_set():
                return
            self._stops_changed.wait(min(left_s, _STOP_POLL_S))

    def _accept(self) -> socket.socket:
        self._listener.settimeout(0.1)
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            peer = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            if self._peer_pid in (None, 0, peer) or not peer:
                connection.settimeout(None)
                return connection
            connection.close()
        raise ConnectionError
