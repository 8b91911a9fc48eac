"""Chart of idle guests, modelled: qemu.git 1.2.50 beside the migration-thread tree of October 2012, by guest size.

The talk of May 2013 showed such a chart. Its values were never published as numbers, and none of them is here. Costs
that nobody measured are estimates with a range; the band between the results at the range's ends is part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from migsim.history.idle_guest import idle_workload
from migsim.history.inputs import TREES, TreeInput
from migsim.history.record import TreeOutcome
from migsim.models.dirty.bitmap import GIB
from migsim.profiles.published import CostPreset, cost_preset
from migsim.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHART_GIB", "DOWNTIME_PARTS", "idle_chart"]

CHART_GIB = tuple(1 << k for k in range(10))
"""1 to 512 GiB."""

DOWNTIME_PARTS = ("stop", "sync", "stage", "flush", "log-stop", "device")
"""Parts of a downtime of 2012, in the order in which they happen."""

Bound = Literal["low", "value", "high"]
BOUNDS: tuple[Bound, ...] = ("low", "value", "high")


def idle_chart(
    gib: Iterable[int] = CHART_GIB,
    *,
    preset: CostPreset | str = "era-2012",
    max_bandwidth: int = 1_250_000_000,
    downtime_limit_ms: float = 2000.0,
    guest: Callable[[int], Workload] = idle_workload,
) -> pd.DataFrame:
    """Simulate both trees for idle guests of several sizes.

    Parameters
    ----------
    gib : iterable of int
        Guest sizes.
    preset : CostPreset or str
        Costs; each guest is simulated with all costs at their values, at their low ends and at their high ends.
    max_bandwidth : int
        Bytes a second; by default the 10 Gbit/s of the talk.
    downtime_limit_ms : float
        By default the 2 s of the talk.
    guest : callable
        Makes the `Workload` of a guest from its RAM in bytes; by default that of an idle Linux guest.

    Returns
    -------
    pandas.DataFrame
        A row for each size, tree and end of the costs: ``tree``, ``design``, ``ram_gib``, ``costs`` (low, value,
        high), ``verdict``; ``total_s``, ``downtime_s`` with its parts ``stop_s`` to ``device_s`` (`DOWNTIME_PARTS`),
        the final sync's share ``sync_share``; ``mean_gbit_per_s``, ``peak_gbit_per_s``;
        ``freeze_s``, ``lock_duty``, ``longest_stall_s``, ``timer_delay_99_s``.
    """
    import pandas as pd

    from migsim.history.two_trees import simulate_tree

    costs = cost_preset(preset) if isinstance(preset, str) else preset
    rows = []
    for size in gib:
        workload = guest(size * GIB)
        for design, tree in TREES.items():
            for bound in BOUNDS:
                migration = TreeInput(
                    workload,
                    design,
                    costs.at(bound),
                    max_bandwidth=max_bandwidth,
                    downtime_limit_ms=downtime_limit_ms,
                    name=f"{tree}, {size} GiB",
                )
                outcome = simulate_tree(migration)
                rows.append(
                    {"tree": tree, "design": design, "ram_gib": size, "costs": bound} | _numbers(outcome)
                )
    return pd.DataFrame(rows)


def _numbers(outcome: TreeOutcome) -> dict[str, float | str]:
    result, lock = outcome.result, outcome.lock
    return {
        "verdict": result.verdict,
        "total_s": result.total_time_ms / 1000,
        "downtime_s": sum(result.downtime_parts_ms.values()) / 1000,
        **{
            f"{part.replace('-', '_')}_s": result.downtime_parts_ms.get(part, float("nan")) / 1000
            for part in DOWNTIME_PARTS
        },
        "sync_share": outcome.sync_share,
        "mean_gbit_per_s": outcome.bytes_per_s * 8e-9,
        "peak_gbit_per_s": outcome.peak_bytes_per_s * 8e-9,
        "freeze_s": outcome.freeze.total_s,
        "lock_duty": lock.duty,
        "longest_stall_s": lock.longest_s,
        "timer_delay_99_s": lock.delay_s(0.99),
    }
