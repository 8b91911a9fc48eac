"""`Trials`, the values that a sizing has simulated and their results; and the default ranges of its search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError
from migsim.results.figures import FIGURES
from migsim.study.size.requirement import COMPLETES, Requirement
from migsim.study.sweep.axis import Axis
from migsim.study.sweep.cells import COMPLETED, CellResults, Plan
from migsim.study.sweep.jobs import run_cells
from migsim.study.sweep.piece import summarise

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Trials", "default_range"]

_RANGES = {
    "max-bandwidth": "100Mbps:{link}:log",
    "avail-switchover-bandwidth": "100Mbps:{link}:log",
    "link": "100Mbps:100Gbps:log",
    "downtime-limit": "1ms:60s:log",
    "xbzrle-cache-size": "1MiB:1TiB:log",
    "throttle-trigger-threshold": "1:100",
    "cpu-throttle-initial": "1:99",
    "cpu-throttle-increment": "1:99",
    "max-cpu-throttle": "1:99",
    "vcpu-dirty-limit": "1:10000:log",
    "multifd-channels": "1:64",
    "dirty-ring-size": "1024,2048,4096,8192,16384,32768,65536",
    "writes-scale": "0.01:100:log",
    "load": "0.01:1",
    "host-cpus": "1:128",
}


def default_range(name: str, link_bytes_per_s: float | None = None) -> str:
    """Return the range that is searched by default.

    Raises
    ------
    ParameterError
        For a name without a default range.

    Examples
    --------
    >>> default_range("downtime-limit")
    '1ms:60s:log'
    """
    if name in _RANGES:
        return _RANGES[name].format(link=f"{int(link_bytes_per_s)}B/s" if link_bytes_per_s else "100Gbps")
    raise ParameterError(
        f"{name} is given without a range.",
        f"Default ranges exist for {', '.join(_RANGES)}.",
        f"Write {name}=LOW:HIGH.",
    )


class Trials:
    """Values that were simulated, and their results.

    Attributes
    ----------
    values : ndarray
        The values, ascending.
    results : CellResults
        Results of the draws, one cell per value.
    """

    def __init__(
        self,
        plan: Plan,
        axis: Axis,
        requirements: tuple[Requirement, ...],
        confidence: float,
        jobs: int = 1,
        progress: Callable[[int, str], None] | None = None,
    ) -> None:
        self.plan = plan
        self.axis = axis
        self.requirements = requirements
        self.confidence = confidence
        self.jobs = jobs
        self.progress = progress
        self.values: NDArray[Any] = np.empty(0)
        self.results = CellResults.empty(max(plan.draws, 1), 0)

    def add(self, values: NDArray[Any]) -> None:
        """Simulate more values, without those that were simulated before."""
        values = np.setdiff1d(values, self.values)
        if not len(values):
            return
        new = run_cells(self.plan, {self.axis.name: values}, processes=self.jobs)
        joined = self.results.joined_with(new)
        all_values = np.concatenate([self.values, values]) if len(self.values) else values
        order = np.argsort(all_values, kind="stable")
        self.values, self.results = all_values[order], joined.reordered(order)
        if self.progress:
            self.progress(len(self.values), f"{len(self.values)} values tried")

    def share_met(self, requirement: Requirement | None = None) -> NDArray[np.float64]:
        """Return for each value the share of the draws that meets one requirement, or all of them."""
        requirements = [requirement] if requirement else [COMPLETES, *self.requirements]
        met = np.logical_and.reduce([r.met(self.results) for r in requirements])
        return np.asarray(np.mean(met, axis=0))

    def suffices(self, requirement: Requirement | None = None) -> NDArray[np.bool_]:
        """Return for each value whether enough draws meet one requirement, or all of them."""
        return np.asarray(self.share_met(requirement) >= self.confidence - 1e-9)

    def no_effect(self) -> bool:
        """Return whether all values have the same results."""
        return all(
            bool(np.all((v == v[:, :1]) | ((v != v) & (v[:, :1] != v[:, :1]))))
            for v in self.results.figures.values()
        )

    def refusals(self) -> Iterator[str]:
        """Yield a remark on the values that are errors: their number, and the reason of the first."""
        refused = np.flatnonzero(self.results.reason >= 0)
        if len(refused):
            reason = self.results.reasons[self.results.reason[refused[0]]]
            yield f"{len(refused)} of the {len(self.values)} values are refused. {reason}"

    def table(self) -> pd.DataFrame:
        """Return one row per value: ``value``, ``met``, each requirement's share, ``completed``, median figures."""
        import pandas as pd

        columns: dict[str, Any] = {"value": self.values, "met": self.share_met()}
        columns |= {str(r): self.share_met(r) for r in self.requirements}
        summary = summarise(self.results, intervals=self.plan.draws > 1)
        columns["completed"] = summary["outcome"] == COMPLETED
        figures = {name: summary[name] for name in summary if name != "outcome"}
        wanted = [n for n in figures if n.removesuffix("-low").removesuffix("-high") in FIGURES]
        return pd.DataFrame(columns | {name: figures[name] for name in wanted})
