"""A page-exact QEMU precopy by brute force: the witness against which the engine is read.

Every page of a small guest is a bit in a numpy array; every guest write is drawn and lands on a page. Nothing is
averaged, no closed form is used and nothing is imported from migsim, so an error would have to be made twice, in
two different ways, to stay unseen. The rules are those of QEMU 7.2 and 10.0 on x86 with the KVM dirty bitmap.

Time moves in the steps QEMU itself has: 64 page sends (the distance between two looks at the clock), a bitmap sync,
a sleep under the rate limit. The guest's writes of a step land after the pages of the step were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 4096
HEADER = 8
ZERO_RECORD = 9
NORMAL_RECORD = 4104
CALL_OVERHEAD = 18  # section start, end-of-section record and footer of one iterate call
IOV_ENTRIES = 64
STREAM_BUFFER = 32768

Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Writes:
    """One class of guest writes: `rate` page writes a second spread over the pages `first .. first+pages`.

    `pattern` is "random" (Poisson arrivals, uniform over the pages) or "sweep" (one page after the other, round and
    round, at a constant pace, from the page `phase` on; None: from anywhere).
    """

    first: int
    pages: int
    rate: float
    pattern: str = "random"
    phase: float | None = None


@dataclass(frozen=True)
class Guest:
    """Pages of the guest, its never-written zero pages and its writes."""

    pages: int
    zero: tuple[tuple[int, int], ...] = ()  # (first page, pages)
    writes: Sequence[Writes] = ()


@dataclass(frozen=True)
class Host:
    """Costs as plain numbers: seconds, bytes."""

    page_s: float = 4e-6  # one normal page, everything included, uncapped
    fresh_s: float | None = None  # its first time, when the destination finds memory for it; None: the same
    zero_s: float = 0.3e-6  # one zero page: scan and record
    setup_s: float = 0.01  # before the migration loop, guest running
    connect_s: float = 0.0  # before the first accounting window
    sync_s: float = 0.0  # fixed part of a bitmap sync
    sync_page_s: float = 0.0  # per page the kernel's log reports
    clear_s: float = 0.0  # per KVM_CLEAR_DIRTY_LOG of a chunk
    clear_page_s: float = 0.0  # per page cleared by it
    wake_s: float = 0.0  # lateness of the wake-up at the end of a capped window
    gap_s: float = 0.0  # decision to the start of the downtime; the guest writes
    stop_s: float = 0.005  # inside the downtime: its start to vCPUs paused; the guest still writes
    device_bytes: int = 0
    device_s: float = 0.0  # serialising the device state


@dataclass(frozen=True)
class Rules:
    """What the user set and which QEMU obeys."""

    qemu: str = "7.2"
    limit: int = 134217728  # bytes/s, 0 unlimited
    downtime_limit_ms: float = 300.0
    switchover_bandwidth: int = 0  # bytes/s, 0 unset; 8.2 and later
    deadline_s: float = 300.0
    manual_protect: bool = True
    chunk_pages: int = 262144
    iterate_s: float = 0.051  # whole milliseconds are compared with "> 50", so 51 ms is the first that stops


@dataclass
class Outcome:
    """What the run gave. Times in seconds, `rounds` are the dirty pages right after each sync."""

    verdict: str = "not-converged"
    total_s: float = 0.0
    downtime_s: float = 0.0
    blackout: dict[str, float] = field(default_factory=dict)
    ram_bytes: int = 0
    downtime_bytes: int = 0
    normal: int = 0
    duplicate: int = 0
    syncs: int = 0
    rounds: list[int] = field(default_factory=list)
    sync_times_s: list[float] = field(default_factory=list)
    windows: list[tuple[float, float, float]] = field(default_factory=list)  # (end s, length s, bytes)
    writes: int = 0


class _Memory:
    """Guest pages, the kernel's log, QEMU's slot copy and the migration bitmap."""

    def __init__(self, guest: Guest, rules: Rules, rng: np.random.Generator) -> None:
        n = guest.pages
        self.guest, self.rules, self.rng = guest, rules, rng
        self.zero: Bits = np.zeros(n, dtype=bool)
        for first, count in guest.zero:
            self.zero[first : first + count] = True
        # With manual protect the log starts all set (initially-all-set) and nothing is protected until a chunk is
        # cleared; without it everything is protected and clear at log start.
        self.log: Bits = np.full(n, rules.manual_protect, dtype=bool)
        self.fresh: Bits = np.ones(n, dtype=bool)
        self.slot: Bits = np.zeros(n, dtype=bool)
        self.dirty: Bits = np.ones(n, dtype=bool)
        self.chunk_due: Bits = np.zeros(-(-n // rules.chunk_pages), dtype=bool)
        self.sweep_at = [float(rng.uniform(0, w.pages)) if w.phase is None else w.phase for w in guest.writes]
        self.cursor = 0
        self.order: NDArray[np.int64] = np.arange(n)
        self.sent = 0  # how far into `order`
        self.writes = 0

    def run(self, seconds: float) -> None:
        """Let the guest write for a time."""
        for i, w in enumerate(self.guest.writes):
            if w.rate <= 0 or seconds <= 0:
                continue
            if w.pattern == "sweep":
                old, new = self.sweep_at[i], self.sweep_at[i] + w.rate * seconds
                hits = np.arange(int(np.ceil(old)), int(np.ceil(new)))[: w.pages] % w.pages
                self.writes += int(np.ceil(new)) - int(np.ceil(old))
                self.sweep_at[i] = new
                self._hit(w.first + hits)
                continue
            left = int(self.rng.poisson(w.rate * seconds))
            self.writes += left
            while left > 0:  # in portions, to bound the memory
                count = min(left, 1_000_000)
                self._hit(w.first + self.rng.integers(0, w.pages, count))
                left -= count

    def _hit(self, pages: NDArray[np.int64]) -> None:
        self.log[pages] = True
        self.zero[pages] = False

    def sync(self) -> int:
        """Publish the kernel's log; return how many pages it reported."""
        reported = int(self.log.sum())
        self.dirty |= self.log
        if self.rules.manual_protect:
            self.slot = self.log.copy()
            self.chunk_due[:] = True
        else:
            self.log[:] = False
        ahead = np.flatnonzero(self.dirty[self.cursor :]) + self.cursor
        self.order = np.concatenate([ahead, np.flatnonzero(self.dirty[: self.cursor])])
        self.sent = 0
        return reported

    def remaining(self) -> int:
        return len(self.order) - self.sent

    def clear_chunks(self, pages: NDArray[np.int64]) -> tuple[int, int]:
        """Re-arm the chunks of these pages where still due; return (chunks, pages cleared)."""
        if not self.rules.manual_protect:
            return 0, 0
        chunks = cleared = 0
        size = self.rules.chunk_pages
        for chunk in np.unique(pages // size):
            if self.chunk_due[chunk]:
                part = slice(int(chunk) * size, (int(chunk) + 1) * size)
                cleared += int(self.slot[part].sum())
                # A page clean at the sync and written since keeps its bit: QEMU clears only what it was told.
                self.log[part] &= ~self.slot[part]
                self.slot[part] = False
                self.chunk_due[chunk] = False
                chunks += 1
        return chunks, cleared

    def take(self, count: int) -> None:
        pages = self.order[self.sent : self.sent + count]
        self.dirty[pages] = False
        self.sent += count
        if count:
            self.cursor = int(pages[-1]) + 1


class _Wire:
    """Bytes of the stream and what the rate limit has been charged."""

    def __init__(self, rules: Rules) -> None:
        self.quota = rules.limit // 10 if rules.limit else None
        self.at_flush = rules.qemu != "7.2"
        self.total = self.charged = self.waiting = 0
        self.entries = 0
        self.header_last = False
        self.buffered = 0

    def full(self) -> bool:
        return self.quota is not None and self.charged > self.quota

    def put(self, zero: bool) -> None:
        size = ZERO_RECORD if zero else NORMAL_RECORD
        self.total += size
        if not self.at_flush:
            self.charged += size
            return
        self.waiting += size
        self.buffered += ZERO_RECORD if zero else HEADER
        self.entries += 0 if self.header_last else 1  # neighbouring headers share an entry
        self.entries += 0 if zero else 1
        self.header_last = zero
        if self.entries >= IOV_ENTRIES or self.buffered >= STREAM_BUFFER:
            self.flush()

    def flush(self, overhead: int = 0) -> None:
        self.total += overhead
        self.charged += self.waiting + overhead
        self.waiting = self.entries = self.buffered = 0
        self.header_last = False


class _Run:
    def __init__(self, guest: Guest, host: Host, rules: Rules, seed: int) -> None:
        self.host, self.rules = host, rules
        self.memory = _Memory(guest, rules, np.random.default_rng(seed))
        self.wire = _Wire(rules)
        self.out = Outcome()
        self.now = 0.0
        self.theta = 0.0

    def spend(self, seconds: float) -> None:
        self.memory.run(seconds)
        self.now += seconds

    def sync(self, paused: bool = False) -> float:
        reported = self.memory.sync()
        cost = self.host.sync_s + reported * self.host.sync_page_s
        if paused:
            self.now += cost
        else:
            self.spend(cost)
        self.out.syncs += 1
        self.out.rounds.append(self.memory.remaining())
        self.out.sync_times_s.append(self.now)
        return cost

    def send(self, pages: NDArray[np.int64], limited: bool) -> tuple[int, float]:
        """Send pages until the quota says stop; return how many and the seconds of it."""
        sent, zeros = 0, self.memory.zero[pages].tolist()
        for zero in zeros:
            if limited and self.wire.full():
                break
            self.wire.put(zero)
            sent += 1
        duplicate = sum(zeros[:sent])
        data = pages[:sent][~self.memory.zero[pages[:sent]]]
        fresh = int(self.memory.fresh[data].sum())
        self.memory.fresh[data] = False
        self.out.duplicate += duplicate
        self.out.normal += sent - duplicate
        chunks, cleared = self.memory.clear_chunks(pages[:sent])
        self.memory.take(sent)
        fresh_s = self.host.page_s if self.host.fresh_s is None else self.host.fresh_s
        seconds = duplicate * self.host.zero_s + fresh * fresh_s + (len(data) - fresh) * self.host.page_s
        return sent, seconds + chunks * self.host.clear_s + cleared * self.host.clear_page_s

    def iterate(self) -> None:
        """One iterate call: until quota, nothing dirty, or the time cap looked at every 64 pages."""
        start, first = self.now, True
        while self.memory.remaining() and not self.wire.full():
            count = 1 if first else 64  # the clock is looked at after page 0, 64, 128 ...
            first = False
            at = self.memory.sent
            sent, seconds = self.send(self.memory.order[at : at + count], limited=True)
            self.spend(seconds)
            if sent < count or self.now - start >= self.rules.iterate_s or self.now > self.rules.deadline_s:
                break
        self.wire.flush(CALL_OVERHEAD)

    def close_window(self, start: float, base: int) -> None:
        length, sent = self.now - start, self.wire.total - base
        speed = sent / length
        if self.rules.switchover_bandwidth and self.rules.qemu != "7.2":
            speed = self.rules.switchover_bandwidth
        self.theta = speed * self.rules.downtime_limit_ms / 1000.0
        self.out.windows.append((self.now, length, sent))
        self.wire.charged = 0

    def switch(self) -> bool:
        """The predicate: estimate, exact where the estimate is below the threshold, test again."""
        remaining = self.memory.remaining() * PAGE
        if remaining < self.theta:
            self.sync()
            remaining = self.memory.remaining() * PAGE
        return remaining == 0 or remaining < self.theta

    def complete(self) -> None:
        host, out = self.host, self.out
        self.spend(host.gap_s)
        began, base = self.now, self.wire.total
        self.spend(host.stop_s)
        sync_s = self.sync(paused=True)
        sent_s = 0.0
        while self.memory.remaining():
            at = self.memory.sent
            sent_s += self.send(self.memory.order[at : at + 4096], limited=False)[1]
        device_s = host.device_s + host.device_bytes * host.page_s / NORMAL_RECORD
        self.wire.flush(CALL_OVERHEAD)
        self.now += sent_s + device_s
        out.verdict, out.downtime_s = "completed", self.now - began
        out.downtime_bytes = self.wire.total - base
        out.blackout = {"stop": host.stop_s, "sync": sync_s, "pages": sent_s, "device": device_s}

    def go(self) -> Outcome:
        host, rules, wire = self.host, self.rules, self.wire
        self.spend(host.connect_s)
        start, base = self.now, 0
        self.spend(host.setup_s)
        self.sync()
        while self.now <= rules.deadline_s:
            if not wire.full():
                if self.switch():
                    self.complete()
                    break
                self.iterate()
            if self.now - start >= 0.1 - 1e-9:  # a sleep ends there but for rounding
                self.close_window(start, base)
                start, base = self.now, wire.total
            if wire.full():
                self.spend(max(start + 0.1 - self.now, 0.0) + host.wake_s)
        self.out.total_s, self.out.ram_bytes, self.out.writes = self.now, wire.total, self.memory.writes
        return self.out


def migrate(guest: Guest, host: Host | None = None, rules: Rules | None = None, *, seed: int = 0) -> Outcome:
    """Migrate the guest once.

    >>> migrate(Guest(1000), seed=1).verdict
    'completed'
    """
    return _Run(guest, host or Host(), rules or Rules(), seed).go()


def medians(guest: Guest, host: Host, rules: Rules, seeds: Sequence[int]) -> dict[str, Any]:
    """Median numbers of several runs and the verdicts seen."""
    runs = [migrate(guest, host, rules, seed=seed) for seed in seeds]
    names = ("total_s", "downtime_s", "ram_bytes", "downtime_bytes", "normal", "duplicate", "syncs")
    found: dict[str, Any] = {name: float(np.median([getattr(run, name) for run in runs])) for name in names}
    found["verdicts"] = {run.verdict for run in runs}
    found["spread_s"] = max(run.total_s for run in runs) - min(run.total_s for run in runs)
    return found
