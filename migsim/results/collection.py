"""A collection of results: all of them in one table, and medians with spreads by scenario."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

from migsim.html import html_table
from migsim.results.migration_result import MigrationResult
from migsim.results.render import format_figure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ResultCollection"]

_NUMBERS = ("total_time_ms", "downtime_ms", "transferred_bytes", "rounds", "blackout_ms")


class ResultCollection(Sequence[MigrationResult]):
    """A sequence of results.

    Parameters
    ----------
    results : iterable of MigrationResult
        Simulated, measured, or both.
    """

    def __init__(self, results: Iterable[MigrationResult] = ()) -> None:
        self._results = tuple(results)

    @classmethod
    def load(cls, paths: Iterable[str | Path]) -> Self:
        """Read record files; of a folder, every ``*.json`` in it, sorted by name.

        Raises
        ------
        RecordError
            A file is no record.
        """
        files: list[Path] = []
        for path in map(Path, paths):
            files += sorted(path.glob("*.json")) if path.is_dir() else [path]
        return cls(MigrationResult.load(file) for file in files)

    @overload
    def __getitem__(self, index: int) -> MigrationResult: ...
    @overload
    def __getitem__(self, index: slice) -> ResultCollection: ...
    def __getitem__(self, index: int | slice) -> MigrationResult | ResultCollection:
        selected = self._results[index]
        return ResultCollection(selected) if isinstance(selected, tuple) else selected

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[MigrationResult]:
        return iter(self._results)

    def named(self, name: str) -> ResultCollection:
        """Return the results of the scenario `name`."""
        return ResultCollection(result for result in self if result.name == name)

    def frame(self) -> pd.DataFrame:
        """Return a table with one row per result.

        Returns
        -------
        pandas.DataFrame
            ``name``, ``kind``, ``qemu_version``, ``accel``, ``verdict``, ``total_time_ms``, ``downtime_ms``,
            ``transferred_bytes``, ``rounds``, ``blackout_ms``.
        """
        import pandas as pd

        columns = ("name", "kind", "qemu_version", "accel", "verdict", *_NUMBERS)
        rows = [{column: getattr(result, column) for column in columns} for result in self]
        return pd.DataFrame(rows, columns=list(columns))

    def summary(self) -> pd.DataFrame:
        """Return a table of medians and spreads, with one row per scenario, kind and QEMU version.

        Returns
        -------
        pandas.DataFrame
            ``name``, ``kind``, ``qemu_version``, ``runs``, ``completed`` (number of completed runs), and for each
            number of `frame` ``<number>_median`` and ``<number>_spread`` (highest - lowest; 0 for one run).
        """
        import pandas as pd

        rows = []
        for (name, kind, version), group in self.frame().groupby(
            ["name", "kind", "qemu_version"], sort=False
        ):
            row = {
                "name": name,
                "kind": kind,
                "qemu_version": version,
                "runs": len(group),
                "completed": int((group["verdict"] == "completed").sum()),
            }
            for number in _NUMBERS:
                row[f"{number}_median"] = group[number].median()
                row[f"{number}_spread"] = group[number].max() - group[number].min()
            rows.append(row)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        names = {result.name for result in self}
        return f"<ResultCollection of {len(self)} results, {len(names)} scenarios>"

    def _repr_html_(self) -> str:
        metrics = ("total-time", "downtime", "transferred", "rounds")
        rows = [
            (
                result.name,
                result.kind,
                result.qemu_version,
                result.verdict,
                *(format_figure(metric, result.metrics()[metric]) for metric in metrics),
            )
            for result in self
        ]
        return html_table(f"{len(self)} results", ("scenario", "kind", "QEMU", "verdict", *metrics), rows)
