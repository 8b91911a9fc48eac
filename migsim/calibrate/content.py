"""From a trace's samples of page contents to what a write does to its page, which decides how XBZRLE encodes it.

The stream collector compares a page's contents with an earlier version. The number of writes between the two versions
follows from the page class's rate and the rounds' lengths. The kind of write that best explains the changed bytes and
runs is fitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from migsim.models.dirty.page_writes import changed_pages_writes
from migsim.models.xbzrle.content import PageWrites, encoding_by_writes
from migsim.trace.content import content_with_write_times
from migsim.units import PAGE_BYTES
from migsim.workload import PageContent, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from migsim.calibrate.workload.fit import WorkloadFit
    from migsim.trace import Trace

__all__ = ["fit_content", "with_content"]

Floats = NDArray[np.float64]

FEWEST_SAMPLES = 12
WHOLE_BYTES = 0.8 * PAGE_BYTES
"""A page that overflows and has at least this many changed bytes counts as replaced."""

BINS = 6
FEWEST_IN_BIN = 6
PLACES = (1, 8, 64, 512, 4096)
SAME = (1 / 256, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Values that are tried for the chance that a written byte keeps its old value."""

WEIGHTS = np.array([1.0, 1.0, 4.0])
"""Weights of changed bytes, runs and encoded lengths; the lengths count most because they are predicted."""

REFINED = 3
"""Number of the best grid points that are refined."""

EVEN_SAMPLES = 50
"""An interval with more samples than this counts no more, because traces sample most in their first intervals."""


def with_content(fit: WorkloadFit, trace: Trace) -> Workload:
    """Return the fitted workload with the contents of its pages, as far as the trace has samples of them.

    A class with too few samples gets the contents of the whole trace.
    """
    workload = fit.workload
    samples = _samples(trace)
    of_class = _class_of(samples["page"].to_numpy(), fit.placed)
    placed = samples[of_class >= 0]
    if len(placed) < FEWEST_SAMPLES:
        note = "The trace does not show how contents change: XBZRLE is taken to find whole pages changed."
        return workload.replace(assumptions=(*workload.assumptions, note))
    rates = np.array([c.writes_per_page_per_s for c in workload.classes])
    classes = []
    for index, c in enumerate(workload.classes):
        in_class = of_class == index
        chosen = in_class if in_class.sum() >= FEWEST_SAMPLES else of_class >= 0
        if c.writes_per_page_per_s:
            of_pages, rate = samples[chosen], rates[of_class[chosen]]
            writes = (of_pages[name].to_numpy() * rate for name in ("since_s", "after_s", "unlogged_s"))
            c = c.replace(content=fit_content(of_pages, changed_pages_writes(*writes)))
        classes.append(c)
    return workload.replace(classes=tuple(classes))


def _samples(trace: Trace) -> pd.DataFrame:
    """Return the content samples with their times; `unlogged_s` is from a page's protection to its first sending."""
    samples = content_with_write_times(trace)
    samples = samples[samples["since_s"] > 0]
    # The first page of a round is sent at the sync and has its chunk cleared; the tracer delays the others.
    resent = samples["between_s"] < samples["after_s"] + samples["interval_s"] - 1e-3
    return samples.assign(unlogged_s=samples["after_s"].where(resent, 0.0))


def fit_content(samples: pd.DataFrame, writes: Floats) -> PageContent:
    """Fit the contents of writes to samples of pages that were compared with an earlier version.

    Parameters
    ----------
    samples : DataFrame
        `changed_bytes`, `runs` and `xbzrle_bytes` of each page, and the `interval` of each where known.
    writes : ndarray
        Mean number of writes to each page between the two versions, from its class's rate.

    Returns
    -------
    PageContent
    """
    changed = samples["changed_bytes"].to_numpy(float)
    overflow = samples["xbzrle_bytes"].to_numpy() < 0
    whole = overflow & (changed >= WHOLE_BYTES)
    part = (changed > 0) & ~overflow
    fraction = float(whole.sum() / max((changed > 0).sum(), 1))
    if part.sum() < FEWEST_SAMPLES // 2:
        return PageContent(bytes_a_write=PAGE_BYTES, places=1, whole_fraction=1.0)
    weight = _even(samples["interval"].to_numpy()) if "interval" in samples else np.ones(len(samples))
    table = samples[["changed_bytes", "runs", "xbzrle_bytes"]].to_numpy(float)
    best = _nearest(_in_bins(writes[part], table[part], weight[part]))
    return PageContent(
        bytes_a_write=best.bytes_a_write,
        places=best.places,
        same_fraction=best.same_fraction,
        whole_fraction=fraction,
    )


