"""From a few short probe migrations to a host profile.

The probes are guests of our own that no prediction is about: two sizes of empty RAM (scan, sync, setup), one with
data and no limit (pages new to the destination), one with a hot set and no limit (pages sent again), two limited
ones with a hot set (windows and switchover; faults). In each the vCPU is busy, as in a guest worth migrating. A term
is the median over probes and repeats; its spread is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from migsim.calibrate import terms
from migsim.models.dirty_bitmap import GIB
from migsim.provenance import Provenance
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.scenario import (
    GuestSpec,
    GuestWorkload,
    HostProfile,
    LabScenario,
    MigrationSettings,
    PageClass,
    QemuSpec,
    Term,
)

__all__ = ["Probe", "fit_profile", "measure_host", "probes"]

LIMIT = 62_500_000
FAULTS = "probe-faults-1g"
RESEND = "probe-resend-1g"
DATA = "probe-data-1g"
LEAST_SPREAD = 0.01


@dataclass(frozen=True)
class Probe:
    """One probe migration: what it is for, and the scenario."""

    purpose: str
    scenario: LabScenario


def probes(qemu: QemuSpec) -> list[Probe]:
    """List the probes for a QEMU; each takes some seconds."""

    def scenario(
        name: str,
        gib: int,
        touched: int,
        hot: int,
        parameters: dict[str, int],
        settle_s: float = 2.0,
        deadline_s: float = 120.0,
    ) -> LabScenario:
        workload = GuestWorkload(
            touched_pages=touched,
            classes=(PageClass(base_page=0, pages=hot, share=1, pattern="random", changed_bytes=8),),
            report_s=0.5,
        )
        return LabScenario(
            name=name,
            qemu=qemu,
            guest=GuestSpec(ram_bytes=gib * GIB, workload=workload),
            migration=MigrationSettings(parameters=parameters),
            settle_s=settle_s,
            deadline_s=deadline_s,
        )

    unlimited = {"max-bandwidth": 0, "downtime-limit": 300}
    limited = {"max-bandwidth": LIMIT, "downtime-limit": 150}
    # A millisecond's limit keeps a migration from ending, so that many rounds are seen.
    endless = {"max-bandwidth": LIMIT, "downtime-limit": 1}
    endless_unlimited = {"max-bandwidth": 0, "downtime-limit": 1}
    return [
        Probe("scan, setup and sync, small", scenario("probe-empty-1g", 1, 500, 64, unlimited)),
        Probe("scan, setup and sync, large", scenario("probe-empty-24g", 24, 500, 64, unlimited)),
        # Nearly all of its RAM is data, so that the blackout carries pages sent for the first time too.
        Probe("send and blackout, no limit", scenario(DATA, 1, 250_000, 64, unlimited)),
        Probe("windows and switchover", scenario("probe-hot-1g", 1, 30_000, 2000, limited)),
        Probe("faults", scenario(FAULTS, 1, 20_000, 2500, endless, 5.0, 9.0)),
        Probe("send again, no limit", scenario(RESEND, 1, 40_000, 30_000, endless_unlimited, deadline_s=6.0)),
    ]


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
        A folder for the probes' records. A record that is there already is read instead of run again, so that
        a killed calibration goes on, and one that is whole is fitted anew.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`; QemuError also when a probe does not complete.
    """
    from migsim.lab.migrate import run_migration

    runs: list[MigrationResult] = []
    for done, (repeat, probe) in enumerate((r, p) for r in range(1, repeats + 1) for p in probes(qemu)):
        if progress:
            progress(done, probe.purpose)
        record = keep / f"{probe.scenario.name}-{repeat}.json" if keep else None
        if record and record.exists():
            runs.append(MigrationResult.load(record))
            continue
        runs.append(run_migration(probe.scenario, command=command))
        if record:
            record.parent.mkdir(parents=True, exist_ok=True)
            runs[-1].save(record)
    return fit_profile(runs, qemu, command=command)


