from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migsim.calibrate.workload.placement import (
    BIN_PAGES,
    RIGHT_WITHIN,
    by_data_map,
    extents_of,
    lay_out,
    place_by_hits,
    place_by_map,
)
from migsim.trace.data_map import DataMap
from migsim.workload import WorkloadClass

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


@st.composite
def mapped_guests(draw, as_mapped=False):
    """A guest's map, its page numbers seen by class, and the sizes of its classes.

    With `as_mapped` pages that were seen are among those with data, and the classes hold all of these.
    """
    cells = draw(st.integers(1, 150))
    total = cells * 256 - draw(st.integers(0, 255))
    sizes = np.minimum(256, total - np.arange(cells) * 256)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    full = rng.random(cells) < draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    data = np.where(full, sizes, np.round(sizes * rng.random(cells) * draw(st.sampled_from([0, 1])))).astype(
        int
    )
    classes = draw(st.integers(1, 3))
    may = np.flatnonzero(np.arange(total) % 256 < np.repeat(data, sizes)) if as_mapped else np.arange(total)
    chosen = rng.permutation(may)[: draw(st.integers(0, min(len(may), 3000)))]
    seen = [np.sort(part) for part in np.array_split(chosen, classes)]
    room = total - len(chosen)
    spare = max(int(data.sum()) - len(chosen), 0) if as_mapped else draw(st.integers(0, room))
    extra = np.diff(np.round(np.linspace(0, spare, classes + 1))).astype(int)
    held = [len(pages) + int(more) for pages, more in zip(seen, extra, strict=True)]
    return DataMap(256, tuple(data.tolist())), total, seen, held


def spread_of(extents, total):
    """Pages of the extents in each page of RAM."""
    at = np.zeros(total + 1, int)
    for first, pages in extents:
        at[first : first + pages] += 1
    return at[:-1]


@given(mapped_guests())
def test_a_map_gives_every_page_one_place(guest):
    data_map, total, seen, sizes = guest
    classes, zero = place_by_map(data_map, total, seen, sizes)
    assert [sum(n for _, n in extents) for extents in classes] == sizes
    assert sum(n for _, n in zero) == total - sum(sizes)
    taken = sum((spread_of(extents, total) for extents in (*classes, zero)), np.zeros(total, int))
    assert (taken == 1).all()


@given(mapped_guests(as_mapped=True))
def test_what_lies_behind_any_cell_is_what_the_map_says(guest):
    data_map, total, seen, sizes = guest
    data = np.array(data_map.data_pages)
    _, zero = place_by_map(data_map, total, seen, sizes)
    placed = spread_of(zero, total)
    zero_behind = np.cumsum((data_map.sizes(total) - data)[::-1])[::-1]
    for cell in range(len(data)):
        # the rounding of each class comes on top
        assert abs(placed[cell * 256 :].sum() - zero_behind[cell]) <= (
            total - cell * 256
        ) * RIGHT_WITHIN + 256 + len(sizes)


def test_classes_with_places_stay_there():
    """A hot set in the upper half, of which every page was seen, beside data that was not seen to be written."""
    data_map = DataMap(256, (256,) * 128 + (0,) * 64 + (256,) * 64)
    hot = np.arange(200 * 256, 204 * 256)
    classes = (
        WorkloadClass(pages=1024, writes_per_page_per_s=5.0, extents=((0, 1024),)),
        WorkloadClass(pages=47 * 1024, writes_per_page_per_s=0.0, extents=((1024, 47 * 1024),)),
    )
    (placed, idle), zero = by_data_map(classes, [hot, np.zeros(0, int)], data_map, 65536)
    ((first, pages),) = placed.extents
    assert pages == 1024 and abs(first + 512 - hot.mean()) < BIN_PAGES / 2
    assert zero == ((128 * 256, 64 * 256),)
    assert sum(n for f, n in idle.extents if f < 128 * 256) == 128 * 256
