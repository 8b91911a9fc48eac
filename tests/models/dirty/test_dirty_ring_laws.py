"""A vCPU between two syncs, against a walk in whole microseconds; rings and what fills them."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import ParameterError
from migsim.models.dirty.page_writes import unique_pages
from migsim.models.dirty.ring import (
    ring_fill_pages,
    ring_fill_s,
    ring_interval,
    ring_run_fraction,
)


def test_entries_that_are_kept_free():
    assert [ring_fill_pages(n) for n in (1024, 4096, 65536)] == [960, 4032, 65472]
    assert ring_fill_pages(1024, pml=True) == 448


@pytest.mark.parametrize(
    ("entries", "pml"), [(0, False), (64, False), (1000, False), (131072, False), (512, True)]
)
def test_rings_that_are_refused(entries, pml):
    with pytest.raises(ParameterError):
        ring_fill_pages(entries, pml=pml)


@given(st.integers(100, 100_000), st.floats(0.01, 100), st.booleans(), st.integers(1, 99))
def test_a_ring_fills_when_so_many_distinct_pages_are_written(pages, rate, sweep, percent):
    n, writes, kind = np.array([float(pages)]), np.array([rate]), np.array([sweep])
    fill = pages * percent / 100
    seconds = ring_fill_s(n, writes, kind, fill)
    assert float(unique_pages(n, writes, kind, np.array([seconds]))[0]) == pytest.approx(fill, rel=1e-6)
    closed = percent / 100 / rate if sweep else -np.log1p(-percent / 100) / rate
    assert seconds == pytest.approx(closed, rel=1e-6, abs=1e-9)


def test_a_writer_with_fewer_pages_than_the_ring_never_fills_it():
    """Unless it is reaped it holds each page once, however often that is written."""
    n = np.array([900.0, 5000.0])
    assert ring_fill_s(n, np.array([1e6, 0.0]), np.array([False, False]), 960) == inf
    assert ring_fill_s(n, np.array([1e6, 1.0]), np.array([False, False]), 960) < inf


def walk(fill_us, sleep_us, interval_us):
    """Microsecond steps, joined: run until full, sleep, and let the sync wait for the sleeper."""
    now = run = fulls = rest = 0
    while now < interval_us:
        step = min(fill_us, interval_us - now)
        now += step
        run += step
        if step == fill_us:
            fulls += 1
            now += sleep_us
            rest = 0
        else:
            rest = step
    return now, fulls, run, rest


@given(st.integers(1000, 500_000), st.integers(0, 3_000_000), st.integers(1000, 2_000_000))
def test_an_interval_against_the_walk(fill_us, sleep_us, interval_us):
    seen = ring_interval(fill_us / 1e6, sleep_us / 1e6, interval_us / 1e6)
    length, fulls, run, rest = walk(fill_us, sleep_us, interval_us)
    if interval_us % (fill_us + sleep_us) in (0, fill_us):
        return  # which side of an instant is rounding's
    assert seen.fulls == fulls
    assert (seen.length_s, seen.run_s, seen.rest_s) == pytest.approx((length / 1e6, run / 1e6, rest / 1e6))


@given(st.floats(0.001, 10), st.floats(0, 10), st.floats(0, 10))
def test_a_vcpu_runs_or_sleeps(fill, sleep, interval):
    seen = ring_interval(fill, sleep, interval)
    assert seen.length_s >= interval - 1e-9
    assert seen.length_s <= interval + sleep + 1e-9
    assert seen.run_s + seen.fulls * sleep == pytest.approx(seen.length_s, abs=1e-9)


@given(st.floats(0.001, 10), st.floats(0, 10), st.floats(0.001, 10))
def test_syncs_only_give_time_back(fill, sleep, interval):
    """They empty a ring that is not full yet, so the vCPU runs at least what full rings alone leave."""
    seen = ring_interval(fill, sleep, interval)
    assert seen.run_s / seen.length_s >= ring_run_fraction(fill, sleep) - 1e-9


def test_a_ring_that_fills_more_slowly_than_it_is_reaped_is_never_full():
    assert ring_interval(0.25, 5.0, 0.1) == ring_interval(inf, 5.0, 0.1)


def test_run_fraction_of_a_long_interval():
    assert ring_interval(0.01, 0.03, 1000).run_s / 1000 == pytest.approx(ring_run_fraction(0.01, 0.03))
    assert 0 < ring_run_fraction(1e-6, 100) <= 1 == ring_run_fraction(inf, 100)


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_times_that_there_are_not(arguments):
    with pytest.raises(ParameterError):
        ring_interval(*arguments)
