"""Record files: a result as JSON with a format name and a version.

Tables are written as objects of columns, unknown numbers as null.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import RecordError
from migsim.files import write_text_atomically
from migsim.qapi import validate_migration_info

if TYPE_CHECKING:
    import pandas as pd

    from migsim.results.migration_result import MigrationResult

__all__ = ["FORMAT", "VERSION", "read_record", "write_record"]

FORMAT = "migsim-record"
VERSION = 1

_TEXT = ("kind", "name", "qemu_version", "accel")
_OBJECTS = ("info", "downtime_parts_ms", "scenario", "provenance", "host_load")
_LISTS = ("events", "guest_log")


def write_record(result: MigrationResult, path: str | Path) -> None:
    """Write a result to `path`; see `MigrationResult.save`."""
    validate_migration_info(result.info, result.qemu_version, where=f"{result.name}: info")
    data: dict[str, Any] = {"format": FORMAT, "version": VERSION}
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
        f"{json.dumps(key)}: {json.dumps(_json_value(value), allow_nan=False)}" for key, value in data.items()
    ]
    # one line for each key: records stay small, and a diff shows which part changed
    write_text_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_record(path: str | Path) -> dict[str, Any]:
    """Return the arguments of a `MigrationResult` from a record; see `MigrationResult.load`."""
    data = _read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise RecordError(
            f"{path} is no migration record (its format is {found!r}).",
            f'A migration record has "format": "{FORMAT}".',
            "Check the path; `migsim lab migrate` writes records.",
        )
    if data.get("version") != VERSION:
        raise RecordError(
            f"{path} has version {data.get('version')!r} of the record format.",
            f"This migsim reads version {VERSION}.",
            "Update migsim, or record the migration again.",
        )
    try:
        return _arguments(data, path)
    except KeyError as error:
        raise RecordError(
            f"{path} lacks {error.args[0]!r}.", "Every record has it.", "Record the migration again."
        ) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} is damaged: {error}.", "", "Record the migration again.") from None


def _read_json(path: str | Path) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(f"Cannot read {path}: {error.strerror}.", "", "Check the path.") from None
    except UnicodeDecodeError:
        raise RecordError(f"{path} is not text.", "Records are JSON.", "Check the path.") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{path} is not whole JSON: {error}.",
            "Records are JSON files.",
            "Check the path; copy the file again if the copy was cut short.",
        ) from None


def _arguments(data: dict[str, Any], path: str | Path) -> dict[str, Any]:
    from migsim.results.guest_speed import guest_speed_frame
    from migsim.results.iterations import iterations_frame
    from migsim.results.migration_result import Outcome

    arguments: dict[str, Any] = {}
    for names, kind, kind_name in (
        (_TEXT, str, "a text"),
        (_OBJECTS, dict, "an object"),
        (_LISTS, list, "a list"),
    ):
        for name in names:
            if not isinstance(data[name], kind):
                raise RecordError(
                    f"{path}: {name} is {data[name]!r:.60}.",
                    f"In a record it is {kind_name}.",
                    "Record the migration again.",
                )
            arguments[name] = data[name]
    validate_migration_info(arguments["info"], arguments["qemu_version"], where=f"{path}: info")
    rows = _rows(data["iterations"])
    return arguments | {
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
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError("the columns of a table differ in length")
    # a column with only null holds numbers that were all unknown
    unknown = {name for name, values in columns.items() if all(value is None for value in values)}
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype="float64" if name in unknown else None)
            for name, values in columns.items()
        }
    )


def _json_value(value: Any) -> Any:
    """Turn NaN and infinity into null, and NumPy's values into Python's."""
    if isinstance(value, dict):
        return {str(key): _json_value(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(member) for member in value]
    if hasattr(value, "tolist"):
        return _json_value(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
