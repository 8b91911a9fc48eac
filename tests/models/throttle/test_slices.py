"""What a throttled vCPU's slice lacks: bounds, limits and closed forms, and that both engines use it."""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.throttle.cpu_throttle import SLICE_S, run_fraction, sleep_s
from migsim.models.throttle.slices import slice_lost_s, throttled_speed

LOST = st.floats(0.0, 0.9 * SLICE_S)
COOLS = st.one_of(st.just(0.0), st.floats(1e-4, 1.0))
PERCENT = st.integers(0, 99)


@given(PERCENT, LOST, COOLS)
def test_the_speed_is_the_run_fraction_times_the_work_of_a_slice(percent, lost, cools):
    share = 1 - percent / 100
    lacking = lost * (1 - exp(-sleep_s(percent) / cools)) if cools else lost * (percent > 0)
    assert throttled_speed(run_fraction(percent), lost, cools) == pytest.approx(
        share * (1 - lacking / SLICE_S), rel=1e-5
    )


@given(st.integers(0, 98), LOST, COOLS)
def test_a_higher_percentage_never_leaves_more_speed(percent, lost, cools):
    low, high = (throttled_speed(run_fraction(p), lost, cools) for p in (percent, percent + 1))
    assert high < low


@given(st.floats(0.0, 10.0), st.floats(0.0, 10.0), LOST, COOLS)
def test_a_longer_sleep_never_costs_less_and_none_more_than_the_bound(one, other, lost, cools):
    short, long = sorted((one, other))
    assert 0.0 <= slice_lost_s(short, lost, cools) <= slice_lost_s(long, lost, cools) <= lost


@given(PERCENT, COOLS)
def test_without_a_loss_the_law_of_the_percentages_is_left(percent, cools):
    assert throttled_speed(run_fraction(percent), 0.0, cools) == run_fraction(percent)


def test_the_sleep_that_cools_costs_63_percent():
    assert slice_lost_s(0.02, 1.0, 0.02) == pytest.approx(1 - exp(-1))


def test_a_guest_that_is_not_throttled_loses_nothing():
    assert throttled_speed(run_fraction(0), 0.005, 0.001) == 1.0
