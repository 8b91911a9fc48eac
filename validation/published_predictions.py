"""Published figures compared with today's models: `python -m validation.published_predictions` writes the page.

Each source is one file in `validation/data/published/`. Its `[use]` names the figures that are inputs, those that host
parameters are fitted to, those that are predicted or defined (with a tolerance), and those that no model covers. A
prediction uses the laws that users run (`migsim.models`, `migsim.engine`), the inputs and the fitted figures, and
nothing else of the source.

>>> table = predictions(answers(["lieven-xbzrle-2013"]))
>>> int((table.role == "predicted").sum()), int(table.within.eq(False).sum())
(2, 1)
"""

from __future__ import annotations

import argparse
import fnmatch
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.files import check_writable, write_text_atomically
from validation.places import PAGES
from validation.published import Fixture, load, load_all
from validation.published.dirty_limit import hyman
from validation.published.dirty_rate import calc_dirty_rate, gudkov_sample
from validation.published.dirty_tracking import log_start, sync_costs, talk
from validation.published.precopy import kolhe, quintela, zero_page_scan
from validation.published.table import Answer, compare
from validation.published.throttling import chegu
from validation.published.xbzrle import chenliang, lieven

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PREDICTORS", "answers", "page", "predictions"]

PREDICTORS: Mapping[str, Callable[[Fixture], Answer]] = {
    "calc-dirty-rate-2023": calc_dirty_rate,
    "chegu-auto-converge-2013": chegu,
    "chenliang-xbzrle-2014": chenliang,
    "gudkov-sample-2023": gudkov_sample,
    "hyman-dirty-limit-2023": hyman,
    "kolhe-mem-prealloc-2017": kolhe,
    "lieven-xbzrle-2013": lieven,
    "log-start": log_start,
    "quintela-multifd-2022": quintela,
    "sync-costs": sync_costs,
    "talk-2013": talk,
    "zero-page-scan": zero_page_scan,
}
"""Predictor of each fixture; a fixture without one has only inputs and waiting figures."""

MOST_LINES = 12
"""A pattern with more predictions than this is one line of the page, with its misses below."""


def main(arguments: list[str] | None = None) -> int:
    """Predict every fixture and write the page."""
    parser = argparse.ArgumentParser(prog="validation.published_predictions", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=PAGES / "published" / "README.md")
    options = parser.parse_args(arguments)
    check_writable(options.output)
    write_text_atomically(options.output, page(load_all(), answers()))
    return 0


def answers(names: Iterable[str] | None = None) -> dict[str, Answer]:
    """Run the predictors of the named fixtures, by default of all that have one."""
    chosen = list(PREDICTORS) if names is None else list(names)
    return {name: PREDICTORS[name](load(name)) for name in chosen}


def predictions(answered: Mapping[str, Answer] | None = None) -> pd.DataFrame:
    """Compare the figures of fixtures with the answers.

    Parameters
    ----------
    answered : mapping of str to Answer, optional
        Answers by fixture; by default those of `answers`.

    Returns
    -------
    pandas.DataFrame
        As `validation.published.table.compare`.
    """
    import pandas as pd

    by_fixture = answers() if answered is None else answered
    return pd.concat([compare(load(name), answer) for name, answer in by_fixture.items()], ignore_index=True)


def page(fixtures: Mapping[str, Fixture], answered: Mapping[str, Answer]) -> str:
    """Compose the page from every fixture and the answers."""
    tables = {name: compare(fixtures[name], answer) for name, answer in answered.items()}
    lines = [
        "# Published figures beside the models",
        "",
        "Made by `python -m validation.published_predictions` from `validation/data/published/`. None of these figures",
        "was measured by migsim. *Fitted*: a host parameter was set by the figure, so that their agreement proves",
        "nothing. *Predicted*: the models' answer, computed from the inputs and the fitted figures alone.",
        "*Definition*: a formula of the models, applied to the source's own counters; it shows that the figure is",
        "understood, but forecasts nothing. *Waiting*: no model covers the figure. The tolerances were chosen with",
        "the figures at hand, so read them together with their reasons.",
        "",
        *_summary(fixtures, tables),
    ]
    for name, fixture in fixtures.items():
        lines += ["", *_section(fixture, answered.get(name), tables.get(name))]
    return "\n".join(lines) + "\n"


