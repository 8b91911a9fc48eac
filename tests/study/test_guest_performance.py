"""What users lose by a migration: predicted by expectation and in runs, and found again in made-up records."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from migsim.calibrate.users import fit_loop
from migsim.engine.users import simulate_users
from migsim.errors import ParameterError, RecordError
from migsim.models.users.closed_loop import TransactionClass, UserLoop
from migsim.models.users.course import blackout_lost
from migsim.models.users.speed_course import SpeedCourse
from migsim.plot.guest_performance import (
    WHY_COLOURS,
    plot_guest_performance,
    plot_guest_speed,
    plot_transactions,
)
from migsim.profiles.terms import HOST_TERMS
from migsim.results import MigrationResult, Outcome, guest_speed_frame
from migsim.results.transactions import transactions
from migsim.scenario import MigrationSettings
from migsim.study.guest_performance import MOST_TRANSACTIONS, guest_performance, guest_speed
from migsim.study.predict import predict
from migsim.study.users_compared import compare_guest_performance
from tests.factories import host_profile, prediction_of, two_class_guest, zero_terms

PAGE = 4096
GIB = 1 << 30
ORDER_ENTRY = (
    TransactionClass("customer-registration", 0.10, 0.004),
    TransactionClass("browse-products", 0.40, 0.002),
    TransactionClass("order-products", 0.30, 0.012),
    TransactionClass("process-orders", 0.10, 0.020),
    TransactionClass("browse-orders", 0.10, 0.003),
)
LOOP = UserLoop(75, 1.0, ORDER_ENTRY)
INSIDE = replace(LOOP, inside=True)


def speed(*pieces):
    """A guest_speed table of (until, speed, why)."""
    begin, rows = 0.0, []
    for until, share, why in pieces:
        rows.append(
            {"t_s": begin, "until_s": until, "speed_fraction": share, "work_per_s": share, "why": why}
        )
        begin = until
    return guest_speed_frame(rows)


def prediction(*speeds, status="completed"):
    """One whose draws have these speeds; the first is the middle one."""
    runs = tuple(
        MigrationResult(
            kind="simulated",
            name="made up",
            qemu_version="10.0",
            accel="tcg",
            outcome=Outcome(status, ""),
            guest_speed=each,
        )
        for each in speeds
    )
    return prediction_of(runs[0], [{} for _ in speeds], assumptions=("As assumed.",), runs=runs)


PLAIN = speed((4.0, 1.0, "running"), (5.0, 0.0, "blackout"))


def measured(course, loop, *, seed, before_s=60.0, until_s=20.0, name="made up"):
    """A record whose guest counts what simulated users complete, a line a second of its own clock."""
    # the simulated loop begins `before_s` before QMP migrate
    shifted = SpeedCourse(
        course.t_s + before_s, course.until_s + before_s, course.speed_fraction, course.stopped
    )
    run = simulate_users(loop, shifted, before_s + until_s, seed=seed, constant_demand=True)
    clock_of = np.array([shifted.guest_clock_s(t) for t in run.done_s])
    names = [c.name for c in loop.classes]
    log = []
    for second in range(int(shifted.guest_clock_s(before_s + until_s)) + 1):
        told = clock_of <= second
        words = []
        busy = 0.0
        for k, kind in enumerate(loop.classes):
            mine = told & (run.operation == k)
            words.append(f"{names[k]}={int(mine.sum())}:{round(run.response_s[mine].sum() * 1e6)}")
            busy += int(mine.sum()) * kind.demand_s
        t_s = float(shifted.wall_s(float(second))) - before_s
        moved = t_s > float(course.t_s[-1])
        line = (
            f"migsim-linux work clock_us={second * 1_000_000} {' '.join(words)} busy_us={round(busy * 1e6)}"
        )
        log.append({"side": "destination" if moved else "source", "line": line, "t_s": t_s})
    return MigrationResult(
        kind="measured",
        name=name,
        qemu_version="10.0.2",
        accel="tcg",
        outcome=Outcome("completed", ""),
        guest_log=log,
    )


def test_a_blackouts_loss_is_the_laws():
    for loop in (LOOP, INSIDE):
        made = guest_performance(prediction(PLAIN), loop)
        assert made.window_s == 15.0
        assert made.medians["lost"] == pytest.approx(blackout_lost(loop, 1.0), rel=0.05)
        assert len(made.draws) == 1
        whole = made.over_time[made.over_time["operation"] == "all"]
        assert whole["middle_per_s"].iloc[4] == pytest.approx(0.0, abs=1.5)
        assert whole["middle_per_s"].iloc[:3].to_numpy() == pytest.approx(made.before_per_s, rel=1e-3)


def test_users_outside_wait_for_the_blackout_those_inside_do_not_see_it():
    outside = guest_performance(prediction(PLAIN), LOOP)
    inside = guest_performance(prediction(PLAIN), INSIDE)
    assert outside.medians["longest-response"] > 0.9
    assert inside.medians["longest-response"] < 0.5
    assert "neither think on" in " ".join(inside.assumptions)
    assert "wait for its end" in " ".join(outside.assumptions)
    assert outside.assumptions[0] == "As assumed."


def test_the_interval_holds_runs_of_the_users():
    """Draws that do not differ: the interval is chance alone, and 80 % of other runs fall inside."""
    made = guest_performance(prediction(*[PLAIN] * 60), INSIDE, window_s=20.0)
    low, high = made.intervals["lost-in-a-run"]
    usual = INSIDE.steady().throughput_per_s * 20.0
    course = SpeedCourse.from_guest_speed(PLAIN)
    lost = [usual - len(simulate_users(INSIDE, course, 20.0, seed=900 + k).done_s) for k in range(60)]
    held = np.mean([(low <= x <= high) for x in lost])
    assert 0.6 <= held <= 0.95
    assert made.intervals["lost"][1] - made.intervals["lost"][0] < 1e-6
    assert np.mean(lost) == pytest.approx(made.medians["lost"], abs=4 * np.std(lost) / np.sqrt(60))


def test_throttling_to_below_the_load_loses_in_proportion():
    """A server that is full at a fifth of its speed completes speed over demand."""
    slow = speed((10.0, 1.0, "running"), (40.0, 0.2, "throttle"), (40.5, 0.0, "blackout"))
    made = guest_performance(prediction(slow), INSIDE, window_s=40.0)
    top = 0.2 / LOOP.demand_s
    # at first the server is not full
    assert 0.97 * top < made.medians["least-per-s"] < top
    assert made.medians["lost"] == pytest.approx(30.0 * (made.before_per_s - top), rel=0.05)


def test_a_long_migration_is_counted_in_part_and_says_so():
    endless = speed((1800.0, 1.0, "running"))
    made = guest_performance(prediction(endless, status="not-converged"), LOOP)
    assert made.window_s == 300.0
    assert made.medians["lost"] == pytest.approx(0.0, abs=0.1)
    assert any("first 300 s" in note for note in made.assumptions)


def test_a_simulated_migration_goes_all_the_way():
    page_terms = {name: 4e-6 for name in HOST_TERMS if name.endswith("page_s")}
    host = host_profile(
        zero_terms(**page_terms, guest_speed=1.0, load_s=0.3, dirty_fault_s=2e-6),
        spread=0.0,
        qemu_version="10.0",
        guest_speed=0.05,
        load_s=0.1,
    )
    workload = two_class_guest(GIB, (0, 20_000, 0.3), (20_000, 40_000))
    settings = MigrationSettings.parse(["max-bandwidth=1Gbps"], "10.0")
    made = predict(workload, host=host, settings=settings, draws=8)
    assert len(made.guest_speeds) == 8
    assert guest_speed(made).equals(made.example_run.guest_speed)
    assert guest_speed(made.example_run).equals(made.example_run.guest_speed)
    users = guest_performance(made, INSIDE)
    lost_s = [d["guest-lost"] / 1000 for d in made.draws]
    # the guest has room: only the blackout costs transactions, log faults hardly any
    blackout_s = [d["blackout"] / 1000 for d in made.draws]
    for draw, whole, dark in zip(users.draws, lost_s, blackout_s, strict=True):
        assert draw["lost"] < whole * users.before_per_s + 1
        assert draw["lost"] == pytest.approx(dark * users.before_per_s, abs=1.5)
    said = json.loads(json.dumps(users.to_json_object()))
    assert said["medians"]["lost"] == pytest.approx(users.medians["lost"])
    assert "75 users" in repr(users)


def test_a_made_up_record_meets_the_prediction_made_from_its_own_past():
    """Loop fitted to what the guest said before; lost transactions compared over the record's window."""
    course = SpeedCourse.from_guest_speed(PLAIN)
    rows = []
    for seed in range(6):
        run = measured(course, INSIDE, seed=seed)
        fit = fit_loop(transactions(run), users=75, think_s=1.0)
        assert fit.loop.demand_s == pytest.approx(LOOP.demand_s, rel=0.05)
        made = compare_guest_performance(prediction(*[PLAIN] * 20), fit, run)
        rows.append(made.iloc[0])
    assert np.mean([row["inside"] for row in rows]) >= 0.5
    predicted = np.array([row["predicted_lost"] for row in rows])
    for how in ("lost", "lost_by_count"):
        lost = np.array([row[how] for row in rows])
        sd = np.array([row[f"{how}_sd"] for row in rows])
        assert abs((lost - predicted).mean()) < 3 * np.sqrt((sd**2).sum()) / len(rows)
        assert np.abs(lost - predicted).max() < 4 * sd.max()
    assert rows[0]["lost_sd"] < 0.3 * rows[0]["lost_by_count_sd"]
    assert rows[0]["long_run_per_s"] == pytest.approx(INSIDE.steady().throughput_per_s, rel=0.01)
    assert predicted == pytest.approx(blackout_lost(INSIDE, 1.0), rel=0.1)


