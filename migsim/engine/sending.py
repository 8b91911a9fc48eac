"""What one iterate call may use, what its pages cost, and what it sent."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Budget", "SendCosts", "Sent"]


@dataclass(frozen=True, slots=True)
class SendCosts:
    """Time that the sender needs, in seconds.

    Attributes
    ----------
    normal_page_s, cold_page_s, fresh_page_s : float
        A page sent raw again; one sent for the first time, in no cache; and one that the destination has to find
        memory for besides.
    zero_page_s : float
        A page found zero.
    """

    normal_page_s: float
    cold_page_s: float
    fresh_page_s: float
    zero_page_s: float


@dataclass(slots=True)
class Sent:
    """What one iterate call sent: raw and zero pages; the encoded ones are in the bytes."""

    seconds: float = 0.0
    stream_bytes: float = 0.0
    normal: float = 0.0
    zero: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What one iterate call may use.

    Attributes
    ----------
    now : float
        When it begins, on the wall's clock.
    seconds, stream_bytes : float
        Its time and its bytes.
    costs : SendCosts
    """

    now: float
    seconds: float
    stream_bytes: float
    costs: SendCosts

    def left(self, done: Sent) -> tuple[float, float]:
        """Seconds and bytes that are left after what was sent."""
        return max(self.seconds - done.seconds, 0.0), max(self.stream_bytes - done.stream_bytes, 0.0)
