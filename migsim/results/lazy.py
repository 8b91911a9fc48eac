"""Tables of a result that are made when somebody looks at them: of forty draws only one is ever shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LazyTable", "lazy_table"]


class LazyTable:
    """Stands for a table until it is looked at.

    Parameters
    ----------
    make : callable
        Makes it, once.
    """

    def __init__(self, make: Callable[[], pd.DataFrame]) -> None:
        self._make = make
        self._made: pd.DataFrame | None = None

    def make(self) -> pd.DataFrame:
        """Make the table, or return it where that is done."""
        if self._made is None:
            self._made = self._make()
        return self._made


def lazy_table(make: Callable[[], pd.DataFrame]) -> Any:
    """Return what `MigrationResult` takes in a table's place; what `make` reads must not change any more.

    Examples
    --------
    >>> from migsim.results import MigrationResult, Outcome, iterations_frame
    >>> made = MigrationResult(
    ...     kind="simulated", name="", qemu_version="10.0", accel="kvm", outcome=Outcome("completed"),
    ...     iterations=lazy_table(iterations_frame),
    ... )
    >>> len(made.iterations)
    0
    """
    return LazyTable(make)
