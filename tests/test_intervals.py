from statistics import NormalDist

import numpy as np
import pytest

from migsim.intervals import COVERAGE, HIGH_PERCENT, LOW_PERCENT, NORMAL_DEVIATE, low_median_high
from migsim.profiles import Term


def test_the_ends_and_the_deviate_say_the_same_coverage():
    covered = (HIGH_PERCENT - LOW_PERCENT) / 100
    assert covered == pytest.approx(COVERAGE)
    assert NormalDist().cdf(NORMAL_DEVIATE) == pytest.approx(HIGH_PERCENT / 100, rel=1e-12)


def test_draws_of_a_term_lie_in_its_interval_as_often_as_said():
    term = Term(median=3.0, spread=0.4)
    rng = np.random.default_rng(2)
    low, median, high = low_median_high([term.sample(rng) for _ in range(20_000)])
    assert (low, high) == pytest.approx(term.interval(), rel=0.03)
    assert median == pytest.approx(3.0, rel=0.02)
