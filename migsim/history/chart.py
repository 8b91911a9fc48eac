"""The talk's chart of idle guests, modelled: qemu.git 1.2.50 against the migration-thread tree, by guest size.

The talk's own values were never published as numbers; nothing here is one of them. Costs that nobody measured are
estimates with a range, and the band between the range's ends is part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from migsim.history.idle_guest import idle_workload
from migsim.history.inputs import TREES, Design, TalkInput
from migsim.history.record import TalkOutcome
from migsim.models.dirty.bitmap import GIB
from migsim.profiles.published import CostPreset, cost_preset
from migsim.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHART_GIB", "DOWNTIME_PARTS", "idle_chart", "sensitivity"]

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
    """Simulate both trees for guests of several sizes.

    Parameters
    ----------
    gib : iterable of int
    preset : CostPreset or str
        Costs; each guest is simulated at their values and at both ends of their ranges.
    max_bandwidth : int
        Bytes a second; the talk's 10G.
    downtime_limit_ms : float
        The talk's 2 s.
    guest : callable
        RAM in bytes to `Workload`; an idle Linux guest by default.

    Returns
    -------
    pandas.DataFrame
        ``tree``, ``design``, ``ram_gib``, ``costs`` (low, value, high), ``verdict``; ``total_s``, ``downtime_s``,
        its parts ``stop_s`` to ``device_s`` (`DOWNTIME_PARTS`) and ``sync_share`` of it; ``mean_gbit_per_s``,
        ``peak_gbit_per_s``; ``freeze_s``, ``lock_duty``, ``longest_stall_s``, ``timer_delay_99_s``.
    """
    import pandas as pd

    from migsim.history.two_trees import simulate_talk

    chosen = cost_preset(preset) if isinstance(preset, str) else preset
    rows = []
    for size in gib:
        workload = guest(size * GIB)
        for design, tree in TREES.items():
            for bound in BOUNDS:
                what = TalkInput(
                    workload,
                    design,
                    chosen.at(bound),
                    max_bandwidth=max_bandwidth,
                    downtime_limit_ms=downtime_limit_ms,
                    name=f"{tree}, {size} GiB",
                )
                outcome = simulate_talk(what)
                rows.append(
                    {"tree": tree, "design": design, "ram_gib": size, "costs": bound} | _numbers(outcome)
                )
    return pd.DataFrame(rows)


def _numbers(outcome: TalkOutcome) -> dict[str, float | str]:
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


def sensitivity(
    ram_gib: int,
    design: Design,
    *,
    preset: CostPreset | str = "era-2012",
    downtime_limit_ms: float = 2000.0,
    guest: Callable[[int], Workload] = idle_workload,
) -> pd.DataFrame:
    """Move one cost at a time to the ends of its range.

    Returns
    -------
    pandas.DataFrame
        Index: the cost; ``evidence``; ``total_s_low``, ``total_s_high``, ``downtime_s_low``, ``downtime_s_high`` with
        that cost at its low and its high end and all others at their values. Costs without a range, and those that
        change nothing, are left out; the one that moves the total most comes first.
    """
    import pandas as pd

    from migsim.history.two_trees import simulate_talk

    chosen = cost_preset(preset) if isinstance(preset, str) else preset
    workload = guest(ram_gib * GIB)

    def run(**changed: float) -> tuple[float, float]:
        costs = chosen.at().replace(**changed)
        result = simulate_talk(TalkInput(workload, design, costs, downtime_limit_ms=downtime_limit_ms)).result
        return result.total_time_ms / 1000, sum(result.downtime_parts_ms.values()) / 1000

    rows = {}
    for name, cost in chosen.costs.items():
        if cost.low == cost.high:
            continue
        low, high = run(**{name: cost.low}), run(**{name: cost.high})
        if low != high:
            rows[name] = (cost.evidence, low[0], high[0], low[1], high[1])
    columns = ["evidence", "total_s_low", "total_s_high", "downtime_s_low", "downtime_s_high"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("cost")
    moved = (table["total_s_high"] - table["total_s_low"]).abs()
    return table.loc[moved.sort_values(ascending=False).index]
