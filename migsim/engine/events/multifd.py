"""Multifd in the event engine: what its pages cost and count, and what its threads leave the guest.

The laws are `migsim.models.multifd.packets` (packets, waits, windows) and `multifd_threads` (times).
"""

from __future__ import annotations

from migsim.engine.events.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.sending import SendCosts, Sent
from migsim.models.loop.page_stream import ZERO_PAGE_BYTES
from migsim.models.loop.query_migrate import Counters
from migsim.models.loop.rate_limit import window_quota_bytes
from migsim.models.multifd.packets import (
    GREETING_BYTES,
    PACKET_PAGES,
    check_multifd,
    counted_bytes,
    counted_pages,
    multifd_rules,
    multifd_window_pages,
    page_bytes,
    share_left,
    wait_bytes,
    zero_page_detection,
)
from migsim.models.multifd.threads import PageWork, guest_share, lost_a_page_s, multifd_page_s

__all__ = ["MultifdSender"]

KINDS = ("normal", "cold", "fresh")
SHARE_STEP = 0.01
"""A change of the guest's share below this is none."""


class MultifdSender:
    """The channels of one migration.

    Parameters
    ----------
    migration : SimulationInput
        With capability multifd.
    clock : GuestClock
        Its share of the processors is set.
    counters : Counters
        `multifd_stream` is kept, and what goes with it.

    Attributes
    ----------
    costs, burst : SendCosts
        With the guest running, and in the blackout.
    page_bytes : (float, float)
        Of a raw and of a zero page, with its part of the packet's header.
    window_bytes : float
        What a rate-limited window carries.
    busy : float
        Processors that the guest's vCPUs want.
    lost : (list of float, list of float, float)
        Time of a raw page by its kind, ascending, with the guest's time lost to it; and that lost to a zero page.

    Raises
    ------
    ParameterError
        For what `migsim.models.multifd.packets.check_multifd` refuses.
    """

    def __init__(self, migration: SimulationInput, clock: GuestClock, counters: Counters) -> None:
        check_multifd(migration.capabilities, migration.parameters, migration.version)
        self.rules = multifd_rules(migration.version)
        self.channels = int(migration.parameter("multifd-channels"))
        self.zero_pages = zero_page_detection(migration.parameters, migration.version)
        self.clock, self.counters = clock, counters
        self._terms = migration.terms
        self._link = migration.link_bytes_per_s or float("inf")
        writes = any(c.writes_per_page_per_s > 0 for c in migration.workload.classes)
        self.busy = migration.vcpus * migration.workload.load_fraction if writes else 0.0
        self.page_bytes = self._raw_bytes, self._zero_bytes = page_bytes(self.zero_pages)
        self._works = {kind: self._work(kind) for kind in KINDS}
        if self.zero_pages == "multifd":
            self._works["zero"] = self._work("zero")
        self.costs, self.burst = self._costs(self.busy), self._costs(0.0)
        self.lost = self._lost_s()
        self._queued = 0.0  # pages since the channels last waited for each other
        self._window_lost_s = 0.0
        quota = window_quota_bytes(int(migration.parameter("max-bandwidth")))
        pages = multifd_window_pages(quota, self.channels, self.rules.charged_at, in_flight=self._in_flight())
        self.window_bytes = float(pages) * self._raw_bytes

    def _work(self, kind: str) -> PageWork:
        t = self._terms
        return PageWork(
            t["multifd_queue_page_s"],
            t[f"multifd_send_{kind}_page_s"],
            t[f"multifd_receive_{kind}_page_s"],
            queue_wait_s=t["multifd_queue_wait_s"] / PACKET_PAGES,
            # A packet of zero pages is short enough for the socket.
            channel_wait_s=0.0 if kind == "zero" else t["multifd_channel_wait_s"] / PACKET_PAGES,
        )

    def _page_s(self, kind: str, busy: float) -> float:
        size = self._zero_bytes if kind == "zero" else self._raw_bytes
        return float(
            multifd_page_s(
                self._works[kind],
                self.channels,
                cpus=self._terms["multifd_cpus"],
                busy_vcpus=busy,
                link_page_s=size / self._link,
                spins=self.rules.spins,
            )
        )

    def _costs(self, busy: float) -> SendCosts:
        again, cold, fresh = (self._page_s(kind, busy) for kind in KINDS)
        if self.zero_pages == "multifd":
            zero = self._page_s("zero", busy)
        else:  # what the destination gets whole, it has to find memory for
            zero = fresh if self.zero_pages == "none" else self._terms["zero_page_s"]
        return SendCosts(normal_page_s=again, cold_page_s=cold, fresh_page_s=fresh, zero_page_s=zero)

    def _in_flight(self) -> float:
        """Share of the channels that have a packet when the thread stops: all, or where processors are short, half."""
        work, page_s = self._works["normal"], self.costs.normal_page_s
        return 1.0 if not self.busy or self._share(work, page_s) == 1.0 else 0.5

    def _lost_s(self) -> tuple[list[float], list[float], float]:
        """Time of a raw page, ascending, with the guest's time lost to it; and that lost to a zero page."""
        c = self.costs
        times = {"normal": c.normal_page_s, "cold": c.cold_page_s, "fresh": c.fresh_page_s}
        pairs = sorted((t, t * (1 - self._share(self._works[kind], t))) for kind, t in times.items())
        lost = 0.0
        if self.zero_pages == "multifd":
            lost = c.zero_page_s * (1 - self._share(self._works["zero"], c.zero_page_s))
        elif self.zero_pages == "none":
            lost = pairs[-1][1]
        return [t for t, _ in pairs], [s for _, s in pairs], lost

    def _share(self, work: PageWork, page_s: float) -> float:
        return float(
            guest_share(
                work, page_s, cpus=self._terms["multifd_cpus"], busy_vcpus=self.busy, spins=self.rules.spins
            )
        )

    def set_up(self) -> None:
        """Count the channels' greetings, and their wait at the end of the setup."""
        self._count(GREETING_BYTES * self.channels)
        self._wait()

    def sent(self, sent: Sent, *, circle_ended: bool) -> None:
        """Count what an iterate call sent; `circle_ended` where the scan came to RAM's end."""
        self._count_pages(sent.normal, sent.zero)
        times, lost, zero_lost = self.lost
        raw_s = sent.seconds - sent.zero * self.costs.zero_page_s
        if self.busy:
            mean = lost_a_page_s(raw_s / sent.normal, *times, *lost) if sent.normal > 0 else 0.0
            self._window_lost_s += sent.normal * mean + sent.zero * zero_lost
        if circle_ended or self.rules.waits_every == "section":
            self._wait()

    def close_window(self, now: float, window_s: float) -> None:
        """Let the guest go on at the share of the processors that the window left it."""
        share = share_left(self._window_lost_s, window_s)
        self._window_lost_s = 0.0
        if abs(share - self.clock.share) > SHARE_STEP:
            self.clock.set_share(now, share)

    def complete(self, raw: float, zero: float) -> None:
        """Count the last pages, and the channels' last wait."""
        self._count_pages(raw, zero)
        self._wait()
        if self.rules.waits_at_end and self.rules.waits_every == "round":
            self._wait()

    def _count_pages(self, raw: float, zero: float) -> None:
        c = self.counters
        if self.zero_pages == "legacy":
            c.ram_stream += zero * ZERO_PAGE_BYTES
        whole, through = counted_pages(raw, zero, self.zero_pages)
        self._count(counted_bytes(whole, through))
        self._queued += through
        c.normal += whole
        c.duplicate += raw + zero - whole

    def _wait(self) -> None:
        """Let the channels wait for each other."""
        self._count(wait_bytes(self._queued, self.channels))
        self.counters.ram_stream += self.rules.main_bytes_a_wait
        self._queued = 0.0

    def _count(self, size: float) -> None:
        self.counters.multifd_stream += size
        self.counters.ram_stream += size
