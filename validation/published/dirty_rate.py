"""Predictors of Gudkov's figures: the grid of his sample, and his test of `calc-dirty-rate`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from migsim.calibrate.workload.spectrum import Spectrum, fit_spectrum
from migsim.models.dirty.bitmap import GIB, PAGES_PER_GIB
from migsim.models.dirty.page_writes import guest_seconds, random_fraction
from migsim.models.loop.page_stream import ZERO_PAGE_BYTES
from migsim.units import PAGE_BYTES
from migsim.workload import Workload, WorkloadClass
from validation.published import Fixture
from validation.published.simulated import host_terms, run
from validation.published.table import Answer, Value

__all__ = ["calc_dirty_rate", "fitted_guest", "gudkov_sample"]

HOUR_S = 3600.0
FIT_ROW = "1gib-100ms"
MIB_PER_PAGE = PAGE_BYTES / (1 << 20)

Row = Mapping[str, Any]


def gudkov_sample(fixture: Fixture) -> Answer:
    """Answer his grid with our calibration of his sample and our engine, on a host that is limited by its link only."""
    guest = fitted_guest(fixture)
    values: dict[str, Value] = {}
    for name, row in fixture.rows("grid").items():
        speed = row["bandwidth-gibit-per-s"] * GIB / 8
        result = run(
            guest,
            host_terms(zero_page_s=ZERO_PAGE_BYTES / speed),
            fixture.qemu_version,
            {"max-bandwidth": int(speed), "downtime-limit": row["limit-ms"]},
            link_bytes_per_s=speed,
            deadline_s=HOUR_S,
            dirty_ring_size=4096,  # with a ring a page counts from the sync on, as in his script
        )
        ends = result.outcome.status == "completed"
        values[f"grid.{name}.verdict"] = "completes" if ends else "never"
        values[f"grid.{name}.total-s"] = math.ceil(result.total_time_ms / 1000) if ends else "never"
    return Answer(values=values)


def fitted_guest(fixture: Fixture) -> Workload:
    """Fit page classes to the sample's dirty pages by period; the classes lie one after the other in RAM."""
    import numpy as np

    sample = fixture.rows("guest")["sample"]
    sampled, dirty = sample["sampled-pages"], np.array(sample["dirty-pages"], float)
    scale = sample["total-pages"] / sampled
    share = dirty / sampled
    most = sample["total-pages"] - sample["zero-pages"] * scale
    fit: Spectrum = fit_spectrum(
        np.array(sample["period-ms"]) / 1000, dirty * scale, np.sqrt(dirty * (1 - share)) * scale, most
    )
    classes, first_page = [], 0
    for pages, rate in zip(fit.pages, fit.writes_per_page_per_s, strict=True):
        count = int(pages)
        classes.append(
            WorkloadClass(pages=count, writes_per_page_per_s=float(rate), extents=((first_page, count),))
        )
        first_page += count
    cold = int(most) - first_page
    if cold > 0:
        classes.append(WorkloadClass(pages=cold, writes_per_page_per_s=0.0, extents=((first_page, cold),)))
    ram = sample["total-pages"] * PAGE_BYTES
    zero = sample["total-pages"] - int(most)
    return Workload(ram_bytes=ram, ram_total_bytes=ram, zero_pages=zero, classes=tuple(classes))


def calc_dirty_rate(fixture: Fixture) -> Answer:
    """Answer his formula, page-sampling with other windows, and dirty-bitmap with a fault for each page."""
    rows = fixture.rows("answers")
    theory = rows["24gib-100ms"]
    formula = _random_writes(theory, theory["theory-mib-per-s"]) / (theory["window-ms"] / 1000)
    speeds = {1: formula} | {gib: _speed(rows[f"{gib}gib-1000ms"]) for gib in (4, 24)}
    fit = rows[FIT_ROW]
    fault_s = _fault_s(fit, speeds[fit["region-gib"]])
    values: dict[str, Value] = {}
    for name, row in rows.items():
        speed = speeds[row["region-gib"]]
        values[f"answers.{name}.theory-mib-per-s"] = _rate(row, formula, 0.0)
        values[f"answers.{name}.sampling-mib-per-s"] = _rate(row, speed, 0.0)
        values[f"answers.{name}.bitmap-mib-per-s"] = _rate(row, speed, fault_s)
    named = {"writes_per_s, formula and 1 GiB": formula}
    named |= {f"writes_per_s, {gib} GiB": speeds[gib] for gib in (4, 24)}
    return Answer(values=values, fitted=named | {"dirty_fault_s": fault_s})


def _rate(row: Row, writes_per_s: float, fault_s: float) -> float:
    """Return the MiB/s of distinct pages in a window of wall time, where each page costs the writer a fault."""
    pages, wall_s = row["region-gib"] * PAGES_PER_GIB, row["window-ms"] / 1000
    written = 0.0
    low, high = 0.0, float(pages)
    for _ in range(60):  # more faults leave less time to write, so there is one solution
        written = (low + high) / 2
        seconds = guest_seconds(wall_s, written, fault_s)
        if pages * float(random_fraction(writes_per_s / pages, seconds)) > written:
            low = written
        else:
            high = written
    return float(written * MIB_PER_PAGE / wall_s)


def _speed(row: Row) -> float:
    """Return the writes a second that give page-sampling's answer."""
    return _random_writes(row, row["sampling-mib-per-s"]) / float(row["window-ms"] / 1000)


def _fault_s(row: Row, writes_per_s: float) -> float:
    """Return the fault time of a page that gives dirty-bitmap's answer."""
    wall_s = row["window-ms"] / 1000
    ran_s = _random_writes(row, row["bitmap-mib-per-s"]) / writes_per_s
    return float((wall_s - ran_s) / _pages(row, row["bitmap-mib-per-s"]))


def _pages(row: Row, mib_per_s: float) -> float:
    return float(mib_per_s * row["window-ms"] / 1000 / MIB_PER_PAGE)


def _random_writes(row: Row, mib_per_s: float) -> float:
    """Return the number of random writes that dirty the distinct pages of an answer."""
    pages = row["region-gib"] * PAGES_PER_GIB
    return float(-pages * math.log1p(-_pages(row, mib_per_s) / pages))
