"""The rivals follow their descriptions; Gudkov's iteration gives the table that he published."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validation import rivals
from validation.rivals import (
    RIVALS,
    RivalInputs,
    geometric_series,
    gudkov,
    limit_as_downtime,
    ram_over_bandwidth,
)

PAGE = 4096
GIB = 1 << 30

# The sample output of calc-dirty-rate and the grid printed from it, as published with the patch series.
SAMPLED, ZERO, TOTAL = 16392, 10060, 8392704
PERIODS_MS = [125, 250, 375, 500, 750, 1000, 1500, 2000, 3000, 4001, 6000, 8000, 10000, 15000, 20000, 25000]
PERIODS_MS += [30000, 35000, 40000, 45000, 50000, 60000]
DIRTY = [
    33,
    78,
    119,
    151,
    217,
    236,
    293,
    336,
    425,
    505,
    620,
    756,
    898,
    1204,
    1457,
    1723,
    1934,
    2141,
    2328,
    2522,
]
DIRTY += [2675, 2958]
LIMITS_MS = [125, 250, 500, 1000, 5000, math.inf]
PUBLISHED_S: dict[float, list[int | None]] = {  # his Gbps are 2**30 bits
    100 / 1024: [None, None, None, None, None, 1019],
    1: [None, None, None, None, None, 100],
    2: [None, None, None, None, 101, 50],
    2.5: [None, None, None, None, 67, 40],
    5: [48, 46, 31, 28, 25, 20],
    10: [13, 12, 12, 12, 12, 10],
    25: [5, 5, 5, 5, 4, 4],
    40: [3, 3, 3, 3, 3, 3],
}


def published_inputs(gibps: float, limit_ms: float) -> RivalInputs:
    scale = TOTAL / SAMPLED
    return RivalInputs(
        ram_bytes=TOTAL * PAGE,
        nonzero_pages=TOTAL - ZERO * scale,
        zero_pages=ZERO * scale,
        window_s=[ms / 1000 for ms in PERIODS_MS],
        dirty_pages=[pages * scale for pages in DIRTY],
        max_bandwidth_bytes_per_s=gibps * GIB / 8,
        downtime_limit_ms=limit_ms,
    )


def guest(*, limit_ms: float = 300, rate: float = 10_000, nonzero: int = 200_000) -> RivalInputs:
    return RivalInputs(4 * GIB, nonzero, 4 * GIB // PAGE - nonzero, [1, 2], [rate, 2 * rate], 125e6, limit_ms)


@pytest.mark.parametrize("gibps", PUBLISHED_S)
def test_gudkov_meets_his_published_grid(gibps: float) -> None:
    answers = [gudkov.predict(published_inputs(gibps, limit)) for limit in LIMITS_MS]
    seconds = [None if a.total_time_ms is None else math.ceil(a.total_time_ms / 1000) for a in answers]
    assert seconds == PUBLISHED_S[gibps]
    assert [a.converges for a in answers] == [s is not None for s in PUBLISHED_S[gibps]]


def test_gudkov_last_round_is_the_downtime_and_fits_the_limit() -> None:
    answer = gudkov.predict(published_inputs(5, 500))
    assert answer.downtime_ms is not None and answer.rounds is not None
    assert 0 < answer.downtime_ms <= 500
    assert answer.rounds > 2


def test_gudkov_counts_headers_once_per_page() -> None:
    answer = gudkov.predict(guest(rate=0))
    assert answer.transferred_bytes == pytest.approx(200_000 * 4096 + 4 * GIB // PAGE * 8)
    assert answer.rounds == 2  # all pages, then an empty round with the guest stopped
    assert answer.downtime_ms == 0


def test_gudkov_curve_never_passes_the_pages_that_hold_data() -> None:
    slow = RivalInputs(GIB, 1000, 0, [1, 2], [400, 5000], 1000 * (4096 + 8) / 50, 0)
    assert gudkov.predict(slow).converges is False


def test_geometric_series_closed_form_is_the_sum_of_its_rounds() -> None:
    answer = geometric_series.predict(guest())
    volume, total, rounds = 200_000.0 * PAGE, 0.0, 0
    while True:
        total += volume
        rounds += 1
        if volume <= 125e6 * 0.3:
            break
        volume *= 10_000 * PAGE / 125e6
    assert answer.transferred_bytes == pytest.approx(total)
    assert answer.rounds == rounds
    assert answer.downtime_ms == pytest.approx(volume / 125e6 * 1000)


@pytest.mark.parametrize(("rate", "limit_ms"), [(40_000, 300), (10_000, 0)])
def test_geometric_series_never_ends_above_the_bandwidth_or_without_a_limit(
    rate: float, limit_ms: float
) -> None:
    answer = geometric_series.predict(guest(rate=rate, limit_ms=limit_ms))
    assert answer.converges is False and answer.total_time_ms is None


def test_geometric_series_needs_no_second_round_when_all_fits() -> None:
    answer = geometric_series.predict(guest(rate=1e9, limit_ms=60_000))
    assert (answer.rounds, answer.converges) == (1, True)
    assert answer.total_time_ms == answer.downtime_ms


def test_the_two_rules_of_thumb() -> None:
    assert limit_as_downtime.predict(guest(limit_ms=123)).downtime_ms == 123
    assert limit_as_downtime.predict(guest()).converges is None
    assert ram_over_bandwidth.predict(guest()).total_time_ms == pytest.approx(4 * GIB / 125e6 * 1000)


@given(
    nonzero=st.integers(0, 10**6),
    rate=st.floats(0, 1e6),
    bend=st.floats(0, 1),
    speed=st.floats(1e6, 1e10),
    limit_ms=st.floats(0, 1e4) | st.just(math.inf),
)
def test_answers_are_whole_or_never(
    nonzero: int, rate: float, bend: float, speed: float, limit_ms: float
) -> None:
    inputs = RivalInputs(
        8 * GIB, nonzero, 10**6, [0.5, 1, 4], [rate * 0.6, rate, rate * (1 + bend)], speed, limit_ms
    )
    for predict in (geometric_series.predict, gudkov.predict):
        answer = predict(inputs)
        if not answer.converges:
            assert (answer.total_time_ms, answer.downtime_ms, answer.rounds) == (None, None, None)
            continue
        assert answer.total_time_ms is not None and answer.downtime_ms is not None
        assert 0 <= answer.downtime_ms <= answer.total_time_ms * (1 + 1e-9)
        assert answer.downtime_ms <= limit_ms * (1 + 1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"window_s": [1.0], "dirty_pages": [1.0]},
        {"window_s": [2.0, 1.0]},
        {"window_s": [0.0, 1.0]},
        {"dirty_pages": [1.0]},
        {"dirty_pages": [-1.0, 2.0]},
        {"max_bandwidth_bytes_per_s": 0.0},
    ],
)
def test_invalid_inputs_are_refused(change: dict[str, object]) -> None:
    fields = {**vars(guest()), **change}
    with pytest.raises(ValueError, match=r"curve|windows|negative|above zero"):
        RivalInputs(**fields)


def test_rivals_share_no_code_with_migsim() -> None:
    for path in Path(rivals.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "migsim"], path
    assert set(RIVALS) == {"limit-as-downtime", "ram-over-bandwidth", "geometric-series", "gudkov"}
