"""A stop within the first pass leaves what lies at the end of RAM: closed forms, in both engines."""

from dataclasses import replace

import pytest

from migsim.engine.batch.grid import simulate_many
from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.qapi import QemuVersion
from migsim.workload import Workload, WorkloadClass
from tests.factories import small_terms

PAGES = 1 << 18
HALF = PAGES // 2
BANDWIDTH = 100_000_000
BURST_PAGE_S, ZERO_PAGE_S = 5e-6, 4e-7


def halves(stripes):
    """Return data and zero extents: half of RAM each, in turn, in so many stripes."""
    width = HALF // stripes
    return tuple((2 * k * width, width) for k in range(stripes)), tuple(
        ((2 * k + 1) * width, width) for k in range(stripes)
    )


def migration(data, zero, *, limit_ms=2000):
    """Return the migration of an idle guest, which is stopped when less than the limit's worth of RAM is left."""
    guest = Workload(
        ram_bytes=PAGES * 4096,
        ram_total_bytes=PAGES * 4096,
        zero_pages=HALF,
        zero_extents=zero,
        classes=(WorkloadClass(pages=HALF, writes_per_page_per_s=0.0, extents=data),),
    )
    return SimulationInput(
        workload=guest,
        terms=small_terms(),
        version=QemuVersion(10, 0),
        parameters={"max-bandwidth": BANDWIDTH, "downtime-limit": limit_ms},
    )


def stopped(migration):
    """Return pages with data and zero pages that are left at the stop, and the downtime in ms."""
    result = simulate(migration)
    last = result.iterations.iloc[-1]
    ram = result.info["ram"]
    data = ram["normal"] - result.iterations["normal"][:-1].sum()
    assert result.outcome.status == "completed"
    return data, last["remaining_bytes_after_sync"] / 4096 - data, result.downtime_ms


DATA_FIRST, DATA_LAST = halves(1), halves(1)[::-1]


def test_zero_pages_at_the_end_leave_a_tiny_rest():
    data, zero, downtime_ms = stopped(migration(*DATA_FIRST))
    assert data == 0
    assert zero * 4096 <= 2 * BANDWIDTH
    assert downtime_ms == pytest.approx(zero * ZERO_PAGE_S * 1000 + 5, abs=2)
    assert downtime_ms < 30


def test_data_at_the_end_leaves_a_full_rest():
    data, zero, downtime_ms = stopped(migration(*DATA_LAST))
    window_bytes = BANDWIDTH / 10
    # the guest is stopped within the window after the threshold is reached
    assert 2 * BANDWIDTH - 2 * window_bytes <= data * 4096 <= 2 * BANDWIDTH * 1.01
    assert zero == pytest.approx(0, abs=1)
    assert downtime_ms == pytest.approx(data * BURST_PAGE_S * 1000 + 5, abs=5)


@pytest.mark.parametrize("stripes", [16, 64])
def test_zero_pages_everywhere_leave_the_average_share(stripes):
    data, zero, downtime_ms = stopped(migration(*halves(stripes)))
    width = HALF / stripes
    assert data == pytest.approx(zero, abs=width + 1)
    assert (data + zero) * 4096 == pytest.approx(2 * BANDWIDTH, rel=0.1)
    assert downtime_ms == pytest.approx(data * BURST_PAGE_S * 1000 + zero * ZERO_PAGE_S * 1000 + 5, abs=5)


def test_the_rest_is_what_lies_behind_the_address_of_the_stop():
    # data, then zero pages, then as much data as the limit allows to be left, and half of that
    tail = int(1.5 * 2 * BANDWIDTH / 4096)
    data, zero, _ = stopped(migration(((0, HALF - tail), (PAGES - tail, tail)), ((HALF - tail, HALF),)))
    assert zero == pytest.approx(0, abs=1)
    assert data * 4096 == pytest.approx(2 * BANDWIDTH, rel=0.1)


def test_zero_pages_where_they_were_always_taken_to_lie_change_nothing():
    said = migration(*DATA_FIRST)
    silent = replace(said, workload=said.workload.replace(zero_extents=()))
    one, other = simulate(said), simulate(silent)
    assert one.info == other.info
    assert one.iterations.equals(other.iterations)


@pytest.mark.parametrize("limit_ms", [30, 300, 2000, 6000])
@pytest.mark.parametrize("extents", [DATA_FIRST, DATA_LAST, halves(4), halves(64)])
def test_both_engines_leave_the_same(extents, limit_ms):
    cells = [migration(*extents, limit_ms=limit_ms)]
    for seeds in (None, [3]):
        slow, fast = simulate_many(cells, seeds=seeds, engine="events"), simulate_many(cells, seeds=seeds)
        for name in ("downtime_ms", "total_time_ms", "transferred_bytes", "dirty_sync_count", "normal_pages"):
            assert fast[name] == pytest.approx(slow[name], rel=1e-3), name
