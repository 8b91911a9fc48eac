"""Inputs of the batch engine: records of numbers for its loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch.columns import Columns, Values
from migsim.engine.batch.records import CELL, KIND
from migsim.engine.events.guest_clock import GuestClock
from migsim.engine.events.multifd import MultifdSender
from migsim.engine.inputs import SimulationInput
from migsim.models.dirty.bitmap import setup_s, sync_s
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES
from migsim.models.loop.query_migrate import Counters
from migsim.models.loop.rate_limit import WINDOW_S, wake_up_s, window_bytes, window_quota_bytes
from migsim.models.multifd.packets import multifd_rules, zero_page_detection
from migsim.models.throttle.auto_converge import MAX_PERCENTAGE, next_percentage
from migsim.models.throttle.cpu_throttle import fixed_sleep_run_fraction
from migsim.models.throttle.trigger import Trigger, close_trigger, throttle_rules
from migsim.models.xbzrle.cache import xbzrle_rules
from migsim.models.xbzrle.encoding import counted_bytes

__all__ = ["cells_of", "kind_of", "senders"]

SENDING_TERMS = (
    "normal_page_s", "cold_page_s", "fresh_page_s", "burst_page_s", "burst_cold_page_s", "burst_fresh_page_s",
)  # fmt: skip
PLAIN_TERMS = (
    "zero_page_s", "dirty_fault_s", "connect_s", "switch_gap_s", "stop_s", "device_state_s", "load_s",
    "device_state_bytes",
)  # fmt: skip

NO_KIND: dict[str, float] = dict.fromkeys(KIND.names or (), 0)
NO_CELL: dict[str, Values] = dict.fromkeys(CELL.names or (), 0)
"""All fields of the records, 0 each."""


def kind_of(migration: SimulationInput) -> NDArray[Any]:
    """What all cells of a group have in common: one record of `KIND`."""
    rules, behaviour = throttle_rules(migration.version), migration.behaviour
    ticks = migration.has_capability("auto-converge") and rules.background_sync_s
    values: dict[str, float] = NO_KIND | {
        "tick_s": ticks or np.inf,
        "charged_when_queued": behaviour.quota_charged_at == "enqueue",
        "all_stream": behaviour.transferred_counts == "stream",
        "inclusive": behaviour.threshold_inclusive,
        "chunked": migration.chunked,
        "throttled": migration.has_capability("auto-converge") and rules.form != "none",
        "coded": migration.has_capability("xbzrle"),
        "fixed_form": rules.form == "fixed",
        "acts_on": rules.acts_on,
        "needs_previous_rate": rules.needs_previous_rate,
        "hits_are_pages": xbzrle_rules(migration.version).hits_are_pages,
        "byte_split": behaviour.byte_split,
    }
    if migration.has_capability("multifd"):
        own = multifd_rules(migration.version)
        values |= {
            "multifd": True,
            "zero_pages": ("legacy", "multifd", "none").index(
                zero_page_detection(migration.parameters, migration.version)
            ),
            "waits_in_calls": own.waits_every == "section",
            "waits_at_end": own.waits_at_end,
            "flush_bytes": own.main_bytes_a_wait,
        }
    if migration.has_capability("xbzrle"):
        counted = counted_bytes([-1, 1], migration.version)
        values |= {"overflow_counts": counted[0], "encoding_counts": counted[1] - 1}
    return np.array([tuple(values.values())], KIND)


def cells_of(columns: Columns, count: int) -> NDArray[Any]:
    """Records of `CELL` for the loop.

    Raises
    ------
    ParameterError
        For a setting of auto-converge that QEMU refuses.
    """
    term, parameter, field = columns.term, columns.parameter, columns.field
    migration, ram = columns.migration, columns.migration.workload.ram_total_bytes
    link = NORMAL_PAGE_BYTES / np.asarray(field("link_bytes_per_s"), float)
    limits: Any = np.asarray(parameter("max-bandwidth")).astype(np.int64)
    values: dict[str, Values] = {
        "setup_s": setup_s(ram, setup_base_s=term("setup_base_s"), setup_s_per_gib=term("setup_s_per_gib")),
        "sync_s": sync_s(ram, sync_base_s=term("sync_base_s"), sync_s_per_gib=term("sync_s_per_gib")),
        "max_bandwidth": limits,
        "wake_up_s": wake_up_s(
            limits,
            window_overhead_s=term("window_overhead_s"),
            window_overhead_s_per_gib_per_s=term("window_overhead_s_per_gib_per_s"),
        ),
        "downtime_limit_ms": parameter("downtime-limit"),
        "deadline_s": field("deadline_s"),
        "fresh_pages": field("fresh_pages"),
        "load": migration.workload.load_fraction,
        "rates_row": columns.row,
        "raw_bytes": NORMAL_PAGE_BYTES,
        "zero_bytes": ZERO_PAGE_BYTES,
    }
    values |= {name: _larger(term(name), link) for name in SENDING_TERMS}
    values |= {name: term(name) for name in PLAIN_TERMS}
    values["burst_zero_page_s"] = values["zero_page_s"]
    if migration.behaviour.avail_switchover_bandwidth:
        values["switchover_bytes_per_s"] = np.trunc(parameter("avail-switchover-bandwidth"))
    if migration.has_capability("xbzrle"):
        values |= {name: term(name) for name in ("xbzrle_hit_s", "xbzrle_miss_s")}
        values["cache_size"] = parameter("xbzrle-cache-size")
    cells = _filled(values, count)
    if migration.has_capability("multifd"):
        _multifd(cells, columns)
    if migration.has_capability("auto-converge"):
        _throttle(cells, columns)
    return cells


def _filled(values: Mapping[str, Values], count: int) -> NDArray[Any]:
    """Records of `CELL` with these values, each one number or an array; what is not among them is 0."""
    varied = {name: value for name, value in values.items() if isinstance(value, np.ndarray) and value.ndim}
    alike = {**NO_CELL, **values, **dict.fromkeys(varied, 0)}
    cells = np.repeat(np.array([tuple(alike.values())], CELL), count)
    for name, value in varied.items():
        cells[name] = value
    return cells


def _larger(one: Values, other: Values) -> Values:
    """The larger of two numbers, element by element where they are arrays."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.maximum(one, other)
    return max(one, other)


