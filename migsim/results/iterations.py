"""The `iterations` table of a result: one row per bitmap sync, for the round that the sync opens.

=============================  =======  ===========================================================
column                         unit     meaning
=============================  =======  ===========================================================
``dirty_sync_count``           --       number of the sync that opens the round, from 1 (the first, in setup)
``start_s``                    s        when that sync began, since QMP ``migrate``
``end_s``                      s        when the next sync began; for the last round, the migration's end
``sync_s``                     s        how long the sync took
``dirty_pages``                pages    pages that the sync found newly dirty
``remaining_bytes_after_sync`` bytes    dirty memory right after the sync
``transferred_bytes``          bytes    sent in this round
``normal``                     pages    sent whole in this round
``duplicate``                  pages    sent as zero pages in this round
``xbzrle_pages``               pages    handled by XBZRLE in this round, as ``xbzrle-cache.pages`` counts them
``cache_misses``               pages    not found in XBZRLE's cache in this round
``dirty_pages_rate``           pages/s  ``dirty-pages-rate`` as QEMU gives it after the sync
``mbps``                       Mbit/s   ``mbps`` as QEMU gives it at the sync
=============================  =======  ===========================================================

Unknown values are NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from migsim.errors import RecordError, near_misses

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ITERATION_COLUMNS", "iterations_frame"]

ITERATION_COLUMNS = (
    "dirty_sync_count",
    "start_s",
    "end_s",
    "sync_s",
    "dirty_pages",
    "remaining_bytes_after_sync",
    "transferred_bytes",
    "normal",
    "duplicate",
    "xbzrle_pages",
    "cache_misses",
    "dirty_pages_rate",
    "mbps",
)
"""Columns of `MigrationResult.iterations`, in order."""


def iterations_frame(rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Make the `iterations` table of a result.

    Parameters
    ----------
    rows : iterable of mapping
        Values by column name; a value that is missing or None becomes NaN.

    Returns
    -------
    pandas.DataFrame
        The columns `ITERATION_COLUMNS`; ``dirty_sync_count`` is int64, all others are float64.

    Raises
    ------
    RecordError
        A row has a column of another name, or no ``dirty_sync_count``.

    Examples
    --------
    >>> iterations_frame([{"dirty_sync_count": 1, "start_s": 0.0}]).loc[0, "start_s"].item()
    0.0
    """
    import pandas as pd

    row_list = [dict(row) for row in rows]
    for row in row_list:
        unknown = [name for name in row if name not in ITERATION_COLUMNS]
        if unknown:
            raise RecordError(
                f"A row of iterations has the unknown column {unknown[0]!r}.",
                "The columns are listed in migsim.results.iterations.",
                near_misses(unknown[0], ITERATION_COLUMNS),
            )
        if row.get("dirty_sync_count") is None:
            raise RecordError(
                "A row of iterations has no dirty_sync_count.", "It is the number of the row.", "Add it."
            )
    columns = {
        name: pd.Series([row.get(name) for row in row_list], dtype="float64") for name in ITERATION_COLUMNS
    }
    columns["dirty_sync_count"] = columns["dirty_sync_count"].astype("int64")
    return pd.DataFrame(columns)
