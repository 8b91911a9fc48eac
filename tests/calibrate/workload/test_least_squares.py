"""The solvers against scipy's, the conditions that hold at a least sum, and the curves that they are made for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares, nnls

from migsim.calibrate.workload.least_squares import non_negative, robust_in_box

Law = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
seeds = st.integers(0, 2**32 - 1)


def problem(seed: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, columns)), rng.standard_normal(rows)


def curves(seed: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Saturating curves side by side, near-alike, and a noisy mixture of two: what a spectrum is fitted from."""
    rng = np.random.default_rng(seed)
    t = np.sort(np.exp(rng.uniform(np.log(0.05), np.log(40), 60)))
    design = -np.expm1(-np.geomspace(1e-3, 160, columns) * t[:, None])
    return design, design[:, rng.integers(0, columns, 2)].sum(axis=1) * np.exp(0.02 * rng.standard_normal(60))


def squares(design: np.ndarray, target: np.ndarray, x: np.ndarray) -> float:
    return float(np.sum((design @ x - target) ** 2))


def holds_at_the_least(design: np.ndarray, target: np.ndarray, x: np.ndarray) -> None:
    """Karush, Kuhn and Tucker: no slope downhill for what is 0, none at all for what is not."""
    slope = design.T @ (target - design @ x)
    rounding = 1e-9 * np.linalg.norm(target) * np.linalg.norm(design, axis=0)
    assert (x >= 0).all()
    assert (slope <= rounding).all()
    assert (np.abs(slope[x > 0]) <= rounding[x > 0]).all()


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(1, 30), st.integers(1, 30))
def test_no_coefficient_is_negative_and_no_sum_smaller(seed: int, rows: int, columns: int) -> None:
    design, target = problem(seed, rows, columns)
    found = non_negative(design, target)
    holds_at_the_least(design, target, found)
    theirs, norm = nnls(design, target)
    assert squares(design, target, found) == pytest.approx(norm**2, rel=1e-9, abs=1e-12)
    if columns <= rows:  # more columns than rows leave it open which of them carry a perfect fit
        assert found == pytest.approx(theirs, rel=1e-6, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(2, 80))
def test_columns_that_are_nearly_alike(seed: int, columns: int) -> None:
    design, target = curves(seed, columns)
    found = non_negative(design, target)
    holds_at_the_least(design, target, found)
    assert squares(design, target, found) <= nnls(design, target, maxiter=50 * columns)[1] ** 2 * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(seeds, seeds)
def test_the_start_changes_the_way_and_not_the_end(seed: int, other: int) -> None:
    design, target = problem(seed, 25, 12)
    start = np.maximum(np.random.default_rng(other).standard_normal(12), 0.0)
    assert non_negative(design, target, start) == pytest.approx(
        non_negative(design, target), rel=1e-7, abs=1e-10
    )


@pytest.mark.parametrize(
    ("design", "target", "expected"),
    [
        (np.eye(3), np.zeros(3), [0, 0, 0]),
        (np.eye(2), np.array([-1.0, -2.0]), [0, 0]),
        (np.zeros((3, 2)), np.ones(3), [0, 0]),
        (np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 4.0]), [2.5]),
    ],
)
def test_problems_with_an_answer_at_sight(
    design: np.ndarray, target: np.ndarray, expected: list[float]
) -> None:
    assert non_negative(design, target).tolist() == pytest.approx(expected)


def test_a_column_twice_is_one_column() -> None:
    design, target = problem(3, 10, 4)
    twice = np.hstack([design, design])
    found = non_negative(twice, target)
    assert squares(twice, target, found) == pytest.approx(
        squares(design, target, non_negative(design, target))
    )


