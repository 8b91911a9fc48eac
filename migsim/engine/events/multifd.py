"""Multifd in the event engine: what a page costs and counts, and what the channels' threads leave the guest.

The laws are `migsim.models.multifd.packets` (packets, waits, windows) and `migsim.models.multifd.threads` (times); what
the batch engine shares is `migsim.engine.channels`.
"""

from __future__ import annotations

from migsim.engine.channels import GuestLosses, count_pages, greet, lost_s, next_share, wait_for_channels
from migsim.engine.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.sending import SendCosts, Sent
from migsim.models.loop.query_migrate import Counters
from migsim.models.loop.rate_limit import window_quota_bytes
from migsim.models.multifd.packets import (
    PACKET_PAGES,
    check_multifd,
    multifd_rules,
    multifd_window_pages,
    page_bytes,
)
from migsim.models.multifd.threads import PageWork, guest_share, multifd_page_s

__all__ = ["MultifdSender"]

RAW_KINDS = ("normal", "cold", "fresh")


class MultifdSender:
    """The channels of one migration; a `migsim.engine.channels.ChannelQueue`.

    Parameters
    ----------
    migration : SimulationInput
        With capability multifd.
    clock : GuestClock
        Its share of the processors is set.
    counters : Counters
        `multifd_stream` is kept, and the counters that it is part of.

    Attributes
    ----------
    costs, burst : SendCosts
        While the guest runs, and in the blackout.
    places_a_page : float
        Places of packets that a page takes.
    page_bytes : (float, float)
        Bytes of a raw and of a zero page, with its part of the packet's header.
    window_bytes : float
        What a rate-limited window carries.
    losses : GuestLosses
        What the channels take from the guest.

    Raises
    ------
    ParameterError
        For what `migsim.models.multifd.packets.check_multifd` refuses.
    """

    def __init__(self, migration: SimulationInput, clock: GuestClock, counters: Counters) -> None:
        check_multifd(migration.capabilities, migration.parameters, migration.version)
        self.rules = multifd_rules(migration.version, migration.machine)
        self.channels = int(migration.parameter("multifd-channels"))
        self.zero_pages = migration.zero_pages
        self.clock, self.counters = clock, counters
        self._terms = migration.terms
        self._cpus = float(migration.host_cpus or migration.terms["multifd_cpus"])
        self._link = migration.link_bytes_per_s or float("inf")
        writes = any(c.writes_per_page_per_s > 0 for c in migration.workload.classes)
        self._busy = migration.vcpus * migration.workload.load_fraction if writes else 0.0
        self._place_bytes, self._zero_bytes = page_bytes(self.zero_pages)
        self._works = {kind: self._work(kind) for kind in RAW_KINDS}
        if self.zero_pages == "multifd":
            self._works["zero"] = self._work("zero")
        self.costs, self.burst = self._costs(self._busy), self._costs(0.0)
        self._short = self._share(self._works["normal"], self.costs.normal_page_s) < 1.0
        self.places_a_page = self.rules.short_places_a_page if self._short else 1.0
        self.page_bytes = self.places_a_page * self._place_bytes, self._zero_bytes
        self.losses = self._guest_losses()
        self.queued_pages = 0.0
        self._window_lost_s = 0.0
        quota = window_quota_bytes(int(migration.parameter("max-bandwidth")))
        pages = multifd_window_pages(quota, self.channels, self.rules.charged_at, in_flight=self._in_flight())
        self.window_bytes = float(pages) * self._place_bytes

    def _work(self, kind: str) -> PageWork:
        terms = self._terms
        return PageWork(
            terms["multifd_queue_page_s"],
            terms[f"multifd_send_{kind}_page_s"],
            terms[f"multifd_receive_{kind}_page_s"],
            queue_wait_s=terms["multifd_queue_wait_s"] / PACKET_PAGES,
            # A packet of zero pages is short enough for the socket.
            channel_wait_s=0.0 if kind == "zero" else terms["multifd_channel_wait_s"] / PACKET_PAGES,
        )

    def _page_s(self, kind: str, busy: float) -> float:
        size = self._zero_bytes if kind == "zero" else self._place_bytes
        return float(
            multifd_page_s(
                self._works[kind],
                self.channels,
                cpus=self._cpus,
                busy_vcpus=busy,
                link_page_s=size / self._link,
                spins=self.rules.spins,
            )
        )

    def _costs(self, busy: float) -> SendCosts:
        normal, cold, fresh = (self._page_s(kind, busy) for kind in RAW_KINDS)
        if self.zero_pages == "multifd":
            zero = self._page_s("zero", busy)
        else:  # a zero page that is sent whole needs memory on the destination
            zero = fresh if self.zero_pages == "none" else self._terms["zero_page_s"]
        return SendCosts(normal_page_s=normal, cold_page_s=cold, fresh_page_s=fresh, zero_page_s=zero)

    def _in_flight(self) -> float:
        """Share of the channels that have a packet when the thread stops: all, or half where processors are short."""
        return 0.5 if self._busy and self._short else 1.0

    def _guest_losses(self) -> GuestLosses:
        costs = self.costs
        page_s = {"normal": costs.normal_page_s, "cold": costs.cold_page_s, "fresh": costs.fresh_page_s}
        ascending = sorted((s, s * (1 - self._share(self._works[kind], s))) for kind, s in page_s.items())
        zero_lost_s = 0.0
        if self.zero_pages == "multifd":
            zero_lost_s = costs.zero_page_s * (1 - self._share(self._works["zero"], costs.zero_page_s))
        elif self.zero_pages == "none":
            zero_lost_s = ascending[-1][1]
        times, lost = zip(*ascending, strict=True)
        return GuestLosses(self._busy, zero_lost_s, *times, *lost)

    def _share(self, work: PageWork, page_s: float) -> float:
        return float(
            guest_share(work, page_s, cpus=self._cpus, busy_vcpus=self._busy, spins=self.rules.spins)
        )

    def set_up(self) -> None:
        """Count the channels' greetings, and their wait at the end of the setup."""
        greet(self.counters, self, self.channels, self.rules.greeting_bytes, self.rules.main_bytes_a_wait)

    def count(self, sent: Sent, *, circle_ended: bool) -> None:
        """Count what an iterate call sent; `circle_ended` where the scan reached the end of RAM."""
        count_pages(self.counters, self, self.zero_pages, self.places_a_page, sent.normal, sent.zero)
        raw_s = sent.seconds - sent.zero * self.costs.zero_page_s
        raw_page_s = raw_s / sent.normal if sent.normal > 0 else 0.0
        self._window_lost_s += lost_s(self.losses, sent.normal, sent.zero, raw_page_s)
        if circle_ended or self.rules.waits_every == "section":
            self._wait()

    def close_window(self, now: float, window_s: float) -> None:
        """Give the guest the share of the processors that the window left it."""
        share = next_share(self.clock.share, self._window_lost_s, window_s)
        self._window_lost_s = 0.0
        if share != self.clock.share:
            self.clock.set_share(now, share)

    def complete(self, raw: float, zero: float) -> None:
        """Count the last pages, and the channels' last wait."""
        count_pages(self.counters, self, self.zero_pages, self.places_a_page, raw, zero)
        self._wait()
        if self.rules.waits_at_end and self.rules.waits_every == "round":
            self._wait()

    def _wait(self) -> None:
        wait_for_channels(self.counters, self, self.channels, self.rules.main_bytes_a_wait)
