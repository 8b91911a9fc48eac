"""How long the contents of a trace's sampled pages had to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace.reader import Trace

__all__ = ["content_with_write_times"]


def content_with_write_times(trace: Trace) -> pd.DataFrame:
    """Content samples with the times in which each page may have been written to.

    `since_s` ends with the sync that found the page dirty: in it the page was written to at least once. It began when
    the page was sent before, or with the interval, however long ago that was: in the intervals between the page was
    clean, or they would have sent it. `after_s` is from that sync to the page's sending, when it may have been written
    to again; 0 where the trace does not tell, and `since_s` then is the interval's length, `interval_s`.

    Examples
    --------
    >>> content_with_write_times(Trace.open("db.trace"))["since_s"].median()             # doctest: +SKIP
    """
    table, samples = trace.intervals, trace.content
    lengths = np.zeros(int(table["interval"].max()) + 1 if len(table) else 1)
    lengths[table["interval"]] = table["end_s"] - table["start_s"]
    interval_s = lengths[samples["interval"]]
    after = np.clip(samples["after_sync_s"].fillna(0.0).to_numpy(float), 0.0, None)
    between = samples["between_s"].fillna(np.inf).to_numpy(float)
    return samples.assign(
        interval_s=interval_s, since_s=np.clip(between - after, 0.0, interval_s), after_s=after
    )
