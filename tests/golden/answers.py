"""What migsim answers today: each question of `cases` put to the command line, its answer as plain data."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from migsim.cli.main import run
from tests.golden.cases import CALIBRATED, RECORDS, ROOT, TRACES

Answer = dict[str, Any]

FOLDER = Path(__file__).parent
NOT_CONVERGED = 4
ABSOLUTE = 1e-6
"""What figures near 0 may differ by where some tolerance is given, in their own units."""


def golden_file(verb: str) -> Path:
    """Where a verb's golden answers are kept."""
    return FOLDER / f"{verb}.json"


def ask(verb: str, question: str) -> Answer:
    """Put one question to the command line."""
    name, *options = shlex.split(question)
    if verb == "compare":
        records = sorted(str(path) for path in (ROOT / RECORDS).glob(f"{name}-*.json"))
        text, _ = _output([verb, *records, *options, "--traces", str(ROOT / TRACES), "--format", "csv"])
        return _table(text)
    words = [verb, f"{ROOT / TRACES / name}.trace", *(_named(word) for word in options)]
    if verb == "sweep":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sweep.csv"
            _output([*words, "-o", str(path)])
            return _table(path.read_text(encoding="utf-8"))
    text, code = _output([*words, "--format", "json"])
    return {**json.loads(text), "exit-code": code}


def differences(golden: Any, answer: Any, tolerance: float, where: str = "") -> Iterator[str]:
    """Name every place where two answers differ by more than a relative tolerance.

    Examples
    --------
    >>> list(differences({"a": [1.0, 2.0]}, {"a": [1.0, 2.1]}, 0.01))
    ['a.1: 2.0, now 2.1']
    """
    if isinstance(golden, dict) and isinstance(answer, dict):
        for name in {**golden, **answer}:
            yield from differences(
                golden.get(name), answer.get(name), tolerance, f"{where}.{name}".lstrip(".")
            )
    elif isinstance(golden, list) and isinstance(answer, list) and len(golden) == len(answer):
        for place, (before, now) in enumerate(zip(golden, answer, strict=True)):
            yield from differences(before, now, tolerance, f"{where}.{place}")
    elif isinstance(golden, int | float) and isinstance(answer, int | float):
        if not math.isclose(golden, answer, rel_tol=tolerance, abs_tol=ABSOLUTE if tolerance else 0.0):
            yield f"{where}: {golden}, now {answer}"
    elif golden != answer:
        yield f"{where}: {golden!r}, now {answer!r}"


def _named(word: str) -> str:
    return str(ROOT / CALIBRATED[word.removeprefix("host:")]) if word.startswith("host:") else word


def _output(words: list[str]) -> tuple[str, int]:
    """Run a command line here; return what it printed, and its exit code."""
    printed, complaints = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaints):
        try:
            run(words)
        except SystemExit as end:
            code = int(end.code or 0)
    if code not in (0, NOT_CONVERGED):
        raise AssertionError(f"migsim {shlex.join(words)}: exit code {code}. {complaints.getvalue()}")
    return printed.getvalue(), code


def _table(text: str) -> Answer:
    """Columns of a CSV, numbers as numbers."""
    rows = list(csv.DictReader(io.StringIO(text)))
    return {name: [_number(row[name]) for row in rows] for name in rows[0]}


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word
