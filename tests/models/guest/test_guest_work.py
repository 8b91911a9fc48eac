"""Lost and delayed work: closed forms, conservation, and a walk through time as the oracle."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from migsim.errors import ParameterError
from migsim.models.guest.work import (
    ROUNDING,
    closed_loop,
    combined_speed,
    open_loop,
    work_done_s,
)
from migsim.models.throttle.cpu_throttle import run_fraction

pieces = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 10)), min_size=1, max_size=12).map(
    lambda raw: (
        [sum(length for length, _ in raw[:i]) / 10 for i in range(len(raw))],
        [speed / 10 for _, speed in raw],
    )
)


def walk(start, speed, load, end, step=0.001):
    """Millisecond by millisecond: what arrives, what is done, what waits, and what an endless job does."""
    backlog = done = closed = waited = 0.0
    empty_since, piece = 0.0, 0
    for k in range(round(end / step)):
        now = k * step
        while piece + 1 < len(start) and now >= start[piece + 1] - 1e-9:
            piece += 1
        able = speed[piece] * step
        closed += able
        arrived = load * step
        served = min(able, backlog + arrived)
        done += served
        backlog += arrived - served
        waited += backlog * step
        if backlog > 1e-9:
            empty_since = now + step
    return backlog, done, closed, waited, empty_since


@given(pieces, st.integers(0, 10))
def test_against_the_walk(course, tenths):
    start, speed = course
    load = tenths / 10
    end = start[-1] + 1.5
    backlog, done, closed, _, _ = walk(start, speed, load, end)
    assert float(work_done_s(start, speed, end)) == pytest.approx(closed, abs=1e-6)
    # a look at `end` is one more piece of the same speed
    queue = open_loop([*start, end], [*speed, speed[-1]], load)
    assert queue.backlog_s[-1] == pytest.approx(backlog, abs=2e-3)
    assert load * end - queue.backlog_s[-1] == pytest.approx(done, abs=2e-3)


@given(pieces, st.integers(1, 9))
def test_a_backlog_is_gone_when_the_walk_says(course, tenths):
    start, speed = course
    load = tenths / 10
    queue = open_loop([*start, start[-1] + 1], [*speed, 1.0], load)
    assume(queue.drained_at_s < 100)
    _, _, _, waited, empty = walk([*start, start[-1] + 1], [*speed, 1.0], load, queue.drained_at_s + 1)
    assert queue.drained_at_s == pytest.approx(empty, abs=0.05)
    assert queue.waited_s2 == pytest.approx(waited, rel=0.01, abs=0.05)


@given(pieces, st.floats(0, 1))
@example(([0.0, 0.1], [0.0, 1.0]), 0.9999999999999999)
def test_no_work_of_an_open_loop_is_lost(course, load):
    """What arrived by the time the backlog is gone was done by then: the time is just long enough."""
    start, speed = course
    queue = open_loop(start, speed, load)
    assert (queue.backlog_s >= 0).all()
    assert queue.peak_s >= queue.backlog_s.max()
    if math.isinf(queue.drained_at_s):
        assert speed[-1] - load < ROUNDING  # speeds nearer than that are the load
        return
    after = queue.drained_at_s + 1
    rest = open_loop(
        [*[s for s in start if s < after], after], [*speed[: sum(s < after for s in start)], 1], load
    )
    assert rest.backlog_s[-1] == pytest.approx(0, abs=1e-9) or any(s > after for s in start)


@given(pieces)
def test_done_and_lost_add_up(course):
    start, speed = course
    end = start[-1] + 2
    result = closed_loop(start, speed, end)
    assert result.done_s + result.lost_s == pytest.approx(end)
    assert 0 <= result.speed_fraction <= 1
    assert result.done_s >= 0 and result.lost_s >= -1e-12


def test_a_blackout_in_closed_form():
    """Nothing for `t`, then full speed: a queue at load r is gone after t / (1 - r)."""
    for t, load in ((0.3, 0.5), (6.4, 0.8)):
        queue = open_loop([0, t], [0, 1], load)
        assert queue.peak_s == pytest.approx(load * t)
        assert queue.drained_at_s == pytest.approx(t / (1 - load))
        assert queue.mean_wait_s == pytest.approx(t / 2)


def test_a_guest_that_needs_all_its_speed_never_catches_up():
    queue = open_loop([0, 1], [0, 1], 1.0)
    assert (queue.drained_at_s, queue.mean_wait_s, queue.peak_s) == (math.inf, math.inf, 1.0)
    assert open_loop([0], [0.5], 0.6).peak_s == math.inf
    assert open_loop([0], [0.5], 0.5).drained_at_s == 0


def test_throttling_that_an_open_loop_does_not_feel():
    """At a third of its speed a guest has room for 60 % throttling, not for 70."""
    climb = [20, 30, 40, 50, 60, 70]
    start = np.arange(len(climb) + 1) * 2.0
    speed = [run_fraction(p) for p in climb] + [1.0]
    queue = open_loop(start, speed, 1 / 3)
    assert queue.backlog_s.tolist()[:-1] == [0.0] * 6
    assert queue.peak_s == pytest.approx(2 * (1 / 3 - 0.3))
    assert closed_loop(start, speed, float(start[-1])).lost_s == pytest.approx(2 * sum(climb) / 100)


def test_causes_multiply():
    log, throttle, blackout = ([0], [0.9]), ([2, 6], [0.5, 1]), ([6, 7], [0, 1])
    start, speed = combined_speed(log, throttle, blackout)
    assert start.tolist() == [0, 2, 6, 7]
    assert speed == pytest.approx([0.9, 0.45, 0, 0.9])
    assert closed_loop(start, speed, 8).done_s == pytest.approx(2 * 0.9 + 4 * 0.45 + 0.9)


@given(pieces, pieces)
def test_combining_is_commutative_and_exact_everywhere(one, other):
    start, speed = combined_speed(one, other)
    swapped = combined_speed(other, one)
    assert start.tolist() == swapped[0].tolist() and speed == pytest.approx(swapped[1])

    def at(course, t):
        held = [v for s, v in zip(*course, strict=True) if s <= t]
        return held[-1] if held else 1.0

    for t in np.linspace(start[0], start[-1] + 1, 17):
        assert at((start, speed), t) == pytest.approx(at(one, t) * at(other, t))


@pytest.mark.parametrize(
    ("start", "speed"),
    [
        ([], []),
        ([0, 1], [1]),
        ([1, 0], [1, 1]),
        ([0, 0], [1, 1]),
        ([0], [-1]),
        ([0], [math.nan]),
        ([[0]], [[1]]),
    ],
)
def test_courses_that_are_none(start, speed):
    with pytest.raises(ParameterError):
        open_loop(start, speed, 0.5)


def test_other_input_that_is_refused():
    with pytest.raises(ParameterError):
        open_loop([0], [1], 1.1)
    with pytest.raises(ParameterError):
        work_done_s([1], [1], 0.5)
