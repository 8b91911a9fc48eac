"""Draws of the rates that a trace allows: they hold the truth as often as they should, and no more than that."""

import numpy as np
import pytest

from migsim import predict
from migsim.calibrate.workload.rates import RATE_DRAWS, rate_factors
from migsim.calibrate.workload.spectrum import Spectrum, fit_spectrum
from migsim.workload import Workload, WorkloadClass
from tests.calibrate.workload.known_guest import drawn_activities

STEADY = (0.0, 0.0, 0.0)
LADDER_S = np.array([0.2, 0.3, 0.5, 1.0, 0.3, 2.0, 0.4])


def rounds(pages, rates, lengths_s, seed, wandering=STEADY):
    """Dirty pages of each round of a known guest, drawn by chance and by its activity."""
    moved = drawn_activities(wandering, lengths_s, seed)
    chances = -np.expm1(-np.outer(lengths_s * moved, rates))
    return np.random.default_rng(seed + 10_000).binomial(pages, chances).sum(axis=1).astype(float)


def known(pages, rates, lengths_s, dirty):
    """Return the true guest as a fit."""
    n, r = np.array(pages, float), np.array(rates, float)
    fitted = Spectrum(n, r, np.zeros(len(n), bool), lengths_s, dirty, dirty, np.maximum(0.01 * dirty, 4.0))
    return fitted


def width(factors):
    low, high = np.quantile(np.log(factors), [0.1, 0.9], axis=0)
    return high - low


def unions(lengths_s, seed, pages, rates):
    """Lengths and unique pages of runs of rounds of a steady guest, which are new draws of it."""
    starts = np.arange(0, len(lengths_s), 7)
    t = np.array([lengths_s[i : i + n].sum() for i in starts for n in (2, 4, 7) if i + n <= len(lengths_s)])
    return t, rounds(pages, rates, t, 1000 + seed)


@pytest.mark.parametrize("wandering", [STEADY, (0.15, 0.1, 0.0)])
def test_the_truth_lies_inside_as_often_as_it_should(wandering):
    """Unique pages of a known guest over 0.05 to 4 s, among those of the draws about a fit to its rounds."""
    pages, rates, lengths = (3000, 20_000), (4.0, 0.2), np.tile(LADDER_S, 5)
    asked, inside = np.array([0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0]), []
    truth = np.array(pages) @ -np.expm1(-np.outer(rates, asked))
    for seed in range(40):
        dirty = rounds(pages, rates, lengths, seed, wandering)
        t, u = unions(lengths, seed, pages, rates)
        window_s, counts = np.concatenate([lengths, t]), np.concatenate([dirty, u])
        fitted = fit_spectrum(window_s, counts, np.sqrt(counts + (0.02 * counts) ** 2), 30_000)
        factors = rate_factors(fitted, lengths, dirty, wandering)
        drawn = [
            fitted.pages @ -np.expm1(-np.outer(fitted.writes_per_page_per_s * row, asked)) for row in factors
        ]
        low, high = np.quantile(drawn, [0.1, 0.9], axis=0)
        inside.append((low <= truth) & (truth <= high))
    assert 0.66 < np.mean(inside) < 0.9


def test_more_trace_leaves_less_open():
    pages, rates = (3000, 20_000), (4.0, 0.2)
    wandering = (0.15, 0.1, 0.0)

    def median_width(times):
        lengths = np.tile(LADDER_S, times)
        return np.median(
            [
                width(rate_factors(known(pages, rates, lengths, dirty), lengths, dirty, wandering))
                for dirty in (rounds(pages, rates, lengths, seed, wandering) for seed in range(10))
            ],
            axis=0,
        )

    assert (median_width(10) < 0.75 * median_width(1)).all()


def test_a_class_written_all_over_in_every_round_has_a_lower_bound_alone():
    """Rounds of 1.1 s and longer: 3 and 8 writes to a page and second look alike, 1 does not."""
    lengths = np.array([1.1, 1.2, 1.1, 2.0, 4.0, 1.3, 1.1, 2.2])
    dirty = rounds((3000,), (8.0,), lengths, 1)
    drawn = 8.0 * rate_factors(known((3000,), (8.0,), lengths, dirty), lengths, dirty, STEADY)[:, 0]
    assert drawn.min() > 2.0
    assert np.quantile(drawn, 0.9) / np.quantile(drawn, 0.1) > 1.5
    short = np.concatenate([lengths, [0.05, 0.1, 0.2]])
    dirty = rounds((3000,), (8.0,), short, 1)
    resolved = rate_factors(known((3000,), (8.0,), short, dirty), short, dirty, STEADY)
    assert width(resolved)[0] < 0.3


def test_draws_fit_the_points_as_the_fit_does():
    pages, rates, lengths = (3000, 20_000), (4.0, 0.2), np.tile(LADDER_S, 6)
    dirty = rounds(pages, rates, lengths, 3)
    fitted = fit_spectrum(lengths, dirty, np.maximum(0.01 * dirty, 4.0), 40_000)
    for row in rate_factors(fitted, lengths, dirty, STEADY)[:16]:
        moved = Spectrum(
            fitted.pages, fitted.writes_per_page_per_s * row, fitted.is_sweep, lengths, dirty, dirty, dirty
        )
        assert np.median(np.abs(moved.unique_pages(lengths) / dirty - 1)) < 0.03


def test_sweeps_and_single_windows_are_left_as_they_are():
    t = np.array([0.5, 1.0, 2.0])
    sweeping = Spectrum(np.array([1000.0]), np.array([0.4]), np.array([True]), t, t, t, t)
    assert (rate_factors(sweeping, t, 400 * t, STEADY) == 1).all()
    random = Spectrum(np.array([1000.0]), np.array([0.4]), np.array([False]), t, t, t, t)
    assert rate_factors(random, t[:1], 400 * t[:1], STEADY).shape == (RATE_DRAWS, 1)


def test_a_prediction_takes_the_rates_from_the_draws():
    """Three writes to a page and second converge at this bandwidth, thirty do not: a trace that allows both says so."""
    hot = WorkloadClass(pages=20_000, writes_per_page_per_s=3.0, extents=((0, 20_000),))
    one = Workload(ram_bytes=1 << 28, ram_total_bytes=1 << 28, zero_pages=45_536, classes=(hot,))
    both = one.replace(rate_factors=((1.0,), (10.0,)))
    settings = {"max-bandwidth": "2Gbps", "downtime-limit": "200ms"}
    certain, open_ = (
        predict(guest, settings=settings, qemu_version="10.0", draws=12, deadline_s=60)
        for guest in (one, both)
    )
    assert certain.completed_fraction == 1.0
    assert open_.completed_fraction == 0.5
