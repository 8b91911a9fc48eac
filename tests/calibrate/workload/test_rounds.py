import numpy as np
import pytest

from migsim.calibrate.workload.rounds import read_rounds
from migsim.trace import Trace, TraceMeta, TraceWriter

META = TraceMeta(collector="stream", qemu_version="10.0.8", accel="kvm", ram_bytes=256 << 20)


def trace_of(tmp_path, rounds):
    path = tmp_path / "a.trace"
    with TraceWriter(path, META) as writer:
        at = 0.0
        for length, pages in rounds:
            writer.add_interval(at, at + length, pages=pages)
            at += length
    return Trace.open(path)


def test_single_rounds_and_unions(tmp_path):
    history = read_rounds(trace_of(tmp_path, [(1.0, [1, 2]), (0.5, [2, 3]), (2.0, [9])]))
    points = set(zip(history.window_s, history.dirty_pages, history.faults, strict=True))
    assert {(1.0, 2, 2), (0.5, 2, 2), (2.0, 1, 1)} <= points
    # from the first: {1,2,3} in 1.5 s with 4 faults, then {1,2,3,9} in 3.5 s with 5
    assert {(1.5, 3, 4), (3.5, 4, 5), (2.5, 3, 3)} <= points
    assert history.pages.tolist() == [1, 2, 3, 9]
    assert history.hits.tolist() == [1, 2, 1, 1]
    assert history.lengths_s.tolist() == [1.0, 0.5, 2.0]
    assert history.counts.tolist() == [2, 2, 1]


def test_a_round_without_page_numbers_breaks_a_union(tmp_path):
    trace = trace_of(tmp_path, [(1.0, [1]), (1.0, None), (1.0, [2])])
    history = read_rounds(trace)
    assert history.window_s.max() == 1.0
    assert (history.dirty_pages == 1).all()


@pytest.mark.parametrize("rounds", [[(1.0, None), (1.0, None)], [(1.0, []), (2.0, [])]])
def test_a_trace_without_pages_has_no_history(tmp_path, rounds):
    assert read_rounds(trace_of(tmp_path, rounds)) is None


def test_unions_of_a_known_process_follow_its_curve(tmp_path):
    rng = np.random.default_rng(2)
    n, rate = 40_000, 60_000.0
    rounds = [(0.2, np.unique(rng.integers(0, n, rng.poisson(rate * 0.2)))) for _ in range(30)]
    history = read_rounds(trace_of(tmp_path, rounds))
    expected = n * -np.expm1(-rate / n * history.window_s)
    assert history.dirty_pages == pytest.approx(expected, rel=0.03)
    assert (history.faults >= history.dirty_pages).all()
    assert (np.diff(history.window_s) >= 0).all()
