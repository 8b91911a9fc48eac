"""From a trace's content statistics to what a write does to its page: what XBZRLE gets to encode.

The stream collector compares a page's contents with those that it held of it before. How many writes lie between
follows from the class's rate and the rounds' lengths; which writes explain the changed bytes and runs seen is fitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.models.page_stream import PAGE_BYTES
from migsim.models.xbzrle_content import PageWrites, encoding_by_writes
from migsim.scenario import PageContent, Workload
from migsim.trace.content import content_since

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from migsim.calibrate.workload import WorkloadFit
    from migsim.trace import Trace

__all__ = ["fit_content", "with_content"]

Floats = NDArray[np.float64]

FEWEST_SAMPLES = 12
WHOLE_BYTES = 0.8 * PAGE_BYTES
"""A page that overflows and of which this much changed was replaced."""

BINS = 4
FEWEST_IN_BIN = 6
PLACES = (1, 8, 64, 512, 4096)
SAME = (1 / 256, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Chances tried that a written byte has its old value."""


def with_content(fit: WorkloadFit, trace: Trace) -> Workload:
    """Return the fitted workload with what the trace says of its pages' contents; without where it says nothing.

    Classes that too few samples belong to are taken to be like the whole trace.
    """
    workload = fit.workload
    samples = content_since(trace)
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
            seen = samples[chosen]
            writes = rates[of_class[chosen]] * seen["since_s"].to_numpy()
            c = c.replace(content=fit_content(seen, writes))
        classes.append(c)
    return workload.replace(classes=tuple(classes))


def fit_content(samples: pd.DataFrame, writes: Floats) -> PageContent:
    """Fit what a write does to samples of pages compared with an earlier version.

    Parameters
    ----------
    samples : DataFrame
        `changed_bytes` and `xbzrle_bytes` of each page.
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
    length = samples["xbzrle_bytes"].to_numpy(float)
    at, seen, weight = _binned(writes[part], np.stack([changed[part], length[part]], axis=1))
    # Mean writes of the pages that were written to at all; those of the first bin hardly overlap.
    a_write = float(seen[0, 0] * -np.expm1(-at[0]) / at[0])
    best, error = PageWrites(min(max(round(a_write), 1), PAGE_BYTES)), np.inf
    for same in SAME:
        for size in sorted({round(a_write / (1 - same) * f) for f in (0.8, 0.9, 1.0, 1.1, 1.25)}):
            for places in PLACES:
                if 1 <= size <= PAGE_BYTES:
                    tried = PageWrites(size, places, same)
                    off = _misfit(tried, at, seen, weight)
                    best, error = (tried, off) if off < error else (best, error)
    return PageContent(
        bytes_a_write=best.bytes_a_write,
        places=best.places,
        same_fraction=best.same_fraction,
        whole_fraction=fraction,
    )


def _binned(writes: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Means of writes and values over bins of equal ratio of writes, and the bins' weights."""
    order = np.argsort(writes)
    edges = np.geomspace(max(writes.min(), 1e-3), max(writes.max(), 2e-3), BINS + 1)[1:-1]
    cuts = np.searchsorted(writes[order], edges)
    at, means, counts = [], [], []
    for part in np.split(order, cuts):
        if len(part) >= FEWEST_IN_BIN:
            at.append(max(float(writes[part].mean()), 1e-3))
            means.append(values[part].mean(axis=0))
            counts.append(len(part))
    if not at:
        return np.array([max(float(writes.mean()), 1e-3)]), values.mean(axis=0)[None, :], np.ones(1)
    return np.array(at), np.array(means), np.sqrt(np.array(counts, float))


def _misfit(content: PageWrites, writes: Floats, seen: Floats, weight: Floats) -> float:
    """Mean squared error of the logarithms of changed bytes and, with more weight, encoded lengths."""
    law = encoding_by_writes(content, writes)
    made = np.stack([law.changed_bytes, law.encoded_bytes], axis=1)
    off = np.log(np.maximum(made, 1e-9) / np.maximum(seen, 1e-9)) ** 2
    return float((off @ np.array([1.0, 3.0])) @ weight / weight.sum())


def _class_of(pages: NDArray[np.int64], placed: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Class that each page was counted to; -1 for none."""
    found = np.full(len(pages), -1)
    for index, own in enumerate(placed):
        found[np.isin(pages, own)] = index
    return found
