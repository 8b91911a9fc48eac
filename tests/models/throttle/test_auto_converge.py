"""Auto-converge's percentage: a twin from the reference, properties, and the published climb."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import ParameterError
from migsim.models.throttle.auto_converge import ThrottleState, close_period, next_percentage
from migsim.models.throttle.trigger import throttle_rules

periods = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=60)
NEW = throttle_rules("10.0")


def climb(pairs, rules=NEW, **parameters):
    state, seen = ThrottleState(), []
    for dirty, sent in pairs:
        state = close_period(state, dirty_bytes=dirty, transferred_bytes=sent, rules=rules, **parameters)
        seen.append(state.percentage)
    return seen


class SlowTwin:
    """The 2.10+ state machine, step by step as the reference words it; exact arithmetic."""

    def __init__(self, initial, increment, maximum, threshold):
        self.initial, self.increment, self.maximum, self.threshold = initial, increment, maximum, threshold
        self.percent = None
        self.count = 0

    def period(self, dirty, sent):
        if Fraction(dirty) > floor(Fraction(sent * self.threshold, 100)):
            self.count += 1
        else:
            return
        if self.count < 2:
            return
        self.count = 0
        if self.percent is None:
            self.percent = self.initial
            return
        self.percent += self.increment
        if self.percent > self.maximum:
            self.percent = self.maximum


@given(periods, st.integers(1, 99), st.integers(1, 99), st.integers(1, 99), st.integers(1, 100))
def test_it_climbs_as_the_twin_does(pairs, initial, increment, over, threshold):
    maximum = max(initial, over)
    twin, expected = SlowTwin(initial, increment, maximum, threshold), []
    for dirty, sent in pairs:
        twin.period(dirty, sent)
        expected.append(twin.percent or 0)
    parameters = {"initial": initial, "increment": increment, "maximum": maximum}
    assert climb(pairs, threshold_percent=threshold, **parameters) == expected


@given(periods, st.integers(1, 99), st.integers(1, 99), st.integers(1, 99), st.booleans())
def test_the_percentage_never_falls_and_never_passes_the_maximum(pairs, initial, increment, over, tailslow):
    maximum = max(initial, over)
    seen = climb(pairs, initial=initial, increment=increment, maximum=maximum, tailslow=tailslow)
    assert seen == sorted(seen)
    assert all(p == 0 or initial <= p <= maximum for p in seen)


@given(st.integers(1, 98), st.integers(1, 10**12), st.integers(0, 10**12), st.integers(1, 99))
def test_tailslow_aims_at_the_share_that_would_just_do(percent, dirty, threshold, increment):
    """One whole percent at least, `cpu-throttle-increment` at most, and never past the ideal by more than one."""
    threshold = min(threshold, dirty - 1)  # the period is bad
    slow = next_percentage(
        percent, dirty_bytes=dirty, threshold_bytes=threshold, increment=increment, tailslow=True
    )
    plain = next_percentage(percent, increment=increment)
    assert percent < slow <= plain
    ideal = Fraction((100 - percent) * threshold, dirty)
    exact = min(100 - percent - floor(ideal), increment)
    steps = {exact, exact + 1} if ideal.denominator == 1 else {exact}  # a whole ideal may be rounded down
    assert slow - percent in {min(step, 99 - percent) for step in steps}


def test_tailslow_closed_form():
    """80 % throttled, dirtying twice what may be: half the remaining 20 % would do; the increment caps that."""
    assert next_percentage(80, dirty_bytes=200, threshold_bytes=100, tailslow=True) == 90
    assert next_percentage(80, dirty_bytes=200, threshold_bytes=100, increment=5, tailslow=True) == 85
    assert next_percentage(80, dirty_bytes=100, threshold_bytes=99, tailslow=True) == 81


def test_nine_levels_from_20_to_99_in_eighteen_periods():
    """The mechanics reference, section 5.3: level k after 2k periods (9 actions up to 99 %, the first one sets 20)."""
    seen = climb([(2, 1)] * 20)
    assert [seen.index(p) + 1 for p in (20, 30, 40, 50, 60, 70, 80, 90, 99)] == list(range(2, 19, 2))


def test_2_9_needs_three_bad_periods_a_step():
    seen = climb([(2, 1)] * 31, throttle_rules("2.9"))
    assert [seen.index(p) + 1 for p in (20, 30, 99)] == [4, 7, 28]


def test_the_fixed_form_is_on_for_good():
    state = ThrottleState()
    for number in range(1, 31):
        sent = 1 if number <= 7 else 10**9
        state = close_period(state, dirty_bytes=2, transferred_bytes=sent, rules=throttle_rules("2.0"))
        assert (state.fixed_sleeps, state.active, state.percentage) == (number >= 7, number >= 7, 0)


def test_before_1_6_nothing_throttles():
    state = ThrottleState()
    for _ in range(30):
        state = close_period(state, dirty_bytes=2, transferred_bytes=1, rules=throttle_rules("1.5"))
    assert not state.active


def test_the_maximum_is_reached_again_and_again():
    """An action at the maximum changes nothing, but it is one: the timer of 2.5 to 5.2 restarts."""
    state = ThrottleState(99)
    acts = []
    for _ in range(4):
        state = close_period(state, dirty_bytes=2, transferred_bytes=1, rules=throttle_rules("5.2"))
        acts.append(state.trigger.acts)
        assert state.percentage == 99
    assert acts == [False, True, False, True]


def test_a_maximum_set_below_the_percentage_lowers_it():
    assert next_percentage(80, maximum=50) == 50


@pytest.mark.parametrize(
    ("version", "parameters"),
    [
        ("3.0", {"maximum": 80}),
        ("5.0", {"tailslow": True}),
        ("10.0", {"maximum": 100}),
        ("10.0", {"initial": 0}),
        ("10.0", {"increment": 100}),
    ],
)
def test_values_that_the_release_refuses(version, parameters):
    state = ThrottleState()
    with pytest.raises(ParameterError):
        for _ in range(2):
            state = close_period(
                state, dirty_bytes=2, transferred_bytes=1, rules=throttle_rules(version), **parameters
            )
