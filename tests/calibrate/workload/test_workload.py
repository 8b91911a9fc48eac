"""Traces written from a known process give the process back."""

import dataclasses

import numpy as np
import pytest

from migsim.calibrate.workload.fit import USUAL_SPREAD, _spread, fit_workload
from migsim.calibrate.workload.rounds import RoundHistory
from migsim.calibrate.workload.spectrum import Spectrum
from migsim.errors import TraceError
from migsim.trace import RamBlock, Trace, TraceMeta, TraceWriter

BLOCKS = RamBlock.stack([("pc.ram", 512 << 20), ("vga.vram", 16 << 20)])
HOT, WARM = (20_000, 2000), (60_000, 12_000)  # first page, pages
HOT_RATE, WARM_RATE = 10.0, 0.15  # writes to a page, a second


def stream_trace(path, *, fault_s=0.0, rounds=60, zero_pages=50_000, complete=True):
    """Rounds of two Poisson classes; with `fault_s` the guest loses that time at each page's first write."""
    rng = np.random.default_rng(7)
    meta = TraceMeta(
        collector="stream",
        qemu_version="10.0.8",
        accel="kvm",
        ram_bytes=512 << 20,
        ram_blocks=BLOCKS,
        zero_pages=zero_pages,
    )
    writer = TraceWriter(path, meta)
    at = 0.0
    for _ in range(rounds):
        ran = float(rng.uniform(0.1, 0.4))
        pages = [
            first + np.unique(rng.integers(0, n, rng.poisson(n * rate * ran)))
            for (first, n), rate in ((HOT, HOT_RATE), (WARM, WARM_RATE))
        ]
        dirty = np.concatenate(pages)
        wall = ran + fault_s * len(dirty)
        writer.add_interval(at, at + wall, pages=dirty, sent_pages=len(dirty))
        at += wall
    writer.close(complete=complete)
    return Trace.open(path)


def truth(t):
    return HOT[1] * -np.expm1(-HOT_RATE * t) + WARM[1] * -np.expm1(-WARM_RATE * t)


@pytest.mark.parametrize("fault_s", [0.0, 2e-5])
def test_the_process_is_found_again(tmp_path, fault_s):
    fit = fit_workload(stream_trace(tmp_path / "a.trace", fault_s=fault_s), dirty_fault_s=fault_s)
    t = np.array([0.05, 0.1, 0.3, 1.0, 5.0])
    assert fit.mode == "stream"
    assert fit.spectrum.unique_pages(t) == pytest.approx(truth(t), rel=0.06)
    hot = [c for c in fit.workload.classes if c.writes_per_page_per_s > 2]
    assert sum(c.pages for c in hot) == pytest.approx(HOT[1], rel=0.15)
    inside = sum(n for c in hot for f, n in c.extents if HOT[0] - 8192 < f < sum(HOT))
    assert inside > 0.9 * sum(c.pages for c in hot)
    assert fit.workload.writes_spread < 0.06


def test_ignoring_the_faults_makes_the_guest_look_slow(tmp_path):
    trace = stream_trace(tmp_path / "a.trace", fault_s=5e-5)
    with_faults, without = fit_workload(trace, dirty_fault_s=5e-5), fit_workload(trace)
    assert with_faults.workload.writes_per_s > 1.05 * without.workload.writes_per_s


def test_every_page_is_accounted_for(tmp_path):
    fit = fit_workload(stream_trace(tmp_path / "a.trace"))
    w = fit.workload
    total = (512 + 16 << 20) // 4096
    assert w.ram_bytes == 512 << 20
    assert w.ram_total_bytes == total * 4096
    assert w.zero_pages == 50_000
    assert sum(c.pages for c in w.classes) + w.zero_pages == total
    for c in w.classes:
        assert sum(n for _, n in c.extents) == c.pages
    assert len(fit.residuals) == len(fit.spectrum.window_s)
    assert abs(fit.residuals["relative_error"]).median() < 0.05
    assert "classes" in repr(fit) and "<table>" in fit._repr_html_()


def test_what_was_assumed_is_said(tmp_path):
    fit = fit_workload(stream_trace(tmp_path / "a.trace", zero_pages=None, complete=False))
    notes = " ".join(fit.workload.assumptions)
    assert "zero" in notes and "cut short" in notes


def test_calc_dirty_rate_windows_are_enough(tmp_path):
    rng = np.random.default_rng(3)
    meta = TraceMeta(
        collector="dirty-rate", qemu_version="10.0.8", accel="kvm", ram_bytes=512 << 20, zero_pages=100_000
    )
    path = tmp_path / "b.trace"
    with TraceWriter(path, meta) as writer:
        for k, window in enumerate(np.tile([0.1, 0.3, 1.0, 3.0, 9.0], 6)):
            pages = 5000 * -np.expm1(-2.0 * window) * np.exp(0.02 * rng.standard_normal())
            writer.add_windows(
                [
                    {
                        "mode": "dirty-bitmap",
                        "window_s": window,
                        "start_s": 10.0 * k,
                        "measured_s": window,
                        "dirty_bytes": int(pages) * 4096,
                        "resolution_bytes": 4096,
                        "sampled_pages": 0,
                    }
                ]
            )
    fit = fit_workload(Trace.open(path))
    t = np.array([0.2, 0.5, 2.0])
    assert fit.mode == "dirty-bitmap"
    assert fit.spectrum.unique_pages(t) == pytest.approx(5000 * -np.expm1(-2.0 * t), rel=0.06)
    assert any("no page numbers" in note for note in fit.workload.assumptions)


