"""A grid over the guest's write rates: what the batch makes of each scaled guest by itself, and the event engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.engine.batch.grid import simulate_grid, simulate_many
from migsim.engine.batch.result import FIGURE_NAMES
from migsim.errors import ParameterError
from tests.engine.batch.test_batch import base, inputs

FACTORS = (0.25, 1.0, 1.0, 3.0, 0.6)


def scaled(migration, factor):
    return replace(migration, workload=migration.workload.scaled(factor))


@settings(max_examples=25, deadline=None)
@given(
    st.one_of(inputs(), inputs("auto-converge", ("7.2", "10.0")), inputs("xbzrle", ("10.0",))),
    st.sampled_from([None, 3]),
)
def test_a_factor_on_the_writes_is_the_scaled_guest(migration, seed):
    limits = [20_000_000, 90_000_000, 500_000_000, 500_000_000, 0]
    grid = simulate_grid(migration, {"writes_scale": FACTORS, "max-bandwidth": limits}, seed=seed)
    cells = [
        replace(scaled(migration, factor), parameters={**migration.parameters, "max-bandwidth": limit})
        for factor, limit in zip(FACTORS, limits, strict=True)
    ]
    alone = simulate_many(cells, seeds=[seed] * len(cells))
    assert grid.outcome.tolist() == alone.outcome.tolist()
    for name in FIGURE_NAMES:
        np.testing.assert_array_equal(grid[name], alone[name], err_msg=name)


@settings(max_examples=10, deadline=None)
@given(inputs())
def test_the_event_engine_takes_it_too(migration):
    quick = replace(migration, deadline_s=20.0)
    grid = simulate_grid(quick, {"writes_scale": [0.5, 2.0]})
    events = simulate_grid(quick, {"writes_scale": [0.5, 2.0]}, engine="events")
    assert grid.outcome.tolist() == events.outcome.tolist()
    np.testing.assert_allclose(grid["transferred_bytes"], events["transferred_bytes"], rtol=1e-3)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_guest_that_writes_nothing_is_another_one(factor):
    with pytest.raises(ParameterError, match="not above 0"):
        simulate_grid(base(), {"writes_scale": [1.0, factor]})
