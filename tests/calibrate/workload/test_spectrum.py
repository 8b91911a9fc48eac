import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.calibrate.workload.spectrum import fit_spectrum
from migsim.errors import TraceError
from migsim.models.dirty.page_writes import unique_pages

T = np.geomspace(0.05, 20, 25)


def curve(pages, rates, sweep=None, t=T):
    sweep = np.zeros(len(pages), bool) if sweep is None else np.array(sweep)
    return unique_pages(np.array(pages, float), np.array(rates, float), sweep, t)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.floats(200, 1e5), st.floats(0.02, 30)), min_size=1, max_size=3))
def test_a_known_mixture_is_met_between_its_points(classes):
    pages, rates = zip(*classes, strict=True)
    u = curve(pages, rates)
    found = fit_spectrum(T, u, 0.01 * u, 2 * sum(pages))
    between = np.sqrt(T[1:] * T[:-1])
    assert found.unique_pages(between) == pytest.approx(curve(pages, rates, t=between), rel=0.05)
    assert found.relative_error < 0.02
    assert (found.pages > 0).all()
    assert (np.diff(found.writes_per_page_per_s) <= 0).all()  # fastest first


def test_two_classes_far_apart_are_told_apart():
    u = curve([1000, 50_000], [20.0, 0.05])
    found = fit_spectrum(T, u, 0.005 * u, 60_000)
    hot = found.writes_per_page_per_s > 2
    assert found.pages[hot].sum() == pytest.approx(1000, rel=0.1)
    assert np.average(found.writes_per_page_per_s[hot], weights=found.pages[hot]) == pytest.approx(
        20, rel=0.5
    )
    writes = (found.pages * found.writes_per_page_per_s)[~hot].sum()
    assert writes == pytest.approx(2500, rel=0.15)


def test_noise_of_the_size_it_is_said_to_have_is_lived_with():
    rng = np.random.default_rng(4)
    truth = curve([3000, 20_000], [5.0, 0.1])
    u = truth * np.exp(0.05 * rng.standard_normal(len(T)))
    found = fit_spectrum(T, u, 0.05 * truth, 40_000)
    assert found.unique_pages(T) == pytest.approx(truth, rel=0.08)


def test_a_point_that_is_far_off_hardly_counts():
    u = curve([5000], [2.0])
    u[12] *= 0.3  # a stall
    found = fit_spectrum(T, u, 0.01 * u, 10_000)
    assert found.unique_pages(T) == pytest.approx(curve([5000], [2.0]), rel=0.05)


def test_a_sweep_is_recognised():
    u = curve([8000], [0.5], [True])
    found = fit_spectrum(T, u, 0.01 * u, 10_000)
    assert found.pages[found.is_sweep].sum() > 0.8 * found.pages.sum()
    assert found.unique_pages(T) == pytest.approx(u, rel=0.05)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
def test_random_writes_are_not_taken_for_sweeps(noise):
    """Twice the basis fits noise better; that alone is no sweep."""
    rng = np.random.default_rng(6)
    for pages, rates in (([8000], [0.5]), ([3000, 20_000], [5.0, 0.1])):
        u = curve(pages, rates) * np.exp(noise * rng.standard_normal(len(T)))
        assert not fit_spectrum(T, u, 0.02 * u, 2.0 * sum(pages)).is_sweep.any()


def test_a_sweep_beside_random_writes_is_recognised():
    u = curve([8000, 2000], [0.5, 5.0], [True, False])
    found = fit_spectrum(T, u, 0.02 * u, 20_000)
    assert found.pages[found.is_sweep].sum() == pytest.approx(8000, rel=0.3)


def test_a_curve_that_still_grows_stays_within_the_pages_there_are():
    """A straight line fits any number of slow pages; no more than exist may come out."""
    u = 100.0 * T
    found = fit_spectrum(T, u, 0.01 * u, 5000)
    assert found.pages.sum() < 5000 * 1.05
    assert found.unique_pages(T) == pytest.approx(u, rel=0.3)


@pytest.mark.parametrize("window", [np.array([]), np.array([0.0])])
def test_no_point_is_refused(window):
    with pytest.raises(TraceError, match="no point"):
        fit_spectrum(window, window, window, 100)


def test_a_guest_that_writes_nothing():
    found = fit_spectrum(T, 0 * T, 0 * T, 1000)
    assert found.unique_pages(T).max() < 1
