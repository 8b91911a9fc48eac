import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.dirty.page_writes import (
    arc_fraction,
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
