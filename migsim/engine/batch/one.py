"""One drawn migration on the batch engine, with its rounds: for draws that take the event engine long.

The loop notes figures, rounds and auto-converge's steps. The timeline and the guest's speed over time are the event
engine's, which simulates the same draw when somebody looks at them. The parts of the downtime are left empty.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from migsim.engine.batch.columns import many_columns
from migsim.engine.batch.end import reason_of
from migsim.engine.batch.result import FIGURE_NAMES, info_of
from migsim.engine.batch.run import Run
from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.engine.rounds import SyncRow, iterations_of
from migsim.results import MigrationResult, Outcome, lazy_table
from migsim.units import PAGE_BYTES

__all__ = ["simulate_compiled"]


def simulate_compiled(migration: SimulationInput, seed: int) -> tuple[MigrationResult, dict[int, float]]:
    """Simulate a migration that `migsim.engine.batch.columns.compiles` says the loop models.

    Parameters
    ----------
    migration : SimulationInput
    seed : int
        Of the dirty counts; the draws are those of `simulate` with this seed.

    Returns
    -------
    result : MigrationResult
        Its figures are those of `simulate`, within 0.1 %.
    throttle_steps : dict of int to float
        As `migsim.results.throttle_steps` returns them.
    """
    run = Run(many_columns([migration]), 1)
    run.simulate([seed])
    figures = dict(zip(FIGURE_NAMES, run.figures()[:, 0].tolist(), strict=True))
    reason = run.reasons[0]
    completed = bool(reason["completed"])
    left_bytes = round(float(reason["pages"]) * PAGE_BYTES) if completed else None
    steps = {percentage: t_s for percentage, t_s in enumerate(run.notes.throttle_s.tolist()) if t_s > 0}
    in_events = cache(partial(simulate, migration, seed=seed))
    info = info_of(figures) | {"status": "completed" if completed else "active"}
    info["ram"]["total"] = migration.workload.ram_total_bytes
    result = MigrationResult(
        kind="simulated",
        name=migration.name,
        qemu_version=str(migration.version),
        accel=migration.accel,
        outcome=Outcome("completed" if completed else "not-converged", reason_of(reason), left_bytes),
        info=info,
        iterations=lazy_table(partial(_iterations, run, figures)),
        timeline=lazy_table(lambda: in_events().timeline),
        guest_speed=lazy_table(lambda: in_events().guest_speed),
        costs={"guest-lost-s": figures["guest_lost_s"]},
        blackout_ms=figures["blackout_ms"],
        scenario={
            "parameters": dict(migration.parameters),
            "capabilities": dict(migration.capabilities),
            "seed": seed,
            "deadline_s": migration.deadline_s,
        },
    )
    return result, steps


def _iterations(run: Run, figures: dict[str, float]) -> Any:
    end, sync_s = run.ended[0], float(run.cells["sync_s"][0])
    syncs = [
        SyncRow(count=k + 1, length_s=sync_s, **_fields(note))
        for k, note in enumerate(np.asarray(run.notes.syncs)[: round(float(end["dirty_sync_count"]))])
    ]
    last = SyncRow(
        count=len(syncs),
        length_s=0.0,
        begun_s=figures["total_time_ms"] / 1000,
        dirty_pages=0.0,
        remaining_bytes=0.0,
        guest_lost_s=figures["guest_lost_s"],
        **{name: float(end[name]) for name in SyncRow.COUNTERS},
    )
    return iterations_of(syncs, last, run.columns.migration.behaviour)


def _fields(note: Any) -> dict[str, float]:
    return {name: float(note[name]) for name in note.dtype.names}
