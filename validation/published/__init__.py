"""Figures that others published, as data with their sources, and which of them the models are held to.

One TOML file a source, in `validation/data/published/`. A figure is a cell: ``table.row.column``, the column's name
carrying its unit. A table carries one evidence tag for all its cells:

=====  ====================================================================
V      read at the named source
A      only an abstract or an excerpt was read
D      arithmetic on figures with tag V of the same file
M      from memory: may stand there, may never be fitted to or expected
=====  ====================================================================

``[use]`` says of every cell what it is used for, by path or by pattern (``runs.*.setup-ms``; a path beats a pattern,
a pattern that comes later beats one before it):

============  ============================================================
input         describes the guest, the host or the settings
fitted        host parameters are fitted to it; not held against the model
predicted     the model's answer is held against it, within ``tolerance``
definition    likewise, but a formula fed with the source's own counters: it
              shows that the figure is understood, it forecasts nothing
waiting       nothing in the models speaks of it; ``why`` says what lacks
============  ============================================================

A figure that the model is known to miss carries ``miss``: which term is to blame. `tests/validation/test_published.py`
fails when a miss becomes a hit or a hit a miss.

>>> sample = load("gudkov-sample-2023")
>>> sample.cell("guest.sample.total-pages")
8392704
>>> sample.use_of("guest.sample.total-pages").role
'input'
"""

from __future__ import annotations

import datetime
import fnmatch
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from migsim.documents import Declared, read_file_text
from migsim.errors import MigsimError, RecordError, near_misses
from validation.places import PUBLISHED

__all__ = ["Fixture", "Hardware", "Table", "Use", "load", "load_all"]

Number = int | float
Cell = str | Number | tuple[Number, ...]
Cells = Annotated[dict[str, Cell], Field(min_length=1)]

UNITS = (
    *(
        "-s",
        "-ms",
        "-us",
        "-ns",
        "-bytes",
        "-kib",
        "-mib",
        "-gib",
        "-pages",
        "-count",
        "-fraction",
        "-percent",
    ),
    *("-mbps", "-gbps", "-gibit-per-s", "-mib-per-s", "-gib-per-s", "-pages-per-s", "-writes-per-s"),
    *("-ms-per-gib", "-index", "-vcpus", "-threads", "-channels"),
)
"""Endings of the columns that hold numbers; a column that ends in none of them holds words."""


class _Part(Declared):
    _error: ClassVar[type[MigsimError]] = RecordError
    _what: ClassVar[str] = "A published fixture"


class Hardware(_Part):
    """What it was measured on.

    Attributes
    ----------
    known : str
        As far as the source says.
    unknown : tuple of str
        What a model would want to know and the source does not say.
    """

    known: str
    unknown: tuple[str, ...] = ()


class Table(_Part):
    """Figures of one kind of evidence.

    Attributes
    ----------
    evidence : {"V", "A", "D", "M"}
        See the module.
    says : str
        What the rows and columns are, and where inside the source they stand.
    rows : dict of str to dict
        Cells by column, by row. A tuple of two numbers is a range as published; longer ones are series.
    """

    evidence: Literal["V", "A", "D", "M"]
    says: str
    rows: Annotated[dict[str, Cells], Field(min_length=1)]

    @field_validator("rows")
    @classmethod
    def _united(cls, rows: dict[str, dict[str, Cell]]) -> dict[str, dict[str, Cell]]:
        for row, cells in rows.items():
            for column, cell in cells.items():
                if isinstance(cell, str) == column.endswith(UNITS):
                    raise ValueError(
                        f"{row}.{column} holds {cell!r}. A column of numbers ends in a unit, a column of words in none."
                    )
        return rows


class Use(_Part):
    """What figures are used for.

    Attributes
    ----------
    role : {"input", "fitted", "predicted", "definition", "waiting"}
        See the module.
    why : str
        What is fitted to it; the reason of the tolerance; what lacks.
    tolerance : float, optional
        Largest relative error of a prediction that counts as met; 0: exactly. A range counts as met inside it, or this
        far outside it.
    miss : str
        Why the prediction is known to lie outside the tolerance; empty where it lies within.
    """

    role: Literal["input", "fitted", "predicted", "definition", "waiting"]
    why: str = ""
    tolerance: float | None = Field(default=None, ge=0)
    miss: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Use:
        if self.answered != (self.tolerance is not None):
            raise ValueError("What is predicted or a definition has a tolerance, and nothing else has.")
        if self.miss and not self.answered:
            raise ValueError("Only a prediction can miss.")
        if not self.why and self.role != "input":
            raise ValueError("Everything but an input says why.")
        return self

    @property
    def answered(self) -> bool:
        """Whether the models' answer is held against it."""
        return self.role in ("predicted", "definition")


