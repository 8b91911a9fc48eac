"""Predictors of plain precopy: Quintela's 2022 dumps, Kolhe's prefaulted guests, zero scans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migsim.history.idle_guest import idle_data_pages
from migsim.models.dirty.bitmap import GIB, setup_s
from migsim.models.dirty.log_start import log_start_s
from migsim.models.loop.behaviour import behaviour_of
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ram_bytes_of
from migsim.models.loop.query_migrate import Counters, migration_info
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.units import PAGE_BYTES
from migsim.workload import Workload, WorkloadClass
from validation.published import Fixture, load
from validation.published.dirty_tracking import huge_mapping_s_per_gib
from validation.published.multifd import quintela_multifd, threads_scan
from validation.published.simulated import host_terms, idle_guest, run
from validation.published.table import Answer, Value

__all__ = ["kolhe", "quintela", "reported_mbps", "zero_page_scan"]

Rows = Mapping[str, Mapping[str, Any]]

UNLIMITED = {"max-bandwidth": 0}
SCAN_HOST = "quintela-multifd-2022"
KIB = 1024


def quintela(fixture: Fixture) -> Answer:
    """Answer the precopy rows, all setups and all rates; the page costs are fitted to the two 16 GiB guests."""
    precopy, multifd = fixture.rows("precopy"), fixture.rows("multifd")
    zero_page_s, page_s, burst_page_s = _page_costs(precopy)
    base, multifd_base, per_gib = _setup_costs(precopy, multifd)
    huge = huge_mapping_s_per_gib(load("log-start"))
    values: dict[str, Value] = {}
    for name, row in multifd.items():
        values[f"multifd.{name}.rate-mbps"] = reported_mbps(row, fixture.qemu_version)
        ram, written = row["ram-gib"] * GIB, row.get("written-gib", 0) * GIB
        freeze_s = log_start_s(written, {"log_start_s_per_gib_2m": huge}, mapping="2m")
        clean_s = setup_s(ram, setup_base_s=multifd_base, setup_s_per_gib=per_gib)
        values[f"multifd.{name}.setup-ms"] = 1000 * (clean_s + freeze_s)
        values[f"multifd.{name}.normal-pages"] = idle_data_pages(ram)
    for name in ("16g-clean", "16g-dirtied", "1t-clean"):
        row = precopy[name]
        guest = idle_guest(row["duplicate-pages"], row["normal-pages"])
        terms = host_terms(
            zero_page_s=zero_page_s,
            page_s=page_s,
            burst_page_s=burst_page_s,
            setup_base_s=base,
            setup_s_per_gib=per_gib,
        )
        values |= {
            f"precopy.{name}.{column}": value
            for column, value in _figures(run(guest, terms, fixture.qemu_version, UNLIMITED)).items()
        }
        values[f"precopy.{name}.rate-mbps"] = reported_mbps(row, fixture.qemu_version)
    values["precopy.16g-stress-4x1g.verdict"] = _stress_verdict(
        precopy["16g-stress-4x1g"], multifd["16g-stress-4x1g"], page_s, burst_page_s, fixture.qemu_version
    )
    multifd_values, fitted = quintela_multifd(fixture, multifd_base, per_gib)
    return Answer(
        values=values | multifd_values,
        fitted=fitted
        | {
            "zero_page_s": zero_page_s,
            "fresh_page_s": page_s,
            "burst_fresh_page_s": burst_page_s,
            "setup_base_s": base,
            "setup_base_s, multifd": multifd_base,
            "setup_s_per_gib": per_gib,
            "log_start_s_per_gib_2m, from log-start": huge,
        },
    )


def reported_mbps(row: Mapping[str, Any], version: str) -> float:
    """Compute `mbps` of a completed migration as `query-migrate` defines it, from other figures of the dump."""
    counters = Counters(
        total_bytes=0,
        downtime_limit_ms=0.0,
        ram_stream=row["transferred-kib"] * KIB,
        setup_s=row["setup-ms"] / 1000,
    )
    info = migration_info(
        counters,
        behaviour_of(QemuVersion.parse(version)),
        status="completed",
        total_s=row["total-ms"] / 1000,
    )
    return float(info["ram"]["mbps"])


def kolhe(fixture: Fixture) -> Answer:
    """Answer migration times: start-up of the destination, then a stream of zero pages."""
    rows = fixture.rows("times")
    fit = rows["256gib-16"]
    zero_page_s = (fit["migration-s"] - fit["start-up-s"]) / (fit["ram-gib"] * GIB / PAGE_BYTES)
    values = {}
    for name, row in rows.items():
        terms = host_terms(zero_page_s=zero_page_s, connect_s=row["start-up-s"])
        guest = idle_guest(row["ram-gib"] * GIB // PAGE_BYTES, 0)
        result = run(guest, terms, fixture.qemu_version, {}, deadline_s=1e5)
        values[f"times.{name}.migration-s"] = result.total_time_ms / 1000
    return Answer(values=values, fitted={"zero_page_s": zero_page_s})


def zero_page_scan(fixture: Fixture) -> Answer:
    """Answer Xiang's main-thread run with the zero-page cost of Quintela's host, and his run with two channels."""
    zero_page_s, _, _ = _page_costs(load(SCAN_HOST).rows("precopy"))
    gib = fixture.cell("xiang.main.ram-gib")
    guest = idle_guest(gib * GIB // PAGE_BYTES, 0)
    result = run(guest, host_terms(zero_page_s=zero_page_s), fixture.qemu_version, UNLIMITED)
    threads, fitted = threads_scan(fixture)
    return Answer(values={"xiang.main.total-ms": result.total_time_ms} | threads, fitted=fitted)


def _page_costs(precopy: Rows) -> tuple[float, float, float]:
    """Solve the active times of two guests for the costs of a zero page, a data page, and a page in the blackout."""
    import numpy as np

    clean, dirtied = precopy["16g-clean"], precopy["16g-dirtied"]
    pages, seconds = [], []
    for row in (clean, dirtied):
        late = row["downtime-ram-kib"] * KIB / NORMAL_PAGE_BYTES
        pages.append([row["duplicate-pages"], row["normal-pages"] - late])
        seconds.append((row["total-ms"] - row["setup-ms"] - row["downtime-ms"]) / 1000)
    zero_page_s, page_s = np.linalg.solve(np.array(pages, float), np.array(seconds))
    burst = clean["downtime-ms"] / 1000 / (clean["downtime-ram-kib"] * KIB / NORMAL_PAGE_BYTES)
    return float(zero_page_s), float(page_s), burst


def _setup_costs(precopy: Rows, multifd: Rows) -> tuple[float, float, float]:
    """Return the fixed setup times of precopy and multifd, and the seconds for each GiB from multifd's two sizes."""
    small, large = multifd["16g-clean"], multifd["1t-clean"]
    per_gib = (large["setup-ms"] - small["setup-ms"]) / 1000 / (large["ram-gib"] - small["ram-gib"])
    slope = per_gib * small["ram-gib"]
    return precopy["16g-clean"]["setup-ms"] / 1000 - slope, small["setup-ms"] / 1000 - slope, per_gib


