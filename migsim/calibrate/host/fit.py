"""From the records of a host's probes to its profile.

A probe gives one value of a term (`migsim.calibrate.host.terms`). The term is the median over the repeats. Its spread
is that of one more run: the deviation of the repeats, pooled with a usual one because few repeats say little about it,
and the uncertainty of the median.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from migsim.calibrate.host import terms
from migsim.calibrate.host.probes import (
    BURST,
    COLD,
    DATA,
    EMPTY,
    FAULTS,
    HOT,
    RESEND,
    RING,
    SMALL,
    UNENDING,
    XBZRLE,
    host_probes,
)
from migsim.errors import ProfileError
from migsim.models.dirty.bitmap import GIB
from migsim.profiles import HostProfile, Term
from migsim.profiles.terms import BURST_TERMS
from migsim.provenance import Provenance
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.scenario import QemuSpec

__all__ = ["fit_profile", "fit_term"]

USUAL_SPREAD = 0.12
"""Spread of a usual term, which the repeats' spread is pooled with."""

USUAL_WEIGHT = 4
"""Number of repeats that the usual spread counts like."""


def fit_profile(runs: Iterable[MigrationResult], qemu: QemuSpec, *, command: str = "") -> HostProfile:
    """Fit the terms to the records of the probes.

    Those of pinned probes give a page's cost in the blackout for two hosts, the others all terms for one machine.

    Raises
    ------
    ProfileError
        Where a probe did not complete, has no record, or does not show its term.
    """
    every = list(runs)
    runs = [r for r in every if not r.apart]
    pinned = [r for r in every if r.apart]
    faults, resend, xbzrle, rings = (
        [r for r in runs if r.name == name] for name in (FAULTS, RESEND, XBZRLE, RING)
    )
    completed = [r for r in runs if r.name not in UNENDING]
    failed = [r for r in (*completed, *pinned) if r.outcome.status != "completed"]
    if failed:
        raise ProfileError(
            f"The probe {failed[0].name} ended as {failed[0].outcome.status}: {failed[0].outcome.reason}",
            "A profile is fitted to probes that completed.",
            "Make sure that the machine is idle and try again.",
        )
    missing = {p.scenario.name for p in host_probes(qemu)} - {r.name for r in runs}
    if missing:
        raise ProfileError(
            f"There is no record of the probe {min(missing)}.",
            "A profile is fitted to all of the probes.",
            "Run it too, with `migsim calibrate host`.",
        )
    hot, data, cold, small, large = (
        [r for r in completed if r.name == name] for name in (HOT, DATA, COLD, SMALL, EMPTY)
    )
    zero_s, fresh_s = terms.page_cost_s([*large, *data])
    cold_s = [terms.cold_page_s(r) for r in cold]
    normal = fit_term("normal_page_s", map(terms.resent_page_s, resend), "s/page")
    hit_miss_s = [pair for r in xbzrle if (pair := terms.xbzrle_pages_s(r)) is not None]
    fitted = {
        **_by_size([*small, *large]),
        "zero_page_s": fit_term("zero_page_s", zero_s, "s/page"),
        "normal_page_s": normal,
        "xbzrle_hit_s": fit_term("xbzrle_hit_s", [hit_s for hit_s, _ in hit_miss_s], "s/page"),
        "xbzrle_miss_s": fit_term(
            "xbzrle_miss_s", [miss_s - normal.median for _, miss_s in hit_miss_s], "s/page"
        ),
        "fresh_page_s": fit_term("fresh_page_s", fresh_s, "s/page"),
        "cold_page_s": fit_term("cold_page_s", cold_s, "s/page"),
        **_burst(completed),
        **_windows([*faults, *hot]),
        "device_state_bytes": fit_term("device_state_bytes", map(terms.device_state_bytes, data), "bytes"),
        "dirty_fault_s": _significant_term("dirty_fault_s", map(terms.dirty_fault_s, faults), "s/page"),
        **_switchover(completed),
        "guest_writes_per_s": fit_term("guest_writes_per_s", map(terms.guest_speed, [*hot, *resend]), "1/s"),
        "guest_speed": _guest_speed([*completed, *faults, *resend, *xbzrle, *rings]),
    }
    if rings:
        values = map(terms.ring_entries_per_write, rings)
        fitted["ring_entries_per_write"] = fit_term("ring_entries_per_write", values, "entries/write")
    return HostProfile(
        terms=fitted,
        qemu_version=str(QemuVersion.parse(completed[0].qemu_version)),
        accel=qemu.accel,
        provenance=Provenance.now(command).as_dict() | {"measured": _middle_time(runs)},
        other_sides=_burst(pinned) if pinned else {},
    )


