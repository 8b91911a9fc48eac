"""Tables of migrations with XBZRLE by cache size: predicted for one guest, and measured."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Unpack

from migsim.intervals import low_median_high
from migsim.results import MigrationResult, cache_hit_rate
from migsim.study.predict import Prediction, predict
from migsim.study.question import Question, QuestionKeywords, takes_question
from migsim.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace import Trace

__all__ = ["SIZES_BYTES", "measured_sizes", "predicted_sizes"]

SIZES_BYTES = tuple(1 << k for k in range(22, 29))
"""4 to 256 MiB."""


@takes_question(draws=10)
def predicted_sizes(
    guest: Question | Trace | Workload | str | os.PathLike[str],
    *,
    sizes_bytes: Iterable[int] = SIZES_BYTES,
    **keywords: Unpack[QuestionKeywords],
) -> pd.DataFrame:
    """Predict a guest's migration with XBZRLE for each of several cache sizes.

    Parameters
    ----------
    guest : Question, Trace, Workload or path
        The guest, or a question about it; XBZRLE is switched on.
    sizes_bytes : iterable of int
    **keywords
        The keywords of `migsim.Question`: host, settings, qemu_version, draws (10 by default), seed, ...

    Returns
    -------
    pandas.DataFrame
        ``cache_size_bytes``, ``status``, ``completed_fraction``; ``hit_rate``, ``transferred_bytes`` and ``total_s``,
        each with ``_low`` and ``_high``, the middle 80 % of the draws with the most frequent outcome. Bytes are counted
        until the deadline where they do not complete; there is no ``total_s`` then.
    """
    import pandas as pd

    if not isinstance(guest, Question):
        keywords.setdefault("draws", 10)
    question = Question.of(guest, **keywords)
    settings = {**question.settings.parameters, **question.settings.capabilities, "xbzrle": True}
    rows = []
    for size in sizes_bytes:
        prediction = predict(question.replace(settings={**settings, "xbzrle-cache-size": size}))
        row: dict[str, float | str] = {
            "cache_size_bytes": size,
            "status": prediction.outcome.status,
            "completed_fraction": prediction.completed_fraction,
        }
        row |= _middle(prediction, "cache-hit-rate", "hit_rate")
        row |= _low_median_high(
            "transferred_bytes", [float(run.transferred_bytes) for run in prediction.runs]
        )
        row |= _middle(prediction, "total-time", "total_s", 1e-3)
        rows.append(row)
    return pd.DataFrame(rows)


def _middle(prediction: Prediction, name: str, column: str, unit: float = 1.0) -> dict[str, float]:
    return _low_median_high(column, [draw[name] * unit for draw in prediction.draws if name in draw])


def _low_median_high(column: str, values: list[float]) -> dict[str, float]:
    low, median, high = low_median_high(values) if values else (math.nan,) * 3
    return {column: median, f"{column}_low": low, f"{column}_high": high}


def measured_sizes(runs: Sequence[MigrationResult]) -> pd.DataFrame:
    """Tabulate the same figures of measured migrations, without those that ran without XBZRLE.

    Returns
    -------
    pandas.DataFrame
        One row per run: ``cache_size_bytes``, ``qemu_version``, ``status``, ``hit_rate``, ``transferred_bytes``,
        ``total_s``.
    """
    import pandas as pd

    columns = ["cache_size_bytes", "qemu_version", "status", "hit_rate", "transferred_bytes", "total_s"]
    rows = [
        (
            int(run.info["xbzrle-cache"]["cache-size"]),
            run.qemu_version,
            run.outcome.status,
            math.nan if (rate := cache_hit_rate(run.info)) is None else rate,
            run.transferred_bytes,
            run.total_time_ms / 1000,
        )
        for run in runs
        if "xbzrle-cache" in run.info
    ]
    return pd.DataFrame(rows, columns=columns)