def saturating(seed: int, far_off: float = 0.1) -> tuple[Law, np.ndarray, np.ndarray, np.ndarray]:
    """Residuals and slopes of a sum of two saturating curves in the logarithms, some of the points far off."""
    rng = np.random.default_rng(seed)
    t = np.geomspace(0.05, 20, 40)
    u = 1000 * -np.expm1(-rng.uniform(3, 9) * t) + 9000 * -np.expm1(-rng.uniform(0.02, 0.3) * t)
    u = u * np.where(rng.random(40) < far_off, 0.5, 1 + 0.02 * rng.standard_normal(40))
    sd = 0.02 * u + 4

    def law(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pages, grown = np.exp(x[:2, None]), np.exp(x[2:, None]) * t
        slopes = np.concatenate([pages * -np.expm1(-grown), pages * grown * np.exp(-grown)])
        return (slopes[:2].sum(axis=0) - u) / sd, (slopes / sd).T

    return (
        law,
        np.log([900.0, 5000.0, 5.0, 0.1]),
        np.log([0.1, 0.1, 1e-3, 1e-3]),
        np.log([1e5, 1e5, 200.0, 200.0]),
    )


def by_scipy(law: Law, start: np.ndarray, low: np.ndarray, high: np.ndarray, scale: float) -> np.ndarray:
    def residuals(x: np.ndarray) -> np.ndarray:
        return law(x)[0]

    def slopes(x: np.ndarray) -> np.ndarray:
        return law(x)[1]

    return least_squares(
        residuals, start, jac=slopes, bounds=(low, high), loss="cauchy", f_scale=scale,
        xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=2000,
    ).x  # fmt: skip


def by_rate(x: np.ndarray) -> np.ndarray:
    """The two classes in the order of their rates: swapped they are the same answer."""
    return x.reshape(2, 2)[:, np.argsort(x[2:])]


def robust_sum(law: Law, x: np.ndarray, scale: float) -> float:
    return float(np.log1p((law(x)[0] / scale) ** 2).sum())


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.5, 5.0))
@example(81465909, 0.5)  # the two classes become one; beyond larger sums there is a smaller one
@example(4125175608, 0.5)  # 449 steps along a flat valley
@example(2326577422, 0.5)
def test_from_where_a_robust_fit_ends_scipy_finds_no_way_down(seed: int, scale: float) -> None:
    law, start, low, high = saturating(seed)
    found = robust_in_box(law, start, low, high, scale=scale)
    near = 0.01  # in the logarithms: farther on it may step over larger sums
    further = by_scipy(law, found, np.maximum(low, found - near), np.minimum(high, found + near), scale)
    assert robust_sum(law, found, scale) < robust_sum(law, start, scale)
    assert robust_sum(law, further, scale) == pytest.approx(robust_sum(law, found, scale), rel=1e-8)


@settings(max_examples=40, deadline=None)
@given(seeds)
@example(263284)  # one of them ends with the classes swapped
def test_where_there_is_one_least_sum_both_find_it(seed: int) -> None:
    law, start, low, high = saturating(seed, far_off=0.0)
    found = robust_in_box(law, start, low, high, scale=5.0)
    theirs = by_scipy(law, start, low, high, 5.0)
    assert robust_sum(law, found, 5.0) == pytest.approx(robust_sum(law, theirs, 5.0), rel=1e-8)
    assert by_rate(found) == pytest.approx(by_rate(theirs), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seeds)
@example(1914958018)  # every point is far off at the start, where the loss curves down
def test_a_robust_fit_keeps_to_its_box_and_is_flat_inside(seed: int) -> None:
    law, start, low, _ = saturating(seed)
    high = np.log([700.0, 1e5, 2.0, 200.0])  # the fast class lies outside
    found = robust_in_box(law, start, low, high, scale=2.0)
    assert ((low <= found) & (found <= high)).all()
    residual, slopes = law(found)
    down = -slopes.T @ (residual / (1 + (residual / 2.0) ** 2))
    inside = (low < found) & (found < high)
    assert down[inside] == pytest.approx(np.zeros(inside.sum()), abs=1e-3 * np.abs(slopes).sum())
    assert (down[found == high] >= 0).all() and (down[found == low] <= 0).all()
    assert (found == high).any()


def test_a_fit_that_is_exact_already_stays() -> None:
    def law(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x - 3.0, np.eye(2)

    assert robust_in_box(law, np.full(2, 3.0), np.zeros(2), np.full(2, 9.0), scale=1.0).tolist() == [3.0, 3.0]


def test_a_law_without_slope_ends_at_the_start() -> None:
    found = robust_in_box(
        lambda x: (np.ones(2), np.zeros((2, 1))), np.ones(1), np.zeros(1), np.full(1, 9.0), scale=1.0
    )
    assert found.tolist() == [1.0]
