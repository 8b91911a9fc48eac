"""The unique-dirty curve from windows, rounds and events; the summary of a trace."""

import numpy as np
import pytest

from migsim.trace import Trace, TraceMeta, TraceWriter
from migsim.trace.render import summary

PAGES = 100_000


def meta(collector="dirty-rate", accel="kvm"):
    return TraceMeta(collector=collector, qemu_version="10.0.8", accel=accel, ram_bytes=PAGES * 4096)


def window(mode, window_s, dirty_bytes, *, sampled=0, resolution=0):
    return {
        "mode": mode,
        "window_s": window_s,
        "start_s": 0.0,
        "measured_s": window_s,
        "dirty_bytes": dirty_bytes,
        "resolution_bytes": resolution,
        "sampled_pages": sampled,
    }


def recorded(path, fill, collector="dirty-rate", accel="kvm"):
    with TraceWriter(path, meta(collector, accel)) as writer:
        fill(writer)
    return Trace.open(path)


def test_windows_are_pooled_by_mode_and_length(tmp_path):
    rows = [window("dirty-bitmap", 1.0, n * 4096) for n in (1000, 1200)]
    rows.append(window("dirty-bitmap", 2.0, 1500 * 4096))
    rows.append(window("page-sampling", 1.0, 50_000 * 4096, sampled=400))
    curve = recorded(tmp_path / "a.trace", lambda w: w.add_windows(rows)).unique_dirty_curve()
    exact = curve.only("dirty-bitmap")
    assert exact.window_s.tolist() == [1.0, 2.0]
    assert exact.dirty_pages.tolist() == [1100, 1500]
    assert exact.sd_pages[0] == pytest.approx(np.std([1000, 1200], ddof=1))
    # half of the pages, 400 samples: one standard deviation is 2.5 % of the pages
    assert curve.only("page-sampling").sd_pages[0] == pytest.approx(PAGES * 0.025)


def test_rounded_answers_stand_in_the_middle_of_their_step_but_zero_stays_zero(tmp_path):
    rows = [
        window("dirty-bitmap", 1.0, 1 << 20, resolution=1 << 20),
        window("dirty-bitmap", 2.0, 0, resolution=1 << 20),
    ]
    curve = recorded(tmp_path / "a.trace", lambda w: w.add_windows(rows)).unique_dirty_curve()
    assert curve.dirty_pages.tolist() == [384, 0]
    assert (curve.sd_pages > 70).all()


def test_bitmap_windows_of_a_tcg_guest_say_nothing(tmp_path):
    rows = [window("dirty-bitmap", 0.1, 0), window("page-sampling", 1.0, 50_000 * 4096, sampled=400)]
    trace = recorded(tmp_path / "a.trace", lambda w: w.add_windows(rows), accel="tcg")
    assert trace.unique_dirty_curve().mode.tolist() == ["page-sampling"]


def test_rounds_of_about_the_same_length_are_one_point(tmp_path):
    def fill(writer):
        writer.add_interval(0, 10, dirty_pages=-1)
        writer.add_interval(10, 11, pages=range(100))
        writer.add_interval(11, 12.05, pages=range(200))
        writer.add_interval(12.05, 12.25, pages=range(50))

    curve = recorded(tmp_path / "a.trace", fill, "stream").unique_dirty_curve()
    assert curve.window_s == pytest.approx([0.2, 1.025])
    assert curve.dirty_pages.tolist() == [50, 150]
    assert set(curve.mode) == {"stream"}


def test_events_count_distinct_pages_from_each_reset(tmp_path):
    rng = np.random.default_rng(3)
    time_us = np.sort(rng.integers(0, 1_000_000, 5000))
    page = rng.integers(0, 700, 5000)

    def fill(writer):
        for start in (0.0, 0.5):
            inside = (time_us >= start * 1e6) & (time_us < (start + 0.5) * 1e6)
            writer.add_events(time_us[inside], page[inside], 0)
            writer.add_interval(start, start + 0.5, pages=page[inside])

    curve = recorded(tmp_path / "a.trace", fill, "dirty-ring").unique_dirty_curve()
    assert curve.window_s[-1] == pytest.approx(1.0)
    assert curve.dirty_pages[-1] == len(set(page))
    at = int(np.argmin(abs(curve.window_s - 0.1)))
    t = curve.window_s[at]
    expected = [len(set(page[(time_us >= s * 1e6) & (time_us < (s + t) * 1e6)].tolist())) for s in (0.0, 0.5)]
    assert curve.dirty_pages[at] == pytest.approx(np.mean(expected), abs=1)
    assert (np.diff(curve.dirty_pages) > -20).all()


def test_windows_never_reach_over_a_gap_or_a_loss(tmp_path):
    def fill(writer):
        for start, lost in ((0.0, 0), (1.0, 0), (2.5, 0), (3.5, 9)):
            writer.add_events([round(start * 1e6)], [round(start)], 0)
            writer.add_interval(start, start + 1, pages=[round(start)], lost_events=lost)

    curve = recorded(tmp_path / "a.trace", fill, "dirty-ring").unique_dirty_curve()
    assert curve.window_s[-1] == pytest.approx(2.0)


def test_an_empty_trace_has_an_empty_curve(tmp_path):
    trace = recorded(tmp_path / "a.trace", lambda w: None)
    assert len(trace.unique_dirty_curve()) == 0
    assert "<svg" not in trace._repr_html_()


def test_a_rate_names_its_window_and_html_is_escaped(tmp_path):
    rows = [window("dirty-bitmap", 1.0, 99_000_000), window("dirty-bitmap", 2.0, 98_000_000)]
    with TraceWriter(tmp_path / "a&b.trace", meta()) as writer:
        writer.add_windows(rows)
        writer.update_meta(note="<script>alert(1)</script>")
    trace = Trace.open(tmp_path / "a&b.trace")
    texts = dict(summary(trace))
    assert texts["dirty rate, dirty-bitmap"] == "99 MB/s over 1 s windows, 49 MB/s over 2 s windows"
    assert texts["zero pages"] == "unknown"
    html = trace._repr_html_()
    assert "<script>" not in html
    assert "a&amp;b.trace" in html
    assert "<svg" in html
    assert "http" not in html
