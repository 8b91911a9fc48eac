"""Cells of one kind gathered: their settings and host terms as columns, and which cells may be run together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.inputs import SimulationInput
from migsim.models.xbzrle.cache import xbzrle_rules
from migsim.qapi import defaults

__all__ = [
    "WRITES_SCALE",
    "GroupColumns",
    "Values",
    "compiles",
    "grid_columns",
    "group_key",
    "many_columns",
]

Values = Any  # a number or an array

WRITES_SCALE = "writes_scale"
"""Factor on all write rates of the workload; positive, because a guest that never writes is laid out differently."""


@dataclass(frozen=True)
class GroupColumns:
    """Where the numbers of a group of cells come from.

    Attributes
    ----------
    migration : SimulationInput
        What the group has in common.
    term, parameter, field : callable
        Look up a host term, a migration parameter or a field of `SimulationInput` by its name: one value or an array.
    rates : ndarray, shape (rows, classes)
        Writes to a page a second, for each class of the workload.
    row : ndarray of int64 or int
        Each cell's row of `rates`.
    """

    migration: SimulationInput
    term: Callable[[str], Values]
    parameter: Callable[[str], Values]
    field: Callable[[str], Values]
    rates: NDArray[np.float64]
    row: NDArray[np.int64] | int


def compiles(migration: SimulationInput) -> bool:
    """Whether the compiled loop models a migration; the event engine simulates the others."""
    if migration.has_capability("dirty-limit"):
        return False
    rules = xbzrle_rules(migration.version)
    return not migration.has_capability("xbzrle") or (rules.aged and rules.after_first_sweep)


def group_key(migration: SimulationInput) -> tuple[Any, ...]:
    """Return what cells must share to be run together: everything but rates, settings, terms and plain numbers."""
    w = migration.workload
    classes = tuple(
        (c.pages, c.pattern, c.extents, c.content, c.writes_per_page_per_s > 0) for c in w.classes
    )
    capabilities = tuple(sorted(name for name, on in migration.capabilities.items() if on))
    memory = (w.ram_bytes, w.ram_total_bytes, w.zero_pages, w.zero_extents, w.load_fraction, classes)
    words = tuple(sorted((k, v) for k, v in migration.parameters.items() if isinstance(v, str)))
    version = str(migration.version)
    machine = (migration.accel, migration.dirty_ring_size, migration.vcpus, migration.machine)
    return (memory, version, machine, capabilities, words)


def many_columns(cells: Sequence[SimulationInput]) -> GroupColumns:
    """Make the columns of cells that share a key."""
    known = defaults(cells[0].version)

    def parameter(name: str) -> Values:
        absent = known.get(name, 0)
        return np.array([c.parameters.get(name, absent) or 0 for c in cells])

    return GroupColumns(
        migration=cells[0],
        term=lambda name: np.array([c.terms[name] for c in cells]),
        parameter=parameter,
        field=lambda name: np.array([_number(getattr(c, name)) for c in cells]),
        rates=np.array([[k.writes_per_page_per_s for k in c.workload.classes] for c in cells], float).reshape(
            len(cells), -1
        ),
        row=np.arange(len(cells)),
    )


def grid_columns(migration: SimulationInput, varied: Mapping[str, NDArray[Any]]) -> GroupColumns:
    """Make the columns of one input of which some values are varied: flat arrays by name."""
    terms = {**migration.terms, **varied}
    parameters = {**defaults(migration.version), **migration.parameters, **varied}

    def parameter(name: str) -> Values:
        value = parameters.get(name)
        return 0 if value is None else value

    def field(name: str) -> Values:
        values = varied.get(name)
        return _number(getattr(migration, name)) if values is None else values

    rates = np.array([[k.writes_per_page_per_s for k in migration.workload.classes]], float).reshape(1, -1)
    row: NDArray[np.int64] | int = 0
    if WRITES_SCALE in varied:
        factors, row = np.unique(varied[WRITES_SCALE], return_inverse=True)
        rates = rates * factors[:, None]
    return GroupColumns(migration, terms.__getitem__, parameter, field, rates, row)


def _number(value: float | None) -> float:
    return np.inf if value is None else float(value)