def _summary(fixtures: Mapping[str, Fixture], tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    yield "| source | predicted: within / all | definitions: within / all | fitted | waiting |"
    yield "|---|---|---|---|---|"
    totals = [0] * 6
    for name, fixture in fixtures.items():
        counts: list[int] = []
        for role in ("predicted", "definition"):
            table = tables.get(name)
            met = 0 if table is None else int((table.within.eq(True) & (table.role == role)).sum())
            counts += [met, len(fixture.paths(role))]
        counts += [len(fixture.paths("fitted")), len(fixture.paths("waiting"))]
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        yield _counts(f"[{name}](#{name})", counts)
    yield _counts("**all**", totals)


def _counts(name: str, counts: list[int]) -> str:
    predicted, all_predicted, defined, all_defined, fitted, waiting = counts
    return f"| {name} | {predicted} / {all_predicted} | {defined} / {all_defined} | {fitted} | {waiting} |"


def _section(fixture: Fixture, answer: Answer | None, table: pd.DataFrame | None) -> Iterator[str]:
    yield f"## {fixture.name}"
    yield ""
    yield f"{fixture.title}. {fixture.what}. {fixture.who}, {fixture.when}."
    yield ""
    yield from (f"- {where}" for where in fixture.where)
    yield f"- Known: {fixture.hardware.known}."
    if fixture.hardware.unknown:
        yield f"- Not stated: {'; '.join(fixture.hardware.unknown)}."
    if answer is not None and answer.fitted:
        yield f"- Fitted: {'; '.join(f'`{term}` {value:.3g}' for term, value in answer.fitted.items())}."
    if answer is not None and answer.note:
        yield f"- {answer.note}"
    if table is not None:
        yield ""
        yield from _figures(fixture, table)
    waiting = {p: fixture.use[p].why for p in fixture.use if fixture.use[p].role == "waiting"}
    if waiting:
        yield ""
        yield from (f"- Waiting, `{pattern}`: {why}" for pattern, why in waiting.items())


def _figures(fixture: Fixture, table: pd.DataFrame) -> Iterator[str]:
    yield "| quantity | evidence | published | answer | error | tolerance | |"
    yield "|---|---|---|---|---|---|---|"
    known_misses: list[str] = []
    for pattern, rows in _by_use(fixture, table):
        fold = len(rows) > MOST_LINES
        if fold:
            yield _folded(pattern, rows)
        for row in rows:
            if not fold or row["within"] is False:
                yield _line(row)
            if row["miss"]:
                known_misses.append(f"- `{row['quantity']}`: {row['miss']}")
    reasons = {pattern: rows[0] for pattern, rows in _by_use(fixture, table)}
    yield ""
    for pattern, row in reasons.items():
        if not row["miss"]:  # a miss has a line of its own below
            yield f"- `{pattern}` is {row['role']}: {row['why']}"
    if known_misses:
        yield ""
        yield "Known misses:"
        yield ""
        yield from known_misses


def _by_use(fixture: Fixture, table: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the rows of the table by their entry in `[use]`, in the order of the entries."""
    rows: dict[str, list[dict[str, Any]]] = {pattern: [] for pattern in fixture.use}
    for row in table.to_dict("records"):
        path = row["quantity"]
        pattern = path if path in rows else next(p for p in reversed(rows) if fnmatch.fnmatchcase(path, p))
        rows[pattern].append({str(key): value for key, value in row.items()})
    return [(pattern, matches) for pattern, matches in rows.items() if matches]


def _line(row: Mapping[str, Any]) -> str:
    if row["role"] == "fitted":
        return f"| `{row['quantity']}` | {row['evidence']} | {_shown(row['published'])} | fitted | | | |"
    verdict = ("defined" if row["role"] == "definition" else "within") if row["within"] else "**miss**"
    return (
        f"| `{row['quantity']}` | {row['evidence']} | {_shown(row['published'])} | {_shown(row['predicted'])} | "
        f"{_percent(row['error'])} | {_tolerance(row['tolerance'])} | {verdict} |"
    )


def _folded(pattern: str, rows: list[dict[str, Any]]) -> str:
    errors = [abs(row["error"]) for row in rows if not math.isnan(row["error"])]
    worst = f"at most {max(errors):.2%}" if errors else ""
    within = sum(row["within"] is True for row in rows)
    return (
        f"| `{pattern}` ({len(rows)} figures) | {rows[0]['evidence']} | | | {worst} | "
        f"{_tolerance(rows[0]['tolerance'])} | {within} of {len(rows)} within |"
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(_shown(part) for part in value)
    if isinstance(value, str):
        return value
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _percent(error: float) -> str:
    if math.isnan(error):
        return ""
    return f"{error:+.2%}" if round(error, 4) else "0"  # without a sign


def _tolerance(tolerance: float) -> str:
    return "exact" if tolerance == 0 else f"{tolerance:.3g}" if tolerance < 0.001 else f"{tolerance:.1%}"


if __name__ == "__main__":
    raise SystemExit(main())
