"""Simulated users against the closed loop's laws: steady states, blackouts, all five kinds of transactions."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.engine.users import Transactions, simulate_users, transactions_band
from migsim.models.users.closed_loop import TransactionClass, UserLoop
from migsim.models.users.course import blackout_lost, expected_course
from migsim.models.users.speed_course import SpeedCourse

ORDER_ENTRY = (
    TransactionClass("customer-registration", 0.10, 0.004),
    TransactionClass("browse-products", 0.35, 0.002),
    TransactionClass("order-products", 0.25, 0.012),
    TransactionClass("process-orders", 0.10, 0.020),
    TransactionClass("browse-orders", 0.20, 0.003),
)


def runs(loop: UserLoop, course: SpeedCourse, until_s: float, count: int, **more: bool) -> list[Transactions]:
    return [simulate_users(loop, course, until_s, seed=seed, **more) for seed in range(count)]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize(
    ("users", "think_s", "vcpus"), [(75, 1.0, 1), (75, 0.4, 1), (30, 0.1, 4), (8, 0.0, 2)]
)
@pytest.mark.parametrize("constant_demand", [False, True], ids=["exponential", "constant"])
def test_at_one_speed_it_is_mean_value_analysis(users, think_s, vcpus, constant_demand):
    """Whatever the demands' distribution: processor sharing does not care."""
    loop = UserLoop(users, think_s, ORDER_ENTRY, vcpus)
    made = runs(loop, SpeedCourse.constant(1.0, 40.0), 40.0, 8, constant_demand=constant_demand)
    law = loop.steady()
    mean, error = mean_and_error([len(run.done_s) / 40.0 for run in made])
    assert abs(mean - law.throughput_per_s) < 4 * error + 0.005 * law.throughput_per_s
    mean, error = mean_and_error([float(run.response_s.mean()) for run in made])
    assert abs(mean - law.response_s) < 4 * error + 0.005 * law.response_s
    mean, error = mean_and_error([run.busy_s / 40.0 / vcpus for run in made])
    assert abs(mean - law.utilisation_fraction) < 4 * error + 0.003


def test_utilisation_and_littles_laws_hold_in_every_run():
    """With constant demands busy time is completions times demand, but for what is under way at the ends."""
    loop = UserLoop(75, 0.5, ORDER_ENTRY)
    course = SpeedCourse([0, 8, 9, 14], [8, 9, 14, 20], [1.0, 0.0, 0.4, 1.0])
    for run in runs(loop, course, 30.0, 4, constant_demand=True):
        needed = sum(ORDER_ENTRY[c].demand_s * n for c, n in enumerate(np.bincount(run.operation)))
        at_the_ends = 2 * loop.users * max(c.demand_s for c in ORDER_ENTRY)
        assert run.busy_s == pytest.approx(needed, abs=at_the_ends)
        assert run.busy_s <= course.served_s(30.0)
        assert run.waited_s == pytest.approx(run.response_s.sum(), rel=0.05)


def test_classes_wait_in_proportion_to_what_they_need():
    loop = UserLoop(75, 0.5, ORDER_ENTRY)
    made = runs(loop, SpeedCourse.constant(1.0, 100.0), 100.0, 4)
    law = loop.steady()
    for c, kind in enumerate(ORDER_ENTRY):
        means = [float(run.response_s[run.operation == c].mean()) for run in made]
        mean, error = mean_and_error(means)
        expected = law.response_s * kind.demand_s / loop.demand_s
        assert abs(mean - expected) < 4 * error + 0.02 * expected
        shares = [float((run.operation == c).mean()) for run in made]
        assert np.mean(shares) == pytest.approx(kind.mix_fraction, abs=0.015)


def test_over_a_changing_speed_the_mean_of_runs_is_the_chains_expectation():
    loop = UserLoop.of_one_class(60, think_s=1.0, demand_s=0.012)
    course = SpeedCourse([0, 3, 3.8, 6], [3, 3.8, 6, 9], [1.0, 0.0, 1.0, 0.4])
    grid = np.linspace(0.0, 14.0, 1401)
    expected = expected_course(loop, course.mean_speed(grid), grid).completed[0]
    made = runs(loop, course, 14.0, 150)
    for end in (3.0, 3.8, 4.5, 6.0, 9.0, 14.0):
        mean, error = mean_and_error([float((run.done_s <= end).sum()) for run in made])
        assert abs(mean - expected[round(end * 100)]) < 4 * error + 0.1, end


