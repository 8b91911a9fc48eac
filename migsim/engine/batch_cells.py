"""Inputs of the batch engine: cells of one kind gathered, their settings and terms as columns of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch_state import CELL, Kind
from migsim.engine.inputs import SimulationInput
from migsim.engine.standstill import STEADY_ROUNDS
from migsim.models.auto_converge import MAX_PERCENTAGE, next_percentage
from migsim.models.cpu_throttle import fixed_sleep_run_fraction, run_fraction
from migsim.models.dirty_bitmap import setup_s, sync_s
from migsim.models.page_stream import NORMAL_PAGE_BYTES
from migsim.models.rate_limit import WINDOW_S, wake_up_s, window_bytes, window_quota_bytes
from migsim.models.throttle_trigger import Trigger, close_trigger, throttle_rules
from migsim.qapi import defaults

__all__ = ["Columns", "cells_of", "compiles", "grid_columns", "group_key", "kind_of", "many_columns"]

Values = NDArray[Any] | float
FIELDS = ("link_bytes_per_s", "deadline_s", "fresh_pages")


@dataclass(frozen=True)
class Columns:
    """Where a group's numbers come from.

    Attributes
    ----------
    what : SimulationInput
        What the group has in common.
    term, parameter, field : callable
        A host term, a migration parameter or a field of `SimulationInput` by its name: one value or an array.
    rates : ndarray, shape (rows, classes)
        Writes to a page a second, for each class of the workload.
    row : ndarray of int64 or int
        Which row a cell has.
    """

    what: SimulationInput
    term: Callable[[str], Values]
    parameter: Callable[[str], Values]
    field: Callable[[str], Values]
    rates: NDArray[np.float64]
    row: NDArray[np.int64] | int


def compiles(what: SimulationInput) -> bool:
    """Whether the compiled loop models it."""
    return not (what.on("dirty-limit") or what.on("xbzrle") or what.on("multifd"))


def group_key(what: SimulationInput) -> tuple[Any, ...]:
    """What cells have to share to be run together: all but rates, settings, terms and plain numbers."""
    w = what.workload
    classes = tuple(
        (c.pages, c.pattern, c.extents, c.content, c.writes_per_page_per_s > 0) for c in w.classes
    )
    on = tuple(sorted(name for name, on in what.capabilities.items() if on))
    memory = (w.ram_bytes, w.ram_total_bytes, w.zero_pages, w.load_fraction, classes)
    return (memory, str(what.version), what.accel, what.dirty_ring_size, what.vcpus, on)


def many_columns(cells: Sequence[SimulationInput]) -> Columns:
    """Columns of cells that share a key."""
    known = defaults(cells[0].version)

    def parameter(name: str) -> Values:
        absent = known.get(name, 0)
        return np.array([c.parameters.get(name, absent) or 0 for c in cells])

    return Columns(
        what=cells[0],
        term=lambda name: np.array([c.terms[name] for c in cells]),
        parameter=parameter,
        field=lambda name: np.array([_number(getattr(c, name), name) for c in cells]),
        rates=np.array([[k.writes_per_page_per_s for k in c.workload.classes] for c in cells], float).reshape(
            len(cells), -1
        ),
        row=np.arange(len(cells)),
    )


def grid_columns(what: SimulationInput, varied: Mapping[str, NDArray[Any]]) -> Columns:
    """Columns of one input, some of whose values are varied: flat arrays by name."""

    def either(name: str, otherwise: Callable[[], Any]) -> Values:
        values = varied.get(name)
        return values if values is not None else otherwise()

    return Columns(
        what=what,
        term=lambda name: either(name, lambda: what.terms[name]),
        parameter=lambda name: either(name, lambda: what.parameter(name) or 0),
        field=lambda name: either(name, lambda: _number(getattr(what, name), name)),
        rates=np.array([[k.writes_per_page_per_s for k in what.workload.classes]], float).reshape(1, -1),
        row=0,
    )


def _number(value: float | None, name: str) -> float:
    return np.inf if value is None else float(value)


def kind_of(what: SimulationInput) -> Kind:
    """What all cells of a group have in common."""
    rules, behaviour = throttle_rules(what.version), what.behaviour
    throttled = what.on("auto-converge") and rules.form != "none"
    tick_s = rules.background_sync_s if what.on("auto-converge") else None
    return Kind(
        charged_at=behaviour.quota_charged_at,
        all_stream=behaviour.transferred_counts == "stream",
        inclusive=behaviour.threshold_inclusive,
        chunked=what.chunked,
        throttled=throttled,
        fixed_form=rules.form == "fixed",
        acts_on=rules.acts_on,
        needs_previous_rate=rules.needs_previous_rate,
        tick_s=tick_s or np.inf,
        steady_rounds=STEADY_ROUNDS,
        run_fractions=np.array([run_fraction(p) for p in range(MAX_PERCENTAGE + 1)]),
    )


def cells_of(columns: Columns, count: int) -> NDArray[Any]:
    """Records of `CELL` for the loop.

    Raises
    ------
    ParameterError
        For a setting of auto-converge that QEMU refuses.
    """
    cells = np.zeros(count, CELL)
    c, term, parameter, field = cells, columns.term, columns.parameter, columns.field
    what, ram = columns.what, columns.what.workload.ram_total_bytes
    link = NORMAL_PAGE_BYTES / np.asarray(field("link_bytes_per_s"), float)
    for name in ("normal_page_s", "cold_page_s", "fresh_page_s"):
        c[name] = np.maximum(term(name), link)
    for name in ("zero_page_s", "dirty_fault_s", "connect_s", "switch_gap_s", "stop_s"):
        c[name] = term(name)
    c["setup_s"] = setup_s(ram, setup_base_s=term("setup_base_s"), setup_s_per_gib=term("setup_s_per_gib"))
    c["sync_s"] = sync_s(ram, sync_base_s=term("sync_base_s"), sync_s_per_gib=term("sync_s_per_gib"))
    c["max_bandwidth"] = parameter("max-bandwidth")
    c["wake_up_s"] = wake_up_s(
        c["max_bandwidth"],
        window_overhead_s=term("window_overhead_s"),
        window_overhead_s_per_gib_per_s=term("window_overhead_s_per_gib_per_s"),
    )
    c["downtime_limit_ms"] = parameter("downtime-limit")
    if what.behaviour.avail_switchover_bandwidth:
        c["switchover_bytes_per_s"] = np.trunc(parameter("avail-switchover-bandwidth"))
    c["deadline_s"], c["fresh_pages"] = field("deadline_s"), field("fresh_pages")
    c["load"], c["rates_row"] = what.workload.load_fraction, columns.row
    if what.on("auto-converge"):
        _throttle(cells, columns)
    return cells


def _throttle(cells: NDArray[Any], columns: Columns) -> None:
    rules = throttle_rules(columns.what.version)
    for name, parameter, built_in in (
        ("threshold_percent", "throttle-trigger-threshold", 50),
        ("initial", "cpu-throttle-initial", 20),
        ("increment", "cpu-throttle-increment", 10),
        ("maximum", "max-cpu-throttle", MAX_PERCENTAGE),
        ("tailslow", "cpu-throttle-tailslow", 0),
    ):
        values = np.asarray(columns.parameter(parameter))
        cells[name] = np.where(values == 0, built_in, values)
    for initial, increment, maximum in _distinct(cells, "initial", "increment", "maximum"):
        next_percentage(0, initial=initial, increment=increment, maximum=maximum)
    for (percent,) in _distinct(cells, "threshold_percent"):
        close_trigger(Trigger(), dirty_bytes=0, transferred_bytes=0, rules=rules, threshold_percent=percent)
    if rules.form == "fixed":
        charged = columns.what.behaviour.quota_charged_at
        for limit, page_s in _distinct(cells, "max_bandwidth", "normal_page_s"):
            quota = window_bytes(window_quota_bytes(limit), NORMAL_PAGE_BYTES, charged)
            here = (cells["max_bandwidth"] == limit) & (cells["normal_page_s"] == page_s)
            burst_s = min(quota / NORMAL_PAGE_BYTES * page_s, WINDOW_S)
            cells["fixed_speed"][here] = fixed_sleep_run_fraction(burst_s)


def _distinct(cells: NDArray[Any], *names: str) -> Iterator[tuple[Any, ...]]:
    yield from zip(
        *np.unique(np.array([cells[n].astype(float) for n in names]), axis=1).tolist(), strict=True
    )
