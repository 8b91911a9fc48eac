"""Published costs as named presets: each cost with its source and its range.

Measured costs are kept apart: bundled host profiles in `migsim.profiles.bundled`, fits in `migsim.calibrate`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from migsim.errors import ProfileError, near_misses
from migsim.html import html_table

__all__ = ["Cost", "CostPreset", "Costs", "cost_preset", "cost_presets"]

FILE = Path(__file__).with_name("published.toml")
EVIDENCE = ("S", "C", "T", "D", "E")

Which = Literal["low", "value", "high"]


@dataclass(frozen=True, slots=True)
class Cost:
    """One published cost.

    Attributes
    ----------
    value, low, high : float
        In the unit at the end of the cost's name.
    evidence : {"S", "C", "T", "D", "E"}
        S: source code; C: QEMU's or Linux's authors; T: a third party; D: derived; E: an estimate.
    source : str
        Citation.
    """

    value: float
    low: float
    high: float
    evidence: str
    source: str

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Cost:
        """Read one entry of ``published.toml``.

        Examples
        --------
        >>> Cost.read({"low": 1.0, "high": 4.0, "evidence": "E", "source": "a guess"}).value
        2.0
        """
        low, high = data.get("low", data.get("value")), data.get("high", data.get("value"))
        if low is None or high is None or not 0 <= low <= high or data.get("evidence") not in EVIDENCE:
            raise ProfileError(
                f"A published cost reads {dict(data)}.",
                "A cost has a value, or low <= high, an evidence letter and a source.",
                "Correct it.",
            )
        value = data.get("value", math.sqrt(low * high))
        return cls(float(value), float(low), float(high), data["evidence"], data["source"])


class Costs(dict[str, float]):
    """Costs of one preset, by name; a missing name raises ProfileError."""

    def __init__(self, values: Mapping[str, float], owner: str) -> None:
        super().__init__(values)
        self.owner = owner

    def __missing__(self, name: str) -> float:
        elsewhere = [p.name for p in cost_presets() if name in p.costs]
        hint = f"It is in {', '.join(elsewhere)}." if elsewhere else near_misses(name, self)
        raise ProfileError(
            f"{self.owner} has no cost {name!r}.",
            "A cost that nobody published is not 0.",
            f"{hint} Give it yourself: preset.at().replace({name}=...).".strip(),
        )

    def replace(self, **values: float) -> Costs:
        """Return a copy in which some costs are replaced.

        Examples
        --------
        >>> cost_preset("era-2012").at().replace(dirty_fault_s=1e-6)["dirty_fault_s"]
        1e-06
        """
        return Costs(self | values, self.owner)


@dataclass(frozen=True)
class CostPreset:
    """Published costs of one kind of machine.

    Attributes
    ----------
    name, title : str
    costs : dict of str to Cost
    """

    name: str
    title: str
    costs: dict[str, Cost]

    def at(self, which: Which = "value") -> Costs:
        """Return every cost at its value, or at one end of its range.

        Examples
        --------
        >>> costs = cost_preset("era-2020-x86").at()
        >>> round(costs["log_start_s_per_gib_4k"] * 128, 2)
        0.46
        """
        return Costs(
            {name: getattr(cost, which) for name, cost in self.costs.items()}, f"The preset {self.name!r}"
        )

    def estimates(self) -> tuple[str, ...]:
        """Return the names of the costs without a citable source (evidence E)."""
        return tuple(name for name, cost in self.costs.items() if cost.evidence == "E")

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{c.value:.3g}", f"{c.low:.3g}", f"{c.high:.3g}", c.evidence, c.source)
            for name, c in self.costs.items()
        ]
        return html_table(self.title, ("cost", "value", "low", "high", "evidence", "source"), rows)


@cache
def cost_presets() -> tuple[CostPreset, ...]:
    """Load every preset.

    Examples
    --------
    >>> [preset.name for preset in cost_presets()]
    ['era-2012', 'era-2020-x86', 'era-2020-arm64', 'cloud-hypervisor']
    """
    data = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        CostPreset(name, entry["title"], {key: Cost.read(cost) for key, cost in entry["cost"].items()})
        for name, entry in data.items()
    )


def cost_preset(name: str) -> CostPreset:
    """Look up a preset.

    Raises
    ------
    ProfileError
        Where no preset has that name.
    """
    for preset in cost_presets():
        if preset.name == name:
            return preset
    names = [preset.name for preset in cost_presets()]
    raise ProfileError(
        f"There is no preset of costs {name!r}.",
        f"The presets are {', '.join(names)}.",
        near_misses(name, names),
    )
