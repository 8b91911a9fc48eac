"""From a few short probe migrations to a host profile.

The probes are guests of our own that no prediction is about: two sizes of empty RAM (scan, sync, setup), one with
data and no limit (pages new to the destination), one whose memory the destination has (pages in no cache), one
with a hot set and no limit (pages sent again), one with XBZRLE, two limited
ones with a hot set (windows and switchover; faults). In each the vCPU is busy, as in a guest worth migrating. A probe
gives one value of a term, the median over the repeats is the term, and its spread is that of one more run: the
repeats' deviation, drawn towards a usual one (few repeats say little about it), and the median's own uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from migsim.calibrate.host import terms
from migsim.calibrate.host.probe_runs import Probe, run_probes
from migsim.errors import ProfileError
from migsim.models.dirty.bitmap import GIB
from migsim.models.throttle.trigger import throttle_rules
from migsim.profiles import HostProfile, Term
from migsim.provenance import Provenance
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, MigrationSettings, PageClass, QemuSpec

__all__ = ["Probe", "fit_profile", "measure_host", "probes", "term_of"]

SLOW = 62_500_000
FAST = 250_000_000
FAULTS = "probe-faults-1g"
RESEND = "probe-resend-1g"
EMPTY = "probe-empty-64g"
COLD = "probe-cold"
COLD_ALIAS_BYTES = 4 * GIB
"""More than any cache, also those of page tables, holds; less where /dev/shm has no room for two of it."""
HOT = "probe-hot-1g"
XBZRLE = "probe-xbzrle-1g"
RING = "probe-ring-1g"
DATA = "probe-data-1g"
USUAL_SPREAD = 0.12
USUAL_WEIGHT = 4


def probes(qemu: QemuSpec, *, cold_alias_bytes: int = COLD_ALIAS_BYTES) -> list[Probe]:
    """List the probes for a QEMU; each takes some seconds.

    Parameters
    ----------
    qemu : QemuSpec
    cold_alias_bytes : int
        Memory in /dev/shm that the probe of pages in no cache takes on each side.
    """

    def scenario(
        name: str,
        gib: float,
        touched: int,
        hot: int,
        parameters: dict[str, int],
        settle_s: float = 2.0,
        deadline_s: float = 120.0,
        alias_bytes: int | None = None,
        capabilities: dict[str, bool] | None = None,
        work: int = 0,
        ring: int = 0,
    ) -> LabScenario:
        workload = GuestWorkload(
            touched_pages=touched,
            work=work,
            classes=(PageClass(base_page=0, pages=hot, share=1, pattern="random", changed_bytes=8),),
            report_s=0.5,
        )
        return LabScenario(
            name=name,
            qemu=qemu.replace(dirty_ring_size=ring),
            guest=GuestSpec(
                ram_bytes=int(gib * GIB),
                memory="aliased" if alias_bytes else "plain",
                alias_bytes=alias_bytes,
                workload=workload,
            ),
            migration=MigrationSettings(parameters=parameters, capabilities=capabilities or {}),
            settle_s=settle_s,
            deadline_s=deadline_s,
        )

    unlimited = {"max-bandwidth": 0, "downtime-limit": 300}
    limited = {"max-bandwidth": FAST, "downtime-limit": 300}
    # A millisecond's limit keeps a migration from ending, so that many rounds are seen.
    endless = {"max-bandwidth": SLOW, "downtime-limit": 1}
    endless_unlimited = {"max-bandwidth": 0, "downtime-limit": 1}
    # A guest slow enough that no ring overflows between two of KVM's looks at it, where instructions are emulated.
    limit = {"max-bandwidth": 40_000_000, "downtime-limit": 1, "vcpu-dirty-limit": 10}
    ring = scenario(
        RING, 1, 30_000, 25_000, limit, deadline_s=9.0, capabilities={"dirty-limit": True}, work=30, ring=4096
    ) if _has_ring(qemu) else None  # fmt: skip
    return [
        Probe("scan, setup and sync, small", scenario("probe-empty-1g", 1, 500, 64, unlimited)),
        Probe("scan, setup and sync, large", scenario(EMPTY, 64, 500, 64, unlimited)),
        # Nearly all of its RAM is data, so that the blackout carries pages sent for the first time too.
        Probe("send and blackout, no limit", scenario(DATA, 1, 250_000, 64, unlimited)),
        # Three views of one file: after the first of them the destination has its memory, and no cache holds it.
        Probe(
            "send what is there",
            scenario(COLD, 3 * cold_alias_bytes / GIB, 0, 64, unlimited, alias_bytes=cold_alias_bytes),
        ),
        # The blackout differs most from run to run.
        Probe("windows and switchover", scenario(HOT, 1, 100_000, 15_000, limited), runs=3),
        Probe("faults", scenario(FAULTS, 1, 20_000, 2500, endless, 5.0, 9.0)),
        Probe("send again, no limit", scenario(RESEND, 1, 40_000, 30_000, endless_unlimited, deadline_s=6.0)),
        # Few enough that the second sweep puts nearly all of them into the cache: then rounds are hits alone.
        Probe(
            "XBZRLE",
            scenario(
                XBZRLE,
                1,
                40_000,
                8000,
                endless_unlimited | {"xbzrle-cache-size": 256 << 20},
                deadline_s=6.0,
                capabilities={"xbzrle": True},
            ),
        ),
        *([Probe("dirty ring", ring)] if ring else []),
    ]


def _has_ring(qemu: QemuSpec) -> bool:
    """Whether dirty-limit can be measured: it needs KVM, and QEMU 8.1."""
    return qemu.accel == "kvm" and throttle_rules(qemu.qemu_version).dirty_limit


def measure_host(
    qemu: QemuSpec,
    *,
    repeats: int = 3,
    progress: Callable[[int, str], None] | None = None,
    keep: Path | None = None,
    command: str = "",
) -> HostProfile:
    """Run the probes and fit the profile.

    Parameters
    ----------
    qemu : QemuSpec
        Which QEMU, and the accelerator.
    repeats : int
        Of each probe.
    progress : callable, optional
        Called with (probes done, what the next is for).
    keep : Path, optional
        A folder or a ``.zip`` archive for the probes' records. A record that is there already is read instead of run
        again, so that a killed calibration goes on, and one that is whole is fitted anew.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`.
    RecordError
        When a kept record cannot be read.
    ProfileError
        When a probe does not complete or does not show its term.
    """
    from migsim.lab.machine import free_shared_bytes

    cold = COLD_ALIAS_BYTES
    while cold > GIB // 4 and free_shared_bytes() < 2.2 * cold:
        cold //= 2
    every = [
        (probe, (repeat - 1) * probe.runs + run)
        for repeat in range(1, repeats + 1)
        for probe in probes(qemu, cold_alias_bytes=cold)
        for run in range(1, probe.runs + 1)
    ]
    runs = run_probes(every, progress=progress, keep=keep, command=command)
    return fit_profile(runs, qemu, command=command)


def fit_profile(runs: Iterable[MigrationResult], qemu: QemuSpec, *, command: str = "") -> HostProfile:
    """Fit the terms to probe records.

    Raises
    ------
    ProfileError
        When a probe did not complete, is not there, or does not show its term.
    """
    runs = every = list(runs)
    faults = [r for r in runs if r.name == FAULTS]
    resend = [r for r in runs if r.name == RESEND]
    coded = [r for r in runs if r.name == XBZRLE]
    rings = [r for r in runs if r.name == RING]
    runs = [r for r in runs if r.name not in (FAULTS, RESEND, XBZRLE, RING)]
    failed = [r for r in runs if r.outcome.status != "completed"]
    if failed:
        raise ProfileError(
            f"The probe {failed[0].name} ended as {failed[0].outcome.status}: {failed[0].outcome.reason}",
            "A profile is fitted to probes that completed.",
            "Make sure that the machine is idle and try again.",
        )
    missing = {p.scenario.name for p in probes(qemu)} - {
        r.name for r in (*runs, *faults, *resend, *coded, *rings)
    }
    if missing:
        raise ProfileError(
            f"There is no record of the probe {min(missing)}.",
            "A profile is fitted to all of the probes.",
            "Run it too, with `migsim calibrate host`.",
        )
    of = {name: [r for r in runs if r.name == name] for name in {r.name for r in runs}}
    hot, data = of[HOT], of[DATA]
    empty = [*of["probe-empty-1g"], *of[EMPTY]]
    zero_s, fresh_s = terms.page_cost_s([*of[EMPTY], *data])
    cold_s = [terms.cold_page_s(r) for r in of[COLD]]
    again = term_of("normal_page_s", map(terms.resent_page_s, resend), "s/page")
    coded_s = [pair for r in coded if (pair := terms.xbzrle_pages_s(r)) is not None]
    slow_fast = [*faults, *hot]
    made = {
        **_by_size(empty),
        "zero_page_s": term_of("zero_page_s", zero_s, "s/page"),
        "normal_page_s": again,
        "xbzrle_hit_s": term_of("xbzrle_hit_s", [found for found, _ in coded_s], "s/page"),
        "xbzrle_miss_s": term_of("xbzrle_miss_s", [missed - again.median for _, missed in coded_s], "s/page"),
        "fresh_page_s": term_of("fresh_page_s", fresh_s, "s/page"),
        "cold_page_s": term_of("cold_page_s", cold_s, "s/page"),
        "burst_cold_page_s": term_of("burst_cold_page_s", map(terms.burst_page_s, of[COLD]), "s/page"),
        "burst_page_s": term_of("burst_page_s", map(terms.burst_page_s, hot), "s/page"),
        "burst_fresh_page_s": term_of("burst_fresh_page_s", map(terms.burst_page_s, data), "s/page"),
        **_windows(slow_fast),
        "device_state_bytes": term_of("device_state_bytes", map(terms.device_state_bytes, data), "bytes"),
        "dirty_fault_s": _told_from_none("dirty_fault_s", map(terms.dirty_fault_s, faults), "s/page"),
        **_switchover(runs),
        "guest_writes_per_s": term_of("guest_writes_per_s", map(terms.guest_speed, [*hot, *resend]), "1/s"),
        "guest_speed": _guest_speed([*runs, *faults, *resend, *coded, *rings]),
    }
    if rings:
        values = map(terms.ring_entries_per_write, rings)
        made["ring_entries_per_write"] = term_of("ring_entries_per_write", values, "entries/write")
    return HostProfile(
        terms=made,
        qemu_version=str(QemuVersion.parse(runs[0].qemu_version)),
        accel=qemu.accel,
        provenance=Provenance.now(command).as_dict() | {"measured": _middle_time(every)},
    )


def _middle_time(runs: list[MigrationResult]) -> str:
    """When the runs were made, in the middle: what a record is near to or far from."""
    made = sorted(str(r.provenance.get("made", "")) for r in runs)
    return made[len(made) // 2] if made else ""


def term_of(name: str, values: Iterable[float | None], unit: str) -> Term:
    """Median of one value a run, at least 0, and the spread of one more run.

    Raises
    ------
    ProfileError
        When no run shows it.

    Examples
    --------
    >>> term_of("connect_s", [0.001, None, 0.003, 0.002], "s").median
    0.002
    """
    v = np.array([value for value in values if value is not None and np.isfinite(value)])
    if not len(v):
        raise ProfileError(
            f"No probe shows {name}.",
            "The model needs every term, and a term that was not measured is not 0.",
            "Make sure that the machine is idle and try again, with more --repeats.",
        )
    middle = max(float(np.median(v)), 0.0)
    if middle == 0.0:
        return Term(median=0.0, spread=0.0, n=len(v), unit=unit)
    return Term(median=middle, spread=_spread(np.log(np.maximum(v, middle / 20)), 1), n=len(v), unit=unit)


def _told_from_none(name: str, values: Iterable[float | None], unit: str) -> Term:
    """Read a cost that is a small difference of large numbers: none where its runs do not tell it from none."""
    seen = np.array([value for value in values if value is not None and np.isfinite(value)])
    if len(seen) > 1 and float(np.median(seen)) < 2 * float(np.std(seen, ddof=1)) / np.sqrt(len(seen)):
        return Term(median=0.0, spread=0.0, n=len(seen), unit=unit)
    return term_of(name, seen, unit)


def _spread(logs: np.ndarray, fitted: int) -> float:
    """Deviation of one more run's logarithm: pooled with a usual one, and with the estimate's own."""
    free = max(len(logs) - fitted, 0)
    own = float(np.sum((logs - logs.mean()) ** 2))
    pooled = (USUAL_WEIGHT * USUAL_SPREAD**2 + own) / (USUAL_WEIGHT + free)
    return min(float(np.sqrt(pooled * (1 + 1 / max(len(logs), 1)))), 1.0)


def _by_size(runs: list[MigrationResult]) -> dict[str, Term]:
    """Terms that grow with RAM: setup and sync."""
    gib = [r.info["ram"]["total"] / GIB for r in runs]
    setup = [max(r.info["setup-time"], 0.5) / 1000 for r in runs]
    # The first sync lies in setup and the last in the downtime, when no vCPU runs.
    sync = [float(r.iterations["sync_s"].iloc[1:-1].mean()) for r in runs]
    sync = [
        s if np.isfinite(s) else float(r.iterations["sync_s"].iloc[-1])
        for s, r in zip(sync, runs, strict=True)
    ]
    made: dict[str, Term] = {}
    for name, seconds in (("setup", setup), ("sync", sync)):
        base, slope, _ = terms.fit_line(gib, seconds)
        off = np.log(np.array(seconds) / np.maximum(base + slope * np.array(gib), 1e-9))
        spread = _spread(off, 2)
        made[f"{name}_base_s"] = Term(median=base, spread=spread, n=len(runs), unit="s")
        made[f"{name}_s_per_gib"] = Term(median=slope, spread=spread, n=len(runs), unit="s/GiB")
    return made


def _windows(runs: list[MigrationResult]) -> dict[str, Term]:
    """How late the thread wakes up, at two rates."""
    seen = [
        (r.scenario["migration"]["parameters"]["max-bandwidth"] / GIB, w)
        for r in runs
        if (w := terms.window_overhead_s(r)) is not None
    ]
    term_of("window_overhead_s", [w for _, w in seen], "s")
    base, slope, _ = terms.fit_line([x for x, _ in seen], [max(w, 1e-5) for _, w in seen])
    off = np.log([max(w, 1e-5) / max(base + slope * x, 1e-5) for x, w in seen])
    spread = _spread(off, 2)
    unit = "s/(GiB/s)"
    return {
        "window_overhead_s": Term(median=base, spread=spread, n=len(seen), unit="s"),
        "window_overhead_s_per_gib_per_s": Term(median=slope, spread=spread, n=len(seen), unit=unit),
    }


def _switchover(runs: list[MigrationResult]) -> dict[str, Term]:
    """Terms of the blackout, from every probe that shows its parts; spreads are within each kind of probe."""
    parts = [(r, r.downtime_parts_ms) for r in runs if "device" in r.downtime_parts_ms]
    values: dict[str, list[tuple[str, float]]] = {
        "connect_s": [(r.name, terms.connect_s(r)) for r in runs],
        "switch_gap_s": [(r.name, _gap_s(r, p)) for r, p in parts if len(r.iterations) > 2],
        "stop_s": [(r.name, p["stop"] / 1000) for r, p in parts],
        "device_state_s": [(r.name, (p["device"] + p.get("rest", 0.0)) / 1000) for r, p in parts],
        "load_s": [(r.name, (r.blackout_ms - r.info["downtime"] + p["stop"]) / 1000) for r, p in parts],
    }
    return {name: _term_within(name, seen) for name, seen in values.items()}


def _guest_speed(runs: list[MigrationResult]) -> Term:
    """How much one guest's speed differs from run to run on this host: relative, so 1 in the middle."""
    seen = [(r.name, np.log(speed)) for r in runs if (speed := terms.guest_speed(r))]
    off = [v - np.mean([other for same, other in seen if same == kind]) for kind, v in seen]
    free = len(seen) - len({kind for kind, _ in seen})
    if free < 1:
        return Term(median=1.0, spread=0.03, n=max(len(seen), 1), unit="relative")
    return Term(
        median=1.0, spread=float(np.sqrt(np.sum(np.square(off)) / free)), n=len(seen), unit="relative"
    )


def _gap_s(run: MigrationResult, parts: dict[str, float]) -> float:
    """From the exact sync's end to the downtime clock's start."""
    exact, final = run.iterations.iloc[-2], run.iterations.iloc[-1]
    return max(float(final["start_s"] - exact["start_s"] - exact["sync_s"]) - parts["stop"] / 1000, 0.0)


def _term_within(name: str, seen: list[tuple[str, float]]) -> Term:
    """Median over all probes; the spread is that between repeats of one probe."""
    found = [(kind, max(v, 1e-6)) for kind, v in seen if np.isfinite(v)]
    term = term_of(name, [v for _, v in found], "s")
    logs = [
        np.log(v) - np.mean([np.log(other) for same, other in found if same == kind]) for kind, v in found
    ]
    return term.replace(spread=_spread(np.array(logs), len({kind for kind, _ in found})))