def _figures(result: MigrationResult) -> dict[str, Value]:
    info = result.info
    stream = ram_bytes_of(info["ram"]["normal"], info["ram"]["duplicate"])
    return {
        "total-ms": info["total-time"],
        "downtime-ms": info["downtime"],
        "setup-ms": info["setup-time"],
        "sync-count": info["ram"]["dirty-sync-count"],
        "transferred-kib": stream / KIB,
        "downtime-ram-kib": info["ram"]["downtime-bytes"] / KIB,
    }


def _stress_verdict(
    stress: Mapping[str, Any], multifd: Mapping[str, Any], page_s: float, burst_page_s: float, version: str
) -> str:
    """Tell whether one thread keeps up with writers whose rate is the one at which multifd sent their pages."""
    written = stress["written-bytes"] // PAGE_BYTES
    rounds_per_s = multifd["normal-pages"] / (multifd["total-ms"] / 1000) / written
    total = multifd["ram-gib"] * GIB
    writers = WorkloadClass(
        pages=written, writes_per_page_per_s=rounds_per_s, pattern="sweep", extents=((0, written),)
    )
    guest = Workload(
        ram_bytes=total, ram_total_bytes=total, zero_pages=total // PAGE_BYTES - written, classes=(writers,)
    )
    terms = host_terms(page_s=page_s, burst_page_s=burst_page_s)
    status = run(guest, terms, version, UNLIMITED).outcome.status
    return "never" if status == "not-converged" else status
