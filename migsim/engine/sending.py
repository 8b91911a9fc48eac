"""What one iterate call may use, what its pages cost, and what it sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Budget", "SendCosts", "Sent", "send_costs"]


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


def send_costs(terms: Mapping[str, float], link_page_s: float) -> tuple[SendCosts, SendCosts]:
    """Return what pages cost while the guest runs, and in the blackout; none is faster than the link.

    Parameters
    ----------
    terms : mapping of str to float
        The host's.
    link_page_s : float
        What a page takes on the network.
    """

    def costs(again: str, cold: str, fresh: str) -> SendCosts:
        return SendCosts(
            normal_page_s=max(terms[again], link_page_s),
            cold_page_s=max(terms[cold], link_page_s),
            fresh_page_s=max(terms[fresh], link_page_s),
            zero_page_s=terms["zero_page_s"],
        )

    return (
        costs("normal_page_s", "cold_page_s", "fresh_page_s"),
        costs("burst_page_s", "burst_cold_page_s", "burst_fresh_page_s"),
    )


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
