import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.loop.first_pass import address_runs, never_seen_pages

CELL = 8
cells = st.lists(st.integers(0, CELL), min_size=1, max_size=60)


def zero_in(data):
    return CELL - np.array(data)


def data_behind(runs, data, page):
    """Pages with data from `page` on, where each run holds its data first."""
    behind = 0
    for begin, end in runs:
        held = sum(data[begin:end])
        behind += min(max(begin * CELL + held - page, 0), held)
    return behind


@given(cells, st.floats(0, 1), st.lists(st.booleans(), min_size=60, max_size=60), st.sampled_from([0, 9, 50]))
def test_what_lies_behind_each_edge_is_right_within_the_share(data, share, kept, most_moved):
    kept = kept[: len(data)]
    runs = address_runs(data, zero_in(data), share, kept=kept, most_moved=most_moved)
    for begin, end in runs:
        moved = np.cumsum([0, *zero_in(data)[begin:end]])[:-1]
        assert (moved[np.array(kept[begin:end])] <= most_moved).all()
    assert [run.begin for run in runs] == [0, *(run.end for run in runs)][:-1]
    assert runs[-1].end == len(data)
    for cell in range(len(data) + 1):
        missing = sum(data[cell:]) - data_behind(runs, data, cell * CELL)
        assert 0 <= missing <= share * CELL * (len(data) - cell) + 1e-9


@pytest.mark.parametrize("stripe", [1, 2, 5, 30, 300])
@pytest.mark.parametrize("mixed", [False, True])
def test_there_are_few_runs_whatever_the_guest(stripe, mixed):
    rng = np.random.default_rng(stripe)
    full = np.repeat(rng.random(4096) < 0.6, stripe)[:4096] * CELL
    data = np.round(full * rng.random(4096)) if mixed else full
    assert len(address_runs(data, CELL - data, 1 / 32)) < 100


def test_zero_pages_evenly_among_data_take_most_runs():
    assert 30 < len(address_runs([CELL / 2] * 4096, [CELL / 2] * 4096, 1 / 32)) < 100


@pytest.mark.parametrize("data", [[CELL] * 9, [0] * 9, [CELL] * 4 + [0] * 5])
def test_data_and_then_zero_pages_is_one_run(data):
    assert len(address_runs(data, zero_in(data), 0)) == 1


def test_zero_pages_before_data_end_a_run():
    assert address_runs([0, 0, CELL, CELL], [CELL, CELL, 0, 0], 0.5) == [(0, 2), (2, 4)]


@given(cells, st.data())
def test_pages_never_seen_find_a_place_where_there_is_one(data, drawn):
    seen = [drawn.draw(st.integers(0, CELL)) for _ in data]
    room = len(data) * CELL - sum(seen)
    pages = drawn.draw(st.integers(0, room))
    found = never_seen_pages(data, zero_in(data), seen, pages)
    assert found.sum() == pytest.approx(pages)
    assert (found >= 0).all()
    assert (found + seen <= CELL + 1e-9).all()
    free = np.maximum(np.array(data) - seen, 0)
    if free.sum() >= pages:  # then in data alone, each page of it as likely as any other
        np.testing.assert_allclose(found * free.sum(), free * float(pages))
