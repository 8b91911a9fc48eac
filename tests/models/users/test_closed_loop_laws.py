"""The closed loop's laws against mean value analysis, balance equations, dense exponentials and fluid twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from migsim.errors import ParameterError
from migsim.models.users.closed_loop import (
    TransactionClass,
    UserLoop,
    closed_network,
    demand_from_response,
    response_time_s,
    throughput_bounds_per_s,
)
from migsim.models.users.course import blackout_lost, expected_course
from migsim.models.users.speed_course import SpeedCourse


def mva(users: int, think_s: float, demand_s: float) -> tuple[float, float, float]:
    """Reiser and Lavenberg's recursion for one queue: throughput, response time, queue."""
    queue = throughput = response = 0.0
    for n in range(1, users + 1):
        response = demand_s * (1 + queue)
        throughput = n / (think_s + response)
        queue = throughput * response
    return throughput, response, queue


def generator(loop: UserLoop, speed: float) -> np.ndarray:
    """The chain's generator, with one state more that counts completions."""
    n = loop.users
    q = np.zeros((n + 2, n + 2))
    for k in range(n + 1):
        up, down = (n - k) / loop.think_s, speed * min(k, loop.vcpus) / loop.demand_s
        if k < n:
            q[k, k + 1] = up
        if k:
            q[k, k - 1] = down
        q[k, k] = -(up + down)
        q[k, n + 1] = down
    return q


loops = st.builds(
    lambda users, think, demand, vcpus: UserLoop.of_one_class(
        users, think_s=think, demand_s=demand, vcpus=vcpus
    ),
    st.integers(1, 40),
    st.floats(0.05, 5.0),
    st.floats(0.001, 0.5),
    st.integers(1, 6),
)


@given(st.integers(1, 120), st.floats(0.0, 10.0), st.floats(1e-4, 1.0))
@settings(max_examples=200, deadline=None)
def test_one_vcpu_is_mean_value_analysis(users, think_s, demand_s):
    made = closed_network(users, think_s, demand_s)
    assert (made.throughput_per_s, made.response_s, made.at_server) == pytest.approx(
        mva(users, think_s, demand_s), rel=1e-9
    )


@given(loops)
@settings(max_examples=60, deadline=None)
def test_the_chances_solve_the_balance_equations(loop):
    chances = loop.steady().chances
    assert chances.sum() == pytest.approx(1.0)
    flow = chances @ generator(loop, 1.0)[: loop.users + 1, : loop.users + 1]
    assert np.abs(flow).max() < 1e-9 * (loop.users / loop.think_s + loop.vcpus / loop.demand_s)


@given(loops)
@settings(max_examples=200, deadline=None)
def test_operational_laws_and_bounds_hold(loop):
    made = loop.steady()
    n, z, d, m = loop.users, loop.think_s, loop.demand_s, loop.vcpus
    x = made.throughput_per_s
    assert made.response_s == pytest.approx(response_time_s(n, x, z), rel=1e-6, abs=1e-9 * z)
    assert made.utilisation_fraction == pytest.approx(x * d / m)
    assert made.at_server == pytest.approx(x * made.response_s)
    low, high = throughput_bounds_per_s(n, z, d, m)
    assert low * (1 - 1e-9) <= x <= high * (1 + 1e-9)


