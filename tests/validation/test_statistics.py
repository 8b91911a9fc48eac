"""QEMU's own statistics, sample by sample: what `query-migrate` said in live runs is what the law makes of the run."""

from pathlib import Path

import numpy as np
import pytest

from migsim.models.loop.migration_thread import close_window
from migsim.results import MigrationResult
from validation.places import RECORDS

PATHS = sorted(RECORDS.glob("*.json"))
PERIOD_S = 0.1


def by_the_law(mbps: float, dirty_bytes: float, limit_ms: float) -> float:
    """`expected-downtime` in ms for a window of that rate."""
    sent = mbps * 1e6 / 8 * PERIOD_S
    made = close_window(
        sent,
        sent / 4104,
        PERIOD_S,
        downtime_limit_ms=limit_ms,
        dirty_after_sync_bytes=dirty_bytes,
        dirty_pages_rate=1.0,
    )
    assert made.expected_downtime_ms is not None
    return made.expected_downtime_ms


def misses(run: MigrationResult) -> tuple[int, list[str]]:
    """Samples compared, and those that no reading of the law explains."""
    limit = float(run.scenario["migration"]["parameters"].get("downtime-limit", 300))
    pending = dict(
        zip(run.iterations["dirty_sync_count"], run.iterations["remaining_bytes_after_sync"], strict=True)
    )
    seen = run.timeline[(run.timeline["status"] == "active") & (run.timeline["ram.mbps"] > 0)]
    before, compared, odd = limit, 0, []
    for t_s, said, mbps, syncs, rate in seen[
        ["t_s", "expected-downtime", "ram.mbps", "ram.dirty-sync-count", "ram.dirty-pages-rate"]
    ].itertuples(index=False):
        if rate > 0:
            compared += 1
            # A sync between the window's end and the look moves the count on, not the estimate; a sync itself
            # refreshes nothing.
            known = [pending.get(int(syncs) - back, np.nan) for back in (0, 1)]
            readings = [by_the_law(mbps, dirty, limit) for dirty in known if np.isfinite(dirty)]
            if not any(abs(said - value) <= max(1.0, 0.001 * value) for value in [*readings, before]):
                odd.append(f"{run.name} at {t_s:.2f} s: {said:.0f} ms, the law has {readings}")
        before = said
    return compared, odd


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_expected_downtime_is_dirty_bytes_over_bandwidth(path: Path) -> None:
    compared, odd = misses(MigrationResult.load(path))
    # Two syncs between a window's end and the look are not told apart: one sample at the most.
    assert len(odd) <= max(1, compared // 500), odd
