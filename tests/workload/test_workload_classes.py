import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import ScenarioError
from migsim.workload import Workload, WorkloadClass
from migsim.workload.classes import LAID_OUT

HOT = WorkloadClass(pages=40, writes_per_page_per_s=2.5, extents=((100, 10), (200, 30)))
WORKLOAD = Workload(
    ram_bytes=1 << 30,
    ram_total_bytes=(1 << 30) + (16 << 20),
    zero_pages=1000,
    classes=(HOT, WorkloadClass(pages=5, writes_per_page_per_s=0, pattern="sweep")),
    writes_spread=0.1,
    assumptions=("Writes are independent.",),
    source="a.trace",
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"zero_pages": -1}, r"zero.pages"),
        ({"zero_pages": 10**9}, r"zero.pages"),
        ({"ram_total_bytes": 4096}, r"ram.total.bytes"),
        ({"writes_spread": float("nan")}, r"writes.spread"),
        ({"zero_extents": ((0, 999),)}, "hold 999 pages"),
        ({"zero_extents": ((500, 500), (0, 500))}, "ascending"),
        ({"zero_extents": ((265_300, 1000),)}, "go beyond"),
        ({"classes": (WorkloadClass(pages=10**9, writes_per_page_per_s=1),)}, "more than the"),
    ],
)
def test_a_workload_that_cannot_be_is_refused(change, says):
    with pytest.raises(ScenarioError, match=says):
        WORKLOAD.replace(**change)


@pytest.mark.parametrize(
    "extents",
    [((0, 5),), ((0, 30),), ((5, 20), (0, 20)), ((0, 20), (10, 20)), ((-1, 30),), ((0, 0), (1, 30))],
)
def test_extents_that_cannot_be_are_refused(extents):
    with pytest.raises(ScenarioError, match=r"[Ee]xtents"):
        WorkloadClass(pages=20, writes_per_page_per_s=1, extents=extents)


def test_rates_add_up_and_scale():
    assert HOT.writes_per_s == 100
    assert WORKLOAD.writes_per_s == 100
    assert WORKLOAD.scaled(0.5).writes_per_s == 50
    with pytest.raises(ScenarioError):
        WORKLOAD.scaled(-1)


def test_a_workload_whose_classes_all_have_places_stays_as_it_is():
    placed = WORKLOAD.replace(classes=(HOT,))
    assert placed.laid_out() is placed


@given(
    st.lists(st.tuples(st.integers(1, 300), st.booleans()), min_size=1, max_size=8),
    st.integers(0, 100),
)
def test_classes_without_places_lie_one_after_the_other_where_no_other_lies(classes, gap):
    at, made = 0, []
    for pages, placed in classes:
        at += gap
        made.append(
            WorkloadClass(pages=pages, writes_per_page_per_s=1.0, extents=((at, pages),) if placed else ())
        )
        at += pages
    total = at * 4096
    guest = Workload(ram_bytes=total, ram_total_bytes=total, zero_pages=0, classes=tuple(made))
    laid = guest.laid_out()
    extents = sorted(e for c in laid.classes for e in c.extents)
    assert all(first + n <= after for (first, n), (after, _) in itertools.pairwise(extents))
    assert [sum(n for _, n in c.extents) for c in laid.classes] == [pages for pages, _ in classes]
    assert [c.extents for c, (_, placed) in zip(laid.classes, classes, strict=True) if placed] == [
        c.extents for c in made if c.extents
    ]
    free = [
        e[0] for c, (_, placed) in zip(laid.classes, classes, strict=True) if not placed for e in c.extents
    ]
    assert free == sorted(free)
    assert laid.assumptions == (() if laid is guest else (LAID_OUT,))


def test_classes_without_a_place_are_not_laid_on_zero_pages():
    told = WORKLOAD.replace(zero_extents=((0, 100), (110, 40), (230, 860)))
    assert told.laid_out().classes[1].extents == ((150, 5),)
