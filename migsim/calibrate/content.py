"""From a trace's content statistics to what a write does to its page: what XBZRLE gets to encode.

The stream collector compares a page's contents with those that it held of it before. How many writes lie between
follows from the class's rate and the rounds' lengths; which writes explain the changed bytes and runs seen is fitted.
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
"""A page that overflows and of which this much changed was replaced."""

BINS = 6
FEWEST_IN_BIN = 6
PLACES = (1, 8, 64, 512, 4096)
SAME = (1 / 256, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Chances tried that a written byte has its old value."""

WEIGHTS = np.array([1.0, 1.0, 4.0])
"""Of changed bytes, runs and encoded lengths; lengths are what is predicted."""

REFINED = 3
"""Of the best on the grid so many are tried in finer steps."""

EVEN_SAMPLES = 50
"""An interval with more samples than this counts no more: what a trace sampled early would outweigh all else."""


def with_content(fit: WorkloadFit, trace: Trace) -> Workload:
    """Return the fitted workload with what the trace says of its pages' contents; without where it says nothing.

    Classes that too few samples belong to are taken to be like the whole trace.
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
        own = of_class == index
        chosen = own if own.sum() >= FEWEST_SAMPLES else of_class >= 0
        if c.writes_per_page_per_s:
            seen, rate = samples[chosen], rates[of_class[chosen]]
            times = (seen[name].to_numpy() * rate for name in ("since_s", "after_s", "unlogged_s"))
            c = c.replace(content=fit_content(seen, changed_pages_writes(*times)))
        classes.append(c)
    return workload.replace(classes=tuple(classes))


def _samples(trace: Trace) -> pd.DataFrame:
    """Content samples with their times; `unlogged_s` is from the begin of a page's protection to its first sending."""
    samples = content_with_write_times(trace)
    samples = samples[samples["since_s"] > 0]
    # A round's first page goes with the sync and has its chunk cleared, the others when the tracer lets them.
    again = samples["between_s"] < samples["after_s"] + samples["interval_s"] - 1e-3
    return samples.assign(unlogged_s=samples["after_s"].where(again, 0.0))


def fit_content(samples: pd.DataFrame, writes: Floats) -> PageContent:
    """Fit what a write does to samples of pages compared with an earlier version.

    Parameters
    ----------
    samples : DataFrame
        `changed_bytes`, `runs` and `xbzrle_bytes` of each page, and the `interval` of each where known.
    writes : ndarray
        Mean number of writes that the page got in between, from its class's rate.

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
    best = _nearest(_binned(writes[part], table[part], weight[part]))
    return PageContent(
        bytes_a_write=best.bytes_a_write,
        places=best.places,
        same_fraction=best.same_fraction,
        whole_fraction=fraction,
    )


class _Seen(NamedTuple):
    """Means of samples by writes; arrays of the bins' length."""

    writes: Floats
    means: Floats
    weight: Floats

    def some(self, chosen: NDArray[np.int64]) -> _Seen:
        return _Seen(self.writes[chosen], self.means[chosen], self.weight[chosen])


def _even(interval: NDArray[np.int64]) -> Floats:
    """Weights by which the intervals of a trace count alike."""
    _, place, count = np.unique(interval, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / np.maximum(count, EVEN_SAMPLES)[place])


def _binned(writes: Floats, values: Floats, weight: Floats) -> _Seen:
    """Weighted means over bins of equal ratio of writes."""
    order = np.argsort(writes)
    edges = np.geomspace(max(writes.min(), 1e-3), max(writes.max(), 2e-3), BINS + 1)[1:-1]
    parts = [p for p in np.split(order, np.searchsorted(writes[order], edges)) if len(p) >= FEWEST_IN_BIN]
    parts = parts or [order]
    return _Seen(
        np.array([max(float(np.average(writes[p], weights=weight[p])), 1e-3) for p in parts]),
        np.array([np.average(values[p], axis=0, weights=weight[p]) for p in parts]),
        np.sqrt([weight[p].sum() for p in parts]),
    )


def _nearest(seen: _Seen) -> PageWrites:
    """The writes whose law comes nearest: on a grid by few bins, then around its best by all."""
    # Mean writes of the pages that were written to at all; those of the first bin hardly overlap.
    a_write = float(seen.means[0, 0] * -np.expm1(-seen.writes[0]) / seen.writes[0])
    few = seen.some(np.unique([0, len(seen.writes) // 2, len(seen.writes) - 1]))
    grid = {
        _writes(a_write / (1 - same) * f, places, same)
        for same in SAME for f in (0.8, 0.9, 1.0, 1.1, 1.25) for places in PLACES
    }  # fmt: skip
    first = sorted(grid, key=lambda tried: (_misfit(tried, few), tried.bytes_a_write))[:REFINED]
    fine = {
        _writes(c.bytes_a_write * f, c.places, min(c.same_fraction * g, 0.5))
        for c in first for f in (0.9, 0.95, 1.0, 1.05, 1.1) for g in (0.6, 1.0, 1.5)
    }  # fmt: skip
    return min(fine, key=lambda tried: (_misfit(tried, seen), tried.bytes_a_write))


def _writes(bytes_a_write: float, places: int, same: float) -> PageWrites:
    return PageWrites(min(max(round(bytes_a_write), 1), PAGE_BYTES), places, same)


def _misfit(content: PageWrites, seen: _Seen) -> float:
    """Mean squared error of the logarithms of changed bytes, runs and lengths."""
    law = encoding_by_writes(content, seen.writes)
    made = np.stack([law.changed_bytes, law.runs, law.encoded_bytes], axis=1)
    off = np.log(np.maximum(made, 1e-9) / np.maximum(seen.means, 1e-9)) ** 2
    return float((off @ WEIGHTS) @ seen.weight / seen.weight.sum())


def _class_of(pages: NDArray[np.int64], placed: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Class that each page was counted to; -1 for none."""
    found = np.full(len(pages), -1)
    for index, own in enumerate(placed):
        found[np.isin(pages, own)] = index
    return found