def test_of_a_busy_loop_not_every_draw_is_simulated_one_by_one():
    busy = UserLoop.of_one_class(400, think_s=0.02, demand_s=0.0001, vcpus=4, inside=True)
    made = guest_performance(prediction(*[PLAIN] * 6), busy, window_s=6.0)
    assert 4 * 6.0 * busy.steady().throughput_per_s > MOST_TRANSACTIONS
    assert [("lost-in-a-run" in draw, "lost" in draw) for draw in made.draws] == [(True, True)] * 4 + [
        (False, True)
    ] * 2
    assert set(made.medians) == set(made.intervals) == set(made.draws[0])


def test_what_tells_nothing_is_refused():
    with pytest.raises(ParameterError, match="has no guest speeds"):
        guest_performance(replace(prediction(PLAIN), runs=()), LOOP)
    with pytest.raises(ParameterError, match="window is 0 s"):
        guest_performance(prediction(PLAIN), LOOP, window_s=0.0)
    fit = fit_loop(
        transactions(measured(SpeedCourse.from_guest_speed(PLAIN), INSIDE, seed=1)), users=75, think_s=1.0
    )
    silent = measured(SpeedCourse.from_guest_speed(PLAIN), INSIDE, seed=1).replace(guest_log=[])
    with pytest.raises(RecordError):
        compare_guest_performance(prediction(PLAIN), fit, silent)


