"""Guests and hosts of published runs, as inputs of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.profiles.terms import HOST_TERMS, MULTIFD_TERMS, MULTIFD_ZERO_TERMS, RING_TERMS
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.units import PAGE_BYTES
from migsim.workload import Workload, WorkloadClass

__all__ = ["host_terms", "idle_guest", "run"]


def idle_guest(zero_pages: int, data_pages: int) -> Workload:
    """Make a guest that writes nothing; its data is at the end of RAM, where Linux keeps its page structures."""
    pages = zero_pages + data_pages
    classes: tuple[WorkloadClass, ...] = ()
    if data_pages:
        extents = ((zero_pages, data_pages),)
        classes = (WorkloadClass(pages=data_pages, writes_per_page_per_s=0.0, extents=extents),)
    return Workload(
        ram_bytes=pages * PAGE_BYTES,
        ram_total_bytes=pages * PAGE_BYTES,
        zero_pages=zero_pages,
        classes=classes,
    )


def host_terms(*, page_s: float = 0.0, burst_page_s: float = 0.0, **terms: float) -> dict[str, float]:
    """Make the terms of a host: one cost for all pages with data, other terms by name, and 0 for all others.

    Examples
    --------
    >>> terms = host_terms(page_s=2e-6, zero_page_s=1e-7)
    >>> terms["fresh_page_s"], terms["zero_page_s"], terms["stop_s"]
    (2e-06, 1e-07, 0.0)
    """
    values = dict.fromkeys((*HOST_TERMS, *RING_TERMS, *MULTIFD_TERMS, *MULTIFD_ZERO_TERMS), 0.0)
    values |= dict.fromkeys(("normal_page_s", "cold_page_s", "fresh_page_s"), page_s)
    values |= dict.fromkeys(("burst_page_s", "burst_cold_page_s", "burst_fresh_page_s"), burst_page_s)
    unknown = terms.keys() - values.keys()
    if unknown:
        raise KeyError(f"no host terms: {sorted(unknown)}")
    return values | terms


def run(
    workload: Workload,
    terms: Mapping[str, float],
    version: str,
    parameters: Mapping[str, Any],
    **settings: Any,
) -> MigrationResult:
    """Simulate one migration with expected dirty counts."""
    return simulate(
        SimulationInput(
            workload=workload,
            terms=terms,
            version=QemuVersion.parse(version),
            parameters=parameters,
            **settings,
        )
    )
