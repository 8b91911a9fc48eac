"""How few classes the hits of pages allow."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.calibrate.workload.parsimony import fewest_classes, log_likelihood
from migsim.calibrate.workload.rounds import RoundHistory
from migsim.calibrate.workload.spectrum import Spectrum, fit_spectrum
from migsim.models.dirty.page_writes import unique_pages

LENGTHS_S = np.tile([0.2, 0.3, 0.5, 1.0, 2.0], 8)


def history(pages, rates, rng) -> RoundHistory:
    """Rounds of a guest whose pages are written to independently."""
    rate = np.repeat(rates, pages)
    hit = rng.random((len(LENGTHS_S), len(rate))) < -np.expm1(-rate * LENGTHS_S[:, None])
    counts, hits = hit.sum(axis=1).astype(float), hit.sum(axis=0)
    seen = np.flatnonzero(hits)
    return RoundHistory(
        window_s=LENGTHS_S, dirty_pages=counts, sd_pages=np.sqrt(counts), faults=counts,
        pages=seen, hits=hits[seen], lengths_s=LENGTHS_S, counts=counts,
    )  # fmt: skip


def spectrum(pages, rates, seen: RoundHistory) -> Spectrum:
    n, r, sweep = np.array(pages, float), np.array(rates, float), np.zeros(len(pages), bool)
    return Spectrum(
        n, r, sweep, seen.window_s, seen.dirty_pages, unique_pages(n, r, sweep, seen.window_s), seen.sd_pages
    )


def test_one_class_taken_for_two_becomes_one_again():
    seen = history([16_000], [9.5], np.random.default_rng(1))
    made = fewest_classes(spectrum([3_500, 12_500], [15.9, 8.4], seen), seen, 60_000)
    assert made.pages == pytest.approx([16_000], rel=0.01)
    assert made.writes_per_page_per_s == pytest.approx([9.5], rel=0.02)


@pytest.mark.parametrize(
    ("pages", "rates"),
    [
        ([20_000, 100_000], [6.2, 0.14]),
        ([10_000, 2_000, 80_000], [2.9, 0.37, 0.081]),
        ([9_000, 9_000], [2.0, 1.2]),
    ],
)
def test_classes_that_are_there_stay(pages, rates):
    seen = history(pages, rates, np.random.default_rng(2))
    made = fewest_classes(spectrum(pages, rates, seen), seen, 200_000)
    assert made.pages.tolist() == pytest.approx(pages)
    assert made.writes_per_page_per_s.tolist() == pytest.approx(rates)


def test_a_fit_finds_the_guest_again_by_its_fewest_classes():
    seen = history([20_000, 100_000], [6.2, 0.14], np.random.default_rng(3))
    fitted = fit_spectrum(seen.window_s, seen.dirty_pages, seen.sd_pages, 200_000)
    made = fewest_classes(fitted, seen, 200_000)
    assert made.pages == pytest.approx([20_000, 100_000], rel=0.1)  # the slow ones are mostly unseen


def test_sweeps_are_left_alone():
    seen = history([1_000], [1.0], np.random.default_rng(4))
    sweeping = Spectrum(
        np.array([500.0, 500.0]), np.array([1.0, 0.9]), np.array([True, True]),
        seen.window_s, seen.dirty_pages, seen.dirty_pages, seen.sd_pages,
    )  # fmt: skip
    assert fewest_classes(sweeping, seen, 2_000) is sweeping


def test_likelihood_is_the_binomial_where_rounds_are_alike():
    from scipy.stats import binom

    lengths = np.full(6, 0.7)
    hits = np.array([1, 2, 2, 5, 6])
    columns = [np.array([v]) for v in (5.0, 1.3, False)] + [np.ones(1)] * 4
    one = Spectrum(*columns)
    best = max(
        binom.logpmf(hits, 6, -np.expm1(-1.3 * s * 0.7)).sum() for s in np.exp(np.linspace(-0.3, 0.3, 25))
    )
    assert log_likelihood(one, lengths, hits) == pytest.approx(best)