@given(st.integers(1, 40), st.floats(0.05, 5.0), st.floats(0.001, 0.5), st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_the_demand_is_found_again(users, think_s, demand_s, vcpus):
    seen = closed_network(users, think_s, demand_s, vcpus).response_s
    assert demand_from_response(users, think_s, seen, vcpus) == pytest.approx(demand_s, rel=1e-6)


def test_a_single_user_never_waits_and_many_fill_the_server():
    assert closed_network(1, 0.0, 0.2, 4).throughput_per_s == pytest.approx(5.0)
    assert closed_network(500, 1.0, 0.01, 2).throughput_per_s == pytest.approx(200.0, rel=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [(0, 1.0, 0.1, 1), (5, -1.0, 0.1, 1), (5, 1.0, 0.0, 1), (5, 1.0, 0.1, 0), (5, np.inf, 0.1, 1)],
)
def test_loops_that_cannot_be_are_refused(arguments):
    with pytest.raises(ParameterError, match="users think for"):
        closed_network(*arguments)


def test_shares_have_to_sum_to_one():
    with pytest.raises(ParameterError, match="sum to 1"):
        UserLoop(5, 1.0, (TransactionClass("a", 0.5, 0.1), TransactionClass("b", 0.4, 0.1)))


def test_names_of_classes_differ_and_none_stands_for_all():
    for names in (("a", "a"), ("a", "all")):
        with pytest.raises(ParameterError, match="Names differ"):
            UserLoop(5, 1.0, tuple(TransactionClass(name, 0.5, 0.1) for name in names))


# over time


@given(loops, st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.05, 1.5)), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_expectation_is_the_matrix_exponentials(loop, pieces):
    ends = np.cumsum([length for _, length in pieces])
    begins = np.concatenate([[0.0], ends[:-1]])
    course = SpeedCourse(begins, ends, [v for v, _ in pieces])
    chances = np.append(loop.steady().chances, 0.0)
    for speed, length in pieces:
        chances = chances @ expm(generator(loop, speed) * length)
    grid = np.linspace(0.0, float(ends[-1]), 401)
    made = expected_course(loop, course.mean_speed(grid), grid)
    scale = max(chances[-1], 1.0)
    assert made.completed[0, -1] == pytest.approx(chances[-1], abs=0.01 * scale)
    assert made.waiting[0, -1] == pytest.approx(
        chances[:-1] @ np.arange(loop.users + 1), abs=0.02 * loop.users
    )


def test_steps_of_half_the_length_come_four_times_as_near():
    """Second order: pieces that the grid does not cut are integrated with an error of the step's square."""
    loop = UserLoop.of_one_class(30, think_s=1.0, demand_s=0.02)
    course = SpeedCourse([0.0, 1.0, 1.5], [1.0, 1.5, 4.0], [1.0, 0.2, 1.0])
    chances = np.append(loop.steady().chances, 0.0)
    for speed, length in ((1.0, 1.0), (0.2, 0.5), (1.0, 2.5)):
        chances = chances @ expm(generator(loop, speed) * length)
    errors = []
    for n in (160, 320, 640):
        grid = np.linspace(0.0, 4.0, n + 1)
        errors.append(
            abs(expected_course(loop, course.mean_speed(grid), grid).completed[0, -1] - chances[-1])
        )
    assert errors[0] < 1e-2
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.3)


def test_courses_side_by_side_do_not_touch():
    loop = UserLoop.of_one_class(12, think_s=0.5, demand_s=0.03, vcpus=2)
    grid = np.linspace(0, 2, 101)
    slow, fast = np.full(100, 0.3), np.ones(100)
    both = expected_course(loop, np.array([slow, fast]), grid)
    for row, speed in enumerate((slow, fast)):
        alone = expected_course(loop, speed, grid)
        np.testing.assert_allclose(both.completed[row], alone.completed[0], rtol=1e-9)
        np.testing.assert_allclose(both.waiting[row], alone.waiting[0], rtol=1e-9)


@given(loops, st.floats(0.1, 1.0))
@settings(max_examples=25, deadline=None)
def test_what_is_lost_is_what_users_wait_over_their_think_time(loop, slow):
    grid = np.linspace(0, 3, 1201)
    speed = np.where((grid[:-1] > 0.5) & (grid[:-1] < 1.5), slow, 1.0)
    made = expected_course(loop, speed, grid)
    waiting = made.waiting[0]
    lost = loop.steady().throughput_per_s * 3.0 - made.completed[0, -1]
    excess = np.trapezoid(waiting - waiting[0], grid) / loop.think_s + waiting[-1] - waiting[0]
    assert lost == pytest.approx(excess, abs=0.01 * max(abs(lost), 1.0))


def fluid_lost(loop: UserLoop, blackout_s: float) -> float:
    """Walk the fluid queue in small steps until it is at rest again."""
    n, z, d, m = loop.users, loop.think_s, loop.demand_s, loop.vcpus
    flow = min(n / (z + d), m / d)
    q = n - flow * z
    done = t = 0.0
    step = min(z, d, blackout_s) / 400
    end = blackout_s + 12 * z + 4 * n * d / m
    while t < end:
        served = 0.0 if t < blackout_s else min(q, m) / d
        q += ((n - q) / z - served) * step
        done += served * step
        t += step
    return flow * t - done


