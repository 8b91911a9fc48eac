"""Predictors of multifd: Quintela's 2022 dumps, and Xiang's guest of zero pages that channels find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migsim.models.dirty.bitmap import GIB
from migsim.results import MigrationResult
from migsim.units import PAGE_BYTES
from migsim.workload import Workload
from validation.published import Fixture
from validation.published.simulated import host_terms, idle_guest, run
from validation.published.table import Value

__all__ = ["quintela_multifd", "threads_scan"]

Rows = Mapping[str, Mapping[str, Any]]

KIB = 1024
CHANNELS = 16
FITTED = ("1t-clean", "1t-900g-dirtied")
PREDICTED = ("16g-clean", "16g-dirtied", *FITTED, "4t-clean", "4t-3900g-dirtied")
PLENTY = 1e4
"""Processors of a host that is only known to have many."""


def quintela_multifd(
    fixture: Fixture, setup_base_s: float, setup_s_per_gib: float
) -> tuple[dict[str, Value], dict[str, float]]:
    """Answer the rows of idle guests; the costs of a zero page and a data page are fitted to the two of 1 TiB.

    Returns
    -------
    values, fitted
        As `validation.published.table.Answer` holds them.
    """
    rows = fixture.rows("multifd")
    zero_page_s, page_s = _page_costs(rows)
    values: dict[str, Value] = {}
    for name in PREDICTED:
        row = rows[name]
        terms = host_terms(
            zero_page_s=zero_page_s,
            setup_base_s=setup_base_s,
            setup_s_per_gib=setup_s_per_gib,
            multifd_cpus=PLENTY,
            multifd_queue_page_s=page_s,
        )
        guest = idle_guest(row["duplicate-pages"], row["normal-pages"])
        result = _run(guest, terms, fixture.qemu_version, {"multifd-channels": CHANNELS})
        values |= {
            f"multifd.{name}.total-ms": result.info["total-time"],
            f"multifd.{name}.downtime-ms": result.info["downtime"],
            f"multifd.{name}.sync-count": result.info["ram"]["dirty-sync-count"],
            f"multifd.{name}.transferred-kib": result.info["ram"]["transferred"] / KIB,
        }
    return values, {"zero_page_s, multifd": zero_page_s, "multifd_queue_page_s": page_s}


def threads_scan(fixture: Fixture) -> tuple[dict[str, Value], dict[str, float]]:
    """Answer the time of two channels for a guest of zero pages; the page costs of channel and thread are fitted."""
    rows = fixture.rows("xiang")
    pages = rows["multifd-1"]["ram-gib"] * GIB // PAGE_BYTES
    channel_s = rows["multifd-1"]["total-ms"] / 1000 / pages
    queue_s = rows["multifd-4"]["total-ms"] / 1000 / pages
    terms = host_terms(multifd_cpus=PLENTY, multifd_queue_page_s=queue_s, multifd_send_zero_page_s=channel_s)
    result = _run(
        idle_guest(pages, 0),
        terms,
        fixture.qemu_version,
        {"multifd-channels": rows["multifd-2"]["scan-threads"]},
    )
    fitted = {"multifd_queue_page_s": queue_s, "multifd_send_zero_page_s": channel_s}
    return {"xiang.multifd-2.total-ms": result.info["total-time"]}, fitted


def _page_costs(rows: Rows) -> tuple[float, float]:
    """Solve the times of two guests after their setup for the costs of a zero page and a data page."""
    import numpy as np

    two = [rows[name] for name in FITTED]
    pages = np.array([[row["duplicate-pages"], row["normal-pages"]] for row in two], float)
    zero_page_s, page_s = np.linalg.solve(pages, [(row["total-ms"] - row["setup-ms"]) / 1000 for row in two])
    return float(zero_page_s), float(page_s)


def _run(
    guest: Workload, terms: Mapping[str, float], version: str, parameters: Mapping[str, Any]
) -> MigrationResult:
    return run(guest, terms, version, {"max-bandwidth": 0, **parameters}, capabilities={"multifd": True})
