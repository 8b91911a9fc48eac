"""Demands fitted to reports whose demands are known: made up, and of simulated users."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from migsim.calibrate.users import fit_loop
from migsim.engine.users import simulate_users
from migsim.errors import ParameterError
from migsim.models.users.closed_loop import TransactionClass, UserLoop
from migsim.models.users.speed_course import SpeedCourse

KINDS = {"buy": 0.012, "look": 0.002, "ship": 0.03}


def reports(rng, *, intervals=60, noise=0.0, idle=0.0, mix=(0.3, 0.6, 0.1), steady=False):
    """Poisson counts of each kind, and the busy time that they need."""
    rows = []
    for k in range(intervals):
        counts = np.array([30, 60, 10]) if steady else rng.poisson(np.array(mix) * 70)
        busy = float(counts @ list(KINDS.values())) * (1 + noise * rng.standard_normal()) + idle
        rows += [
            {
                "t_s": k - intervals,
                "operation": name,
                "completed": n,
                "interval_s": 1.0,
                "busy_fraction": busy,
                "mean_latency_s": 2 * demand,
            }
            for (name, demand), n in zip(KINDS.items(), counts, strict=True)
        ]
    return pd.DataFrame(rows)


def test_known_demands_are_found_exactly():
    fit = fit_loop(reports(np.random.default_rng(1)), users=75, think_s=1.0)
    assert fit.method == "processor time, kind by kind"
    assert {c.name: c.demand_s for c in fit.loop.classes} == pytest.approx(KINDS)
    assert fit.relative_error < 1e-9
    assert fit.loop.inside


def test_known_demands_are_found_within_their_standard_errors():
    fit = fit_loop(reports(np.random.default_rng(2), noise=0.05, intervals=400), users=75, think_s=1.0)
    for kind in fit.loop.classes:
        assert abs(kind.demand_s - KINDS[kind.name]) < 4 * fit.error_s[kind.name]
        assert fit.error_s[kind.name] < 0.1 * kind.demand_s
    assert fit.relative_error == pytest.approx(0.05, rel=0.3)


def test_an_idle_guests_share_is_taken_off():
    said = reports(np.random.default_rng(3), idle=0.2)
    fit = fit_loop(said, users=75, think_s=1.0, idle_fraction=0.2)
    assert {c.name: c.demand_s for c in fit.loop.classes} == pytest.approx(KINDS)


def test_kinds_that_cannot_be_told_apart_share_the_mean_by_their_response_times():
    said = reports(np.random.default_rng(4), steady=True)
    fit = fit_loop(said, users=75, think_s=1.0)
    assert fit.method == "processor time, split by response times"
    assert {c.name: c.demand_s for c in fit.loop.classes} == pytest.approx(KINDS)
    alike = fit_loop(said.drop(columns="mean_latency_s"), users=75, think_s=1.0)
    assert alike.method == "processor time, the same for all kinds"
    assert [c.demand_s for c in alike.loop.classes] == pytest.approx([alike.loop.demand_s] * 3)
    assert alike.loop.demand_s == pytest.approx(fit.loop.demand_s)
    assert all(np.isnan(error) for error in alike.error_s.values())


def test_too_noisy_a_report_is_not_taken_apart():
    fit = fit_loop(reports(np.random.default_rng(5), noise=0.3, intervals=12), users=75, think_s=1.0)
    assert fit.method == "processor time, split by response times"


ORDER_ENTRY = (
    TransactionClass("customer-registration", 0.10, 0.004),
    TransactionClass("browse-products", 0.40, 0.002),
    TransactionClass("order-products", 0.30, 0.012),
    TransactionClass("process-orders", 0.10, 0.020),
    TransactionClass("browse-orders", 0.10, 0.003),
)


@pytest.mark.parametrize("think_s", [1.0, 0.4])
def test_a_simulated_guests_report_gives_back_its_loop(think_s):
    """The response times alone do, too: the loop's law turned round."""
    loop = UserLoop(75, think_s, ORDER_ENTRY)
    made = simulate_users(loop, SpeedCourse.constant(1.0, 400.0), 400.0, seed=1, constant_demand=True)
    demand_s = {c.name: c.demand_s for c in ORDER_ENTRY}
    frame = made.frame().assign(interval=lambda f: np.floor(f["t_s"]))
    said = frame.groupby(["interval", "operation"], as_index=False).agg(
        completed=("t_s", "size"), mean_latency_s=("response_s", "mean")
    )
    needed_s = (
        (said["completed"] * said["operation"].map(demand_s)).groupby(said["interval"]).transform("sum")
    )
    said = said.assign(t_s=said["interval"] - 400.0, interval_s=1.0)
    by_response = fit_loop(said, users=75, think_s=think_s)
    assert by_response.method == "response times"
    assert by_response.loop.demand_s == pytest.approx(loop.demand_s, rel=0.05)
    by_busy = fit_loop(said.assign(busy_fraction=needed_s), users=75, think_s=think_s)
    assert {c.name: c.demand_s for c in by_busy.loop.classes} == pytest.approx(demand_s)
    split = fit_loop(said.assign(busy_fraction=made.busy_s / 400.0).tail(20), users=75, think_s=think_s)
    assert split.method == "processor time, split by response times"
    assert split.loop.demand_s == pytest.approx(loop.demand_s, rel=0.1)
    for fit in (by_busy, by_response):
        for kind in fit.loop.classes:
            assert kind.demand_s == pytest.approx(demand_s[kind.name], rel=0.15)
    assert by_busy.measured_per_s == pytest.approx(loop.steady().throughput_per_s, rel=0.02)
    assert by_busy.measured_response_s == pytest.approx(loop.steady().response_s, rel=0.1)


def test_what_came_after_the_command_does_not_count():
    said = reports(np.random.default_rng(1))
    late = said.assign(t_s=said["t_s"] + 100, busy_fraction=1e3)
    both = pd.concat([said, late])
    assert fit_loop(both, users=75, think_s=1.0).loop == fit_loop(said, users=75, think_s=1.0).loop


def test_reports_that_say_too_little_are_refused():
    said = reports(np.random.default_rng(1))
    with pytest.raises(ParameterError, match="lacks interval_s"):
        fit_loop(said.drop(columns="interval_s"), users=75, think_s=1.0)
    with pytest.raises(ParameterError, match="completed nothing until -100"):
        fit_loop(said, users=75, think_s=1.0, until_s=-100.0)
    with pytest.raises(ParameterError, match="neither busy_fraction nor mean_latency_s"):
        fit_loop(said.drop(columns=["busy_fraction", "mean_latency_s"]), users=75, think_s=1.0)
