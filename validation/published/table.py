"""What a predictor answers, and the comparison of it with a fixture's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migsim.errors import RecordError
from validation.published import Fixture

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Answer", "Value", "compare", "range_of", "relative_error"]

Value = float | str | tuple[float, float]


@dataclass(frozen=True)
class Answer:
    """A predictor's answer to one fixture.

    Attributes
    ----------
    values : mapping of str to float, str or (float, float)
        By the figure's path; a range where the source leaves open what the figure hangs on. More than is expected may
        stand here.
    fitted : mapping of str to float
        Parameters fitted, by name.
    note : str
        What else the page should say of the answer.
    """

    values: Mapping[str, Value]
    fitted: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def compare(fixture: Fixture, answer: Answer) -> pd.DataFrame:
    """Lay a fixture's figures beside the answer: a row for each that is fitted or answered.

    Returns
    -------
    pandas.DataFrame
        Columns fixture, quantity, evidence, published, predicted, error, role, tolerance, within, why, miss.
        `error` is relative, NaN for words; a range's is that to its nearer end, 0 inside it.

    Raises
    ------
    RecordError
        When the answer lacks a figure that the fixture expects.
    """
    import pandas as pd

    rows = []
    for path, published in fixture.cells():
        use = fixture.use_of(path)
        if not (use.answered or use.role == "fitted"):
            continue
        predicted = answer.values.get(path)
        if use.answered and predicted is None:
            raise RecordError(
                f"{fixture.name}: nothing predicts {path}.",
                "A figure called predicted or a definition is answered by the fixture's predictor.",
                "Answer it, or call it waiting.",
            )
        error = relative_error(published, predicted)
        rows.append(
            {
                "fixture": fixture.name,
                "quantity": path,
                "evidence": fixture.tables[path.split(".")[0]].evidence,
                "published": published,
                "predicted": predicted if use.answered else None,
                "error": error if use.answered else float("nan"),
                "role": use.role,
                "tolerance": use.tolerance,
                "within": _within(published, predicted, error, use.tolerance),
                "why": use.why,
                "miss": use.miss,
            }
        )
    return pd.DataFrame(rows)


def relative_error(published: Any, predicted: Value | None) -> float:
    """Return the relative error; NaN where a side is words or missing, 0 where ranges meet.

    Examples
    --------
    >>> relative_error(200, 150.0), relative_error((270, 340), 300.0), round(relative_error((270, 340), 374.0), 3)
    (-0.25, 0.0, 0.1)
    >>> relative_error(200, (150.0, 250.0)), relative_error(200, (50.0, 150.0))
    (0.0, -0.25)
    """
    if predicted is None or isinstance(predicted, str) or isinstance(published, str):
        return float("nan")
    low, high = _ends(published)
    least, most = _ends(predicted)
    if least > high:
        return float(least / high - 1)
    return float(most / low - 1) if most < low else 0.0


def range_of(values: Iterable[float]) -> tuple[float, float]:
    """Return the least and the most of some values.

    Examples
    --------
    >>> range_of([3.0, 1.0, 2.0])
    (1.0, 3.0)
    """
    every = [float(value) for value in values]
    return min(every), max(every)


def _ends(value: Any) -> tuple[float, float]:
    return (value[0], value[-1]) if isinstance(value, tuple) else (value, value)


def _within(published: Any, predicted: Value | None, error: float, tolerance: float | None) -> bool | None:
    if tolerance is None:
        return None
    if isinstance(published, str) or isinstance(predicted, str):
        return bool(published == predicted)
    return bool(abs(error) <= tolerance)
