"""Workloads scaled to larger guests: closed forms of the rule, and what a prediction made of one says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import ParameterError
from migsim.models.guest.scaling import RULE, draw_rule, median_rule, page_kinds, scaled_extents, scaled_pages
from migsim.profiles.terms import HOST_TERMS
from migsim.scenario import MigrationSettings
from migsim.study.scaling import VCPU_EXPONENT, GuestSize, predict_scaled, scale_workload, scaled_family
from migsim.workload import Workload, WorkloadClass
from tests.factories import host_profile, zero_terms

GIB = 1 << 30
PAGE = 4096
PAGES = GIB // PAGE

TRACED = GuestSize(GIB, vcpus=1, users=75, transactions_per_s=60.0)
OLTP = GuestSize(128 * GIB, vcpus=80, users=75)
HOT, WARM, WAL, DATA = 200, 30_000, 2_000, 80_000
POOL = RULE["pool"].pages


def oltp(**changes):
    return Workload(
        ram_bytes=GIB,
        ram_total_bytes=GIB + 16 * PAGE,
        zero_pages=PAGES + 16 - HOT - WARM - WAL - DATA,
        classes=(
            WorkloadClass(pages=HOT, writes_per_page_per_s=40.0, extents=((100, HOT),)),
            WorkloadClass(
                pages=WARM, writes_per_page_per_s=0.05, extents=((1000, WARM // 2), (60_000, WARM // 2))
            ),
            WorkloadClass(pages=WAL, writes_per_page_per_s=0.1, pattern="sweep", extents=((50_000, WAL),)),
            WorkloadClass(pages=DATA, writes_per_page_per_s=0.0, extents=((100_000, DATA),)),
        ),
        writes_spread=0.1,
        assumptions=("As fitted.",),
        source="stream trace",
    ).replace(**changes)


def test_the_median_rule_in_closed_form():
    made = scale_workload(oltp(), TRACED, OLTP)
    hot, warm, wal, data = made.classes  # transaction, pool, log, never written
    assert (hot.pages, warm.pages, wal.pages) == (HOT, round(128**POOL.median * WARM), WAL)
    assert hot.writes_per_page_per_s == pytest.approx(40.0 * 80)
    assert warm.writes_per_page_per_s == pytest.approx(0.05 * 80 / 128**POOL.median, rel=1e-4)
    assert wal.writes_per_page_per_s == pytest.approx(0.1 * 80)
    assert made.writes_per_s == pytest.approx(80 * oltp().writes_per_s)
    assert made.ram_total_bytes == 128 * GIB + 16 * PAGE
    total = made.ram_total_bytes // PAGE
    assert sum(c.pages for c in made.classes) + made.zero_pages == total
    assert data.pages / made.zero_pages == pytest.approx(DATA / oltp().zero_pages, rel=1e-3)
    assert made.writes_spread == 0.1


def test_transactions_that_are_given_set_the_writes():
    made = scale_workload(oltp(), TRACED, GuestSize(128 * GIB, 80, 75, transactions_per_s=600.0))
    assert made.writes_per_s == pytest.approx(10 * oltp().writes_per_s)
    assert "given" in made.assumptions[1]


def test_pages_of_sessions_grow_with_the_users():
    hot = (
        oltp().classes[0].replace(writes_per_page_per_s=0.8)
    )  # 60/s by 75 users: each asks 0.8 times a second
    guest = oltp(classes=(hot, *oltp().classes[1:]))
    made = scale_workload(guest, TRACED, GuestSize(128 * GIB, 80, 750))
    assert made.classes[0].pages == 10 * HOT
    assert made.classes[0].writes_per_page_per_s == pytest.approx(0.8 * 80 / 10)
    assert "those of sessions (1) with the users, 10 times" in made.assumptions[2]
    alike = scale_workload(guest, TRACED, OLTP)
    assert alike.classes[0].pages == HOT


def test_the_same_size_changes_nothing():
    same = scale_workload(oltp(), TRACED, TRACED)
    assert same.classes == oltp().classes
    assert same.zero_pages == oltp().zero_pages


def test_buffers_count_not_memory():
    """Twice the share of the buffers is twice the memory."""
    less = scale_workload(oltp(), TRACED, GuestSize(16 * GIB, 8, 75, buffers_fraction=0.2))
    more = scale_workload(oltp(), TRACED, GuestSize(16 * GIB, 8, 75, buffers_fraction=0.4))
    twice = scale_workload(oltp(), TRACED, GuestSize(32 * GIB, 8, 75, buffers_fraction=0.2))
    assert more.classes[1].pages == twice.classes[1].pages == round(16**POOL.median * WARM)
    assert more.classes[1].pages == pytest.approx(2**POOL.median * less.classes[1].pages, rel=1e-4)


def test_what_is_zero_can_be_given():
    made = scale_workload(oltp(), TRACED, GuestSize(16 * GIB, 8, 75, zero_fraction=0.9))
    assert made.zero_pages == pytest.approx(0.9 * 16 * PAGES, rel=1e-3)
    assert sum(c.pages for c in made.classes) + made.zero_pages == made.ram_total_bytes // PAGE
    assert (
        made.classes[1].pages == scale_workload(oltp(), TRACED, GuestSize(16 * GIB, 8, 75)).classes[1].pages
    )
    full = scale_workload(oltp(), TRACED, GuestSize(2 * GIB, 1, 75, zero_fraction=0.99))
    assert full.zero_pages + sum(c.pages for c in full.classes) == full.ram_total_bytes // PAGE
    assert (
        full.zero_pages < 0.99 * 2 * PAGES and len(full.classes) == 3
    )  # what is written takes its room first
    with pytest.raises(ParameterError, match="zero pages take less"):
        GuestSize(GIB, 1, 75, zero_fraction=1.5)


def test_places_keep_their_order_and_do_not_overlap():
    made = scale_workload(oltp(), TRACED, OLTP)
    laid = sorted((first, first + n) for c in made.classes for first, n in c.extents)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(laid))
    assert laid[-1][1] <= made.ram_total_bytes // PAGE
    for c in made.classes:
        assert sum(n for _, n in c.extents) == c.pages
    firsts = [c.extents[0][0] for c in made.classes]
    assert firsts == sorted(firsts)


@given(
    st.lists(
        st.tuples(st.integers(1, 5000), st.sampled_from(["pool", "session", "log", "transaction", None])),
        min_size=1,
    ),
    st.floats(1.0, 100.0),
    st.integers(0, 10_000),
    st.integers(0, 2**31),
)
@settings(max_examples=200, deadline=None)
def test_pages_always_fit(classes, ratio, zero, seed):
    pages, kinds = [n for n, _ in classes], [kind for _, kind in classes]
    before = sum(pages) + zero
    total = int(before * ratio) + len(classes)
    made, zero_made = scaled_pages(
        pages, kinds, draw_rule(np.random.default_rng(seed)), ratio, ratio**0.5, total, zero
    )
    assert sum(made) + zero_made <= total
    assert all(n >= 1 for n, kind in zip(made, kinds, strict=True) if kind)
    if zero or None in kinds:
        assert sum(made) + zero_made == total


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 60), st.integers(0, 2)), min_size=1, max_size=12),
    st.floats(1.0, 30.0),
)
@settings(max_examples=200, deadline=None)
def test_laid_out_pieces_never_overlap(gaps, ratio):
    """Random pieces of three classes; each class's pages grow by its own factor."""
    extents, at = [[], [], []], 0
    for gap, length, c in gaps:
        extents[c].append((at + gap, length))
        at += gap + length
    pages = [
        round(sum(n for _, n in places) * f)
        for places, f in zip(extents, (ratio, 1.0, ratio**0.5), strict=True)
    ]
    total = int(at * ratio) + sum(pages)
    made = scaled_extents(extents, pages, total, at)
    laid = sorted((first, first + n) for places in made for first, n in places)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(laid))
    assert not laid or laid[-1][1] <= total
    assert [sum(n for _, n in places) for places in made] == pages


