"""Traces written from a known process give the process back."""

import dataclasses

import numpy as np
import pytest

from migsim.calibrate.workload.activity import DEVIATIONS, activities, fit_activity
from migsim.calibrate.workload.fit import fit_workload
from migsim.calibrate.workload.rounds import RoundHistory
from migsim.calibrate.workload.spectrum import Spectrum
from migsim.errors import TraceError
from migsim.trace import RamBlock, Trace, TraceMeta, TraceWriter
from migsim.trace.curve import SingleWindows
from migsim.trace.data_map import DataMap
from tests.calibrate.workload.known_guest import drawn_activities

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


# How the guest's activity moves


def history_of(
    activities, *, pages=20_000, rate=1.0, length_s=0.2, noise=0.0
) -> tuple[RoundHistory, Spectrum]:
    """Rounds of one Poisson class; the guest writes at `activities[k]` of its usual rate in round k."""
    rng = np.random.default_rng(11)
    lengths = np.broadcast_to(np.asarray(length_s, float), (len(activities),))
    counts = pages * -np.expm1(-rate * lengths * np.asarray(activities, float))
    counts = np.round(counts * np.exp(noise * rng.standard_normal(len(counts))))
    nothing = np.array([], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    history = RoundHistory(
        lengths, counts, np.sqrt(counts), counts, nothing, nothing, starts, lengths, counts
    )
    t = np.array([0.2])
    u = pages * -np.expm1(-rate * t)
    spectrum = Spectrum(np.array([float(pages)]), np.array([rate]), np.array([False]), t, u, u, 0.01 * u)
    return history, spectrum


NOTHING = np.zeros(0)
NO_WINDOWS = SingleWindows(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)


def _wandering(history, spectrum, fault_s):
    return fit_activity(*activities(NO_WINDOWS, history, spectrum, fault_s))


def test_a_steady_guest_does_not_wander():
    for noise in (0.0, 0.008):  # counting noise is no activity
        found = _wandering(*history_of(np.ones(80), noise=noise), 0.0)
        assert max(found.deviations) < 0.02
        assert found.mean_deviation < 0.02


@pytest.mark.parametrize("deviations", [(0.3, 0.0, 0.0), (0.0, 0.2, 0.0), (0.1, 0.1, 0.1)])
def test_the_processes_are_found_again(deviations):
    """In the median of traces of a minute; each trace knows its slow process by few of its turns."""
    lengths = np.tile([0.2, 0.3, 0.5, 1.0, 0.3, 2.0, 0.4], 12)
    found = np.array(
        [
            _wandering(
                *history_of(drawn_activities(deviations, lengths, seed), length_s=lengths), 0.0
            ).deviations
            for seed in range(12)
        ]
    )
    middle = np.median(found, axis=0)
    assert middle[:2] == pytest.approx(deviations[:2], rel=0.35, abs=0.05)
    assert middle[2] == pytest.approx(deviations[2], rel=0.6, abs=0.1)


def test_a_longer_trace_knows_the_mean_better():
    def mean_deviation(rounds):
        lengths = np.full(rounds, 0.5)
        found = [
            _wandering(*history_of(drawn_activities((0.2, 0.1, 0.0), lengths, seed), length_s=lengths), 0.0)
            for seed in range(8)
        ]
        return np.median([each.mean_deviation for each in found])

    assert mean_deviation(120) < 0.75 * mean_deviation(12)


def test_the_next_trace_lies_inside_the_spread_as_often_as_it_should():
    """The activity of a guest's second minute against its first one's, over the spread said of it."""
    lengths = np.full(80, 0.5)
    off = []
    for seed in range(40):
        both = drawn_activities((0.15, 0.1, 0.05), np.full(160, 0.5), seed)
        said = _wandering(*history_of(both[:80], length_s=lengths), 0.0).mean_deviation
        off.append(np.log(both[80:].mean() / both[:80].mean()) / said)
    assert 0.6 < np.mean(np.abs(off) < 1.28) <= 1.0


def test_dirty_counts_move_less_than_activity_where_the_curve_bends():
    """Most pages are written in a round: ln U moves by 0.4 of ln activity, which is what is asked for."""
    moving = drawn_activities((0.0, 0.2, 0.0), np.full(120, 0.5))
    flat = _wandering(*history_of(moving, length_s=0.5, rate=0.1, pages=2_000_000), 0.0)
    bent = _wandering(*history_of(moving, length_s=0.5, rate=4.0, pages=2_000_000), 0.0)
    assert bent.deviations == pytest.approx(flat.deviations, rel=0.15, abs=0.02)


def test_rounds_of_milliseconds_are_taken_together():
    """400 rounds of 10 ms tell the fastest process as 80 of 50 ms do."""
    lengths = np.full(400, 0.01)
    moved = drawn_activities((0.3, 0.0, 0.0), lengths)
    seen = activities(NO_WINDOWS, *history_of(moved, length_s=lengths), 0.0)
    assert seen[1] == pytest.approx(np.full(80, 0.05))
    assert fit_activity(*seen).deviations[0] == pytest.approx(0.3, rel=0.4)


def test_one_odd_round_is_not_activity():
    speeds = np.ones(80)
    speeds[33] = 0.2  # a stall
    assert max(_wandering(*history_of(speeds), 0.0).deviations) < 0.02


UNKNOWN = np.sqrt(np.mean(np.square(DEVIATIONS)))


def test_a_saturated_guest_says_nothing_about_its_activity():
    """Every page is written in every round, however fast: the trace does not show it, and the fit says so."""
    found = _wandering(*history_of(np.repeat([1.0, 0.5], 40), rate=60.0), 0.0)
    assert found.deviations == pytest.approx([UNKNOWN] * 3)


def test_few_rounds_leave_more_open_than_many():
    lengths = np.tile([0.2, 0.3, 0.5, 1.0, 0.3, 2.0, 0.4], 12)

    def left_open(rounds):
        moved = drawn_activities((0.05, 0.05, 0.05), lengths[:rounds])
        return _wandering(*history_of(moved, length_s=lengths[:rounds]), 0.0).mean_deviation

    assert left_open(3) > 1.5 * left_open(14) > 1.5 * left_open(84)
    nothing = fit_activity(NOTHING, NOTHING, NOTHING, NOTHING)
    assert nothing.mean_deviation == pytest.approx(UNKNOWN)


def test_what_a_trace_does_not_show_is_said(tmp_path):
    short = fit_workload(stream_trace(tmp_path / "short.trace", rounds=4)).workload
    assert any("how the guest's activity moves" in note for note in short.assumptions)
    long = fit_workload(stream_trace(tmp_path / "long.trace")).workload
    assert short.writes_spread > 2 * long.writes_spread
    assert not any("how the guest's activity moves" in note for note in long.assumptions)


def test_the_windows_before_the_rounds_tell_the_activity_too():
    """calc-dirty-rate's short windows show what rounds of a second do not."""
    start = np.arange(0.0, 4.0, 0.05)
    moved = drawn_activities((0.3, 0.0, 0.0), np.full(len(start), 0.05))
    history, spectrum = history_of(np.ones(20), length_s=np.full(20, 1.0))
    length = np.full(len(start), 0.05)
    written = spectrum.unique_pages(length * moved)
    windows = SingleWindows(length, start, length, written, np.ones(len(start)), np.zeros(len(start)))
    found = fit_activity(*activities(windows, history, spectrum, 0.0))
    alone = fit_activity(*activities(NO_WINDOWS, history, spectrum, 0.0))
    assert found.deviations[0] == pytest.approx(0.3, rel=0.4)
    assert alone.deviations[0] < 0.15


def test_time_lost_in_faults_is_not_taken_for_activity():
    """A guest of constant speed loses a larger share of a short round than of a long one: fewer pages repeat."""
    fault_s, ran = 2e-5, np.tile([0.1, 2.0], 40)
    history, spectrum = history_of(np.ones(80))
    counts = 20_000 * -np.expm1(-ran)
    walls = ran + fault_s * counts
    steady = dataclasses.replace(history, starts_s=np.cumsum(walls) - walls, lengths_s=walls, counts=counts)
    assert max(_wandering(steady, spectrum, fault_s).deviations) < 0.02
    assert max(_wandering(steady, spectrum, 0.0).deviations) > 0.05


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


def test_a_map_moves_pages_and_nothing_else(tmp_path):
    """Zero pages in the first 128 MiB of RAM but for the hot pages, and in the last ones; the same fit elsewhere."""
    silent = stream_trace(tmp_path / "a.trace")
    total = silent.meta.total_pages
    counts = np.minimum(256, total - np.arange(-(-total // 256)) * 256)
    for cell in range(len(counts)):
        begin = cell * 256
        if begin < 32_768 and not HOT[0] - 256 < begin < sum(HOT):
            counts[cell] = 0
    told = Trace.open(tmp_path / "a.trace")
    zero = total - int(counts.sum())
    told.meta = dataclasses.replace(told.meta, zero_pages=zero, data_map=DataMap(256, tuple(counts.tolist())))
    silent.meta = dataclasses.replace(silent.meta, zero_pages=zero)
    mapped, plain = fit_workload(told).workload, fit_workload(silent).workload
    assert mapped.zero_pages == plain.zero_pages == sum(n for _, n in mapped.zero_extents)
    assert plain.zero_extents == ()
    rows = [(c.pages, c.writes_per_page_per_s, c.pattern) for c in mapped.classes]
    assert rows == [(c.pages, c.writes_per_page_per_s, c.pattern) for c in plain.classes]
    assert all(first + n <= 32_768 for first, n in mapped.zero_extents)
    # the hot pages stay where they are, the others lie where there is data
    hot = [e for c in mapped.classes if c.writes_per_page_per_s > 2 for e in c.extents]
    inside = sum(n for first, n in hot if HOT[0] - 8192 < first < sum(HOT))
    assert inside > 0.9 * sum(n for _, n in hot)
    below = sum(n for c in mapped.classes for first, n in c.extents if first + n <= 32_768)
    assert below == pytest.approx(counts[:128].sum(), abs=600)
    assert any("evenly among the others" in note for note in mapped.assumptions)