def _multifd(cells: NDArray[Any], columns: Columns) -> None:
    """What each cell's channels make of its pages; cells whose settings and terms are alike share a sender."""
    for at, sender in senders(columns, len(cells)):
        times, lost, zero_lost = sender.lost
        costs = sender.costs
        values = {
            "burst_page_s": sender.burst.normal_page_s,
            "burst_cold_page_s": sender.burst.cold_page_s,
            "burst_fresh_page_s": sender.burst.fresh_page_s,
            "burst_zero_page_s": sender.burst.zero_page_s,
            "normal_page_s": costs.normal_page_s,
            "cold_page_s": costs.cold_page_s,
            "fresh_page_s": costs.fresh_page_s,
            "zero_page_s": costs.zero_page_s,
            "raw_bytes": sender.page_bytes[0],
            "zero_bytes": sender.page_bytes[1],
            "window_bytes": sender.window_bytes,
            "channels": sender.channels,
            "zero_lost_s": zero_lost,
            "busy": sender.busy > 0,
        }
        values |= {f"page_s_{k}": value for k, value in enumerate(times)}
        values |= {f"lost_s_{k}": value for k, value in enumerate(lost)}
        for name, value in values.items():
            cells[name][at] = value


def senders(columns: Columns, count: int) -> Iterator[tuple[NDArray[np.int64], MultifdSender]]:
    """Multifd's side of the cells: which of them share what a `MultifdSender` of the event engine has worked out."""
    migration = columns.migration
    names = [name for name in migration.terms if name.startswith("multifd_") or name == "zero_page_s"]
    given = {
        **{("term", name): columns.term(name) for name in names},
        ("parameter", "max-bandwidth"): columns.parameter("max-bandwidth"),
        ("parameter", "multifd-channels"): columns.parameter("multifd-channels"),
        ("field", "link_bytes_per_s"): columns.field("link_bytes_per_s"),
    }
    table = np.array([np.broadcast_to(np.asarray(values, float), (count,)) for values in given.values()])
    rows, of = np.unique(table, axis=1, return_inverse=True)
    for k, row in enumerate(rows.T.tolist()):
        values = dict(zip(given, row, strict=True))
        terms = {name: value for (kind, name), value in values.items() if kind == "term"}
        parameters = {name: int(value) for (kind, name), value in values.items() if kind == "parameter"}
        one = replace(
            migration,
            terms={**migration.terms, **terms},
            parameters={**migration.parameters, **parameters},
            link_bytes_per_s=values["field", "link_bytes_per_s"],
        )
        yield np.flatnonzero(of == k), MultifdSender(one, GuestClock(), Counters(0, 0.0))


def _throttle(cells: NDArray[Any], columns: Columns) -> None:
    rules = throttle_rules(columns.migration.version)
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
        charged = columns.migration.behaviour.quota_charged_at
        for limit, page_s in _distinct(cells, "max_bandwidth", "normal_page_s"):
            quota = window_bytes(window_quota_bytes(limit), NORMAL_PAGE_BYTES, charged)
            here = (cells["max_bandwidth"] == limit) & (cells["normal_page_s"] == page_s)
            burst_s = min(quota / NORMAL_PAGE_BYTES * page_s, WINDOW_S)
            cells["fixed_speed"][here] = fixed_sleep_run_fraction(burst_s)


def _distinct(cells: NDArray[Any], *names: str) -> Iterator[tuple[Any, ...]]:
    table = np.array([cells[n].astype(float) for n in names])
    if not (table == table[:, :1]).all():
        table = np.unique(table, axis=1)
    yield from dict.fromkeys(zip(*table.tolist(), strict=True))
