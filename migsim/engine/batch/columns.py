"""Where the batch engine's numbers come from: cells of one kind gathered, their settings and terms as columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.inputs import SimulationInput
from migsim.models.xbzrle.cache import xbzrle_rules
from migsim.qapi import defaults

__all__ = ["WRITES", "Columns", "Values", "compiles", "grid_columns", "group_key", "many_columns"]

Values = Any  # a number or an array

WRITES = "writes_scale"
"""A factor on all write rates of the workload, above 0: with 0 the guest would be another one."""


@dataclass(frozen=True)
class Columns:
    """Where a group's numbers come from.

    Attributes
    ----------
    migration : SimulationInput
        What the group has in common.
    term, parameter, field : callable
        A host term, a migration parameter or a field of `SimulationInput` by its name: one value or an array.
    rates : ndarray, shape (rows, classes)
        Writes to a page a second, for each class of the workload.
    row : ndarray of int64 or int
        Which row a cell has.
    """

    migration: SimulationInput
    term: Callable[[str], Values]
    parameter: Callable[[str], Values]
    field: Callable[[str], Values]
    rates: NDArray[np.float64]
    row: NDArray[np.int64] | int


def compiles(migration: SimulationInput) -> bool:
    """Whether the compiled loop models it."""
    if migration.has_capability("dirty-limit"):
        return False
    rules = xbzrle_rules(migration.version)
    return not migration.has_capability("xbzrle") or (rules.aged and rules.after_first_sweep)


def group_key(migration: SimulationInput) -> tuple[Any, ...]:
    """What cells have to share to be run together: all but rates, settings, terms and plain numbers."""
    w = migration.workload
    classes = tuple(
        (c.pages, c.pattern, c.extents, c.content, c.writes_per_page_per_s > 0) for c in w.classes
    )
    on = tuple(sorted(name for name, on in migration.capabilities.items() if on))
    memory = (w.ram_bytes, w.ram_total_bytes, w.zero_pages, w.load_fraction, classes)
    words = tuple(sorted((k, v) for k, v in migration.parameters.items() if isinstance(v, str)))
    return (
        memory,
        str(migration.version),
        migration.accel,
        migration.dirty_ring_size,
        migration.vcpus,
        on,
        words,
    )


def many_columns(cells: Sequence[SimulationInput]) -> Columns:
    """Columns of cells that share a key."""
    known = defaults(cells[0].version)

    def parameter(name: str) -> Values:
        absent = known.get(name, 0)
        return np.array([c.parameters.get(name, absent) or 0 for c in cells])

    return Columns(
        migration=cells[0],
        term=lambda name: np.array([c.terms[name] for c in cells]),
        parameter=parameter,
        field=lambda name: np.array([_number(getattr(c, name), name) for c in cells]),
        rates=np.array([[k.writes_per_page_per_s for k in c.workload.classes] for c in cells], float).reshape(
            len(cells), -1
        ),
        row=np.arange(len(cells)),
    )


def grid_columns(migration: SimulationInput, varied: Mapping[str, NDArray[Any]]) -> Columns:
    """Columns of one input, some of whose values are varied: flat arrays by name."""
    terms = {**migration.terms, **varied}
    parameters = {**defaults(migration.version), **migration.parameters, **varied}

    def parameter(name: str) -> Values:
        value = parameters.get(name)
        return 0 if value is None else value

    def field(name: str) -> Values:
        values = varied.get(name)
        return _number(getattr(migration, name), name) if values is None else values

    rates = np.array([[k.writes_per_page_per_s for k in migration.workload.classes]], float).reshape(1, -1)
    row: NDArray[np.int64] | int = 0
    if WRITES in varied:
        factors, row = np.unique(varied[WRITES], return_inverse=True)
        rates = rates * factors[:, None]
    return Columns(migration, terms.__getitem__, parameter, field, rates, row)


def _number(value: float | None, name: str) -> float:
    return np.inf if value is None else float(value)
