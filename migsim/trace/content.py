"""How long the contents of a trace's sampled pages had to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace.reader import Trace

__all__ = ["content_since"]


def content_since(trace: Trace) -> pd.DataFrame:
    """Content samples with `since_s`, the time from the page's sending before to this one, where that is known.

    A page's earlier version is that of the last round that sent it. What a round dirtied is sent at its end.

    Examples
    --------
    >>> content_since(Trace.open("db.trace"))["since_s"].median()             # doctest: +SKIP
    """
    samples = trace.content
    if not len(samples):
        return samples.assign(since_s=[])
    sent_at = dict(zip(trace.intervals["interval"], trace.intervals["end_s"], strict=True))
    pages = np.unique(samples["page"].to_numpy())
    last = np.full(len(pages), np.nan)
    since = np.full(len(samples), np.nan)
    order = samples["interval"].to_numpy()
    index = np.searchsorted(pages, samples["page"].to_numpy())
    for interval in sorted(sent_at):
        here = order == interval
        since[here] = sent_at[interval] - last[index[here]]
        sent = np.isin(pages, trace.pages(interval), assume_unique=True)
        last[sent] = sent_at[interval]
    known = samples.assign(since_s=since)
    return known[known["since_s"] > 0]
