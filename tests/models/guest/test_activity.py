"""A guest's activity: closed forms against the process walked in small steps."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.guest.activity import TIMES_S, activity, end_and_mean, variance_of_mean

times = st.sampled_from(TIMES_S)
windows = st.floats(1e-5, 100.0)


def moments(time_s, seconds):
    """Weights of level, first and second deviate in the end and in the mean: both are linear in them."""
    zero = np.array(end_and_mean(0.0, time_s, seconds, 0.0, 0.0))
    unit = [
        end_and_mean(*args) for args in ((1.0, time_s, seconds, 0.0, 0.0), (0.0, time_s, seconds, 1.0, 0.0))
    ]
    other = end_and_mean(0.0, time_s, seconds, 0.0, 1.0)
    assert zero.tolist() == [0.0, 0.0]
    return np.array([*unit, other]).T


@given(times, windows)
def test_from_an_unknown_start_the_process_stays_what_it_is(time_s, seconds):
    end, mean = moments(time_s, seconds)
    assert end @ end == pytest.approx(1.0, rel=1e-9)
    assert mean @ mean == pytest.approx(variance_of_mean(time_s, seconds), rel=2e-3)


@given(times, windows, windows)
def test_two_windows_are_one(time_s, first_s, second_s):
    """Variance of the mean over both, from the means of each and their covariance."""
    one, two = moments(time_s, first_s), moments(time_s, second_s)
    covariance = (one[0] @ one[1]) * two[1][0]
    whole_s = first_s + second_s
    variance = (
        first_s**2 * (one[1] @ one[1]) + second_s**2 * (two[1] @ two[1]) + 2 * first_s * second_s * covariance
    ) / whole_s**2
    assert variance == pytest.approx(variance_of_mean(time_s, whole_s), rel=3e-3)


def test_the_closed_forms_are_those_of_a_walk():
    rng, steps, time_s, seconds = np.random.default_rng(2), 400, 1.0, 1.7
    r = math.exp(-seconds / steps / time_s)
    level = np.full(20_000, 1.3)
    total = np.zeros_like(level)
    for _ in range(steps):
        after = r * level + math.sqrt(1 - r * r) * rng.standard_normal(len(level))
        total += (level + after) / 2
        level = after
    end, mean = moments(time_s, seconds)
    assert level.mean() == pytest.approx(1.3 * end[0], abs=0.03)
    assert (total / steps).mean() == pytest.approx(1.3 * mean[0], abs=0.03)
    assert level.var() == pytest.approx(end[1:] @ end[1:], rel=0.04)
    assert (total / steps).var() == pytest.approx(mean[1:] @ mean[1:], rel=0.04)
    assert np.cov(level, total / steps)[0, 1] == pytest.approx(end[1:] @ mean[1:], rel=0.06)


@pytest.mark.parametrize("seconds", [1e-3, 0.2, 5.0])
def test_the_mean_activity_is_one(seconds):
    rng, deviations = np.random.default_rng(3), (0.3, 0.2, 0.1)
    drawn = []
    for _ in range(20_000):
        start = rng.standard_normal(3)
        means = tuple(
            end_and_mean(level, time_s, seconds, *rng.standard_normal(2))[1]
            for level, time_s in zip(start, TIMES_S, strict=True)
        )
        drawn.append(activity(deviations, means, seconds))
    assert np.mean(drawn) == pytest.approx(1.0, abs=0.012)


@given(times, st.floats(1e-6, 0.1))
def test_short_windows_pass_smoothly_into_the_closed_form(time_s, seconds):
    t = seconds / time_s
    assert variance_of_mean(time_s, seconds) == pytest.approx(1 - t / 3 + t**2 / 12, abs=t**3 / 50 + 1e-6)
