"""The result of a batch of simulated migrations: an array for each figure, of the batch's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from migsim.results import MigrationResult

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BATCH_OUTCOMES", "FIGURE_NAMES", "BatchResult", "figures_of", "info_of"]

BATCH_OUTCOMES = ("completed", "not-converged")
"""Outcomes, by the codes in `BatchResult.outcome`."""

_INFO: dict[str, tuple[str, ...]] = {
    "total_time_ms": ("total-time",),
    "setup_time_ms": ("setup-time",),
    "downtime_ms": ("downtime",),
    "expected_downtime_ms": ("expected-downtime",),
    "transferred_bytes": ("ram", "transferred"),
    "remaining_bytes": ("ram", "remaining"),
    "normal_pages": ("ram", "normal"),
    "duplicate_pages": ("ram", "duplicate"),
    "dirty_sync_count": ("ram", "dirty-sync-count"),
    "dirty_pages_rate": ("ram", "dirty-pages-rate"),
    "pages_per_second": ("ram", "pages-per-second"),
    "mbps": ("ram", "mbps"),
    "precopy_bytes": ("ram", "precopy-bytes"),
    "downtime_bytes": ("ram", "downtime-bytes"),
    "multifd_bytes": ("ram", "multifd-bytes"),
    "cpu_throttle_percentage": ("cpu-throttle-percentage",),
    "xbzrle_bytes": ("xbzrle-cache", "bytes"),
    "xbzrle_pages": ("xbzrle-cache", "pages"),
    "xbzrle_cache_miss_pages": ("xbzrle-cache", "cache-miss"),
    "xbzrle_cache_miss_rate": ("xbzrle-cache", "cache-miss-rate"),
    "xbzrle_encoding_rate": ("xbzrle-cache", "encoding-rate"),
    "xbzrle_overflow_pages": ("xbzrle-cache", "overflow"),
}

FIGURE_NAMES = (*_INFO, "blackout_ms", "guest_lost_s")
"""Names of a migration's figures: those of `query-migrate`, the blackout, and the time that the guest lost."""


@dataclass(frozen=True, eq=False)
class BatchResult:
    """Many simulated migrations, one cell each.

    Attributes
    ----------
    outcome : ndarray of int8
        Index into `BATCH_OUTCOMES`; its shape is that of the batch, and of every column.
    columns : dict of str to ndarray of float64
        A column for each of `FIGURE_NAMES`; NaN where `query-migrate` does not report the figure.
    varied : dict of str to ndarray
        The values that differ between the cells, by name, in the shape of the batch.
    """

    outcome: NDArray[np.int8]
    columns: dict[str, NDArray[np.float64]]
    varied: dict[str, NDArray[Any]] = field(default_factory=dict)
    _reason: Callable[[int], str] = field(default=lambda _: "", repr=False)

    def __len__(self) -> int:
        return int(self.outcome.size)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.columns[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the batch."""
        return self.outcome.shape

    @property
    def completed(self) -> NDArray[np.bool_]:
        """Whether each cell completed."""
        return np.asarray(self.outcome == 0)

    def reason(self, cell: int) -> str:
        """Say in a sentence why a cell ended as it did; `cell` counts in C order."""
        return self._reason(range(len(self))[cell])

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row a cell: the varied values, ``outcome`` (text), and the figures."""
        import pandas as pd

        outcome = pd.Categorical.from_codes(self.outcome.ravel().tolist(), pd.Index(BATCH_OUTCOMES))
        table: dict[str, Any] = {name: values.ravel() for name, values in self.varied.items()}
        table |= {"outcome": outcome}
        table |= {name: values.ravel() for name, values in self.columns.items()}
        return pd.DataFrame(table)


def figures_of(result: MigrationResult) -> dict[str, float]:
    """Return a single result's figures by `FIGURE_NAMES`; NaN where it does not have one."""
    figures = {name: _look_up(result.info, path) for name, path in _INFO.items()}
    return figures | {
        "blackout_ms": float(result.blackout_ms),
        "guest_lost_s": float(result.costs.get("guest-lost-s", np.nan)),
    }


def info_of(figures: Mapping[str, float]) -> dict[str, Any]:
    """Return an answer to ``query-migrate`` with a cell's figures; those that are NaN are left out.

    Examples
    --------
    >>> info_of({"total_time_ms": 1200.0, "dirty_sync_count": 3.0, "downtime_ms": float("nan")})
    {'ram': {'dirty-sync-count': 3.0}, 'total-time': 1200.0}
    """
    info: dict[str, Any] = {"ram": {}}
    for name, path in _INFO.items():
        value = figures.get(name, np.nan)
        if value == value:
            inner = info.setdefault(path[0], {}) if len(path) > 1 else info
            inner[path[-1]] = value
    return info


def _look_up(info: Mapping[str, Any], path: tuple[str, ...]) -> float:
    value: Any = info
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float("nan") if value is None else float(value)
