"""Predicted migrations of one guest under XBZRLE caches of several sizes, and what live ones under such caches did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from migsim.profiles import HostProfile
from migsim.results import MigrationResult, cache_hit_rate
from migsim.scenario import MigrationSettings
from migsim.study.predict import Prediction, predict

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace import Trace

__all__ = ["SIZES_BYTES", "measured_sizes", "predicted_sizes"]

SIZES_BYTES = tuple(1 << k for k in range(22, 29))
"""4 to 256 MiB."""


def predicted_sizes(
    trace: Trace,
    *,
    host: HostProfile,
    settings: MigrationSettings,
    sizes_bytes: Iterable[int] = SIZES_BYTES,
    qemu_version: str | None = None,
    deadline_s: float = 1800.0,
    replicates: int = 10,
    seed: int = 1,
) -> pd.DataFrame:
    """Predict a migration for each cache size.

    Parameters
    ----------
    trace : Trace
    host : HostProfile
    settings : MigrationSettings
        `xbzrle` and `xbzrle-cache-size` are set in them.
    sizes_bytes : iterable of int
    qemu_version, deadline_s, replicates, seed
        As for `migsim.predict`.

    Returns
    -------
    pandas.DataFrame
        ``cache_size_bytes``, ``status``, ``completed_fraction``; ``hit_rate``, ``transferred_bytes`` and ``total_s``,
        each with ``_low`` and ``_high``, the middle 80 % of the draws that ended like most.
    """
    import pandas as pd

    rows = []
    for size in sizes_bytes:
        asked = MigrationSettings(
            parameters={**settings.parameters, "xbzrle-cache-size": size},
            capabilities={**settings.capabilities, "xbzrle": True},
        )
        made = predict(
            trace,
            host=host,
            settings=asked,
            qemu_version=qemu_version,
            deadline_s=deadline_s,
            replicates=replicates,
            seed=seed,
        )
        row: dict[str, float | str] = {
            "cache_size_bytes": size,
            "status": made.result.outcome.status,
            "completed_fraction": made.completed_fraction,
        }
        row |= _middle(made, "cache-hit-rate", "hit_rate")
        row |= _middle(made, "transferred", "transferred_bytes")
        row |= _middle(made, "total-time", "total_s", 1e-3)
        rows.append(row)
    return pd.DataFrame(rows)


def _middle(made: Prediction, name: str, column: str, unit: float = 1.0) -> dict[str, float]:
    seen = [draw[name] * unit for draw in made.draws if name in draw]
    low, middle, high = np.percentile(seen, [10, 50, 90]) if seen else [float("nan")] * 3
    return {column: float(middle), f"{column}_low": float(low), f"{column}_high": float(high)}


def measured_sizes(runs: Sequence[MigrationResult]) -> pd.DataFrame:
    """Tabulate the same of live migrations, those without XBZRLE left out.

    Returns
    -------
    pandas.DataFrame
        A row a run: ``cache_size_bytes``, ``qemu_version``, ``status``, ``hit_rate``, ``transferred_bytes``,
        ``total_s``.
    """
    import pandas as pd

    columns = ["cache_size_bytes", "qemu_version", "status", "hit_rate", "transferred_bytes", "total_s"]
    rows = [
        (
            int(run.info["xbzrle-cache"]["cache-size"]),
            run.qemu_version,
            run.outcome.status,
            np.nan if (rate := cache_hit_rate(run.info)) is None else rate,
            run.transferred_bytes,
            run.total_time_ms / 1000,
        )
        for run in runs
        if "xbzrle-cache" in run.info
    ]
    return pd.DataFrame(rows, columns=columns)
