"""Advice on XBZRLE's cache for a trace."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from migsim.errors import TraceError
from migsim.study.xbzrle_advice import advise_xbzrle
from migsim.trace import Trace, TraceMeta, TraceWriter

TRACES = Path(__file__).parents[2] / "traces"
MIB = 1 << 20


def trace(path, rounds, lengths=(), ram_bytes=256 * MIB):
    """A trace of these pages by interval; every sample was encoded to one of `lengths`."""
    with TraceWriter(path, TraceMeta("stream", "10.0.8", ram_bytes)) as writer:
        for number, pages in enumerate(rounds):
            if number == 1 and len(lengths):
                n = len(lengths)
                writer.add_content(np.arange(n), np.full(n, 8), np.ones(n, int), np.array(lengths))
            writer.add_interval(number, number + 1, pages=pages)
    return Trace.open(path)


def test_a_cyclic_set_twice_the_cache(tmp_path):
    """16 MiB written again and again: half is found in 8 MiB, all of it in 16 MiB."""
    advice = advise_xbzrle(trace(tmp_path / "a.trace", [range(100, 4196)] * 5, [11, 11]))
    by_size = {size.cache_size_bytes // MIB: size for size in advice.sizes}
    assert list(by_size) == [4, 8, 16, 32, 64, 128, 256]
    assert by_size[8].hit_fraction == by_size[8].refused_fraction == 0.5
    assert all(by_size[size].hit_fraction == 1 for size in (16, 32, 64, 128, 256))
    assert advice.recommended_bytes == 16 * MIB
    assert advice.hit_bytes == 22
    assert advice.pages_sent == 4 * 4096
    assert by_size[16].sent_bytes == 4 * 4096 * 22
    assert by_size[8].saved_fraction == pytest.approx(0.5 * (1 - 22 / 4104))
    assert "16MiB finds 100%" in advice.reason
    assert "takes 22 bytes instead of 4104" in advice.reason


def test_before_ageing_the_same_set_is_never_found(tmp_path):
    advice = advise_xbzrle(trace(tmp_path / "a.trace", [range(4096)] * 5), aged=False)
    assert [size.hit_fraction for size in advice.sizes[:3]] == [0, 0, 1]


def test_the_smallest_size_within_two_points(tmp_path):
    """The pages that only the larger cache finds are one in a hundred, or one in ten."""
    few, many = (
        advise_xbzrle(trace(tmp_path / f"{n}.trace", [[*range(900), *range(1024, 1024 + n)]] * 4, [11]))
        for n in (9, 90)
    )
    assert few.recommended_bytes == 4 * MIB
    assert many.recommended_bytes == 8 * MIB


def test_far_pages_meet_in_a_slot_as_near_ones_do(tmp_path):
    far = 200 * 256  # 200 MiB: the same slot in every cache of up to 8 MiB
    advice = advise_xbzrle(trace(tmp_path / "a.trace", [[0, 1, far]] * 3, [11]))
    assert [round(size.hit_fraction, 3) for size in advice.sizes[:3]] == [0.667, 0.667, 1]


def test_pages_that_overflow(tmp_path):
    advice = advise_xbzrle(trace(tmp_path / "a.trace", [range(500)] * 3, [-1] * 97 + [0] * 3))
    assert advice.recommended_bytes is None
    assert advice.reason.startswith("XBZRLE does not help: 97% of the sampled pages overflow")
    assert advice.unchanged_fraction == pytest.approx(0.03)
    assert advice.sizes[0].saved_fraction == pytest.approx(0.03)  # unchanged pages are not sent


def test_pages_that_are_not_sent_again(tmp_path):
    rounds = [range(n * 1000, n * 1000 + 1000) for n in range(4)]
    advice = advise_xbzrle(trace(tmp_path / "a.trace", rounds, [11]))
    assert advice.recommended_bytes is None
    assert "XBZRLE does not help: a cache of 4MiB finds 0%" in advice.reason


def test_without_content_the_hits_are_still_known(tmp_path):
    advice = advise_xbzrle(trace(tmp_path / "a.trace", [range(2000)] * 3))
    assert advice.recommended_bytes == 8 * MIB
    assert "unknown" in advice.reason
    assert np.isnan(advice.table["saved_fraction"]).all()
    text = json.dumps(advice.to_json_object(), allow_nan=False)
    assert json.loads(text)["sizes"][0]["saved-fraction"] is None


def test_table_and_html(tmp_path):
    advice = advise_xbzrle(trace(tmp_path / "a.trace", [range(2000)] * 3, [11]))
    assert list(advice.table["cache_size_bytes"]) == [size.cache_size_bytes for size in advice.sizes]
    assert advice.table["hit_fraction"].is_monotonic_increasing
    html = advice._repr_html_()
    HTMLParser().feed(html)
    assert html.count("<tr>") == len(advice.sizes) + 1
    assert "recommended" in html
    assert advice.reason in html


def test_traces_that_say_nothing_of_pages(tmp_path):
    with pytest.raises(TraceError, match=r"page numbers of 0 interval.*--method stream"):
        advise_xbzrle(Trace.open(TRACES / "hot-4g-dirty-rate.trace"))
    with pytest.raises(TraceError, match="1 interval"):
        advise_xbzrle(trace(tmp_path / "a.trace", [range(10)]))


@pytest.mark.parametrize(
    ("name", "recommended", "saved"),
    [("hot-4g", 512 * MIB, 0.92), ("page-1g", None, 0.03), ("zipf-8g", 1024 * MIB, 0.86)],
)
def test_recorded_guests(name, recommended, saved):
    """The hot guest's 120,000 pages lie in a row and take 469 MiB; the last one's pages are replaced whole."""
    advice = advise_xbzrle(Trace.open(TRACES / f"{name}.trace"))
    assert advice.recommended_bytes == recommended
    assert max(size.saved_fraction for size in advice.sizes) == pytest.approx(saved, abs=0.01)
