"""Rates from how often pages were seen dirty: a known process gives its rates back."""

import numpy as np
import pytest

from migsim.models.dirty.hit_rates import last_write, rates_by_hits, writes_of_dirty, writes_within

LENGTHS = np.tile([0.2, 0.3, 0.2, 0.5, 0.2, 1.0, 0.3, 2.0], 5)


def seen(rates, lengths=LENGTHS, seed=3):
    """Hits of pages that are written at the given rates, page by page."""
    rng = np.random.default_rng(seed)
    return sum((rng.random(len(rates)) < -np.expm1(-rates * g)).astype(int) for g in lengths)


def histogram(hits, lengths=LENGTHS):
    return np.bincount(hits, minlength=len(lengths) + 1)


@pytest.mark.parametrize("rate", [0.3, 2.0, 8.0])
def test_pages_alike_have_one_rate_however_often_each_was_seen(rate):
    hits = seen(np.full(20_000, rate))
    rates = rates_by_hits(histogram(hits), LENGTHS)[hits[hits > 0]]
    assert np.mean(rates) == pytest.approx(rate, rel=0.03)
    assert np.std(rates) < 0.2 * rate


def test_hot_and_warm_pages_are_told_apart():
    true = np.repeat([6.0, 0.1], [3000, 30_000])
    hits = seen(true)
    rates = rates_by_hits(histogram(hits), LENGTHS)[hits]
    assert np.mean(rates[:3000]) == pytest.approx(6.0, rel=0.1)
    assert np.mean(rates[3000:][hits[3000:] > 0]) == pytest.approx(0.1, rel=0.15)
    for window in (0.1, 0.4, 3.0):
        expected = -np.expm1(-true * window).sum()
        # pages never seen have no rate: they add at most what their share would
        unseen = -np.expm1(-true[hits == 0] * window).sum()
        assert -np.expm1(-rates * window).sum() == pytest.approx(expected - unseen, rel=0.03)


def test_pages_dirty_in_every_interval_have_the_rate_that_a_shorter_window_shows():
    hits = seen(np.full(5000, 60.0))
    assert hits.min() == len(LENGTHS)
    window, pages = 0.02, 5000 * -np.expm1(-60.0 * 0.02)
    assert rates_by_hits(histogram(hits), LENGTHS, short=(window, pages))[-1] == pytest.approx(60.0, rel=0.02)
    without = rates_by_hits(histogram(hits), LENGTHS)[-1]
    assert 10 < without <= 20  # at least what the shortest interval asks for


def test_no_pages():
    assert rates_by_hits(np.array([10, 0, 0]), np.array([1.0, 2.0])).tolist() == [0, 0, 0]


def test_writes_of_a_dirty_page_are_a_poisson_number_that_is_not_none():
    rng = np.random.default_rng(1)
    for mean in (1e-4, 0.5, 3.0, 400.0):
        drawn = writes_of_dirty(np.full(40_000, mean), rng)
        expected = mean / -np.expm1(-mean)
        variance = expected * (1 + mean - expected)
        assert drawn.min() >= 1
        assert drawn.mean() == pytest.approx(expected, abs=5 * np.sqrt(max(variance, 1e-4) / 40_000))
        assert drawn.var() == pytest.approx(variance, rel=0.05, abs=1e-3)


def test_a_share_of_an_interval_holds_its_share_of_the_writes():
    rng = np.random.default_rng(2)
    writes = np.full(40_000, 3)
    taken = writes_within(writes, 0.25, rng)
    assert taken.mean() == pytest.approx(0.75, rel=0.03)
    assert (taken > 0).mean() == pytest.approx(1 - 0.75**3, rel=0.03)
    assert (writes_within(writes, 1.0, rng) == 3).all() and not writes_within(writes, 0.0, rng).any()


def test_the_last_of_several_writes_comes_late():
    rng = np.random.default_rng(3)
    for writes in (1, 2, 9):
        drawn = last_write(np.full(40_000, writes), rng)
        assert drawn.min() > 0 and drawn.max() <= 1
        assert drawn.mean() == pytest.approx(writes / (writes + 1), rel=0.02)