def test_a_trace_that_saw_nothing_is_refused(tmp_path):
    path = tmp_path / "c.trace"
    with TraceWriter(path, TraceMeta(collector="stream", qemu_version="10.0", ram_bytes=1 << 26)) as writer:
        writer.add_interval(0.0, 1.0)
    with pytest.raises(TraceError, match="no window"):
        fit_workload(Trace.open(path))


# How steady the guest is


def history_of(speeds, *, pages=20_000, rate=1.0, length_s=0.2, noise=0.0) -> tuple[RoundHistory, Spectrum]:
    """Rounds of one Poisson class; the guest runs at `speeds[k]` of its usual speed in round k."""
    rng = np.random.default_rng(11)
    lengths = np.full(len(speeds), length_s)
    counts = pages * -np.expm1(-rate * length_s * np.asarray(speeds, float))
    counts = np.round(counts * np.exp(noise * rng.standard_normal(len(counts))))
    nothing = np.array([], dtype=np.int64)
    history = RoundHistory(lengths, counts, np.sqrt(counts), counts, nothing, nothing, lengths, counts)
    t = np.array([length_s])
    u = pages * -np.expm1(-rate * t)
    spectrum = Spectrum(np.array([float(pages)]), np.array([rate]), np.array([False]), t, u, u, 0.01 * u)
    return history, spectrum


def test_a_constant_speed_has_the_least_spread():
    assert _spread(*history_of(np.ones(80)), 0.0) == 0.01
    assert _spread(*history_of(np.ones(80), noise=0.02), 0.0) < 0.02  # counting noise is no speed


def test_a_speed_that_halves_midway_is_a_large_spread():
    halves = np.repeat([1.0, 0.5], 40)
    # Four blocks at 0 and four at ln 1/2, by deviation 0.37: more than the most that is believed.
    assert _spread(*history_of(halves), 0.0) == 0.3
    # A third slower: the law is bent within the round, so a little less than the logarithm's.
    slower = np.repeat([1.0, 0.75], 40)
    assert _spread(*history_of(slower), 0.0) == pytest.approx(np.log(1 / 0.75) / 2 * np.sqrt(8 / 7), rel=0.1)


def test_dirty_counts_move_less_than_speed_where_the_curve_bends():
    """Half the pages are written in a round: ln U moves by 0.7 of ln speed, and the speed is what is asked for."""
    steps = np.repeat([1.0, 0.8], 40)
    history, spectrum = history_of(steps, rate=3.5)
    truth = np.log(1 / 0.8) / 2 * np.sqrt(8 / 7)
    assert np.std(np.log(history.counts), ddof=1) < 0.85 * truth
    assert _spread(history, spectrum, 0.0) == pytest.approx(truth, rel=0.1)


def test_one_odd_round_is_not_speed():
    speeds = np.ones(80)
    speeds[33] = 0.2  # a stall
    assert _spread(*history_of(speeds), 0.0) == 0.01


def test_a_saturated_guest_says_nothing_about_its_speed():
    """Every page is written in every round, at any speed: the usual spread, not none."""
    assert _spread(*history_of(np.repeat([1.0, 0.5], 40), rate=60.0), 0.0) == USUAL_SPREAD


def test_too_few_rounds_or_none_leave_the_usual_spread():
    history, spectrum = history_of(np.repeat([1.0, 0.5], 5))
    assert _spread(history, spectrum, 0.0) == USUAL_SPREAD
    assert _spread(None, spectrum, 0.0) == USUAL_SPREAD


def test_time_lost_in_faults_is_not_taken_for_speed():
    """A guest of constant speed loses a larger share of a short round than of a long one: fewer pages repeat."""
    fault_s, ran = 2e-5, np.tile([0.1, 2.0], 40)
    history, spectrum = history_of(np.ones(80))
    counts = 20_000 * -np.expm1(-ran)
    walls = ran + fault_s * counts
    order = np.argsort(ran, kind="stable")  # short rounds first: ignoring faults, the guest seems to speed up
    steady = dataclasses.replace(history, lengths_s=walls[order], counts=counts[order])
    assert _spread(steady, spectrum, fault_s) == 0.01
    assert _spread(steady, spectrum, 0.0) > 0.05


@pytest.mark.parametrize("ram_bytes", [64 << 20, 8 << 30])
def test_a_guest_that_writes_all_of_its_memory_has_no_more_pages_than_that(tmp_path, ram_bytes):
    """Sizes are fitted, so they may come to a page or two more than there are."""
    path = tmp_path / "all.trace"
    pages = np.arange(ram_bytes // 4096)
    with TraceWriter(path, TraceMeta("stream", "10.0.8", ram_bytes, accel="kvm", zero_pages=0)) as writer:
        for number in range(4):
            writer.add_interval(number, number + 1, pages=pages, sent_pages=len(pages))
    workload = fit_workload(Trace.open(path)).workload
    assert sum(c.pages for c in workload.classes) == len(pages)
    assert workload.zero_pages == 0
