"""Holds of the big lock, and the delays that they cause."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError
from migsim.history.big_lock import lock_use

holds_ = st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=20)


@given(holds_, st.floats(0, 10), st.integers(0, 2**32 - 1))
def test_delays_against_timers_thrown_at_random(holds, idle, seed):
    """Draw random due times on a timeline with the holds one after the other, and measure their delays.

    The mean of 6000 shares is farther than 0.05 off less than once in 10**12 times (Hoeffding: 2 exp(-2 n 0.05**2)).
    """
    total = sum(holds) + idle
    use = lock_use(holds, total)
    ends = np.cumsum(holds)
    due = np.random.default_rng(seed).uniform(0, total, 6000)
    place = np.searchsorted(ends, due)
    delay = np.where(place < len(holds), np.append(ends, 0.0)[place] - due, 0.0)
    assert use.duty == pytest.approx(np.mean(delay > 0), abs=0.05)
    x = float(np.median(holds)) / 2
    assert use.delayed_fraction(x) == pytest.approx(np.mean(delay > x), abs=0.05)


@given(holds_, st.floats(0, 10), st.floats(0, 1))
def test_a_quantile_is_what_that_share_does_not_exceed(holds, idle, quantile):
    use = lock_use(holds, sum(holds) + idle)
    delay = use.delay_s(quantile)
    assert 0 <= delay <= use.longest_s + 1e-9
    if delay > 0:
        assert use.delayed_fraction(delay) == pytest.approx(1 - quantile, abs=1e-6)
    else:
        assert use.duty <= 1 - quantile + 1e-6


def test_nothing_held_delays_nothing():
    use = lock_use([], 1.0)
    assert (use.duty, use.longest_s, use.delay_s(0.99), use.delayed_fraction(0)) == (0,) * 4


@pytest.mark.parametrize(("holds", "total"), [([1.0, 1.0], 1.5), ([-1.0], 1.0)])
def test_impossible_holds_are_refused(holds, total):
    with pytest.raises(MigsimError, match="one holder"):
        lock_use(holds, total)


def test_an_impossible_quantile_is_refused():
    with pytest.raises(MigsimError, match="quantile"):
        lock_use([0.1], 1.0).delay_s(1.5)
