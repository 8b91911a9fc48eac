"""The trigger against a twin written from the reference, and what it says of each release."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import ParameterError
from migsim.models.throttle.trigger import (
    Trigger,
    background_sync_due,
    close_trigger,
    is_bad_period,
    throttle_rules,
)

periods = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=40)


def twin_actions(pairs, *, version, threshold):
    """Numbers of the periods that act, by the reference's own counters: post- or pre-incremented."""
    rate_before, count, acts = 0, 0, []
    for number, (dirty, sent) in enumerate(pairs, 1):
        bad = dirty > (sent // 2 if version < (5, 0) else sent * threshold // 100)
        if version >= (2, 10):
            if bad:
                count += 1
                if count >= 2:
                    acts.append(number)
                    count = 0
        elif rate_before != 0 and bad:
            before = count
            count += 1
            if (version >= (2, 5) and before >= 2) or (version < (2, 5) and before > 4):
                acts.append(number)
                count = 0
        rate_before = dirty
    return acts


def actions(pairs, version, threshold=50):
    trigger, acts = Trigger(), []
    for number, (dirty, sent) in enumerate(pairs, 1):
        trigger = close_trigger(
            trigger,
            dirty_bytes=dirty,
            transferred_bytes=sent,
            rules=throttle_rules(version),
            threshold_percent=threshold,
        )
        if trigger.acts:
            acts.append(number)
    return acts


@given(
    periods,
    st.sampled_from([(1, 6), (2, 4), (2, 5), (2, 9), (2, 10), (4, 2), (5, 0), (7, 2), (10, 0)]),
    st.integers(1, 100),
)
def test_it_counts_as_the_twin_does(pairs, version, threshold):
    threshold = threshold if version >= (5, 0) else 50
    name = ".".join(map(str, version))
    assert actions(pairs, name, threshold) == twin_actions(pairs, version=version, threshold=threshold)


def test_the_first_action_of_a_guest_that_never_converges():
    """The first period has no rate before it, which costs one more up to 2.9."""
    bad = [(100, 100)] * 20
    first = {v: actions(bad, v)[0] for v in ("1.6", "2.4", "2.5", "2.9", "2.10", "7.2", "10.0")}
    assert first == {"1.6": 7, "2.4": 7, "2.5": 4, "2.9": 4, "2.10": 2, "7.2": 2, "10.0": 2}


def test_good_periods_do_not_clear_the_count():
    assert actions([(100, 100), (0, 100), (0, 100), (100, 100)], "7.2") == [4]


def test_the_threshold_is_in_whole_bytes():
    assert not is_bad_period(1, 3)  # 3 * 50 // 100 == 1
    assert is_bad_period(2, 3)


@pytest.mark.parametrize(
    ("name", "since", "until"),
    [
        ("threshold_parameter", "5.0", None),
        ("maximum_parameter", "3.1", None),
        ("tailslow_parameter", "5.1", None),
        ("interruptible_sleep", "4.2", None),
        ("dirty_limit", "8.1", None),
        ("rearms_timer", "2.5", "5.2"),
        ("stacks_sleeps", "2.5", "2.9"),
        ("skips_block_bulk", "2.11", "9.0"),
        ("needs_previous_rate", "1.2", "2.9"),
    ],
)
def test_each_rule_begins_and_ends_with_its_release(name, since, until):
    releases = [
        "1.2",
        "1.6",
        "2.4",
        "2.5",
        "2.9",
        "2.10",
        "2.11",
        "3.0",
        "3.1",
        "4.1",
        "4.2",
        "5.0",
        "5.1",
        "5.2",
    ]
    releases += ["6.0", "8.0", "8.1", "9.0", "9.1", "9.2", "10.0", "10.2"]
    first, last = releases.index(since), releases.index(until) if until else len(releases)
    assert [getattr(throttle_rules(r), name) for r in releases] == [
        first <= i <= last for i in range(len(releases))
    ]


def test_forms_counts_and_the_background_sync():
    assert [throttle_rules(v).form for v in ("1.5", "1.6", "2.4", "2.5", "10.2")] == [
        "none",
        "fixed",
        "fixed",
        "percentage",
        "percentage",
    ]
    assert [throttle_rules(v).dirty_counts for v in ("2.8", "2.9", "5.0", "5.1")] == [
        "new",
        "delivered",
        "delivered",
        "new",
    ]
    assert [throttle_rules(v).background_sync_s for v in ("9.1", "9.2", "10.0.2")] == [None, 5.0, 5.0]


def test_nothing_is_decided_in_the_bulk_phase_of_block_migration():
    bad = {"dirty_bytes": 9, "transferred_bytes": 9}
    for version, held in (("2.10", False), ("2.11", True), ("9.0", True), ("9.1", False)):
        rules = throttle_rules(version)
        trigger = close_trigger(Trigger(1), **bad, rules=rules, in_block_bulk=True)
        assert trigger.acts is not held
        assert trigger.bad_periods == (1 if held else 0)


@given(st.lists(st.floats(0.05, 40), min_size=1, max_size=30), st.floats(0.05, 100))
def test_with_the_background_timer_no_gap_between_syncs_reaches_ten_seconds(rounds, bulk):
    """Ticks every 5 s from the start; rounds end with a sync of their own; the bulk round is exempt."""
    ends = [bulk]
    for length in rounds:
        ends.append(ends[-1] + length)
    count, at_last_tick, background = 1, 0, []
    events = sorted(
        [(t, "round") for t in ends] + [(5.0 * k, "tick") for k in range(1, int(ends[-1] / 5) + 1)]
    )
    for t, what in events:
        if what == "round":
            count += 1
            continue
        if background_sync_due(sync_count=count, sync_count_at_last_tick=at_last_tick):
            background.append(t)
            count += 1
        at_last_tick = count
    assert all(t > bulk for t in background)
    syncs = sorted(ends + background)
    assert max((b - a for a, b in pairwise(syncs)), default=0) < 10 + 1e-9


@pytest.mark.parametrize(
    ("version", "threshold", "dirty"), [("4.2", 60, 1), ("7.2", 0, 1), ("7.2", 101, 1), ("7.2", 50, -1)]
)
def test_bad_input(version, threshold, dirty):
    with pytest.raises(ParameterError):
        close_trigger(
            Trigger(),
            dirty_bytes=dirty,
            transferred_bytes=1,
            rules=throttle_rules(version),
            threshold_percent=threshold,
        )
