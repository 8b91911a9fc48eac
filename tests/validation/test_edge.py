"""Runs near the critical rate: no certain verdict is wrong, and the measured times lie inside the intervals."""

import numpy as np
import pytest

from migsim.results import MigrationResult
from validation.places import DATA, HOSTS, TRACES
from validation.scores import CERTAIN, score

EDGE = {
    version: [MigrationResult.load(path) for path in sorted((DATA / "edge").glob(f"*-{version}-*.json"))]
    for version in ("q72", "q100")
}


@pytest.fixture(scope="module", params=EDGE)
def case(request):
    """`zipf-8g` at 1 Gbps, traced a week before."""
    return score(EDGE[request.param], TRACES, HOSTS, draws=40)


def test_a_verdict_at_the_edge_is_not_called_certain(case):
    assert len(case.runs) == 4
    assert 1 - CERTAIN < case.prediction.completed_fraction < CERTAIN


def test_the_time_until_a_slow_moment_comes_is_inside_the_interval(case):
    assert case.prediction.question.writes_spread > 0  # of another day
    for metric in ("total-time", "rounds"):
        assert np.mean(case.inside(metric)) >= 0.75, metric
