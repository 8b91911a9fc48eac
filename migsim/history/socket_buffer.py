"""Send buffer of a TCP socket as a fluid: filled by QEMU, drained by the network, without SimPy events."""

from __future__ import annotations

from migsim.history.iothread import writable_after_s
from migsim.history.thread_branch import flush_s

__all__ = ["SocketBuffer"]


class SocketBuffer:
    """Bytes in the kernel that wait for the network; their number falls at the network's rate.

    Parameters
    ----------
    drain_bytes_per_s : float
        Rate of the network.
    size_bytes : float
        Most bytes that the buffer holds.

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
        """Return how many bytes can be written now without blocking."""
        self._level = max(self._level - (now - self._at) * self.drain_bytes_per_s, 0.0)
        self._at = now
        return self.size_bytes - self._level

    def put(self, stream_bytes: float, now: float) -> None:
        """Write without blocking; `stream_bytes` is at most `room`."""
        self.room(now)
        self._level += stream_bytes

    def writable_after_s(self, now: float) -> float:
        """Return how long until the kernel reports the socket as writable."""
        return writable_after_s(self.size_bytes - self.room(now), self.drain_bytes_per_s, self.size_bytes)

    def block_s(self, stream_bytes: float, send_bytes_per_s: float, now: float) -> float:
        """Write, blocking, and return how long that takes."""
        seconds = flush_s(stream_bytes, send_bytes_per_s, self.drain_bytes_per_s, self.room(now))
        self._level = max(self._level + stream_bytes - seconds * self.drain_bytes_per_s, 0.0)
        self._at = now + seconds
        return seconds
