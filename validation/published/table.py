"""Answer of a predictor, and its comparison with the figures of a fixture."""

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
        Answers by the figure's path; a range where the source does not say all that the figure depends on. Paths that
        the fixture does not have are ignored.
    fitted : mapping of str to float
        Fitted parameters by name.
    note : str
        Remark for the page.
    """

    values: Mapping[str, Value]
    fitted: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def compare(fixture: Fixture, answer: Answer) -> pd.DataFrame:
    """Compare the figures of a fixture with the answer, in a row for each figure that is fitted or answered.

    Returns
    -------
    pandas.DataFrame
        Columns fixture, quantity, evidence, published, predicted, error, role, tolerance, within, why, miss.
        `error` is relative, and NaN for words. For a range it is the error to the nearer end, and 0 inside the range.

    Raises
    ------
    RecordError
        When the answer lacks a figure that is predicted or a definition.
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
                "The fixture's predictor answers every figure that is predicted or a definition.",
                "Answer the figure, or make it a waiting one.",
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
    """Return the relative error; NaN where a side is a word or missing, 0 where ranges overlap.

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
    """Return the smallest and the largest of some values.

    Examples
    --------
    >>> range_of([3.0, 1.0, 2.0])
    (1.0, 3.0)
    """
    numbers = [float(value) for value in values]
    return min(numbers), max(numbers)


def _ends(value: Any) -> tuple[float, float]:
    return (value[0], value[-1]) if isinstance(value, tuple) else (value, value)


def _within(published: Any, predicted: Value | None, error: float, tolerance: float | None) -> bool | None:
    if tolerance is None:
        return None
    if isinstance(published, str) or isinstance(predicted, str):
        return bool(published == predicted)
    return bool(abs(error) <= tolerance)
