"""What both engines share of sending: costs of a page, the budget of an iterate call, and what it sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.models.multifd.packets import ZeroPages
from migsim.models.xbzrle.content import left_encoded
from migsim.models.xbzrle.encoding import RECORD_BYTES, xbzrle_seconds

__all__ = ["Budget", "Encoded", "SendCosts", "Sent", "send_costs", "send_encoded"]


@dataclass(frozen=True, slots=True)
class SendCosts:
    """Seconds that the sender needs for a page.

    Attributes
    ----------
    normal_page_s, cold_page_s, fresh_page_s : float
        A raw page that was sent before; one that is sent for the first time and is in no cache; and one for which the
        destination has to find memory besides.
    zero_page_s : float
        A page that is found zero.
    """

    normal_page_s: float
    cold_page_s: float
    fresh_page_s: float
    zero_page_s: float


def send_costs(
    terms: Mapping[str, float], link_page_s: float, zero_pages: ZeroPages = "legacy"
) -> tuple[SendCosts, SendCosts]:
    """Return the costs of pages while the guest runs, and in the blackout; no raw page is faster than the link.

    Parameters
    ----------
    terms : mapping of str to float
        Host terms.
    link_page_s : float
        Time of a page on the network.
    zero_pages : {"legacy", "none"}
        Who looks for zero pages. A page that nobody finds zero is sent whole, and needs memory on the destination.
    """

    def costs(normal: str, cold: str, fresh: str) -> SendCosts:
        fresh_page_s = max(terms[fresh], link_page_s)
        return SendCosts(
            normal_page_s=max(terms[normal], link_page_s),
            cold_page_s=max(terms[cold], link_page_s),
            fresh_page_s=fresh_page_s,
            zero_page_s=fresh_page_s if zero_pages == "none" else terms["zero_page_s"],
        )

    return (
        costs("normal_page_s", "cold_page_s", "fresh_page_s"),
        costs("burst_page_s", "burst_cold_page_s", "burst_fresh_page_s"),
    )


@dataclass(slots=True)
class Sent:
    """What an iterate call sent: raw and zero pages; pages that XBZRLE encoded are in the bytes alone."""

    seconds: float = 0.0
    stream_bytes: float = 0.0
    normal: float = 0.0
    zero: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What an iterate call may use.

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


class Encoded(NamedTuple):
    """What became of pages that went through XBZRLE's cache; unchanged pages are not sent at all.

    Attributes
    ----------
    raw, encoded : float
        Pages sent whole (not found, or overflowing), and pages sent encoded.
    stream_bytes : float
        Their bytes in the stream.
    extra_s : float
        The sender's time beside that of sending the raw ones.
    overflowing : float
        Pages that were found and whose encoding is too long.
    """

    raw: float
    encoded: float
    stream_bytes: float
    extra_s: float
    overflowing: float


def send_encoded(
    hits: float,
    misses: float,
    refused: float,
    encoded_bytes: float,
    overflow: float,
    unchanged: float,
    xbzrle_hit_s: float,
    xbzrle_miss_s: float,
) -> Encoded:
    """Send pages through XBZRLE's cache.

    Parameters
    ----------
    hits, misses, refused : float
        Pages found, pages not found, and those of the latter that the cache does not take in.
    encoded_bytes : float
        Mean length of an encoding.
    overflow, unchanged : float
        Shares of the pages found whose encoding is too long, and that hold nothing new.
    xbzrle_hit_s, xbzrle_miss_s : float
        Host terms.

    Examples
    --------
    >>> sent = send_encoded(10.0, 2.0, 0.0, 92.0, 0.25, 0.25, 1e-6, 2e-6)
    >>> sent.raw, sent.encoded, sent.overflowing, sent.stream_bytes
    (4.5, 5.0, 2.5, 18983.0)
    """
    overflowing, encoded = hits * overflow, hits * left_encoded(overflow, unchanged)
    raw = misses + overflowing
    return Encoded(
        raw,
        encoded,
        raw * NORMAL_PAGE_BYTES + encoded * (RECORD_BYTES + encoded_bytes),
        xbzrle_seconds(hits, misses, xbzrle_hit_s, xbzrle_miss_s, refused),
        overflowing,
    )
