"""Records of probe migrations whose host terms are known: the engine runs the probes instead of QEMU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from migsim.calibrate.host.probes import host_probes
from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.scenario import GuestSpec, QemuSpec
from migsim.workload import PageContent, Workload, WorkloadClass

QEMU = QemuSpec(version="10.0")
WRITES_PER_S = 300_000.0
TERMS = {
    "connect_s": 3e-3,
    "setup_base_s": 6.4e-3,
    "setup_s_per_gib": 2e-3,
    "sync_base_s": 3e-4,
    "sync_s_per_gib": 5e-5,
    "zero_page_s": 4e-7,
    "normal_page_s": 4e-6,
    "cold_page_s": 5e-6,
    "fresh_page_s": 6.5e-6,
    "burst_page_s": 3e-6,
    "burst_cold_page_s": 3.6e-6,
    "burst_fresh_page_s": 5e-6,
    "window_overhead_s": 3e-4,
    "window_overhead_s_per_gib_per_s": 2e-3,
    "switch_gap_s": 1.5e-3,
    "stop_s": 1.2e-3,
    "device_state_s": 5e-3,
    "load_s": 8e-3,
    "dirty_fault_s": 2e-6,
    "xbzrle_hit_s": 9e-7,
    "xbzrle_miss_s": 4e-7,
    "ring_entries_per_write": 1.2,
    "device_state_bytes": 80_000.0,
    "guest_speed": 1.0,
    "guest_writes_per_s": WRITES_PER_S,
}


def workload_of(guest: GuestSpec) -> Workload:
    """Return a probe's guest as its trace would show it: one hot set, data, zero pages behind them."""
    told = guest.workload
    assert told is not None
    pages = guest.ram_bytes // 4096
    data = pages if guest.alias_bytes else told.touched_pages
    hot = told.classes[0].pages
    return Workload(
        ram_bytes=guest.ram_bytes,
        ram_total_bytes=guest.ram_bytes,
        zero_pages=pages - data,
        classes=(
            WorkloadClass(
                pages=hot,
                writes_per_page_per_s=WRITES_PER_S / hot,
                extents=((0, hot),),
                content=PageContent(bytes_a_write=8),
            ),
            WorkloadClass(pages=data - hot, writes_per_page_per_s=0, extents=((hot, data - hot),)),
        ),
    )


def guest_log(
    run: MigrationResult, settle_s: float, fault_s: float, speed: float = 1.0
) -> list[dict[str, str]]:
    """Return progress lines: full speed before the migration, then less by the faults' time."""
    rounds = run.iterations.iloc[1:-1]
    length = rounds["start_s"].iloc[-1] - rounds["start_s"].iloc[0] if len(rounds) > 1 else 1.0
    share = 1 - fault_s * rounds["dirty_pages"].iloc[1:].sum() / length
    lines = []
    for t in np.arange(0.0, settle_s + run.info["total-time"] / 1000 + 1e-9, 0.5):
        writes = speed * WRITES_PER_S * (min(t, settle_s) + max(t - settle_s, 0.0) * share)
        lines.append(f"migsim-guest progress t_us={round(t * 1e6)} tsc=1 writes={round(writes)} checked=0")
    return [{"side": "source", "line": line} for line in lines]


def probe_record(
    name: str, terms: Mapping[str, float] = TERMS, *, version: str = "10.0", seed: int | None = None
) -> MigrationResult:
    """Run the probe of that name in the engine and dress the result as a measured record."""
    scenario = next(p.scenario for p in host_probes(QEMU) if p.scenario.name == name)
    alias = scenario.guest.alias_bytes
    run = simulate(
        SimulationInput(
            workload=workload_of(scenario.guest),
            terms=terms,
            version=QemuVersion.parse(version),
            parameters=scenario.migration.parameters,
            capabilities=scenario.migration.capabilities,
            deadline_s=scenario.deadline_s,
            fresh_pages=alias // 4096 if alias else None,
            dirty_ring_size=scenario.qemu.dirty_ring_size,
        ),
        seed=seed,
    )
    return replace(
        run,
        kind="measured",
        name=name,
        scenario=scenario.as_dict(),
        guest_log=guest_log(run, scenario.settle_s, terms["dirty_fault_s"]),
    )


def names() -> list[str]:
    """Return the probes' names in their order, one for each run of a repeat."""
    return [p.scenario.name for p in host_probes(QEMU) for _ in range(p.runs)]


@cache
def known(name: str, version: str = "10.0") -> MigrationResult:
    """Return the probe's record with `TERMS`; made once."""
    return probe_record(name, version=version)
