"""Draws of the uncertain inputs: the host's terms, the guest's activity, and a seed for the dirty counts.

Host terms and the guest's activity are log-normal about their medians, and each draw takes its own rates of the classes
from those that the trace allows. A draw depends on the profile, the workload's
spread and the seed alone, never on the settings: two settings are compared under the same draws (common random
numbers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from migsim.engine.inputs import SimulationInput
from migsim.profiles import HostProfile
from migsim.results import MigrationResult, cache_hit_rate, throttle_steps
from migsim.results.figures import figures_of

__all__ = ["Draw", "draw_all", "draw_at", "figures_of_draw"]


@dataclass(frozen=True)
class Draw:
    """One draw of the uncertain inputs.

    Attributes
    ----------
    terms : mapping of str to float
        The host's terms.
    writes_factor : float
        Factor on the fitted write rates.
    seed : int, optional
        Seed of the dirty counts; None for their expectation.
    rates : int, optional
        Which of the workload's draws of its classes' rates (`Workload.rate_factors`); None for the fitted ones.
    """

    terms: Mapping[str, float]
    writes_factor: float = 1.0
    seed: int | None = None
    rates: int | None = None

    def of(self, base: SimulationInput) -> SimulationInput:
        """Return `base` with this draw's terms and write rates; a term that `base` does not name is left out."""
        terms = {name: self.terms.get(name, median) for name, median in base.terms.items()}
        workload = base.workload if self.rates is None else base.workload.with_rates(self.rates)
        if self.writes_factor != 1.0:
            workload = workload.scaled(self.writes_factor)
        return replace(base, terms=terms, workload=workload)


def draw_all(host: HostProfile, writes_spread: float, count: int, seed: int) -> tuple[Draw, ...]:
    """Draw the host's terms and the guest's activity `count` times; a count of 1 returns the medians.

    Examples
    --------
    >>> from migsim.profiles import Term
    >>> profile = HostProfile(terms={"guest_speed": Term(median=1.0)}, qemu_version="10.0")
    >>> draw_all(profile, 0.1, 1, seed=1)
    (Draw(terms={'guest_speed': 1.0}, writes_factor=1.0, seed=None, rates=None),)
    """
    if count == 1:
        return (Draw(host.medians()),)
    spawned = np.random.SeedSequence(seed).spawn(count)
    return tuple(replace(_draw(host, writes_spread, seeds), rates=k) for k, seeds in enumerate(spawned))


def _draw(host: HostProfile, writes_spread: float, seeds: np.random.SeedSequence) -> Draw:
    rng = np.random.default_rng(seeds)
    terms = host.sample(rng)
    return _with_writes(host, terms, writes_spread * rng.standard_normal(), int(seeds.generate_state(1)[0]))


def draw_at(
    host: HostProfile, common_deviate: float, term_deviates: Mapping[str, float], log_writes: float
) -> Draw:
    """Return the draw at given deviates of the host's terms (see `HostProfile.at`) and log of the writes factor."""
    return _with_writes(host, host.at(common_deviate, term_deviates), log_writes, None)


def _with_writes(host: HostProfile, terms: dict[str, float], log_writes: float, seed: int | None) -> Draw:
    # The trace was fitted with the median cost of a fault. Its error cancels only if the draw uses the same value.
    terms = terms | {"dirty_fault_s": host.median("dirty_fault_s")}
    return Draw(terms, terms["guest_speed"] * math.exp(log_writes), seed)


def figures_of_draw(
    result: MigrationResult, throttled: Mapping[int, float] | None = None
) -> dict[str, float]:
    """Return the figures of one migration, with those of XBZRLE and auto-converge where they are on.

    XBZRLE adds ``cache-hit-rate`` and ``xbzrle-bytes``; auto-converge adds ``throttle-N``, the second at which
    throttling by N % began. `throttled` has these seconds; otherwise they are read from the result's timeline.
    """
    mechanisms: dict[str, float] = {}
    if result.scenario.get("capabilities", {"auto-converge": True}).get("auto-converge"):
        steps = throttle_steps(result.timeline) if throttled is None else throttled
        mechanisms = {f"throttle-{pct}": t_s for pct, t_s in steps.items()}
    hit_rate = cache_hit_rate(result.info)
    if hit_rate is not None:
        mechanisms |= {
            "cache-hit-rate": hit_rate,
            "xbzrle-bytes": float(result.info["xbzrle-cache"]["bytes"]),
        }
    return mechanisms | figures_of(result)
