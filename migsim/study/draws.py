"""What is uncertain about a guest and its host, as draws that every study shares.

Host terms and the guest's activity are log-normal about their medians; each draw carries a seed for the dirty counts.
A draw depends on the profile, the workload's spread and the seed alone, never on the settings, so that two settings are
compared under the same chance (common random numbers).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from migsim.engine.inputs import SimulationInput, check_ring, needed_terms
from migsim.errors import ParameterError
from migsim.models.multifd.packets import check_multifd, zero_page_detection
from migsim.profiles import HostProfile
from migsim.qapi import OLDEST, QemuVersion
from migsim.results import MigrationResult, cache_hit_rate, throttle_steps
from migsim.scenario import MigrationSettings
from migsim.workload import Workload

if TYPE_CHECKING:
    from migsim.calibrate.workload.fit import WorkloadFit
    from migsim.trace import Trace

__all__ = [
    "INTERVAL_FIELDS",
    "Draw",
    "base_input",
    "draw_all",
    "draw_at",
    "figures",
    "modelled_version",
    "needed_medians",
    "workload_of",
]

INTERVAL_FIELDS = ("total-time", "downtime", "transferred", "rounds", "blackout", "guest-lost")
"""What a prediction gives an 80 % interval for: ms, ms, bytes, dirty-sync-count, ms, ms."""


@dataclass(frozen=True)
class Draw:
    """One draw of what is uncertain.

    Attributes
    ----------
    terms : mapping of str to float
        The host's.
    writes_factor : float
        The guest's activity over the fitted one.
    seed : int, optional
        Of the dirty counts; None: their expectation.
    """

    terms: Mapping[str, float]
    writes_factor: float = 1.0
    seed: int | None = None

    def of(self, base: SimulationInput) -> SimulationInput:
        """Return a migration as this draw has it; `base` holds the terms that it needs."""
        terms = {name: self.terms.get(name, median) for name, median in base.terms.items()}
        if self.writes_factor == 1.0:
            return replace(base, terms=terms)
        return replace(base, terms=terms, workload=base.workload.scaled(self.writes_factor))


def draw_all(host: HostProfile, writes_spread: float, count: int, seed: int) -> tuple[Draw, ...]:
    """Draw the host's terms and the guest's activity, `count` times; a count of 1 is the medians.

    Examples
    --------
    >>> from migsim.profiles import Term
    >>> profile = HostProfile(terms={"guest_speed": Term(median=1.0)}, qemu_version="10.0")
    >>> draw_all(profile, 0.1, 1, seed=1)
    (Draw(terms={'guest_speed': 1.0}, writes_factor=1.0, seed=None),)
    """
    if count == 1:
        return (Draw(host.medians()),)
    return tuple(_draw(host, writes_spread, seeds) for seeds in np.random.SeedSequence(seed).spawn(count))


def _draw(host: HostProfile, writes_spread: float, seeds: np.random.SeedSequence) -> Draw:
    rng = np.random.default_rng(seeds)
    terms = host.sample(rng)
    return _with_writes(host, terms, writes_spread * rng.standard_normal(), int(seeds.generate_state(1)[0]))


def draw_at(host: HostProfile, common: float, own: Mapping[str, float], log_writes: float) -> Draw:
    """Return the draw at given deviates: of the host (see `HostProfile.at`), and the log of the guest's activity."""
    return _with_writes(host, host.at(common, own), log_writes, None)


def _with_writes(host: HostProfile, terms: dict[str, float], log_writes: float, seed: int | None) -> Draw:
    # The trace was read with the median cost of a fault: an error of it cancels only if the draw keeps it.
    terms = terms | {"dirty_fault_s": host.median("dirty_fault_s")}
    return Draw(terms, terms["guest_speed"] * math.exp(log_writes), seed)


def needed_medians(
    host: HostProfile, capabilities: Mapping[str, bool], *, zero_pages: str = "legacy"
) -> dict[str, float]:
    """Medians of the terms that a migration needs (see `needed_terms`); ProfileError where one is missing."""
    return {name: host.median(name) for name in needed_terms(capabilities, zero_pages=zero_pages)}


def modelled_version(version: QemuVersion | str) -> QemuVersion:
    """Read a version that the tables reach back to; a newer one than they know behaves like their newest.

    Raises
    ------
    ParameterError
    """
    wanted = QemuVersion.parse(version)
    if wanted < OLDEST:
        raise ParameterError(
            f"QEMU {wanted} cannot be predicted.",
            f"What a release does is known for {OLDEST} and later.",
            "Choose a version that migrates, as 7.2 or 10.0.",
        )
    return wanted


def base_input(
    workload: Workload,
    *,
    host: HostProfile,
    settings: MigrationSettings | None = None,
    qemu_version: str | None = None,
    deadline_s: float = 1800.0,
    link_bytes_per_s: float | None = None,
    fresh_pages: int | None = None,
    dirty_ring_size: int = 0,
    vcpus: int = 1,
    name: str = "",
) -> SimulationInput:
    """Return the migration at the medians, its settings checked against the release; see `migsim.predict`.

    Raises
    ------
    ParameterError, ProfileError, UnitError
    """
    version = modelled_version(qemu_version or host.qemu_version)
    checked = (settings or MigrationSettings()).for_version(version)
    check_ring(checked.capabilities, dirty_ring_size)
    check_multifd(checked.capabilities, checked.parameters, version)
    zero_pages = zero_page_detection(checked.parameters, version)
    return SimulationInput(
        workload=workload,
        terms=needed_medians(host, checked.capabilities, zero_pages=zero_pages),
        version=version,
        parameters=checked.parameters,
        capabilities=checked.capabilities,
        accel=host.accel,
        dirty_ring_size=dirty_ring_size,
        vcpus=vcpus,
        link_bytes_per_s=link_bytes_per_s,
        deadline_s=deadline_s,
        fresh_pages=fresh_pages,
        name=name,
    )


def workload_of(
    trace: Trace, host: HostProfile, *, load: float = 1.0, contents: Iterable[bool] = ()
) -> tuple[Workload, WorkloadFit]:
    """Fit a trace; with what writes do to the pages' contents where any of `contents` says so (XBZRLE).

    Raises
    ------
    TraceError, ProfileError
    """
    from migsim.calibrate.workload.fit import fit_workload

    fit = fit_workload(trace, dirty_fault_s=host.median("dirty_fault_s"))
    workload = fit.workload
    if any(contents):
        from migsim.calibrate.content import with_content

        workload = with_content(fit, trace)
    return workload.replace(load_fraction=load), fit


def figures(result: MigrationResult) -> dict[str, float]:
    """Return what a study keeps of one migration: `INTERVAL_FIELDS` and, where there are such, the mechanisms'."""
    completed = result.outcome.status == "completed"
    more: dict[str, float] = {}
    if result.scenario.get("capabilities", {"auto-converge": True}).get("auto-converge"):
        more = {f"throttle-{pct}": t_s for pct, t_s in throttle_steps(result.timeline).items()}
    hit_rate = cache_hit_rate(result.info)
    if hit_rate is not None:
        more |= {"cache-hit-rate": hit_rate, "xbzrle-bytes": float(result.info["xbzrle-cache"]["bytes"])}
    return more | {
        "total-time": float(result.info["total-time"]),
        "downtime": float(result.info.get("downtime", np.nan)) if completed else float("nan"),
        "transferred": float(result.info["ram"]["transferred"]),
        "rounds": float(result.info["ram"]["dirty-sync-count"]),
        "blackout": float(result.blackout_ms),
        "guest-lost": result.costs["guest-lost-s"] * 1000,
    }
