"""Small guests and hosts for tests, whose migrations take a few milliseconds to simulate."""

from collections.abc import Mapping, Sequence

import numpy as np

from migsim.profiles import HostProfile, Term
from migsim.profiles.terms import HOST_TERMS
from migsim.results import MigrationResult
from migsim.study.basis import Basis
from migsim.study.predict import Prediction
from migsim.workload import Workload, WorkloadClass

SMALL_TERMS = {
    "connect_s": 0.002,
    "setup_base_s": 0.005,
    "sync_base_s": 2e-4,
    "sync_s_per_gib": 1e-5,
    "zero_page_s": 4e-7,
    "normal_page_s": 4e-6,
    "cold_page_s": 5e-6,
    "fresh_page_s": 5e-6,
    "burst_page_s": 4e-6,
    "burst_cold_page_s": 5e-6,
    "burst_fresh_page_s": 5e-6,
    "window_overhead_s": 2e-4,
    "stop_s": 1e-3,
    "device_state_s": 4e-3,
    "load_s": 3e-3,
    "device_state_bytes": 80_000.0,
    "guest_speed": 1.0,
}
UNITS = {"guest_speed": "relative", "device_state_bytes": "bytes"}


def zero_terms(**medians: float) -> dict[str, float]:
    """Return every host term at 0, but for those given."""
    return dict.fromkeys(HOST_TERMS, 0.0) | medians


def small_terms(**medians: float) -> dict[str, float]:
    """Return every host term of a fast host, some changed; terms of mechanisms and slopes are 0."""
    return zero_terms(**SMALL_TERMS) | medians


def host_profile(
    medians: Mapping[str, float] | None = None,
    *,
    spread: float = 0.1,
    qemu_version: str = "10.0.8",
    **spreads: float,
) -> HostProfile:
    """Return a profile of `medians` (default: `small_terms`) with one spread, but for the terms given by name."""
    terms = {
        name: Term(median=median, spread=spreads.get(name, spread), unit=UNITS.get(name, "s"))
        for name, median in (small_terms() if medians is None else medians).items()
    }
    return HostProfile(terms=terms, qemu_version=qemu_version)


def two_class_guest(
    ram_bytes: int,
    written: tuple[int, int, float],
    data: tuple[int, int],
    *,
    other_bytes: int = 0,
    **changes: object,
) -> Workload:
    """Return a guest with one class of written pages and one of data.

    Parameters
    ----------
    ram_bytes : int
    written : (int, int, float)
        First page, number of pages, writes per page and second.
    data : (int, int)
        First page and number of pages that hold data and are never written; all others are zero.
    other_bytes : int
        RAM blocks beside the guest's memory.
    **changes
        Other fields of the workload.
    """
    (first, pages, rate), (data_first, data_pages) = written, data
    total_bytes = ram_bytes + other_bytes
    return Workload(
        ram_bytes=ram_bytes,
        ram_total_bytes=total_bytes,
        zero_pages=total_bytes // 4096 - pages - data_pages,
        classes=(
            WorkloadClass(pages=pages, writes_per_page_per_s=rate, extents=((first, pages),)),
            WorkloadClass(pages=data_pages, writes_per_page_per_s=0.0, extents=((data_first, data_pages),)),
        ),
    ).replace(**changes)


def small_guest(**changes: object) -> Workload:
    """Return a guest of 128 MiB that converges where a window carries more than it dirties: above some 30 MB/s."""
    small = {"zero_pages": 12_000, "writes_spread": 0.1} | changes
    return two_class_guest(128 << 20, (1000, 2000, 3.0), (4000, 15_000), other_bytes=4 << 20, **small)


def prediction_of(
    run: MigrationResult,
    draws: Sequence[Mapping[str, float]],
    *,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    assumptions: tuple[str, ...] = (),
    runs: tuple[MigrationResult, ...] = (),
) -> Prediction:
    """Return a prediction whose draws all end like its example run."""
    names = set.intersection(*(set(d) for d in draws)) if draws else set()
    return Prediction(
        outcome=run.outcome,
        completed_fraction=float(run.outcome.status == "completed"),
        medians={name: float(np.median([d[name] for d in draws])) for name in sorted(names)},
        intervals=dict(intervals or {}),
        basis=Basis("A profile.", "A guest.", "A link."),
        assumptions=assumptions,
        draws=tuple(dict(d) for d in draws),
        example_run=run,
        runs=runs,
    )
