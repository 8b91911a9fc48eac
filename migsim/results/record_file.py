"""A result on disk: JSON with a format name and a version; tables as columns, unknown numbers as null."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import RecordError
from migsim.files import write_text_atomically
from migsim.qapi import validate_migration_info
from migsim.reading import LARGEST_TEXT_OF_A_RECORD, parse_json, read_file_text

if TYPE_CHECKING:
    import pandas as pd

    from migsim.results.migration_result import MigrationResult

__all__ = ["RECORD_FORMAT", "RECORD_VERSION", "parse_record", "read_record", "record_text", "write_record"]

RECORD_FORMAT = "migsim-record"
RECORD_VERSION = 1

_LONGEST_MS = 1e15
_TEXT = ("kind", "name", "qemu_version", "accel")
_OBJECTS = ("info", "downtime_parts_ms", "scenario", "provenance", "host_load")
_LISTS = ("events", "guest_log")


def write_record(result: MigrationResult, path: str | Path) -> None:
    """Write `result` to `path`; see `MigrationResult.save`."""
    write_text_atomically(path, record_text(result))


def record_text(result: MigrationResult) -> str:
    """Return what a file of `result` holds.

    Raises
    ------
    RecordError
        Where `info` is not what ``query-migrate`` answers.
    """
    validate_migration_info(result.info, result.qemu_version, where=f"{result.name}: info")
    data: dict[str, Any] = {"format": RECORD_FORMAT, "version": RECORD_VERSION}
    data |= {name: getattr(result, name) for name in _TEXT}
    data["outcome"] = {"status": result.outcome.status, "reason": result.outcome.reason}
    data |= {name: getattr(result, name) for name in _OBJECTS}
    data["blackout_ms"] = result.blackout_ms
    data["costs"] = result.costs
    data["intervals"] = {name: list(ends) for name, ends in result.intervals.items()}
    data["iterations"] = _columns(result.iterations)
    data["timeline"] = _columns(result.timeline)
    if len(result.guest_speed):
        data["guest_speed"] = _columns(result.guest_speed)
    data |= {name: getattr(result, name) for name in _LISTS}
    lines = [
        f"{json.dumps(key)}: {json.dumps(_plain(value), allow_nan=False)}" for key, value in data.items()
    ]
    # a key a line: records stay small, and a diff shows which part changed
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_record(path: str | Path) -> dict[str, Any]:
    """Read the arguments of a `MigrationResult`; see `MigrationResult.load`."""
    return parse_record(read_file_text(path, RecordError, most=LARGEST_TEXT_OF_A_RECORD), str(path))


def parse_record(text: str, where: str) -> dict[str, Any]:
    """Read the arguments of a `MigrationResult` from what a file holds.

    Parameters
    ----------
    text : str
    where : str
        What errors call it.

    Raises
    ------
    RecordError
        Where the text is cut short, foreign, or of a newer migsim.
    """
    data = parse_json(text, where, RecordError)
    if not isinstance(data, dict) or data.get("format") != RECORD_FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise RecordError(
            f"{where} is no migration record (its format is {found!r}).",
            f'A record starts with "format": "{RECORD_FORMAT}".',
            "Check the path; `migsim lab migrate` writes records.",
        )
    if data.get("version") != RECORD_VERSION:
        raise RecordError(
            f"{where} has version {data.get('version')!r}.",
            f"This migsim reads version {RECORD_VERSION} of {RECORD_FORMAT}.",
            "Update migsim, or record again.",
        )
    try:
        return _arguments(data, where)
    except KeyError as error:
        raise RecordError(
            f"{where} lacks {error.args[0]!r}.", "A record holds it.", "Record again."
        ) from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise RecordError(f"{where} is damaged: {error}.", "", "Record again.") from None


def _arguments(data: dict[str, Any], where: str) -> dict[str, Any]:
    from migsim.results.guest_speed import guest_speed_frame
    from migsim.results.iterations import iterations_frame
    from migsim.results.migration_result import Outcome

    found: dict[str, Any] = {}
    for names, kind in ((_TEXT, str), (_OBJECTS, dict), (_LISTS, list)):
        for name in names:
            if not isinstance(data[name], kind):
                raise RecordError(f"{where}: {name} is {data[name]!r:.60}.", f"It is a {kind.__name__}.", "")
            found[name] = data[name]
    validate_migration_info(found["info"], found["qemu_version"], where=f"{where}: info")
    _check_parts(data, where)
    rows = _rows(data["iterations"])
    return found | {
        "outcome": Outcome(data["outcome"]["status"], str(data["outcome"].get("reason", ""))),
        "blackout_ms": math.nan if data["blackout_ms"] is None else float(data["blackout_ms"]),
        "costs": {str(name): float(value) for name, value in data.get("costs", {}).items()},
        "intervals": {name: (float(low), float(high)) for name, (low, high) in data["intervals"].items()},
        "iterations": iterations_frame(rows),
        "timeline": _frame(data["timeline"]),
        "guest_speed": guest_speed_frame(_rows(data.get("guest_speed", {}))),
    }


def _columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): frame[name].tolist() for name in frame.columns}


def _rows(columns: Any) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in _frame(columns).to_dict("records")]


def _frame(columns: Any) -> pd.DataFrame:
    import pandas as pd

    if not isinstance(columns, dict):
        raise TypeError("a table is not an object of columns")
    if not all(isinstance(values, list) for values in columns.values()):
        raise TypeError("a column of a table is not an array")
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError("the columns of a table differ in length")
    for name, values in columns.items():
        _check_column(name, values)
    # a column of nothing but null is a number that was never known
    unknown = {name for name, values in columns.items() if all(value is None for value in values)}
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype="float64" if name in unknown else None)
            for name, values in columns.items()
        }
    )


def _check_parts(data: dict[str, Any], where: str) -> None:
    """Refuse times that are no numbers, and events without a name."""
    times = [*data["downtime_parts_ms"].items(), *data.get("costs", {}).items()]
    for name, value in times:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LONGEST_MS:
            raise RecordError(
                f"{where}: {name} is {value!r:.60}.", "It is a time from 0 on.", "Record again."
            )
    for event in data["events"]:
        if not isinstance(event, dict) or not isinstance(event.get("name"), str):
            raise RecordError(f"{where}: an event is {event!r:.60}.", "An event has a name.", "Record again.")


def _check_column(name: str, values: list[Any]) -> None:
    """Raise TypeError unless the values are numbers or null, or texts or null, or truth values."""
    kinds = {type(value) for value in values} - {type(None)}
    if not any(kinds <= allowed for allowed in ({int, float}, {str}, {bool})):
        raise TypeError(
            f"the column {name!r} of a table holds {', '.join(sorted(k.__name__ for k in kinds))}"
        )


def _plain(value: Any) -> Any:
    """Turn NaN into null and NumPy's scalars into Python's."""
    if isinstance(value, dict):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
