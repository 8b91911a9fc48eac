import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import ParameterError
from migsim.models.dirty.tcg_log import missed_fraction, misses_writes, seen_fraction, tcg_notes

rate = st.floats(0, 1e4)
window = st.floats(0, 100)


@pytest.mark.parametrize(
    ("version", "accel", "misses"),
    [
        ("1.7", "tcg", False),
        ("2.0", "tcg", True),
        ("7.2", "tcg", True),
        ("8.2", "tcg", True),
        ("9.0", "tcg", False),
        ("10.0", "tcg", False),
        ("7.2", "kvm", False),
    ],
)
def test_which_releases_miss_writes(version, accel, misses):
    assert misses_writes(version, accel) == misses
    assert bool(tcg_notes(version, accel)) == misses


def test_a_page_that_keeps_its_entry_is_never_seen_again():
    assert seen_fraction([0.1, 10.0, 1e4], 0.0, 5.0).tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert missed_fraction(10.0, 0.0, 0.2) == pytest.approx(1 - math.exp(-2))


def test_where_entries_give_way_at_once_all_is_seen():
    assert seen_fraction(3.0, 1e9, 0.5) == pytest.approx(1 - math.exp(-1.5), rel=1e-6)


@given(rate, rate, window)
def test_seen_and_missed_are_what_was_written(r, lost, t):
    written = -math.expm1(-r * t)
    seen, missed = float(seen_fraction(r, lost, t)), float(missed_fraction(r, lost, t))
    assert -1e-9 <= missed <= written + 1e-9
    assert seen + missed == pytest.approx(written, abs=1e-9)


@given(st.floats(0.01, 1e3), st.floats(0.001, 10))
def test_equal_rates_are_the_limit_of_unequal_ones(r, t):
    beside = missed_fraction(r, [r * (1 - 1e-4), r * (1 + 1e-4)], t)
    assert float(missed_fraction(r, r, t)) == pytest.approx(float(beside.mean()), rel=1e-5, abs=1e-9)


def entry_by_entry(r, lost, t, chance):
    """One page's entry, event by event: whether the log has it `t` after a sync, and whether it was written."""
    marked = None  # None: no entry
    now = -20.0 / min(r, lost)
    bit = written = synced = False
    while True:
        now += chance.expovariate(r + lost)
        if now > 0 and not synced:
            synced, bit, written = True, False, False  # the sync clears the bit and leaves the entry
        if now > t:
            return bit, written
        if chance.random() < lost / (r + lost):
            marked = None
            continue
        marked = (not bit) if marked is None else marked
        if marked:
            bit, marked = True, False
        written = True


@pytest.mark.parametrize(("r", "lost", "t"), [(5.0, 2.0, 0.3), (2.0, 8.0, 0.5), (4.0, 4.0, 0.4)])
def test_against_entries_followed_one_by_one(r, lost, t):
    chance = random.Random(11)
    runs = [entry_by_entry(r, lost, t, chance) for _ in range(20_000)]
    seen, written = (np.mean([run[k] for run in runs]) for k in (0, 1))
    assert seen == pytest.approx(float(seen_fraction(r, lost, t)), abs=0.012)
    assert written - seen == pytest.approx(float(missed_fraction(r, lost, t)), abs=0.012)


def test_negative_rates_are_refused():
    with pytest.raises(ParameterError, match="0 or more"):
        missed_fraction(-1.0, 0.0, 1.0)
