"""Figures that others published, as data with their sources, and what each figure is used for.

Each source is one TOML file in `validation/data/published/`. A figure is a cell, ``table.row.column``; the name of the
column ends in the unit. All cells of a table have the same kind of evidence:

=====  ====================================================================
V      read at the named source
A      only an abstract or an excerpt was read
D      arithmetic on figures with tag V of the same file
M      from memory: may be listed, but neither fitted to nor predicted
=====  ====================================================================

``[use]`` says for every cell what it is used for, by path or by pattern (``runs.*.setup-ms``). A path takes precedence
over patterns, and a later pattern over an earlier one:

============  ============================================================
input         describes the guest, the host or the settings
fitted        host parameters are fitted to it; it is no test of the models
predicted     the models' answer has to be within ``tolerance`` of it
definition    likewise, but the answer is a formula of the source's own
              counters: the figure is understood, but not forecast
waiting       no model covers it; ``why`` says what is missing
============  ============================================================

A figure that the models are known to miss has ``miss``, which names the term that causes it.
`tests/validation/test_published.py` fails when such a figure is met, and when another is missed.

>>> sample = load("gudkov-sample-2023")
>>> sample.cell("guest.sample.total-pages")
8392704
>>> sample.use_of("guest.sample.total-pages").role
'input'
"""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from migsim.documents import Declared
from migsim.errors import MigsimError, RecordError, near_misses
from migsim.reading import parse_toml, read_file_text
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
"""Endings of the names of columns with numbers; all other columns hold words."""


class _Part(Declared):
    _error: ClassVar[type[MigsimError]] = RecordError
    _what: ClassVar[str] = "A published fixture"


class Hardware(_Part):
    """The machine of the measurement.

    Attributes
    ----------
    known : str
        What the source says.
    unknown : tuple of str
        What a model needs and the source does not say.
    """

    known: str
    unknown: tuple[str, ...] = ()


class Table(_Part):
    """Figures with one kind of evidence.

    Attributes
    ----------
    evidence : {"V", "A", "D", "M"}
        See the module.
    says : str
        Meaning of the rows and columns, and their place in the source.
    rows : dict of str to dict
        Cells by row and column. A tuple of two numbers is a published range; longer ones are series.
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
    """Use of one or more figures.

    Attributes
    ----------
    role : {"input", "fitted", "predicted", "definition", "waiting"}
        See the module.
    why : str
        The parameter that is fitted, the reason of the tolerance, or what is missing, depending on the role.
    tolerance : float, optional
        Largest relative error with which a prediction counts as met; 0: exactly. A published range counts as met inside
        it, and outside it up to this error.
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
            raise ValueError(
                "A predicted figure or a definition has a tolerance, and no other figure has one."
            )
        if self.miss and not self.answered:
            raise ValueError("Only a predicted figure or a definition can have a miss.")
        if not self.why and self.role != "input":
            raise ValueError("Every use except input says why.")
        return self

    @property
    def answered(self) -> bool:
        """Whether the models' answer is compared with the figure."""
        return self.role in ("predicted", "definition")


class Fixture(_Part):
    """Figures of one source.

    Attributes
    ----------
    name : str
        Name of the file, without its ending.
    title, what, who, when : str
        Title, what was measured and by whom; ISO date, or its known part.
    where : tuple of str
        Message-ids, commits, addresses.
    qemu_version : str
        Release nearest to the measured one; "none" where another program was measured.
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
                raise ValueError(f"use.{pattern}: an entry with a miss names one cell.")
        for path in paths:
            table = self.tables[path.split(".")[0]]
            use = self.use_of(path)
            if table.evidence == "M" and (use.answered or use.role == "fitted"):
                raise ValueError(f"{path} is from memory (M): it can be neither predicted nor fitted to.")
        return self

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """Give the path and the value of every cell."""
        for table, content in self.tables.items():
            for row, cells in content.rows.items():
                for column, cell in cells.items():
                    yield f"{table}.{row}.{column}", cell

    def cell(self, path: str) -> Any:
        """Return one cell by its path.

        Raises
        ------
        RecordError
            When there is no such cell; the text names similar paths.
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
            When no entry of `[use]` matches.
        """
        if path in self.use:
            return self.use[path]
        for pattern in reversed(self.use):
            if fnmatch.fnmatchcase(path, pattern):
                return self.use[pattern]
        raise RecordError(
            f"{self.name}: no [use] matches {path}.",
            "Every figure is an input, fitted, predicted, a definition or waiting.",
            "Add an entry with its path, or with a pattern.",
        )

    def paths(self, role: str) -> list[str]:
        """Return the paths of the cells with a role."""
        return [path for path, _ in self.cells() if self.use_of(path).role == role]


def load(name: str, folder: Path = PUBLISHED) -> Fixture:
    """Read the file of one source by its name, without the ending.

    Raises
    ------
    RecordError
        When the file is missing, is not TOML or has an unknown key, when a cell has no use, or when a figure from
        memory is predicted or fitted to.
    """
    path = folder / f"{name}.toml"
    text = read_file_text(path, RecordError)
    data = parse_toml(text, path.name, RecordError)
    return Fixture.from_dict({"name": name} | data, where=path.name)


def load_all(folder: Path = PUBLISHED) -> dict[str, Fixture]:
    """Read the files of all sources, in the order of their names."""
    return {path.stem: load(path.stem, folder) for path in sorted(folder.glob("*.toml"))}
