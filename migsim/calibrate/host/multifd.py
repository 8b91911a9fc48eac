"""The cost of multifd's threads on a host: probes, and the terms fitted to them.

A thread's cost of a page is its processor time over the pages that went through it. Waiting does not count, so probes
with two channels tell the costs for any number of channels (`migsim.models.multifd.threads`). The probes are a guest
full of data (pages new to the destination), eight views of one file (pages in no cache, for which the destination has
memory), a hot set under a limit (pages sent again) and an empty guest (zero pages). Pages of other kinds in a probe are
subtracted at the cost that the other probes show. The time that remains is waiting: of the migration thread in the
empty guest's probe, of a channel's two ends in a blackout full of pages sent again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migsim.calibrate.host.fit import fit_term
from migsim.calibrate.host.probe_runs import run_probes
from migsim.calibrate.host.probes import Probe, alias_bytes_with_room
from migsim.calibrate.host.terms import active_seconds
from migsim.errors import ProfileError
from migsim.models.dirty.bitmap import GIB
from migsim.models.multifd.packets import PACKET_PAGES, multifd_rules, zero_page_detection
from migsim.profiles import HostProfile, Term
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, MigrationSettings, PageClass, QemuSpec
from migsim.units import PAGE_BYTES, read_count

__all__ = ["ThreadWork", "fit_multifd", "measure_multifd", "multifd_probes", "thread_work"]

CHANNELS = 2
VIEWS = 8
LIMIT = 250_000_000
DATA_PAGES = 250_000
HOT_PAGES = 30_000
MANY_PAGES = 2000
FRESH, COLD, AGAIN, HOT, EMPTY = (
    f"probe-multifd-{kind}" for kind in ("fresh", "cold", "again", "hot", "empty")
)
COLD_ALIAS_BYTES = GIB

_THREADS = {
    "queue": re.compile(r"live_migration|mig/src/main"),
    "send": re.compile(r"multifdsend_\d+|mig/src/send_\d+"),
    "receive": re.compile(r"multifdrecv_\d+|mig/dst/recv_\d+"),
}
"""Names of the threads, up to 9.0 and from 9.1 on."""


@dataclass(frozen=True)
class ThreadWork:
    """Processor time of multifd's threads in one run, and the pages that they sent.

    Attributes
    ----------
    seconds : dict of str to float
        ``queue``: the migration thread; ``send`` and ``receive``: all channels' threads on the source and on the
        destination.
    pages : dict of str to float
        Pages by kind: ``fresh``, ``cold``, ``normal``, ``zero``.
    """

    seconds: dict[str, float]
    pages: dict[str, float]


def multifd_probes(qemu: QemuSpec, *, cold_alias_bytes: int = COLD_ALIAS_BYTES) -> list[Probe]:
    """Return the probes of multifd for a QEMU; each takes some seconds.

    Examples
    --------
    >>> [probe.purpose for probe in multifd_probes(QemuSpec(command="qemu", version="10.0"))]
    ['pages new there', 'pages in no cache', 'pages sent again', 'the blackout', 'zero pages']
    """

    def scenario(
        name: str, gib: float, touched: int, hot: int, parameters: dict[str, int], alias: int | None = None
    ) -> LabScenario:
        classes = (PageClass(base_page=0, pages=hot, share=1, pattern="random", changed_bytes=8),)
        return LabScenario(
            name=name,
            qemu=qemu,
            guest=GuestSpec(
                ram_bytes=int(gib * GIB),
                memory="aliased" if alias else "plain",
                alias_bytes=alias,
                workload=GuestWorkload(touched_pages=touched, classes=classes, report_s=0.5),
            ),
            migration=MigrationSettings(
                parameters={"multifd-channels": CHANNELS} | parameters, capabilities={"multifd": True}
            ),
            settle_s=2.0,
            deadline_s=60.0 if parameters["downtime-limit"] > 1 else 6.0,
        )

    unlimited = {"max-bandwidth": 0, "downtime-limit": 300}
    endless = {"max-bandwidth": LIMIT, "downtime-limit": 1}
    limited = {"max-bandwidth": LIMIT, "downtime-limit": 300}
    views = VIEWS * cold_alias_bytes / GIB
    return [
        Probe("pages new there", scenario(FRESH, 1, DATA_PAGES, 64, unlimited)),
        Probe("pages in no cache", scenario(COLD, views, 0, 64, unlimited, cold_alias_bytes)),
        Probe("pages sent again", scenario(AGAIN, 1, HOT_PAGES, HOT_PAGES, endless)),
        Probe("the blackout", scenario(HOT, 1, 100_000, 15_000, limited)),
        Probe("zero pages", scenario(EMPTY, 64, 500, 64, unlimited)),
    ]


def measure_multifd(
    host: HostProfile,
    qemu: QemuSpec,
    *,
    repeats: int = 3,
    progress: Callable[[int, str], None] | None = None,
    keep: Path | None = None,
    command: str = "",
) -> HostProfile:
    """Run the probes and add their terms to a profile of the same QEMU.

    Parameters
    ----------
    host : HostProfile
        A profile that `migsim calibrate host` measured.
    qemu : QemuSpec
    repeats, progress, keep, command
        As `migsim.calibrate.host.run.measure_host`.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`.
    RecordError
        Where a kept record cannot be read.
    ParameterError
        Where the release has no multifd.
    ProfileError
        Where the profile is of another QEMU, or a probe shows no thread of multifd.
    """
    multifd_rules(qemu.qemu_version)
    repeats = read_count("repeats", repeats, least=1)
    cold = alias_bytes_with_room(COLD_ALIAS_BYTES)
    every = [(p, n) for n in range(1, repeats + 1) for p in multifd_probes(qemu, cold_alias_bytes=cold)]
    return fit_multifd(host, run_probes(every, progress=progress, keep=keep, command=command))


def fit_multifd(host: HostProfile, runs: Iterable[MigrationResult]) -> HostProfile:
    """Return a profile with the terms that the probes' records show.

    Raises
    ------
    ProfileError
        Where the profile is of another QEMU, a probe has no record, or a record shows no thread of multifd.
    """
    runs = list(runs)
    for name in (FRESH, COLD, AGAIN, HOT, EMPTY):
        if not any(r.name == name for r in runs):
            raise ProfileError(
                f"There is no record of the probe {name}.",
                "Multifd's terms are fitted to all of its probes.",
                "Run it too, with `migsim calibrate multifd`.",
            )
    version = QemuVersion.parse(runs[0].qemu_version)
    if QemuVersion.parse(host.qemu_version).release != version.release or runs[0].accel != host.accel:
        raise ProfileError(
            f"The profile is of QEMU {host.qemu_version} ({host.accel}), "
            f"the probes are of {version} ({runs[0].accel}).",
            "A profile's terms are of one QEMU release and one accelerator.",
            f"Give the profile that `migsim calibrate host` made with QEMU {version}.",
        )
    work_of = {name: [thread_work(r) for r in runs if r.name == name] for name in {r.name for r in runs}}
    by_channels = zero_page_detection({}, version) == "multifd"
    fitted: dict[str, Term] = {
        "multifd_cpus": Term(median=float(runs[0].host_load["cpus"]), n=len(runs), unit="processors")
    }
    for end in ("send", "receive"):
        costs_s: dict[str, float] = {}  # of the kinds fitted so far
        for kind, probe in (("zero", EMPTY), ("fresh", FRESH), ("cold", COLD), ("normal", AGAIN)):
            if kind == "zero" and not by_channels:
                continue
            values = [_cost_s(work, end, kind, costs_s) for work in work_of[probe]]
            term = fit_term(f"multifd_{end}_{kind}_page_s", values, "s/page")
            fitted[f"multifd_{end}_{kind}_page_s"] = term
            costs_s[kind] = term.median
    queue_s = [work.seconds["queue"] / sum(work.pages.values()) for work in work_of[EMPTY]]
    fitted["multifd_queue_page_s"] = fit_term("multifd_queue_page_s", queue_s, "s/page")
    costs = {name: term.median for name, term in fitted.items()}
    waits_s = [_queue_wait_s(r, costs) if by_channels else 0.0 for r in runs if r.name == EMPTY]
    fitted["multifd_queue_wait_s"] = fit_term("multifd_queue_wait_s", waits_s, "s/packet")
    turns_s = [_channel_wait_s(r, costs) for r in runs if r.name == HOT]
    fitted["multifd_channel_wait_s"] = fit_term("multifd_channel_wait_s", turns_s, "s/packet")
    return host.replace(terms=host.terms | fitted)


def thread_work(run: MigrationResult) -> ThreadWork:
    """Return the threads' processor times and the pages of a probe's record.

    Raises
    ------
    ProfileError
        Where the record shows no thread of multifd.
    """
    threads: Sequence[Mapping[str, Any]] = run.host_load.get("threads", ())
    seconds = {
        role: sum(float(t["cpu_s"]) for t in threads if pattern.fullmatch(str(t["name"])))
        for role, pattern in _THREADS.items()
    }
    if not seconds["receive"]:
        raise ProfileError(
            f"The record of {run.name} shows no processor time of a multifd thread.",
            "The cost of a page is read off the threads' times.",
            "Make sure that /proc can be read, and try again.",
        )
    ram, guest = run.info["ram"], run.scenario["guest"]
    alias = guest.get("alias-bytes")
    normal = float(ram["normal"])
    fresh = alias // PAGE_BYTES if alias else guest["workload"]["touched-pages"]
    later = max(normal - fresh, 0.0)
    return ThreadWork(
        seconds,
        {
            "fresh": min(normal, fresh),
            "cold": later if alias else 0.0,
            "normal": 0.0 if alias else later,
            "zero": float(ram["duplicate"]),
        },
    )


def _cost_s(work: ThreadWork, end: str, kind: str, costs_s: Mapping[str, float]) -> float:
    """Return the cost of a page of one kind, after subtracting the pages of the kinds in `costs_s`."""
    others = sum(cost * work.pages[other] for other, cost in costs_s.items())
    return max(work.seconds[end] - others, 0.0) / max(work.pages[kind], 1.0)


def _queue_wait_s(run: MigrationResult, costs: Mapping[str, float]) -> float:
    """Return the migration thread's wait for each packet of an empty guest, from the time of a page.

    The vCPU and that thread shared evenly what the other threads and programs left of the processors.
    """
    load = run.host_load
    pages = sum(thread_work(run).pages.values())
    page_s = active_seconds(run) / pages
    queue_s = costs["multifd_queue_page_s"]
    needed = queue_s + costs["multifd_send_zero_page_s"] + costs["multifd_receive_zero_page_s"]
    free = load["cpus"] - load["others_cpu_s"] / load["duration_s"]
    part = min(max(free - needed / page_s, 0.1), 1.0)
    return float(max(page_s - queue_s / part, 0.0) * PACKET_PAGES)


def _channel_wait_s(run: MigrationResult, costs: Mapping[str, float]) -> float | None:
    """Return the wait of a channel's ends for each packet, from a blackout of pages sent again; None if too short."""
    left = float(run.iterations["remaining_bytes_after_sync"].iloc[-1]) / PAGE_BYTES
    flush_ms = run.downtime_parts_ms.get("flush")
    if flush_ms is None or left < MANY_PAGES:
        return None
    page_s = flush_ms / 1000 / left * CHANNELS
    ends_s = costs["multifd_send_normal_page_s"] + costs["multifd_receive_normal_page_s"]
    return float(max(page_s - ends_s, 0.0) * PACKET_PAGES)