# pictures


def test_pictures_show_the_tables_they_are_given():
    made = guest_performance(prediction(*[PLAIN] * 3), INSIDE)
    ax = plot_transactions(made, [measured(SpeedCourse.from_guest_speed(PLAIN), INSIDE, seed=1)])
    steps = ax.patches[0]
    assert isinstance(steps, StepPatch)
    drawn, _edges, _baseline = steps.get_data()
    whole = made.over_time[made.over_time["operation"] == "all"]
    np.testing.assert_allclose(drawn, whole["middle_per_s"])
    assert ax.get_legend_handles_labels()[1] == ["predicted, middle 80 %", "measured, 1 run"]
    points = next(line for line in ax.lines if line.get_label() == "measured, 1 run")
    assert points.get_xdata().min() < -50
    by_kind = plot_transactions(made, operation="order-products")
    assert "order-products" in by_kind.get_title()
    below = plot_guest_speed(made.middle)
    assert {label for label in below.get_legend_handles_labels()[1]} == {"running", "blackout"}
    assert set(made.middle["why"]) <= set(WHY_COLOURS)
    assert len(plot_guest_performance(made).axes) == 2


def test_a_scaled_guests_picture_says_so():
    scaled = replace(prediction(PLAIN), assumptions=("Scaled, never measured: a guest.",))
    figure = plot_guest_performance(guest_performance(scaled, INSIDE))
    assert "never measured" in figure.get_suptitle()
