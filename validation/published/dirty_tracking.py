"""Predictors of dirty tracking (log start, syncs, scans, faults), and of the talk of May 2013."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migsim.models.dirty.bitmap import GIB, PAGES_PER_GIB, bitmap_layout, bitmap_size_bytes, dirty_words
from migsim.models.dirty.log_start import MAPPINGS, log_start_s, log_stop_s
from migsim.models.dirty.page_writes import guest_seconds
from migsim.models.dirty.sync import LAYOUTS, clear_s, sync_parts
from migsim.models.loop.copies import copy_path, one_thread_ceiling
from migsim.profiles.published import cost_preset
from validation.published import Fixture
from validation.published.table import Answer, Value

__all__ = ["huge_mapping_s_per_gib", "log_start", "sync_costs", "talk"]

PAGES_PER_MAPPING = {"4k": 1, "2m": 1 << 9, "1g": 1 << 18}
BITWISE, WORDWISE = LAYOUTS["1.4-1.7"], LAYOUTS["5.1"]

Row = Mapping[str, Any]


def huge_mapping_s_per_gib(fixture: Fixture) -> float:
    """Return the log-start cost of a GiB in 2 MiB mappings, from the arm64 row of `log-start`."""
    row = fixture.rows("arm64")["2m"]
    return float(row["start-ms"] / 1000 / row["mapped-gib"])


def log_start(fixture: Fixture) -> Answer:
    """Answer starts and stops of the log on other machines and sizes, each from one fitted figure."""
    x86, arm = fixture.rows("x86")["128g"], fixture.rows("arm64")
    monitor = fixture.rows("cloud-hypervisor")
    stop = fixture.rows("stop")
    costs = {
        "log_start_s_per_gib_4k": x86["start-ms"] / 1000 / x86["mapped-gib"],
        "log_start_s_per_gib_all_set": x86["all-set-ms"] / 1000 / x86["mapped-gib"],
        "log_stop_s_per_gib": stop["qemu-8g"]["stop-ms"] / 1000 / stop["qemu-8g"]["mapped-gib"],
    }
    values: dict[str, Value] = {"arm64.4k.start-ms": _start_ms(arm["4k"], costs)}
    for mapping in MAPPINGS[1:]:
        values[f"arm64.{mapping}.start-ms"] = _start_ms(
            arm[mapping], _arm_costs(arm), mapping=mapping
        ) + float(arm[mapping]["all-set-ms"])
    small = monitor["8g"]
    monitor_costs = {"log_start_s_per_gib_4k": small["start-ms"] / 1000 / small["mapped-gib"]}
    values |= {
        "cloud-hypervisor.64g.start-ms": _start_ms(monitor["64g"], monitor_costs),
        "cloud-hypervisor.each.start-ms-per-gib": costs["log_start_s_per_gib_4k"] * 1000,
        "stop.cloud-hypervisor-64g.stop-ms": 1000
        * log_stop_s("2.4", stop["cloud-hypervisor-64g"]["mapped-gib"] * GIB, costs),
    }
    for name in ("8g", "64g"):
        values[f"cloud-hypervisor.{name}.all-set-ms"] = _start_ms(
            monitor[name], costs, initially_all_set=True
        )
    return Answer(
        values=values, fitted=costs | {"log_start_s_per_gib_4k, Cloud Hypervisor": monitor_costs.popitem()[1]}
    )


def sync_costs(fixture: Fixture) -> Answer:
    """Answer scans, clearing and faults of larger or dirtier guests, each from one or two fitted figures."""
    scan = fixture.rows("scan")
    clean, little, more = scan["clean"], scan["dirty-01"], scan["dirty-1"]
    pages = clean["ram-gib"] * PAGES_PER_GIB
    bitwise = {
        "kernel_log_s_per_gib": 0.0,
        "protect_s_per_dirty_page": 0.0,
        "slot_s_per_gib": 0.0,
        "slot_s_per_dirty_page": 0.0,
        "block_one_pass_s_per_page": clean["bitwise-ms"] / 1000 / pages,
        "block_s_per_dirty_page": (little["bitwise-ms"] - clean["bitwise-ms"]) / 1000 / _dirty_pages(little),
    }
    words = dirty_words(pages, _dirty_pages(little))
    wordwise = {
        "kernel_log_s_per_gib": 0.0,
        "slot_s_per_gib": clean["wordwise-ms"] / 1000 / clean["ram-gib"],
        "slot_s_per_word": (little["wordwise-ms"] - clean["wordwise-ms"]) / 1000 / words,
        "block_s_per_gib": 0.0,
        "block_s_per_word": 0.0,
    }
    clear = {"clear_s_per_gib": fixture.cell("clear.chunk.lock-ms") / 1000}
    fault_s = fixture.cell("fault.page.fault-ns") * 1e-9
    ram = more["ram-gib"] * GIB
    values = {
        "clear.64g.lock-ms": _clear_ms(fixture.cell("clear.64g.ram-gib"), clear),
        "kubevirt.1000g.sync-ms": _clear_ms(fixture.cell("kubevirt.1000g.ram-gib"), clear),
        "fault.gib.fault-ms": 1000 * (1.0 - guest_seconds(1.0, PAGES_PER_GIB, fault_s)),
        "scan.clean.bitmap-mib": bitmap_size_bytes(ram, 1) / (1 << 20),
        "scan.dirty-1.bitwise-ms": 1000 * sync_parts(BITWISE, ram, _dirty_pages(more), bitwise).total_s,
        "scan.dirty-1.wordwise-ms": 1000 * sync_parts(WORDWISE, ram, _dirty_pages(more), wordwise).total_s,
    }
    return Answer(
        values=values, fitted=_nonzero(bitwise) | _nonzero(wordwise) | clear | {"dirty_fault_s": fault_s}
    )


def talk(fixture: Fixture) -> Answer:
    """Answer the talk's table of bitmap sizes, and its peak throughput by the ceiling of one thread."""
    values: dict[str, Value] = {}
    for name, row in fixture.rows("bitmap").items():
        for column, bits in (("bit-kib", 1), ("byte-kib", 8)):
            values[f"bitmap.{name}.{column}"] = bitmap_size_bytes(row["ram-gib"] * GIB, bits) / 1024
    ceiling = one_thread_ceiling(copy_path(fixture.qemu_version), cost_preset("era-2012").at())
    return Answer(values=values | {"idle.thread.peak-gbps": ceiling.gbit_per_s})


def _start_ms(row: Row, costs: Mapping[str, float], **options: Any) -> float:
    return 1000 * log_start_s(row["mapped-gib"] * GIB, costs, **options)


def _arm_costs(arm: Mapping[str, Row]) -> dict[str, float]:
    """Return costs of a GiB by mapping size: a mapping of any size costs as much, without a start's constant time."""
    each = (arm["4k"]["start-ms"] - arm["4k"]["all-set-ms"]) / 1000 / arm["4k"]["mapped-gib"]
    return {f"log_start_s_per_gib_{size}": each / PAGES_PER_MAPPING[size] for size in MAPPINGS}


def _clear_ms(gib: int, costs: Mapping[str, float]) -> float:
    """Return the time to clear a whole guest as one chunk."""
    return 1000 * clear_s(bitmap_layout("4.1"), gib * GIB, costs, chunk_pages=gib * PAGES_PER_GIB)


def _dirty_pages(row: Row) -> float:
    return float(row["dirty-fraction"] * row["ram-gib"] * PAGES_PER_GIB)


def _nonzero(costs: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in costs.items() if value}
