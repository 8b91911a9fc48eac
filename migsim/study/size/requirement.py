"""`Requirement`, an upper bound on a figure such as ``downtime<500ms``, and the draws that meet it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError, near_misses
from migsim.results.figures import BOUNDED, FIGURES
from migsim.study.sweep.cells import COMPLETED, CellResults
from migsim.units import format_bytes, format_duration_s, parse_quantity

__all__ = ["COMPLETES", "Requirement", "read_requirements"]

_FORM = re.compile(r"\s*([a-z-]+)\s*(<=|>=|==|<|>|=)\s*(.+?)\s*")


@dataclass(frozen=True)
class Requirement:
    """An upper bound on a figure of a migration that completes.

    Attributes
    ----------
    figure : str
        ``downtime``, ``total-time``, ``blackout``, ``guest-lost`` [ms], ``transferred`` [bytes], ``rounds``; or
        ``outcome``, which only requires that the migration completes.
    limit : float
        The bound, in the figure's unit.
    inclusive : bool
        Whether the limit itself is allowed.
    """

    figure: str
    limit: float = np.inf
    inclusive: bool = False

    def met(self, results: CellResults) -> NDArray[np.bool_]:
        """Return which draws (rows) of which cells (columns) complete and meet the requirement."""
        completed = results.outcome == COMPLETED
        if self.figure == "outcome":
            return np.asarray(completed)
        values = results.figures[self.figure]
        return np.asarray(completed & ((values <= self.limit) if self.inclusive else (values < self.limit)))

    def reached(self, results: CellResults, cell: int, confidence: float) -> float:
        """Return the least bound that `confidence` of a cell's draws keep to; infinite where fewer complete."""
        values = np.where(
            results.outcome[:, cell] == COMPLETED, results.figures[self.figure][:, cell], np.inf
        )
        place = max(int(np.ceil(confidence * len(values) - 1e-9)) - 1, 0)
        return float(np.sort(values)[place])

    def format(self, value: float) -> str:
        """Return a value of the figure as text with its unit."""
        unit = FIGURES[self.figure].unit if self.figure in FIGURES else ""
        if unit == "ms":
            return format_duration_s(value / 1000)
        return format_bytes(value) if unit == "bytes" else f"{value:g}"

    def __str__(self) -> str:
        if self.figure == "outcome":
            return "outcome = completed"
        return f"{self.figure} {'<=' if self.inclusive else '<'} {self.format(self.limit)}"


COMPLETES = Requirement("outcome")
"""The requirement that a migration completes; every other one implies it."""


def read_requirements(words: Iterable[str]) -> tuple[Requirement, ...]:
    """Read requirements; a bare number is in the figure's own unit (ms, bytes, rounds).

    Raises
    ------
    ParameterError
        For a figure that cannot be bounded, a lower bound, or no requirement at all.
    UnitError

    Examples
    --------
    >>> [str(r) for r in read_requirements(["downtime<500ms", "transferred<=2GiB"])]
    ['downtime < 500 ms', 'transferred <= 2 GiB']
    """
    read = tuple(_read(word) for word in words)
    if not read:
        raise ParameterError(
            "No requirement is given.", "A sizing needs at least one.", "Add --require 'downtime<500ms'."
        )
    return read


def _read(word: str) -> Requirement:
    match = _FORM.fullmatch(word)
    if match is None:
        raise ParameterError(
            f"The requirement is {word!r}.", "A requirement is FIGURE<LIMIT.", "Write it like downtime<500ms."
        )
    figure, sign, text = match.groups()
    if figure == "outcome":
        if sign in ("=", "==") and text == "completed":
            return COMPLETES
        raise ParameterError(
            f"The requirement is {word!r}.",
            "The only outcome that can be required is completed.",
            "Write outcome=completed.",
        )
    if figure not in BOUNDED:
        raise ParameterError(
            f"{figure!r} cannot be required.",
            f"Figures that can be required are {', '.join(BOUNDED)}, and outcome.",
            near_misses(figure, BOUNDED) or "Choose one of them.",
        )
    if sign not in ("<", "<="):
        raise ParameterError(
            f"The requirement is {word!r}.", "A requirement is an upper bound.", f"Write {figure}<{text}."
        )
    unit = FIGURES[figure].unit
    limit = parse_quantity(text, "" if unit == "syncs" else unit, field=figure)
    return Requirement(figure, float(limit), sign == "<=")
