"""When a migration counts as one that would go on like this for ever."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migsim.engine.batch.grid import simulate_grid
from migsim.engine.inputs import SimulationInput
from migsim.engine.standstill import deviations, far_above, is_flat, many_rounds, steady_rounds, trend
from migsim.profiles.terms import HOST_TERMS
from migsim.qapi import QemuVersion
from migsim.workload import Workload, WorkloadClass


@given(st.floats(1, 1e12), st.floats(1e-3, 1e3))
def test_a_trend_has_no_unit(mean, factor):
    assert np.isclose(trend(mean, factor * mean), trend(1.0, factor), rtol=1e-9, atol=1e-12)
    assert is_flat(trend(mean, mean))


@given(st.floats(0, 1e12), st.floats(0, 10), st.floats(1e-3, 1e12))
def test_draws_have_to_lie_farther_above_than_expected_values(lowest, deviation, threshold):
    if far_above(lowest, deviation, threshold, deviations(True)):
        assert far_above(lowest, deviation, threshold, deviations(False))
        assert lowest > threshold


def test_chance_is_given_more_turns_than_expected_values():
    assert many_rounds(True) > many_rounds(False) > steady_rounds(True) > steady_rounds(False)


def test_a_verdict_of_few_rounds_is_that_of_many():
    """Guests of three kinds on a grid: those said to stand still do not complete by the deadline either."""
    hot, pages = 20_000, 1 << 18
    for pattern, rate in (("random", 30_000.0), ("random", 90_000.0), ("sweep", 20_000.0)):
        written = WorkloadClass(
            pages=hot, writes_per_page_per_s=rate / hot, pattern=pattern, extents=((0, hot),)
        )
        migration = SimulationInput(
            workload=Workload(
                ram_bytes=pages * 4096,
                ram_total_bytes=pages * 4096,
                zero_pages=pages - hot,
                classes=(written,),
            ),
            terms=dict.fromkeys(HOST_TERMS, 0.0) | {"normal_page_s": 2e-6, "fresh_page_s": 2e-6},
            version=QemuVersion.parse("10.0"),
            deadline_s=60.0,
        )
        vary = {
            "max-bandwidth": np.geomspace(2e7, 3e8, 24).astype(int)[:, None],
            "downtime-limit": np.geomspace(10, 1000, 24).astype(int),
        }
        soon, late = simulate_grid(migration, vary), simulate_grid(migration, vary, seed=1)
        assert 0.1 < soon.completed.mean() < 0.95
        # The draws' verdict takes eight deviations; chance decides next to the border.
        assert (soon.outcome != late.outcome).mean() < 0.03