def test_nothing_is_completed_in_a_blackout_and_users_queue_up():
    loop = UserLoop(75, 1.0, ORDER_ENTRY)
    course = SpeedCourse([0, 5, 6], [5, 6, 7], [1.0, 0.0, 1.0])
    for run in runs(loop, course, 12.0, 3):
        assert not ((run.done_s > 5.0) & (run.done_s < 6.0)).any()
        assert run.response_s.max() > 0.95
        after = ((run.done_s > 6.0) & (run.done_s < 6.2)).sum() / 0.2
        assert after > 1.3 * loop.steady().throughput_per_s


def test_a_blackout_loses_what_the_law_says():
    outside = UserLoop.of_one_class(75, think_s=1.0, demand_s=0.005)
    inside = UserLoop.of_one_class(75, think_s=1.0, demand_s=0.005, inside=True)
    course = SpeedCourse([0, 2, 3], [2, 3, 4], [1.0, 0.0, 1.0], [False, True, False])
    for loop in (outside, inside):
        lost = [loop.steady().throughput_per_s * 7 - len(r.done_s) for r in runs(loop, course, 7.0, 100)]
        mean, error = mean_and_error(lost)
        assert abs(mean - blackout_lost(loop, 1.0)) < 4 * error


def test_users_inside_do_not_see_the_blackout():
    loop = UserLoop.of_one_class(75, think_s=1.0, demand_s=0.005, inside=True)
    course = SpeedCourse([0, 2, 7], [2, 7, 8], [1.0, 0.0, 1.0], [False, True, False])
    whole = simulate_users(loop, SpeedCourse.constant(1.0, 5.0), 5.0, seed=4)
    stopped = simulate_users(loop, course, 10.0, seed=4)
    np.testing.assert_allclose(stopped.response_s, whole.response_s, atol=1e-9)
    moved = np.where(whole.done_s > 2.0, whole.done_s + 5.0, whole.done_s)
    np.testing.assert_allclose(stopped.done_s, moved, atol=1e-9)


def test_cutting_pieces_changes_nothing():
    loop = UserLoop(20, 0.3, ORDER_ENTRY)
    whole = SpeedCourse([0, 2, 4], [2, 4, 6], [1.0, 0.3, 1.0])
    edges = np.linspace(0, 6, 241)
    cut = SpeedCourse(edges[:-1], edges[1:], np.where((edges[:-1] >= 2) & (edges[:-1] < 4), 0.3, 1.0))
    one, other = (simulate_users(loop, course, 8.0, seed=2) for course in (whole, cut))
    np.testing.assert_allclose(one.done_s, other.done_s, atol=1e-6)
    assert one.operation.tolist() == other.operation.tolist()


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    loop = UserLoop(20, 0.3, ORDER_ENTRY)
    course = SpeedCourse.constant(1.0, 5.0)
    a, b, c = (simulate_users(loop, course, 5.0, seed=seed) for seed in (1, 1, 2))
    assert a.done_s.tolist() == b.done_s.tolist()
    assert a.done_s.tolist() != c.done_s.tolist()


def test_the_band_counts_every_transaction_once():
    loop = UserLoop(20, 0.3, ORDER_ENTRY)
    made = runs(loop, SpeedCourse.constant(1.0, 6.0), 6.0, 5)
    grid = np.linspace(0, 6, 7)
    band = transactions_band(made, grid)
    assert list(band["operation"].unique()) == [*(c.name for c in ORDER_ENTRY), "all"]
    whole = band[band["operation"] == "all"]
    assert whole["per_s"].sum() == pytest.approx(np.mean([len(r.done_s) for r in made]), abs=1)
    kinds = band[band["operation"] != "all"].groupby("t_s")["per_s"].sum()
    np.testing.assert_allclose(kinds, whole["per_s"])
    assert (whole["low"] <= whole["per_s"]).all()
    assert (whole["longest_s"] >= whole["response_s"]).all()
    frame = made[0].frame()
    assert len(frame) == len(made[0].done_s)
    assert set(frame["operation"]) == {c.name for c in ORDER_ENTRY}
