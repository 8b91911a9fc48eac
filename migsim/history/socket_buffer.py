"""A TCP socket's send buffer, filled by QEMU and drained by the network; fluid, without an event of its own."""

from __future__ import annotations

from migsim.history.iothread import writable_after_s
from migsim.history.thread_branch import flush_s

__all__ = ["SocketBuffer"]


class SocketBuffer:
    """What lies in the kernel and waits for the network.

    Parameters
    ----------
    drain_bytes_per_s, size_bytes : float

    Examples
    --------
    >>> socket = SocketBuffer(100e6, 4e6)
    >>> socket.put(4e6, 0.0)
    >>> socket.room(0.0), socket.room(0.01), socket.room(1.0)
    (0.0, 1000000.0, 4000000.0)
    """

    def __init__(self, drain_bytes_per_s: float, size_bytes: float) -> None:
        self.drain_bytes_per_s = drain_bytes_per_s
        self.size_bytes = size_bytes
        self._level = 0.0
        self._at = 0.0

    def room(self, now: float) -> float:
        """Bytes that it takes now without blocking."""
        self._level = max(self._level - (now - self._at) * self.drain_bytes_per_s, 0.0)
        self._at = now
        return self.size_bytes - self._level

    def put(self, many: float, now: float) -> None:
        """Write without blocking: no more than `room`."""
        self.room(now)
        self._level += many

    def writable_after_s(self, now: float) -> float:
        """How long until the main loop is told that it is writable."""
        return writable_after_s(self.size_bytes - self.room(now), self.drain_bytes_per_s, self.size_bytes)

    def block_s(self, many: float, send_bytes_per_s: float, now: float) -> float:
        """Write, blocking: how long that takes."""
        seconds = flush_s(many, send_bytes_per_s, self.drain_bytes_per_s, self.room(now))
        self._level = max(self._level + many - seconds * self.drain_bytes_per_s, 0.0)
        self._at = now + seconds
        return seconds
