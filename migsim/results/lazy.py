"""Tables of a result that are made on first access, because the tables of most draws are never read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LazyTable", "lazy_table"]


class LazyTable:
    """Placeholder of a table that is made on first access.

    Parameters
    ----------
    make : callable
        Returns the table; called at most once.
    """

    def __init__(self, make: Callable[[], pd.DataFrame]) -> None:
        self._make = make
        self._table: pd.DataFrame | None = None

    def make(self) -> pd.DataFrame:
        """Return the table; make it at the first call."""
        if self._table is None:
            self._table = self._make()
        return self._table


def lazy_table(make: Callable[[], pd.DataFrame]) -> Any:
    """Return a placeholder that `MigrationResult` accepts for a table.

    Parameters
    ----------
    make : callable
        Returns the table. It is called later, so the data that it reads must not change after this call.

    Examples
    --------
    >>> from migsim.results import MigrationResult, Outcome, iterations_frame
    >>> result = MigrationResult(
    ...     kind="simulated", name="", qemu_version="10.0", accel="kvm", outcome=Outcome("completed"),
    ...     iterations=lazy_table(iterations_frame),
    ... )
    >>> len(result.iterations)
    0
    """
    return LazyTable(make)
