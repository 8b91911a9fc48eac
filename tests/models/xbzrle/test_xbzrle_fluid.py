"""XBZRLE's cache as expected fractions, against the cache that goes page by page and against closed forms."""

import numpy as np
import pytest

import migsim.models.xbzrle.fluid_cache as module
from migsim.errors import ParameterError
from migsim.models.xbzrle.cache import XbzrleCache
from migsim.models.xbzrle.fluid_cache import FluidXbzrleCache


def fluid(first, pages, slots, aged=True):
    return FluidXbzrleCache(np.array(first, float), np.array(pages, float), slots, aged=aged)


def miss_fraction(cache, pages, parts=1, generations=8):
    """Every segment written whole in every generation; the first one fills the cache."""
    for generation in range(generations):
        for segment, count in enumerate(pages):
            for _ in range(parts):
                cache.send(segment, count / parts)
        if generation == 0:
            misses = cache.misses
        cache.new_generation()
    return (cache.misses - misses) / (sum(pages) * (generations - 1))


@pytest.mark.parametrize("aged", [True, False])
@pytest.mark.parametrize("parts", [1, 5])
@pytest.mark.parametrize("pieces", [1, 3, 48])
def test_a_set_that_fits_never_misses(aged, parts, pieces):
    pages = np.full(pieces, 1024 / pieces)
    cache = fluid(700 + np.cumsum(pages) - pages, pages, 1024, aged)
    assert miss_fraction(cache, pages, parts) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("w", [1025, 1536, 2048, 5000, 30_000])
@pytest.mark.parametrize("pieces", [1, 7])
def test_a_cyclic_set_larger_than_the_cache(w, pieces):
    pages = np.full(pieces, w / pieces)
    first = 4096 + np.cumsum(pages) - pages
    assert miss_fraction(fluid(first, pages, 1024, aged=True), pages) == pytest.approx(1 - 1024 / w, abs=1e-6)
    expected = min(2 * (w - 1024) / w, 1)
    assert miss_fraction(fluid(first, pages, 1024, aged=False), pages) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("aged", [True, False])
def test_the_order_inside_a_generation_may_change_from_part_to_part(aged):
    pages = [600.0, 600.0, 600.0]
    cache = fluid([0, 600, 1200], pages, 1024, aged)
    if aged:
        assert miss_fraction(cache, pages, parts=4) == pytest.approx(1 - 1024 / 1800)
    else:
        assert miss_fraction(cache, pages, parts=4) == pytest.approx(2 * (1800 - 1024) / 1800)


def both_hit_fractions(seed, aged, longest):
    """Random segments, some always dirty, some partly, some never again, some zero; sent in parts from anywhere."""
    rng = np.random.default_rng(seed)
    slots = int(2 ** rng.integers(10, 13))
    count = int(rng.integers(2, 12))
    sizes = rng.integers(50, int(longest * slots), count)
    gaps = rng.integers(0, slots, count) * (rng.random(count) < 0.5)
    first = np.cumsum(gaps + np.concatenate(([0], sizes[:-1])))
    fraction = np.where(rng.random(count) < 0.25, 1.0, rng.random(count))
    alive, zero = rng.random(count) < 0.8, rng.random(count) < 0.15
    parts = int(rng.integers(1, 4))
    exact, smooth = XbzrleCache(slots, aged=aged), fluid(first, sizes, slots, aged)
    for generation in range(1, int(rng.integers(5, 12))):
        dirty = []
        for i in range(count):
            if generation == 1 or alive[i]:
                sent = rng.binomial(sizes[i], 1.0 if generation == 1 else fraction[i])
                dirty.append((i, rng.choice(sizes[i], sent, replace=False) + first[i]))
        # The sender stands inside a segment when the generation begins, and comes back to it at the end.
        turn = int(rng.integers(len(dirty)))
        (here, around), *rest = dirty[turn:] + dirty[:turn]
        cut = int(rng.integers(len(around) + 1))
        for i, pages in [(here, around[:cut]), *rest, (here, around[cut:])]:
            for part in np.array_split(pages, parts):
                if zero[i]:
                    exact.put_zero(np.sort(part), generation)
                    smooth.put_zero(i, len(part))
                else:
                    exact.access(np.sort(part), generation)
                    smooth.send(i, len(part))
        smooth.new_generation()
    sent = exact.hits + exact.misses
    return np.array([exact.hits, exact.refused]) / sent, np.array([smooth.hits, smooth.refused]) / sent


@pytest.mark.parametrize("longest", [0.9, 2.5, 8.0])
@pytest.mark.parametrize("aged", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_hits_and_refusals_are_those_of_the_exact_cache(seed, aged, longest):
    exact, smooth = both_hit_fractions(seed, aged, longest)
    assert smooth == pytest.approx(exact, abs=0.02)


def test_the_battery_is_no_easy_one():
    """Hits and misses both abound, and about the mean the fluid errs by less than half a point."""
    pairs = [both_hit_fractions(seed, True, 0.9) for seed in range(12)]
    hits = np.array([[exact[0], smooth[0]] for exact, smooth in pairs])
    assert 0.2 < hits[:, 0].mean() < 0.8
    assert hits[:, 0].std() > 0.1
    assert abs((hits[:, 1] - hits[:, 0]).mean()) < 0.005


@pytest.mark.parametrize("aged", [True, False])
def test_equal_bins_where_arcs_would_be_too_many(aged, monkeypatch):
    monkeypatch.setattr(module, "MOST_TRACKS", 400)
    for seed in range(4):
        exact, smooth = both_hit_fractions(seed, aged, 2.5)
        assert smooth == pytest.approx(exact, abs=0.02)


def test_many_small_segments_keep_apart():
    rng = np.random.default_rng(1)
    pages = rng.integers(5, 40, 1500).astype(float)
    cache = fluid(np.cumsum(pages) - pages, pages, 1 << 16)
    assert pages.sum() < 1 << 16
    assert miss_fraction(cache, pages, generations=3) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("aged", [True, False])
def test_the_last_stage_looks_and_takes_nothing(aged):
    cache = fluid([0, 1024], [1024, 1024], 1024, aged)
    cache.send(0, 512)
    cache.new_generation()
    assert cache.send(1, 1024, insert=False) == 0
    assert cache.refused == 0
    assert cache.send(0, 1024, insert=False) == pytest.approx(512)
    cache.new_generation()
    assert cache.send(0, 1024) == pytest.approx(512)


def test_a_page_is_sent_once_a_generation():
    cache = fluid([0], [100], 1024)
    assert cache.send(0, 60) == 0
    assert cache.send(0, 60) == 0  # 40 were left, and they were not in the cache
    assert cache.send(0, 60) == 0
    cache.new_generation()
    assert cache.send(0, 100) == pytest.approx(100)
    assert (cache.hits, cache.misses) == (pytest.approx(100), pytest.approx(180))


def test_nothing_to_send_from():
    cache = fluid([0, 10], [0, 10], 16)
    assert cache.send(0, 0) == cache.send(1, 0) == 0
    with pytest.raises(ParameterError, match="1 segments of 2"):
        FluidXbzrleCache(np.zeros(1), np.ones(2), 16, aged=True)
    with pytest.raises(ParameterError, match="0 pages"):
        FluidXbzrleCache(np.zeros(1), np.ones(1), 0, aged=True)