def test_kinds_are_told_apart_by_writes_per_transaction():
    rates = [6.0, 5.9, 0.2, 0.19, 100.0, 0.0]
    patterns = [*["random"] * 4, "sweep", "random"]
    kinds = page_kinds(rates, patterns, 60.0, 30)
    assert kinds == ["transaction", "session", "session", "pool", "log", None]
    assert (
        page_kinds(rates, patterns, 60.0, 30, every=0.095)[:4]
        == ["transaction", "transaction"] + ["session"] * 2
    )
    with pytest.raises(ParameterError, match="0 transactions a second"):
        page_kinds(rates, patterns, 0, 30)


def test_a_familys_spread_is_the_exponents():
    """log of the pool's pages: spread of its exponent times log of the buffers' ratio; writes add the vCPUs'."""
    rng = np.random.default_rng(1)
    small = oltp(classes=(oltp().classes[1].replace(pages=300, extents=()),), zero_pages=PAGES - 300)
    draw = scaled_family(small, TRACED, GuestSize(64 * GIB, 64, 75))
    made = [draw(rng) for _ in range(400)]
    pages = np.log([w.classes[0].pages / 300 for w in made])
    assert pages.mean() == pytest.approx(POOL.median * np.log(64), abs=0.1)
    assert pages.std() == pytest.approx(RULE["pool"].pages.spread * np.log(64), rel=0.15)
    writes = np.log([w.writes_per_s / small.writes_per_s for w in made])
    assert writes.mean() == pytest.approx(np.log(64), abs=0.1)
    # b (c log v): the product of two normal exponents about 1
    b, c = RULE["pool"].writes.spread, VCPU_EXPONENT.spread
    assert writes.std() == pytest.approx(np.sqrt(b**2 + c**2 + b**2 * c**2) * np.log(64), rel=0.15)
    assert median_rule()["pool"] == (POOL.median, 0.0, 1.0)