class _Binned(NamedTuple):
    """Means of samples in bins of writes; arrays with one row for each bin."""

    writes: Floats
    means: Floats
    weight: Floats

    def some(self, chosen: NDArray[np.int64]) -> _Binned:
        return _Binned(self.writes[chosen], self.means[chosen], self.weight[chosen])


def _even(interval: NDArray[np.int64]) -> Floats:
    """Return weights with which all intervals of a trace count the same."""
    _, place, count = np.unique(interval, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / np.maximum(count, EVEN_SAMPLES)[place])


def _in_bins(writes: Floats, values: Floats, weight: Floats) -> _Binned:
    """Return weighted means in bins of logarithmically equal width."""
    order = np.argsort(writes)
    edges = np.geomspace(max(writes.min(), 1e-3), max(writes.max(), 2e-3), BINS + 1)[1:-1]
    parts = [p for p in np.split(order, np.searchsorted(writes[order], edges)) if len(p) >= FEWEST_IN_BIN]
    parts = parts or [order]
    return _Binned(
        np.array([max(float(np.average(writes[p], weights=weight[p])), 1e-3) for p in parts]),
        np.array([np.average(values[p], axis=0, weights=weight[p]) for p in parts]),
        np.sqrt([weight[p].sum() for p in parts]),
    )


def _nearest(binned: _Binned) -> PageWrites:
    """Return the writes whose law is nearest to the bins: best on a grid by few bins, then refined by all bins."""
    # Bytes of one write: in the first bin the written pages have few writes, which hardly overlap.
    a_write = float(binned.means[0, 0] * -np.expm1(-binned.writes[0]) / binned.writes[0])
    few = binned.some(np.unique([0, len(binned.writes) // 2, len(binned.writes) - 1]))
    grid = {
        _writes(a_write / (1 - same) * f, places, same)
        for same in SAME for f in (0.8, 0.9, 1.0, 1.1, 1.25) for places in PLACES
    }  # fmt: skip
    best = sorted(grid, key=lambda tried: (_misfit(tried, few), tried.bytes_a_write))[:REFINED]
    fine = {
        _writes(c.bytes_a_write * f, c.places, min(c.same_fraction * g, 0.5))
        for c in best for f in (0.9, 0.95, 1.0, 1.05, 1.1) for g in (0.6, 1.0, 1.5)
    }  # fmt: skip
    return min(fine, key=lambda tried: (_misfit(tried, binned), tried.bytes_a_write))


def _writes(bytes_a_write: float, places: int, same: float) -> PageWrites:
    return PageWrites(min(max(round(bytes_a_write), 1), PAGE_BYTES), places, same)


def _misfit(content: PageWrites, binned: _Binned) -> float:
    """Return the mean squared error of the logarithms of changed bytes, runs and lengths."""
    law = encoding_by_writes(content, binned.writes)
    expected = np.stack([law.changed_bytes, law.runs, law.encoded_bytes], axis=1)
    off = np.log(np.maximum(expected, 1e-9) / np.maximum(binned.means, 1e-9)) ** 2
    return float((off @ WEIGHTS) @ binned.weight / binned.weight.sum())


def _class_of(pages: NDArray[np.int64], placed: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the class that each page belongs to, -1 for none."""
    classes = np.full(len(pages), -1)
    for index, of_class in enumerate(placed):
        classes[np.isin(pages, of_class)] = index
    return classes
