"""How long the contents of a trace's sampled pages had to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace.reader import Trace

__all__ = ["content_since"]


def content_since(trace: Trace) -> pd.DataFrame:
    """Content samples with `since_s`, the time in which the page was written to since it was sent before.

    That is the length of the sample's interval, however long ago the page was sent: in the intervals between it was
    clean, or they would have sent it.

    Examples
    --------
    >>> content_since(Trace.open("db.trace"))["since_s"].median()             # doctest: +SKIP
    """
    table, samples = trace.intervals, trace.content
    lengths = np.zeros(int(table["interval"].max()) + 1 if len(table) else 1)
    lengths[table["interval"]] = table["end_s"] - table["start_s"]
    return samples.assign(since_s=lengths[samples["interval"]])