PAGE_TERMS = {name: 1e-6 for name in HOST_TERMS if name.endswith("page_s")}
HOST = host_profile(
    zero_terms(**PAGE_TERMS | {"guest_speed": 1.0, "zero_page_s": 1e-7}), spread=0.0, qemu_version="10.0"
)


def test_a_prediction_says_first_that_it_is_scaled_and_its_interval_holds_the_exponents():
    settings_ = MigrationSettings.parse(["max-bandwidth=10Gbps", "downtime-limit=4s"], "10.0")
    guest = oltp(writes_spread=0.0)
    options = {"host": HOST, "settings": settings_, "draws": 12, "deadline_s": 400.0}
    made = predict_scaled(guest, TRACED, GuestSize(16 * GIB, 16, 75), **options)
    assert made.assumptions[0].startswith("Scaled, never measured: a traced guest (1 GiB, 1 vCPU")
    assert "As fitted." in made.assumptions
    assert "Scaled, never measured" in str(made.to_json_object()["assumptions"])
    assert "Scaled, never measured" in made._repr_html_()
    low, high = made.intervals["transferred"]
    one = predict_scaled(guest, TRACED, GuestSize(16 * GIB, 16, 75), **(options | {"draws": 1}))
    assert high - low > 0.02 * one.medians["transferred"]
    assert low < one.medians["transferred"] < high


@pytest.mark.parametrize(
    ("traced", "larger", "said"),
    [
        (GuestSize(GIB, 1, 75), OLTP, "are not given"),
        (TRACED, GuestSize(GIB // 2, 1, 75), "is to be scaled to 512 MiB"),
        (GuestSize(2 * GIB, 1, 75, 60.0), OLTP, "traced in a guest of 2 GiB"),
    ],
)
def test_what_cannot_be_scaled_is_refused(traced, larger, said):
    with pytest.raises(ParameterError, match=said):
        scale_workload(oltp(), traced, larger)


def test_guests_that_cannot_be_are_refused():
    with pytest.raises(ParameterError, match="0 vCPUs"):
        GuestSize(GIB, 0, 75)
    with pytest.raises(ParameterError, match="buffers of 100%"):
        GuestSize(GIB, 1, 75, buffers_fraction=1.0)