@pytest.mark.parametrize(
    ("users", "think_s", "demand_s", "vcpus", "blackout_s"),
    [
        (75, 1.0, 0.05, 1, 0.7),
        (75, 1.0, 0.01, 1, 0.7),
        (75, 1.0, 0.01, 1, 5.0),
        (20, 0.5, 0.05, 4, 0.05),
        (20, 0.5, 0.05, 4, 2.0),
    ],
)
def test_a_blackouts_loss_is_the_fluid_queues(users, think_s, demand_s, vcpus, blackout_s):
    loop = UserLoop.of_one_class(users, think_s=think_s, demand_s=demand_s, vcpus=vcpus)
    assert blackout_lost(loop, blackout_s) == pytest.approx(fluid_lost(loop, blackout_s), rel=0.02)


def test_a_full_server_loses_all_of_a_blackout_an_open_loop_nothing():
    full = UserLoop.of_one_class(200, think_s=1.0, demand_s=0.01)
    assert blackout_lost(full, 2.0) == pytest.approx(200.0)
    losses = [
        blackout_lost(UserLoop.of_one_class(round(40 * think_s), think_s=think_s, demand_s=0.01), 0.5)
        for think_s in (0.5, 5.0, 50.0, 500.0)
    ]
    assert losses[0] < 20.0
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.05


def test_inside_users_lose_the_blackout_whole():
    loop = UserLoop.of_one_class(40, think_s=1.0, demand_s=0.01, inside=True)
    assert blackout_lost(loop, 0.5) == pytest.approx(20.0 / 1.01, rel=1e-9)


def test_the_chain_loses_about_what_the_fluid_does():
    """The chain's queue at rest is longer than the fluid's; the loss of a blackout hardly differs."""
    loop = UserLoop.of_one_class(75, think_s=1.0, demand_s=0.005)
    grid = np.linspace(0, 8, 801)
    speed = np.where((grid[:-1] > 0.995) & (grid[:-1] < 1.495), 0.0, 1.0)
    lost = loop.steady().throughput_per_s * 8 - expected_course(loop, speed, grid).completed[0, -1]
    assert lost == pytest.approx(blackout_lost(loop, 0.5), rel=0.03)


def test_speeds_that_do_not_fit_the_grid_are_refused():
    with pytest.raises(ParameterError, match="3 speeds"):
        expected_course(UserLoop.of_one_class(2, think_s=1.0, demand_s=0.1), np.ones(3), np.linspace(0, 1, 3))


# the course of speed


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.01, 2.0), st.booleans()), min_size=1, max_size=6),
    st.floats(-1.0, 14.0),
)
@example([(5e-324, 1.0, False)], 0.75)
@settings(max_examples=200, deadline=None)
def test_service_and_when_it_is_given_are_inverse(pieces, t_s):
    ends = np.cumsum([length for _, length, _ in pieces])
    begins = np.concatenate([[0.0], ends[:-1]])
    course = SpeedCourse(begins, ends, [v for v, _, _ in pieces], [stop for _, _, stop in pieces])
    served = course.served_s(t_s)
    first = course.when_s(served)
    # The slower the guest, the longer it takes to what rounding adds to the service.
    slowest = min((v for v, _, _ in pieces if v), default=1.0)
    assert first <= t_s + 1e-6 + 1e-14 / slowest
    assert course.served_s(first) == pytest.approx(served, abs=1e-9)
    # the machine's own clock and back
    shown = course.guest_clock_s(t_s)
    assert course.guest_clock_s(float(course.wall_s(shown))) == pytest.approx(shown, abs=1e-9)
    inside = course.without_stops()
    kept = sum(length for _, length, stop in pieces if not stop)
    if kept:
        assert inside.end_s == pytest.approx(kept)


def test_a_stop_takes_its_length_from_the_machines_clock():
    course = SpeedCourse([0, 2, 3], [2, 3, 5], [1.0, 0.0, 0.5], [False, True, False])
    assert course.guest_clock_s(np.array([1.0, 2.5, 4.0])).tolist() == [1.0, 2.0, 3.0]
    assert course.wall_s([1.0, 2.0, 3.0]).tolist() == [1.0, 2.0, 4.0]
    inside = course.without_stops()
    assert inside.t_s.tolist() == [0.0, 2.0]
    assert inside.speed_fraction.tolist() == [1.0, 0.5]
