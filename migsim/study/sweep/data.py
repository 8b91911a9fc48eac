"""`Sweep`, the result of a sweep: labelled arrays, a table, and files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from migsim.errors import UsageError, near_misses
from migsim.files import atomic_path, check_writable
from migsim.html import html_list, html_table
from migsim.profiles.terms import TERMS
from migsim.qapi import CAPABILITIES, PARAMETERS
from migsim.results.figures import FIGURES
from migsim.study.basis import Basis, basis_html
from migsim.study.sweep.axis import QUESTION_AXES, SCALE_PREFIX, Axis
from migsim.study.sweep.cells import CELL_OUTCOMES, CellValues
from migsim.study.sweep.layout import Layout

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["SWEEP_FORMATS", "Sweep", "assemble", "check_sweep_file"]

SWEEP_FORMATS = ("parquet", "nc", "csv")
"""File name endings that a sweep can be written to."""
SAMPLE = "sample"
"""The one dimension of a sampled sweep."""


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """Many simulated migrations, labelled by the values that vary.

    Attributes
    ----------
    dataset : xarray.Dataset
        One dimension per axis, with its name and unit; the one dimension ``sample`` where values were sampled.
        Variables: ``outcome`` ("completed", "not-converged", "error"); ``reason``, of an error; ``total-time``,
        ``downtime``, ``blackout``, ``guest-lost`` [ms], ``transferred``, ``remaining`` [bytes], ``rounds``,
        ``cpu-throttle-percentage``: NaN where a migration has none, medians where there are several draws. Several
        draws add ``completed-fraction``, ``NAME-low`` and ``NAME-high`` (the middle 80 %).
    axes : tuple of Axis
    basis : Basis, optional
        What the answer stands on, with warnings.
    assumptions : tuple of str
        What the model takes for granted or leaves out, a sentence each.
    notes : tuple of str
        Remarks on the run, a sentence each: damaged files, axes that change no figure.
    """

    dataset: xr.Dataset
    axes: tuple[Axis, ...]
    basis: Basis | None = None
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> xr.DataArray:
        return self.dataset[name]

    def __len__(self) -> int:
        return int(self.dataset["outcome"].size)

    @property
    def counts(self) -> dict[str, int]:
        """Number of cells by outcome."""
        outcome = self.dataset["outcome"].values
        return {name: int(np.sum(outcome == name)) for name in CELL_OUTCOMES}

    def errors(self) -> pd.DataFrame:
        """Return the cells that are errors: the values of the axes, and ``reason``."""
        frame = self.to_frame()
        names = [axis.name for axis in self.axes]
        return frame.loc[frame["outcome"] == "error", [*names, "reason"]].reset_index(drop=True)

    def error_reasons(self) -> dict[str, int]:
        """Return the number of cells by reason of their error, the most frequent reason first."""
        reasons = self.dataset["reason"].values
        distinct, counts = np.unique(reasons[reasons != ""].astype(str), return_counts=True)
        return {str(distinct[k]): int(counts[k]) for k in np.argsort(-counts, kind="stable")}

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per cell: the values of the axes, then the variables."""
        import pandas as pd

        data = self.dataset
        shape = data["outcome"].shape
        table: dict[str, Any] = {}
        for axis, place in zip(self.axes, range(len(self.axes)), strict=True):
            values = data[axis.name].values
            if data["outcome"].ndim > 1 or SAMPLE not in data.dims:
                spread = [1] * len(shape)
                spread[place] = -1
                values = np.broadcast_to(values.reshape(spread), shape).ravel()
            table[axis.name] = values
        for name in map(str, data.data_vars):
            values = data[name].values.ravel()
            table[name] = pd.Categorical(values) if name in ("outcome", "reason") else values
        return pd.DataFrame(table)

    def save(self, path: str | Path) -> None:
        """Write a ``.parquet``, ``.nc`` (netCDF) or ``.csv`` file, whole or not at all.

        Raises
        ------
        UsageError
            For another ending.
        HostError
            When it cannot be written.
        """
        path = Path(path)
        ending = _ending(path)
        if ending == "parquet":
            self.to_parquet(path)
        elif ending == "nc":
            self.to_netcdf(path)
        else:
            with atomic_path(path) as temporary:
                self.to_frame().to_csv(temporary, index=False)

    def to_parquet(self, path: str | Path) -> None:
        """Write `to_frame` as Parquet, with the dataset's attributes in its metadata under ``migsim``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.to_frame(), preserve_index=False)
        about = {**(table.schema.metadata or {}), b"migsim": json.dumps(self.dataset.attrs).encode()}
        with atomic_path(path) as temporary:
            pq.write_table(table.replace_schema_metadata(about), temporary, compression="zstd")

    def to_netcdf(self, path: str | Path) -> None:
        """Write the dataset as netCDF 3, which `xarray.open_dataset` reads back."""
        data = self.dataset
        data = data.assign({name: data[name].astype(str) for name in ("outcome", "reason")})
        for name in [str(n) for n in data.variables if data[n].dtype == np.int64]:
            data[name] = (
                data[name].astype(float).assign_attrs(data[name].attrs)
            )  # netCDF 3 integers have 32 bits
        with atomic_path(path) as temporary:
            data.to_netcdf(temporary, engine="scipy")

    def __repr__(self) -> str:
        shape = " x ".join(f"{axis.name} ({axis.count})" for axis in self.axes)
        if SAMPLE in self.dataset.dims:
            shape = f"{len(self)} samples of {', '.join(axis.name for axis in self.axes)}"
        counted = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        return f"<Sweep {shape}: {counted}>"

    def _repr_html_(self) -> str:
        rows = [(axis.name, axis.unit, *_ends(self.dataset[axis.name].values)) for axis in self.axes]
        axes = html_table(repr(self).strip("<>"), ("varied", "unit", "from", "to", "values"), rows)
        figures = html_table(
            "Figures",
            ("", "unit", "least", "median", "most"),
            [row for row in self.ranges() if row[2] != "-"],
        )
        notes = (
            html_list("Notes", self.notes) + basis_html(self.basis) + html_list("Assumed", self.assumptions)
        )
        return f"<div>{axes}{figures}{notes}</div>"

    def ranges(self) -> list[tuple[str, str, str, str, str]]:
        """Return name, unit, least, median and most of each figure over the cells as text; "-" where no cell has it."""
        rows = []
        for name, figure in FIGURES.items():
            values = self.dataset[name].values
            values = values[np.isfinite(values)]
            ends = (
                [f"{round(v):,}" for v in np.percentile(values, (0, 50, 100)).tolist()]
                if values.size
                else ["-"] * 3
            )
            rows.append((name, figure.unit, ends[0], ends[1], ends[2]))
        return rows


def assemble(
    layout: Layout, columns: CellValues, reasons: list[str], attributes: dict[str, str]
) -> xr.Dataset:
    """Return the dataset of all cells; the columns ``outcome`` and ``reason`` are codes."""
    import xarray as xr

    sampled = layout.samples is not None
    dims = (SAMPLE,) if sampled else tuple(axis.name for axis in layout.axes)
    points = layout.columns(0, layout.cells) if sampled else {a.name: a.values for a in layout.axes}
    coordinates = {
        axis.name: xr.Variable((SAMPLE,) if sampled else (axis.name,), points[axis.name], _about(axis))
        for axis in layout.axes
    }
    # Object arrays save memory for long reasons, but xarray inspects every object: only where there are reasons.
    reason_texts = np.array([*reasons, ""], dtype=object if reasons else str)
    named: CellValues = columns | {
        "outcome": np.array(CELL_OUTCOMES)[columns["outcome"]],
        "reason": reason_texts[columns["reason"]],
    }
    variables = {name: (dims, values.reshape(layout.shape), _unit(name)) for name, values in named.items()}
    return xr.Dataset(variables, coordinates, attributes)


def check_sweep_file(path: Path) -> None:
    """Raise for a file that `Sweep.save` could not write, before the sweep runs.

    Raises
    ------
    UsageError, HostError
    """
    _ending(path)
    check_writable(path)


def _ending(path: Path) -> str:
    ending = path.suffix.lstrip(".").lower()
    if ending in SWEEP_FORMATS:
        return ending
    raise UsageError(
        f"The file of the sweep is {path}.",
        f"The name's ending chooses the format: {', '.join(SWEEP_FORMATS)}.",
        near_misses(ending, SWEEP_FORMATS) or "Write it like sweep.parquet.",
    )


def _about(axis: Axis) -> dict[str, str]:
    entry = PARAMETERS.get(axis.name) or CAPABILITIES.get(axis.name)
    if entry is not None:
        text = entry.description
    elif axis.name in QUESTION_AXES:
        text = QUESTION_AXES[axis.name][1]
    else:
        term = axis.name.removeprefix(SCALE_PREFIX)
        factor = "Factor on " if axis.name.startswith(SCALE_PREFIX) else ""
        text = f"{factor}{term}: {TERMS[term].meaning}"
    return {"long_name": text} | ({"units": axis.unit} if axis.unit else {})


def _unit(name: str) -> dict[str, str]:
    figure = name.removesuffix("-low").removesuffix("-high")
    return {"units": FIGURES[figure].unit} if figure in FIGURES else {}


def _ends(values: Any) -> tuple[str, str, str]:
    if values.dtype.kind in "iuf":
        return f"{values.min():g}", f"{values.max():g}", f"{len(np.unique(values)):,}"
    return str(values[0]), str(values[-1]), f"{len(np.unique(values)):,}"
