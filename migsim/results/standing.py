"""`standing_figures`: the rounds of a migration that does not converge, as people ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.results.migration_result import MigrationResult

__all__ = ["STANDING", "StandingFigure", "standing_figures"]

LAST_ROUNDS = 8
"""Rounds before the end that the figures are taken over."""


class StandingFigure(NamedTuple):
    """A figure of the rounds: its unit, how tables call it, and its meaning."""

    unit: str
    label: str
    meaning: str


STANDING: dict[str, StandingFigure] = {
    "round": StandingFigure("ms", "a round lasts", "from one bitmap sync to the next"),
    "left": StandingFigure("bytes", "dirty after a round", "the least that is dirty right after a sync"),
    "threshold": StandingFigure(
        "bytes", "switchover threshold", "the most that may be left for the switchover"
    ),
    "newly-dirty": StandingFigure(
        "bytes/s", "dirty rate, over a round", "newly dirty pages over a round's length"
    ),
    "sent": StandingFigure("bytes/s", "sent", "bytes sent in a round, over its length"),
    "guest-speed": StandingFigure("percent", "guest's speed", "mean over the migration, of its usual speed"),
}
"""The figures, by name."""


def standing_figures(
    result: MigrationResult, *, downtime_limit_ms: float, switchover_bytes_per_s: float = 0.0
) -> dict[str, float]:
    """Return `STANDING` of a simulated migration that does not complete, over its last rounds.

    Where the first pass over RAM was not done there are no rounds: only ``sent`` and ``guest-speed`` are returned.

    Parameters
    ----------
    result : MigrationResult
    downtime_limit_ms : float
    switchover_bytes_per_s : float
        QEMU's avail-switchover-bandwidth; 0 for the measured bandwidth.
    """
    total_s = max(result.total_time_ms / 1000, 1e-9)
    speed = {"guest-speed": 100 * max(1 - result.costs.get("guest-lost-s", 0.0) / total_s, 0.0)}
    rounds = result.iterations
    if len(rounds) < 3:
        return {"sent": result.transferred_bytes / total_s, **speed}
    # The last row goes on to the deadline; rows before it are whole rounds, each from its sync to the next one.
    last = rounds.iloc[-1 - LAST_ROUNDS :]
    whole = last.iloc[:-1]
    length_s = (whole["end_s"] - whole["start_s"]).clip(lower=1e-9)
    bandwidth = switchover_bytes_per_s or float(last["mbps"].iloc[-1]) * 1e6 / 8
    opened = last.iloc[1:]  # the syncs that end these rounds
    return {
        "round": 1000 * float(length_s.median()),
        "left": float(opened["remaining_bytes_after_sync"].min()),
        "threshold": bandwidth * downtime_limit_ms / 1000,
        "newly-dirty": PAGE_BYTES * float(opened["dirty_pages"].sum() / length_s.sum()),
        "sent": float(whole["transferred_bytes"].sum() / length_s.sum()),
        **speed,
    }