def _middle_time(runs: list[MigrationResult]) -> str:
    """Return the median of the times at which the runs were made; matching compares a record's time with it."""
    times = sorted(str(r.provenance.get("made", "")) for r in runs)
    return times[len(times) // 2] if times else ""


def fit_term(name: str, values: Iterable[float | None], unit: str) -> Term:
    """Return a term from one value of each run: the median, at least 0, and the spread of one more run.

    Raises
    ------
    ProfileError
        Where no run shows the term.

    Examples
    --------
    >>> fit_term("connect_s", [0.001, None, 0.003, 0.002], "s").median
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


def _significant_term(name: str, values: Iterable[float | None], unit: str) -> Term:
    """Return a term that is a small difference of large numbers: 0 where the runs do not tell it from 0."""
    v = np.array([value for value in values if value is not None and np.isfinite(value)])
    if len(v) > 1 and float(np.median(v)) < 2 * float(np.std(v, ddof=1)) / np.sqrt(len(v)):
        return Term(median=0.0, spread=0.0, n=len(v), unit=unit)
    return fit_term(name, v, unit)


def _spread(logs: np.ndarray, fitted: int) -> float:
    """Return the deviation of one more run's logarithm: the repeats' pooled with a usual one, and the estimate's."""
    free = max(len(logs) - fitted, 0)
    squares = float(np.sum((logs - logs.mean()) ** 2))
    pooled = (USUAL_WEIGHT * USUAL_SPREAD**2 + squares) / (USUAL_WEIGHT + free)
    return min(float(np.sqrt(pooled * (1 + 1 / max(len(logs), 1)))), 1.0)


def _by_size(runs: list[MigrationResult]) -> dict[str, Term]:
    """Return the terms that grow with RAM: setup and sync."""
    gib = [r.info["ram"]["total"] / GIB for r in runs]
    setup = [max(r.info["setup-time"], 0.5) / 1000 for r in runs]
    # The first sync lies in the setup and the last one in the downtime, where no vCPU runs.
    sync = [float(r.iterations["sync_s"].iloc[1:-1].mean()) for r in runs]
    sync = [
        s if np.isfinite(s) else float(r.iterations["sync_s"].iloc[-1])
        for s, r in zip(sync, runs, strict=True)
    ]
    fitted: dict[str, Term] = {}
    for name, seconds in (("setup", setup), ("sync", sync)):
        base, slope, _ = terms.fit_line(gib, seconds)
        off = np.log(np.array(seconds) / np.maximum(base + slope * np.array(gib), 1e-9))
        spread = _spread(off, 2)
        fitted[f"{name}_base_s"] = Term(median=base, spread=spread, n=len(runs), unit="s")
        fitted[f"{name}_s_per_gib"] = Term(median=slope, spread=spread, n=len(runs), unit="s/GiB")
    return fitted


def _windows(runs: list[MigrationResult]) -> dict[str, Term]:
    """Return the terms of the thread's late waking up after a window, from runs at two limits."""
    measured = [
        (r.scenario["migration"]["parameters"]["max-bandwidth"] / GIB, w)
        for r in runs
        if (w := terms.window_overhead_s(r)) is not None
    ]
    fit_term("window_overhead_s", [w for _, w in measured], "s")
    base, slope, _ = terms.fit_line([x for x, _ in measured], [max(w, 1e-5) for _, w in measured])
    off = np.log([max(w, 1e-5) / max(base + slope * x, 1e-5) for x, w in measured])
    spread = _spread(off, 2)
    unit = "s/(GiB/s)"
    return {
        "window_overhead_s": Term(median=base, spread=spread, n=len(measured), unit="s"),
        "window_overhead_s_per_gib_per_s": Term(median=slope, spread=spread, n=len(measured), unit=unit),
    }


def _burst(runs: list[MigrationResult]) -> dict[str, Term]:
    """Return the costs of a page in the blackout, each from the probe that is for it."""
    return {
        name: fit_term(name, [terms.burst_page_s(r) for r in runs if r.name == probe], "s/page")
        for name, probe in zip(BURST_TERMS, BURST, strict=True)
    }


def _switchover(runs: list[MigrationResult]) -> dict[str, Term]:
    """Return the terms of the blackout, from all probes that show its parts; spreads are within each probe."""
    parts = [(r, r.downtime_parts_ms) for r in runs if "device" in r.downtime_parts_ms]
    values: dict[str, list[tuple[str, float]]] = {
        "connect_s": [(r.name, terms.connect_s(r)) for r in runs],
        "switch_gap_s": [(r.name, _gap_s(r, p)) for r, p in parts if len(r.iterations) > 2],
        "stop_s": [(r.name, p["stop"] / 1000) for r, p in parts],
        "device_state_s": [(r.name, (p["device"] + p.get("rest", 0.0)) / 1000) for r, p in parts],
        "load_s": [(r.name, (r.blackout_ms - r.info["downtime"] + p["stop"]) / 1000) for r, p in parts],
    }
    return {name: _term_within(name, of_runs) for name, of_runs in values.items()}


def _guest_speed(runs: list[MigrationResult]) -> Term:
    """Return the relative speed of one guest from run to run on this host; its median is 1."""
    measured = [(r.name, np.log(speed)) for r in runs if (speed := terms.guest_speed(r))]
    off = [v - np.mean([other for same, other in measured if same == name]) for name, v in measured]
    free = len(measured) - len({name for name, _ in measured})
    if free < 1:
        return Term(median=1.0, spread=0.03, n=max(len(measured), 1), unit="relative")
    return Term(
        median=1.0, spread=float(np.sqrt(np.sum(np.square(off)) / free)), n=len(measured), unit="relative"
    )


def _gap_s(run: MigrationResult, parts: dict[str, float]) -> float:
    """Return the time from the end of the exact sync to the start of the downtime."""
    exact, final = run.iterations.iloc[-2], run.iterations.iloc[-1]
    return max(float(final["start_s"] - exact["start_s"] - exact["sync_s"]) - parts["stop"] / 1000, 0.0)


def _term_within(name: str, of_runs: list[tuple[str, float]]) -> Term:
    """Return a term from (probe, value) of runs: median over all probes, spread between repeats of one probe."""
    values = [(probe, max(v, 1e-6)) for probe, v in of_runs if np.isfinite(v)]
    term = fit_term(name, [v for _, v in values], "s")
    logs = [
        np.log(v) - np.mean([np.log(other) for same, other in values if same == probe]) for probe, v in values
    ]
    return term.replace(spread=_spread(np.array(logs), len({probe for probe, _ in values})))
