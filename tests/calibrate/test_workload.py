"""Traces written from a known process give the process back."""

import numpy as np
import pytest

from migsim.calibrate.workload import fit_workload
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
    assert "zero" in notes and "cut short" in notes and "closed loop" in notes


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
