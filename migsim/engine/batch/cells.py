"""The records of `Kind` and `Cell` that the batch engine's loop starts from, made of inputs and columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch.columns import GroupColumns, Values
from migsim.engine.batch.records import CELL, FINDERS, KIND, repeated
from migsim.engine.events.multifd import MultifdSender
from migsim.engine.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.throttling import BUILT_IN
from migsim.models.dirty.bitmap import setup_s, sync_s
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES
from migsim.models.loop.query_migrate import Counters
from migsim.models.loop.rate_limit import WINDOW_S, wake_up_s, window_bytes, window_quota_bytes
from migsim.models.multifd.packets import multifd_rules
from migsim.models.throttle.auto_converge import next_percentage
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
"""All fields of the two records, each 0."""


def kind_of(migration: SimulationInput) -> NDArray[Any]:
    """Make the record of `KIND`: what all cells of a group have in common."""
    rules, behaviour = throttle_rules(migration.version), migration.behaviour
    ticks = migration.has_capability("auto-converge") and rules.background_sync_s
    values: dict[str, float] = NO_KIND | {
        "tick_s": ticks or np.inf,
        "charged_when_queued": behaviour.quota_charged_at == "enqueue",
        "counts_all_stream": behaviour.transferred_counts == "stream",
        "expected_from_rate": behaviour.expected_from_rate,
        "threshold_inclusive": behaviour.threshold_inclusive,
        "return_path": migration.has_capability("return-path"),
        "zero_pages": FINDERS.index(migration.zero_pages),
        "chunked": migration.chunked,
        "throttled": migration.has_capability("auto-converge") and rules.form != "none",
        "xbzrle": migration.has_capability("xbzrle"),
        "fixed_form": rules.form == "fixed",
        "acts_on": rules.acts_on,
        "needs_previous_rate": rules.needs_previous_rate,
        "hits_are_pages": xbzrle_rules(migration.version).hits_are_pages,
        "byte_split": behaviour.byte_split,
    }
    wandering = migration.workload.wandering
    values["wanders"] = any(wandering)
    values |= dict(zip(("wander_0", "wander_1", "wander_2"), wandering, strict=True))
    if migration.has_capability("multifd"):
        channels = multifd_rules(migration.version, migration.machine)
        values |= {
            "multifd": True,
            "waits_in_calls": channels.waits_every == "section",
            "waits_at_end": channels.waits_at_end,
            "main_bytes_a_wait": channels.main_bytes_a_wait,
            "greeting_bytes": channels.greeting_bytes,
        }
    if migration.has_capability("xbzrle"):
        counted = counted_bytes([-1, 1], migration.version)
        values |= {"overflow_counts": counted[0], "encoding_counts": counted[1] - 1}
    return np.array([tuple(values.values())], KIND)


def cells_of(columns: GroupColumns, count: int) -> NDArray[Any]:
    """Make the records of `CELL`.

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
        "load_fraction": migration.workload.load_fraction,
        "rates_row": columns.row,
        "raw_bytes": NORMAL_PAGE_BYTES,
        "zero_bytes": ZERO_PAGE_BYTES,
    }
    values |= {name: _larger(term(name), link) for name in SENDING_TERMS}
    values |= {name: term(name) for name in PLAIN_TERMS}
    values["burst_zero_page_s"] = values["zero_page_s"]
    if migration.zero_pages == "none":  # sent whole
        values |= {"zero_page_s": values["fresh_page_s"], "burst_zero_page_s": values["burst_fresh_page_s"]}
        values["zero_bytes"] = NORMAL_PAGE_BYTES
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
    """Make records of `CELL` with these values, each one number or an array; all other fields are 0."""
    varied = {name: value for name, value in values.items() if isinstance(value, np.ndarray) and value.ndim}
    alike = {**NO_CELL, **values, **dict.fromkeys(varied, 0)}
    cells = repeated(np.array([tuple(alike.values())], CELL), count)
    for name, value in varied.items():
        cells[name] = value
    return cells


def _larger(one: Values, other: Values) -> Values:
    """The larger of two numbers, element by element where they are arrays."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.maximum(one, other)
    return max(one, other)


def _multifd(cells: NDArray[Any], columns: GroupColumns) -> None:
    """Fill in what each cell's channels make of its pages."""
    for at, sender in senders(columns, len(cells)):
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
            "places_a_page": sender.places_a_page,
        }
        values |= sender.losses._asdict()
        for name, value in values.items():
            cells[name][at] = value


def senders(columns: GroupColumns, count: int) -> Iterator[tuple[NDArray[np.int64], MultifdSender]]:
    """Find the cells whose multifd settings and terms are alike, and the event engine's sender that they share."""
    migration = columns.migration
    names = [name for name in migration.terms if name.startswith("multifd_") or name == "zero_page_s"]
    given = {
        **{("term", name): columns.term(name) for name in names},
        ("parameter", "max-bandwidth"): columns.parameter("max-bandwidth"),
        ("parameter", "multifd-channels"): columns.parameter("multifd-channels"),
        ("field", "link_bytes_per_s"): columns.field("link_bytes_per_s"),
        ("field", "host_cpus"): columns.field("host_cpus"),
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
            host_cpus=_count(values["field", "host_cpus"]),
        )
        yield np.flatnonzero(of == k), MultifdSender(one, GuestClock(), Counters(0, 0.0))


def _count(number: float) -> int | None:
    """Return a column's number of something; None where it is infinite, which stands for none given."""
    return int(number) if np.isfinite(number) else None


def _throttle(cells: NDArray[Any], columns: GroupColumns) -> None:
    """Fill in auto-converge's settings, and refuse those that QEMU refuses."""
    rules = throttle_rules(columns.migration.version)
    for name in ("slice_lost_s", "slice_cools_s"):
        if name in columns.migration.terms:
            cells[name] = columns.term(name)
    for name, parameter in (
        ("threshold_percent", "throttle-trigger-threshold"),
        ("initial", "cpu-throttle-initial"),
        ("increment", "cpu-throttle-increment"),
        ("maximum", "max-cpu-throttle"),
        ("tailslow", "cpu-throttle-tailslow"),
    ):
        values = np.asarray(columns.parameter(parameter))
        cells[name] = np.where(values == 0, BUILT_IN.get(parameter, 0), values)
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
    """Yield the distinct combinations of some fields."""
    table = np.array([cells[n].astype(float) for n in names])
    if not (table == table[:, :1]).all():
        table = np.unique(table, axis=1)
    yield from dict.fromkeys(zip(*table.tolist(), strict=True))
