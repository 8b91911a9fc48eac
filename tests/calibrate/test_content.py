"""What a write does to its page, fitted to content statistics made from real bytes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import migsim
from migsim.calibrate.content import fit_content, with_content
from migsim.calibrate.workload.fit import fit_workload
from migsim.models.xbzrle.content import PageWrites, expected_encoding
from migsim.models.xbzrle.encoding import page_change

PAGE = 4096


def sampled(writes: np.ndarray, size: int, places: int, rng: np.random.Generator) -> pd.DataFrame:
    """Pages that got a Poisson number of writes of random bytes, compared with what they were before."""
    old = rng.integers(0, 256, (len(writes), PAGE), dtype=np.uint8)
    new = old.copy()
    for page, mean in enumerate(writes):
        for _ in range(rng.poisson(mean)):
            begin = min(int(rng.integers(places)) * (PAGE // places), PAGE - size)
            new[page, begin : begin + size] = rng.integers(0, 256, size, dtype=np.uint8)
    return pd.DataFrame(page_change(old, new)._asdict())


@pytest.mark.parametrize(("size", "places"), [(8, 512), (64, 64), (4, 4096), (200, 8)])
def test_lengths_by_writes_are_found_again(size, places):
    rng = np.random.default_rng(size)
    writes = np.repeat([0.5, 2.0, 6.0, 15.0], 60)
    fitted = fit_content(sampled(writes, size, places, rng), writes)
    assert fitted.whole_fraction == 0
    made = PageWrites(fitted.bytes_a_write, fitted.places, fitted.same_fraction)
    for mean in (0.5, 2.0, 6.0, 15.0):
        true = expected_encoding(PageWrites(size, places), mean)
        assert expected_encoding(made, mean).encoded_bytes == pytest.approx(true.encoded_bytes, rel=0.12)


def test_pages_replaced_whole_are_told_apart():
    rng = np.random.default_rng(1)
    writes = np.full(120, 2.0)
    part = sampled(writes[:90], 8, 512, rng)
    whole = sampled(np.full(30, 20.0), PAGE, 1, rng)
    fitted = fit_content(pd.concat([part, whole]), writes)
    seen = (part["changed_bytes"] > 0).sum()
    assert fitted.whole_fraction == pytest.approx(30 / (seen + 30), abs=0.01)
    assert fitted.bytes_a_write < 20
    every = fit_content(whole, np.full(30, 20.0))
    assert (every.whole_fraction, every.bytes_a_write) == (1.0, PAGE)


@pytest.mark.parametrize(
    ("name", "hot", "whole"), [("delta-2g", 10_000, 0.0), ("rewrite-2g", 5_000, 1.0), ("page-1g", 100, 1.0)]
)
def test_real_guests_show_what_they_were_told_to_write(name, hot, whole):
    trace = migsim.Trace.open(f"traces/{name}.trace")
    workload = with_content(fit_workload(trace), trace)
    busy = [c for c in workload.classes if c.writes_per_page_per_s and c.pages >= hot]
    assert busy
    for c in busy:
        assert c.content is not None
        assert c.content.whole_fraction == pytest.approx(whole, abs=0.05)


def test_a_trace_without_contents_is_an_assumption():
    trace = migsim.Trace.open("traces/hot-4g-dirty-rate.trace")
    workload = with_content(fit_workload(trace), trace)
    assert all(c.content is None for c in workload.classes)
    assert any("XBZRLE" in note for note in workload.assumptions)