class Fixture(_Part):
    """One source's figures.

    Attributes
    ----------
    name : str
        The file's.
    title, what, who, when : str
        What was measured, by whom; ISO date, or as much of it as is known.
    where : tuple of str
        Message-ids, commits, addresses.
    qemu_version : str
        Release nearest to what was measured; "none" where it was another program.
    hardware : Hardware
    tables : dict of str to Table
    use : dict of str to Use
        By path or pattern.
    """

    name: str
    title: str
    what: str
    who: str
    when: str
    where: Annotated[tuple[str, ...], Field(min_length=1)]
    qemu_version: str
    hardware: Hardware
    tables: Annotated[dict[str, Table], Field(min_length=1)]
    use: dict[str, Use]

    @field_validator("when")
    @classmethod
    def _dated(cls, when: str) -> str:
        parts = [int(part) for part in when.split("-")]
        datetime.date(*[*parts, 1, 1][:3])
        return when

    @model_validator(mode="after")
    def _used(self) -> Fixture:
        paths = dict(self.cells())
        for pattern, use in self.use.items():
            if not fnmatch.filter(paths, pattern):
                raise ValueError(f"use.{pattern} matches no cell. {near_misses(pattern, paths)}")
            if use.miss and "*" in pattern:
                raise ValueError(f"use.{pattern}: a miss names one cell.")
        for path in paths:
            table = self.tables[path.split(".")[0]]
            use = self.use_of(path)
            if table.evidence == "M" and (use.answered or use.role == "fitted"):
                raise ValueError(f"{path} is from memory (M): it can be neither expected nor fitted to.")
        return self

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """Every cell's path and value."""
        for table, content in self.tables.items():
            for row, cells in content.rows.items():
                for column, cell in cells.items():
                    yield f"{table}.{row}.{column}", cell

    def cell(self, path: str) -> Any:
        """Return one cell by its path.

        Raises
        ------
        RecordError
            When there is none, with near misses.
        """
        for known, cell in self.cells():
            if known == path:
                return cell
        raise RecordError(
            f"{self.name} has no cell {path!r}.",
            "A cell is table.row.column.",
            near_misses(path, [known for known, _ in self.cells()]),
        )

    def rows(self, table: str) -> dict[str, dict[str, Any]]:
        """Return a table's cells by row and column."""
        return dict(self.tables[table].rows)

    def use_of(self, path: str) -> Use:
        """Return what a cell is used for: its own entry, else the last pattern that matches.

        Raises
        ------
        RecordError
            When nothing says.
        """
        if path in self.use:
            return self.use[path]
        for pattern in reversed(self.use):
            if fnmatch.fnmatchcase(path, pattern):
                return self.use[pattern]
        raise RecordError(
            f"{self.name}: no [use] speaks of {path}.",
            "Every figure is an input, fitted, predicted, a definition or waiting.",
            "Add it, by path or pattern.",
        )

    def paths(self, role: str) -> list[str]:
        """Return the paths of the cells with a role."""
        return [path for path, _ in self.cells() if self.use_of(path).role == role]


def load(name: str, folder: Path = PUBLISHED) -> Fixture:
    """Read one source's file by its name, without the ending.

    Raises
    ------
    RecordError
        When it is missing, is not TOML, has an unknown key, says nothing of the use of a cell, or expects a figure
        that is from memory.
    """
    path = folder / f"{name}.toml"
    text = read_file_text(path, RecordError)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecordError(
            f"{path.name} is not TOML: {error}.", "Published figures are kept as TOML."
        ) from None
    return Fixture.from_dict({"name": name} | data, where=path.name)


def load_all(folder: Path = PUBLISHED) -> dict[str, Fixture]:
    """Read every source's file, in the order of their names."""
    return {path.stem: load(path.stem, folder) for path in sorted(folder.glob("*.toml"))}
