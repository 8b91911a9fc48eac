"""What both engines share of multifd: what the channels count, and what they take from the guest.

The laws are `migsim.models.multifd`. The functions take any object with the fields that they name: the event engine's
counters and sender, and the records of the batch engine, for which numba compiles them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from migsim.models.loop.page_stream import ZERO_PAGE_BYTES
from migsim.models.multifd.packets import (
    ZeroPages,
    counted_bytes,
    counted_pages,
    share_left,
    wait_bytes,
)
from migsim.models.multifd.threads import lost_a_page_s

__all__ = [
    "ChannelQueue",
    "GuestLosses",
    "StreamCounters",
    "count_channel_bytes",
    "count_pages",
    "greet",
    "lost_s",
    "next_share",
    "wait_for_channels",
]

SHARE_STEP = 0.01
"""Smaller changes of the guest's share of its processors are ignored."""


class StreamCounters(Protocol):
    """Bytes of RAM records in the stream, those of them that went through the channels, raw pages and zero pages."""

    ram_stream: float
    multifd_stream: float
    normal: float
    duplicate: float


class ChannelQueue(Protocol):
    """Pages that were queued since the channels last waited for each other."""

    queued_pages: float


class GuestLosses(NamedTuple):
    """What the channels take from the guest.

    Attributes
    ----------
    busy : float
        Processors that the guest's vCPUs want.
    zero_lost_s : float
        Guest time lost to a zero page.
    page_s_0, page_s_1, page_s_2 : float
        Time of a raw page of each kind, ascending.
    lost_s_0, lost_s_1, lost_s_2 : float
        Guest time lost to it.
    """

    busy: float
    zero_lost_s: float
    page_s_0: float
    page_s_1: float
    page_s_2: float
    lost_s_0: float
    lost_s_1: float
    lost_s_2: float


def greet(
    counters: StreamCounters,
    queue: ChannelQueue,
    channels: float,
    greeting_bytes: int,
    main_bytes_a_wait: int,
) -> None:
    """Count the channels' greetings, and their wait at the end of the setup."""
    count_channel_bytes(counters, greeting_bytes * channels)
    wait_for_channels(counters, queue, channels, main_bytes_a_wait)


def count_channel_bytes(counters: StreamCounters, size: float) -> None:
    """Count bytes that go through the channels."""
    counters.multifd_stream += size
    counters.ram_stream += size


def wait_for_channels(
    counters: StreamCounters, queue: ChannelQueue, channels: float, main_bytes_a_wait: int
) -> None:
    """Let the channels wait for each other: `multifd_send_sync_main`."""
    count_channel_bytes(counters, wait_bytes(queue.queued_pages, channels))
    counters.ram_stream += main_bytes_a_wait
    queue.queued_pages = 0.0


def count_pages(
    counters: StreamCounters,
    queue: ChannelQueue,
    zero_pages: ZeroPages,
    places_a_page: float,
    raw: float,
    zero: float,
) -> None:
    """Count pages sent, `raw` ones and `zero` ones; `zero_pages` says who finds these."""
    if zero_pages == "legacy":
        counters.ram_stream += zero * ZERO_PAGE_BYTES
    whole, through = counted_pages(raw, zero, zero_pages)
    count_channel_bytes(counters, places_a_page * counted_bytes(whole, through))
    queue.queued_pages += places_a_page * through
    counters.normal += whole
    counters.duplicate += raw + zero - whole


def lost_s(losses: GuestLosses, raw: float, zero: float, raw_page_s: float) -> float:
    """Time that the guest loses of its processors to some pages, of which a raw one takes `raw_page_s` in the mean.

    Examples
    --------
    >>> losses = GuestLosses(2.0, 1.0, 1.0, 2.0, 4.0, 0.0, 1.0, 2.0)
    >>> lost_s(losses, raw=10, zero=1, raw_page_s=3.0), lost_s(losses._replace(busy=0.0), 10, 1, 3.0)
    (16.0, 0.0)
    """
    if not losses.busy:
        return 0.0
    lost = zero * losses.zero_lost_s
    if raw > 0:
        lost += raw * lost_a_page_s(
            raw_page_s,
            losses.page_s_0,
            losses.page_s_1,
            losses.page_s_2,
            losses.lost_s_0,
            losses.lost_s_1,
            losses.lost_s_2,
        )
    return lost


def next_share(share: float, window_lost_s: float, window_s: float) -> float:
    """Share of its processors that the guest gets after a window in which it lost some time.

    Examples
    --------
    >>> next_share(1.0, 0.0002, 0.1), next_share(1.0, 0.025, 0.1)
    (1.0, 0.75)
    """
    left = share_left(window_lost_s, window_s)
    return left if abs(left - share) > SHARE_STEP else share
