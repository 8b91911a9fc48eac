"""Content samples of a trace, with the times in which each sampled page may have been written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace.reader import Trace

__all__ = ["content_with_write_times"]


def content_with_write_times(trace: Trace) -> pd.DataFrame:
    """Return the content samples with the times in which each page may have been written.

    Three columns are added to `Trace.content`:

    ``interval_s``
        Length of the interval at whose end the page was found dirty.
    ``since_s``
        Time in which the page was written at least once. It ends with the sync that found the page dirty. It begins
        when the page was last sent, or with the interval if the page was sent before that: in any interval in
        between the page was clean, because a dirty page would have been sent. Where the trace does not hold the
        times, it is `interval_s`.
    ``after_s``
        Time from that sync until the page was sent, in which the page may have been written again; 0 where the
        trace does not hold the times.

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
