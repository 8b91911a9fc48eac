import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.dirty.page_writes import (
    MANY_PAGES,
    arc_fraction,
    binomial_quantile,
    drawn_pages,
    guest_seconds,
    random_fraction,
    sweep_fraction,
    unique_pages,
)

rates = st.floats(1e-6, 1e5)
times = st.floats(0, 1e4)


@given(rates, times, times)
def test_random_law_is_memoryless(rate, a, b):
    """A page stays clean through a + b when it stays clean through a and through b."""
    clean = (1 - random_fraction(rate, a)) * (1 - random_fraction(rate, b))
    assert 1 - random_fraction(rate, a + b) == pytest.approx(clean, abs=1e-12)


@given(rates, times, times)
def test_both_laws_grow_and_are_concave(rate, a, b):
    for law in (random_fraction, sweep_fraction):
        low, high = sorted((a, b))
        assert 0 <= law(rate, low) <= law(rate, high) <= 1
        assert law(rate, (a + b) / 2) >= (law(rate, a) + law(rate, b)) / 2 - 1e-12


@given(rates)
def test_a_sweep_touches_more_than_chance_does(rate):
    t = np.linspace(0, 3 / rate, 50)
    assert (sweep_fraction(rate, t) >= random_fraction(rate, t)).all()
    assert sweep_fraction(rate, 1.001 / rate) == 1


def test_random_law_counts_what_is_drawn():
    rng = np.random.default_rng(1)
    drawn = [len(np.unique(rng.integers(0, 4000, rng.poisson(6000)))) for _ in range(50)]
    assert 4000 * random_fraction(6000 / 4000, 1.0) == pytest.approx(np.mean(drawn), rel=0.005)


@given(st.floats(0, 0.999), st.floats(1e-3, 1), st.floats(0, 50), st.floats(0, 3))
def test_an_arc_counts_what_a_walk_passes(offset, length, start, span):
    length = min(length, 1 - offset)
    points = (offset + length * (np.arange(2000) + 0.5) / 2000) % 1.0
    passed = (points - start) % 1.0 < span
    got = arc_fraction(np.array([offset]), np.array([length]), start, start + span)
    assert 0 <= got[0] <= 1
    assert got[0] == pytest.approx(passed.mean(), abs=2e-3)


@given(st.floats(0, 20), st.floats(0, 2), st.integers(1, 60))
def test_pieces_of_a_cycle_add_up_to_the_sweep(start, span, pieces):
    offset = np.arange(pieces) / pieces
    arcs = arc_fraction(offset, np.full(pieces, 1 / pieces), start, start + span)
    assert arcs.mean() == pytest.approx(float(sweep_fraction(1.0, span)), abs=1e-9)


def test_classes_add_up():
    pages, rate, sweep = np.array([1000.0, 50.0]), np.array([0.5, 20.0]), np.array([False, True])
    got = unique_pages(pages, rate, sweep, np.array([0.02, 1.0]))
    assert got.tolist() == pytest.approx([1000 * (1 - np.exp(-0.01)) + 20, 1000 * (1 - np.exp(-0.5)) + 50])


@given(st.floats(1e-3, 100), st.floats(0, 1e6), st.floats(0, 1e-4))
def test_faults_only_take_time(wall, faults, cost):
    seconds = guest_seconds(wall, faults, cost)
    assert 0.05 * wall <= seconds <= wall
    if faults * cost < 0.9 * wall:
        assert seconds == pytest.approx(wall - faults * cost)


EVENLY = NormalDist()
DEVIATES = [EVENLY.inv_cdf((k + 0.5) / 4000) for k in range(4000)]


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1))
def test_draws_have_the_expected_mean_and_binomial_spread(room, share):
    """However few pages are expected: many small segments together are as dirty as one large one."""
    expected = room * share
    draws = np.array([drawn_pages(expected, room, deviate, False) for deviate in DEVIATES])
    spread = math.sqrt(expected * (1 - share))
    size = room / math.ceil(room)
    assert draws.mean() == pytest.approx(expected, abs=size / 2000 + 2e-3 * spread)
    assert draws.std() == pytest.approx(spread * math.sqrt(size), rel=0.02, abs=size * 0.03)
    assert draws.min() >= 0
    assert draws.max() <= room * (1 + 1e-12)
    assert (np.diff(draws) >= -1e-9 * room).all()


@pytest.mark.parametrize("chance", [0.004, 0.1, 0.5])
def test_a_quantile_is_scipys(chance):
    from scipy import stats

    deviates = np.linspace(-6, 6, 240)
    ours = [binomial_quantile(40.0, chance, deviate) for deviate in deviates]
    theirs = stats.binom.ppf(stats.norm.cdf(deviates), 40, chance)
    assert np.abs(ours - np.maximum(theirs, 0)).max() <= (np.abs(deviates) > 5).any()
    assert np.mean(ours == np.maximum(theirs, 0)) > 0.99


@given(st.floats(1, 1e6))
def test_draws_pass_smoothly_from_counts_to_the_normal_law(room):
    few, many = MANY_PAGES - 1e-6, MANY_PAGES + 1e-6
    if room > 3 * MANY_PAGES:
        for deviate in (-3.0, 0.0, 3.0):
            below, above = (drawn_pages(pages, room, deviate, False) for pages in (few, many))
            assert below == pytest.approx(above, abs=2.0)
