from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migsim.calibrate.workload.placement import BIN_PAGES, extents_of, lay_out, place_by_hits

page_sets = st.sets(st.integers(0, 1 << 20), max_size=300).map(lambda s: np.array(sorted(s), dtype=np.int64))


@given(page_sets)
def test_extents_keep_every_page_and_its_bin(pages):
    extents = extents_of(pages)
    assert sum(n for _, n in extents) == len(pages)
    end = 0
    for first, count in extents:
        assert first >= end
        end = first + count
        inside = pages[pages // BIN_PAGES == first // BIN_PAGES]
        assert len(inside) == count
        assert (end - 1) // BIN_PAGES == first // BIN_PAGES
        # The middle one lies within, so that most pages do where they are together.
        assert first <= inside[count // 2] < end


def test_pages_that_lie_apart_move_nothing():
    crowd = np.arange(5000, 7000)
    assert extents_of(np.append(3, crowd)) == ((4999, 2001),)
    assert extents_of(np.append(crowd, 8191)) == ((5000, 2001),)


@given(page_sets, st.lists(st.floats(0, 200), min_size=1, max_size=4), st.integers(0, 9))
def test_pages_are_dealt_once_hottest_first(pages, sizes, seed):
    hits = np.random.default_rng(seed).integers(1, 50, len(pages))
    parts = place_by_hits(pages, hits, np.array(sizes))
    assert len(parts) == len(sizes)
    dealt = np.concatenate(parts).tolist()
    assert len(set(dealt)) == len(dealt) == min(round(float(np.sum(sizes))), len(pages))
    assert set(dealt) <= set(pages.tolist())
    of = dict(zip(pages.tolist(), hits.tolist(), strict=True))
    for hot, cold in pairwise(parts):
        assert (np.diff(hot) > 0).all()
        if len(hot) and len(cold):
            assert min(of[p] for p in hot.tolist()) >= max(of[p] for p in cold.tolist())


def test_a_hot_set_is_found_where_it_is():
    pages = np.arange(1000)
    hits = np.where((pages >= 300) & (pages < 400), 20, 1)
    hot, cold = place_by_hits(pages, hits, np.array([100.0, 900.0]))
    assert hot.tolist() == list(range(300, 400))
    assert len(cold) == 900


def test_laid_out_classes_do_not_overlap():
    assert lay_out(7, np.array([3.2, 5.0])) == [((7, 3),), ((10, 5),)]
