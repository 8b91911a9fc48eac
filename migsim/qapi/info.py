"""What `query-migrate` answers: validation and a JSON schema, both from the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migsim.errors import RecordError, near_misses
from migsim.qapi.tables import INFO_FIELDS, InfoField
from migsim.qapi.version import NEWEST, QemuVersion

__all__ = ["migration_info_schema", "validate_migration_info"]

_JSON_TYPES = {"int": "integer", "number": "number", "str": "string", "list": "array", "enum": "string"}


def migration_info_schema(version: QemuVersion | str | None = None, *, extra: bool = False) -> dict[str, Any]:
    """Return a JSON schema (draft 2020-12) of ``query-migrate``'s answer.

    Parameters
    ----------
    version : QemuVersion or str, optional
        The QEMU that answers: its fields and no others, all that it always gives being required. Without
        it, any covered release's answer passes.
    extra : bool
        Allow other keys at the top level, such as the ones that ``migsim predict`` adds.

    Examples
    --------
    >>> migration_info_schema("10.0")["properties"]["ram"]["properties"]["mbps"]["type"]
    'number'
    """
    release = QemuVersion.parse(version) if version is not None else None
    if release is not None and release > NEWEST:
        release = NEWEST
    properties = {field.name: _field_schema(field, release) for field in _children("", release)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"MigrationInfo of QEMU {version or 'any version'}",
        "type": "object",
        "properties": properties,
        "additionalProperties": extra,
    }


def validate_migration_info(
    info: Mapping[str, Any], version: QemuVersion | str | None = None, *, where: str = "query-migrate"
) -> None:
    """Check that `info` is what ``query-migrate`` answers.

    Parameters
    ----------
    info : mapping
        The object to check.
    version : QemuVersion or str, optional
        The QEMU that it came from; fields unknown to the tables pass for one newer than the tables.
    where : str
        Where the object stands, for the error message.

    Raises
    ------
    RecordError
        Naming the first field that is unknown, missing or of another type.

    Examples
    --------
    >>> validate_migration_info({"status": "completed", "total-time": 9456, "downtime": 29})
    """
    release = QemuVersion.parse(version) if version is not None else None
    newer = release is not None and release.release > NEWEST
    _check_object(info, "", where, None if newer else release, newer)


def _children(parent: str, version: QemuVersion | None) -> Iterator[InfoField]:
    prefix = f"{parent}." if parent else ""
    for name, field in INFO_FIELDS.items():
        held = version is None or version in field.available
        if held and name.startswith(prefix) and "." not in name[len(prefix) :]:
            yield field


def _required(field: InfoField, version: QemuVersion | None) -> bool:
    # without a version only what every release gives can be asked for
    always = field.available.until is None and str(field.available.since) == "1.2"
    return not field.optional and (version is not None or always)


def _members(field: InfoField) -> str:
    """Return the parent name under which the table lists this object's members."""
    return field.type.removeprefix("like ") if field.type.startswith("like ") else field.name


def _field_schema(field: InfoField, version: QemuVersion | None) -> dict[str, Any]:
    text = f"{field.description}{f' [{field.unit}]' if field.unit else ''}"
    if field.type in _JSON_TYPES:
        schema: dict[str, Any] = {"type": _JSON_TYPES[field.type], "description": text}
        if field.type == "enum":
            schema["enum"] = [value for value, when in field.values if version is None or version in when]
        if field.type in ("int", "number"):
            schema["minimum"] = 0
        return schema
    members = list(_children(_members(field), version))
    return {
        "type": "object",
        "description": text,
        "properties": {m.name.rpartition(".")[2]: _field_schema(m, version) for m in members},
        "required": [m.name.rpartition(".")[2] for m in members if _required(m, version)],
        "additionalProperties": False,
    }


def _check_object(value: Any, parent: str, where: str, version: QemuVersion | None, open_ended: bool) -> None:
    if not isinstance(value, Mapping):
        raise _foreign(where, f"it is {type(value).__name__}, not an object")
    fields = {field.name.rpartition(".")[2]: field for field in _children(parent, version)}
    for key, member in value.items():
        field = fields.get(key)
        if field is not None:
            _check_field(field, member, f"{where}.{key}", version, open_ended)
        elif not open_ended:
            raise _foreign(where, f"it holds {key!r}", near_misses(str(key), fields))
    for key, field in fields.items():
        if key not in value and _required(field, version):
            raise _foreign(where, f"it lacks {key!r}")


def _check_field(
    field: InfoField, value: Any, where: str, version: QemuVersion | None, open_ended: bool
) -> None:
    if field.type not in _JSON_TYPES:
        _check_object(value, _members(field), where, version, open_ended)
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    good = {
        "int": isinstance(value, int) and number,
        "number": number and value == value,
        "str": isinstance(value, str),
        "list": isinstance(value, list | tuple),
        "enum": isinstance(value, str) and (open_ended or value in [text for text, _ in field.values]),
    }[field.type]
    if not good:
        raise _foreign(where, f"it is {value!r}, not {_JSON_TYPES[field.type]}")
    if number and value < 0:
        raise _foreign(where, f"it is {value!r}, and no counter is negative")


def _foreign(where: str, why: str, hint: str = "") -> RecordError:
    return RecordError(
        f"{where} is not what query-migrate answers: {why}.",
        "Names and types are QAPI's MigrationInfo.",
        hint or "Check which program wrote it.",
    )