def fit_profile(runs: Iterable[MigrationResult], qemu: QemuSpec, *, command: str = "") -> HostProfile:
    """Fit the terms to probe records.

    Raises
    ------
    ProfileError
        When a probe did not complete.
    """
    from migsim.errors import ProfileError

    runs = list(runs)
    faults = [r for r in runs if r.name == FAULTS]
    resend = [r for r in runs if r.name == RESEND]
    runs = [r for r in runs if r.name not in (FAULTS, RESEND)]
    failed = [r for r in runs if r.outcome.status != "completed"]
    if failed:
        raise ProfileError(
            f"The probe {failed[0].name} ended as {failed[0].outcome.status}: {failed[0].outcome.reason}",
            "A profile is fitted to probes that completed.",
            "Make sure that the machine is idle and try again.",
        )
    of = {name: [r for r in runs if r.name == name] for name in {r.name for r in runs}}
    hot, data = of["probe-hot-1g"], of[DATA]
    empty = [*of["probe-empty-1g"], *of["probe-empty-24g"]]
    zero_s, fresh_s = terms.page_cost_s([*of["probe-empty-24g"], *data])
    made = {
        **_by_size(empty),
        "zero_page_s": _term(zero_s, "s/page"),
        "normal_page_s": _term([p for r in resend for p in terms.resent_page_s(r)], "s/page"),
        "fresh_page_s": _term(fresh_s, "s/page"),
        "burst_page_s": _term([b for r in hot if (b := terms.burst_page_s(r))], "s/page"),
        "burst_fresh_page_s": _term([b for r in data if (b := terms.burst_page_s(r))] or fresh_s, "s/page"),
        "window_overhead_s": _term([w for r in hot for w in terms.window_overhead_s(r, LIMIT)], "s"),
        "device_state_bytes": _term([terms.device_state_bytes(r) for r in data], "bytes"),
        "dirty_fault_s": _term(
            [f for r in faults if (f := terms.dirty_fault_s(r, 5.0)) is not None], "s/page"
        ),
        **_switchover(runs),
    }
    return HostProfile(
        terms=made,
        qemu_version=str(QemuVersion.parse(runs[0].qemu_version)),
        accel=qemu.accel,
        provenance=Provenance.now(command).as_dict(),
    )


def _term(values: Iterable[float], unit: str, least: float = 0.0) -> Term:
    """Median and spread of a term's measurements."""
    v = np.maximum(np.asarray(list(values), float), least)
    if not len(v):
        return Term(median=0.0, spread=0.0, n=1, unit=unit)
    middle = float(np.median(v))
    spread = LEAST_SPREAD
    if len(v) > 1 and middle > 0:
        low, high = np.percentile(np.log(np.maximum(v, middle / 50)), [16, 84])
        spread = max(float(high - low) / 2, LEAST_SPREAD)
    return Term(median=middle, spread=min(spread, 1.0), n=len(v), unit=unit)


def _by_size(runs: list[MigrationResult]) -> dict[str, Term]:
    """Terms that grow with RAM: setup and sync."""
    gib = [r.info["ram"]["total"] / GIB for r in runs]
    setup = [r.info["setup-time"] / 1000 for r in runs]
    base, slope, spread = terms.linear_in_gib(gib, setup)
    syncs = [(g, float(s)) for g, r in zip(gib, runs, strict=True) for s in r.iterations["sync_s"].iloc[1:]]
    syncs = [(g, s) for g, s in syncs if np.isfinite(s)]
    sync_base, sync_slope, sync_spread = terms.linear_in_gib([g for g, _ in syncs], [s for _, s in syncs])
    n = len(runs)
    return {
        "log_start_base_s": Term(median=base, spread=spread, n=n, unit="s"),
        "log_start_s_per_gib": Term(median=slope, spread=spread, n=n, unit="s/GiB"),
        "sync_base_s": Term(median=sync_base, spread=min(sync_spread, 1.0), n=len(syncs), unit="s"),
        "sync_s_per_gib": Term(median=sync_slope, spread=min(sync_spread, 1.0), n=len(syncs), unit="s/GiB"),
    }


def _switchover(runs: list[MigrationResult]) -> dict[str, Term]:
    """Terms of the blackout, from every probe that shows its parts."""
    parts = [(r, r.downtime_parts_ms) for r in runs if "device" in r.downtime_parts_ms]
    load = [(r.blackout_ms - (r.info["downtime"] - p["stop"])) / 1000 for r, p in parts]
    # setup-time ends with the first sync; what comes before setup is the connection.
    first = [r.iterations.iloc[0] for r in runs]
    connect = [
        max(float(f["start_s"] + f["sync_s"]) - r.info["setup-time"] / 1000, 0.0)
        for f, r in zip(first, runs, strict=True)
    ]
    gap = [
        float(r.iterations["start_s"].iloc[-1] - r.iterations["start_s"].iloc[-2])
        - float(r.iterations["sync_s"].iloc[-2])
        - p["stop"] / 1000
        for r, p in parts
        if len(r.iterations) > 2
    ]
    return {
        "connect_s": _term(connect, "s"),
        "switch_gap_s": _term([max(g, 0.0) for g in gap if g < 0.05], "s"),
        "stop_s": _term([p["stop"] / 1000 for _, p in parts], "s"),
        "final_sync_s": _term([0.0], "s"),
        "device_state_s": _term([(p["device"] + p.get("rest", 0.0)) / 1000 for _, p in parts], "s"),
        "load_s": _term([v for v in load if np.isfinite(v)], "s"),
    }
