"""Validation and JSON schema of answers to `query-migrate`, both from `INFO_FIELDS`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migsim.errors import RecordError, near_misses
from migsim.qapi.tables import INFO_FIELDS, InfoField
from migsim.qapi.version import NEWEST, QemuVersion

__all__ = ["migration_info_schema", "validate_migration_info"]

_JSON_TYPES = {"int": "integer", "number": "number", "str": "string", "list": "array", "enum": "string"}


def migration_info_schema(version: QemuVersion | str | None = None, *, extra: bool = False) -> dict[str, Any]:
    """Return a JSON schema (draft 2020-12) of the answer to ``query-migrate``.

    Parameters
    ----------
    version : QemuVersion or str, optional
        The QEMU that answers. The schema then allows only the fields of this version, and requires those that it
        always gives. Without it, the answer of any release in the tables fits the schema.
    extra : bool
        Allow other keys at the top level, such as those that ``migsim predict`` adds.

    Examples
    --------
    >>> migration_info_schema("10.0")["properties"]["ram"]["properties"]["mbps"]["type"]
    'number'
    """
    release = QemuVersion.parse(version) if version is not None else None
    if release is not None and release > NEWEST:
        release = NEWEST
    properties = {field.name: _field_schema(field, release) for field in _members("", release)}
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
    """Check that `info` is an answer to ``query-migrate``.

    Parameters
    ----------
    info : mapping
        The object to check.
    version : QemuVersion or str, optional
        The QEMU that answered. For a version newer than the tables, unknown fields are allowed.
    where : str
        Place of the object, for the error text.

    Raises
    ------
    RecordError
        A field is unknown, missing or of another type; the error names the first one.

    Examples
    --------
    >>> validate_migration_info({"status": "completed", "total-time": 9456, "downtime": 29})
    """
    release = QemuVersion.parse(version) if version is not None else None
    newer = release is not None and release.release > NEWEST
    _check_object(info, "", where, None if newer else release, newer)


def _members(parent: str, version: QemuVersion | None) -> Iterator[InfoField]:
    """Yield the members of an object that `version` has; of any release without a version."""
    prefix = f"{parent}." if parent else ""
    for name, field in INFO_FIELDS.items():
        available = version is None or version in field.available
        if available and name.startswith(prefix) and "." not in name[len(prefix) :]:
            yield field


def _is_required(field: InfoField, version: QemuVersion | None) -> bool:
    # without a version only a field that every release has can be required
    in_all_releases = field.available.until is None and str(field.available.since) == "1.2"
    return not field.optional and (version is not None or in_all_releases)


def _member_prefix(field: InfoField) -> str:
    """Return the name under which the table lists the members of this object."""
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
    members = {member.name.rpartition(".")[2]: member for member in _members(_member_prefix(field), version)}
    return {
        "type": "object",
        "description": text,
        "properties": {name: _field_schema(member, version) for name, member in members.items()},
        "required": [name for name, member in members.items() if _is_required(member, version)],
        "additionalProperties": False,
    }


def _check_object(value: Any, parent: str, where: str, version: QemuVersion | None, open_ended: bool) -> None:
    if not isinstance(value, Mapping):
        raise _invalid(where, f"it is {type(value).__name__}, not an object")
    fields = {field.name.rpartition(".")[2]: field for field in _members(parent, version)}
    for key, member in value.items():
        field = fields.get(key)
        if field is not None:
            _check_field(field, member, f"{where}.{key}", version, open_ended)
        elif not open_ended:
            raise _invalid(where, f"it has the unknown field {key!r}", near_misses(str(key), fields))
    for key, field in fields.items():
        if key not in value and _is_required(field, version):
            raise _invalid(where, f"it lacks {key!r}")


def _check_field(
    field: InfoField, value: Any, where: str, version: QemuVersion | None, open_ended: bool
) -> None:
    if field.type not in _JSON_TYPES:
        _check_object(value, _member_prefix(field), where, version, open_ended)
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    has_type = {
        "int": isinstance(value, int) and is_number,
        "number": is_number and value == value,  # not NaN
        "str": isinstance(value, str),
        "list": isinstance(value, list | tuple),
        "enum": isinstance(value, str) and (open_ended or value in [text for text, _ in field.values]),
    }[field.type]
    if not has_type:
        raise _invalid(where, f"it is {value!r}, not {_JSON_TYPES[field.type]}")
    if is_number and value < 0:
        raise _invalid(where, f"it is {value!r}, but no counter is negative")


def _invalid(where: str, why: str, hint: str = "") -> RecordError:
    return RecordError(
        f"{where} is not an answer to query-migrate: {why}.",
        "Names and types must be those of MigrationInfo in QEMU's QAPI.",
        hint or "Check which program wrote it.",
    )
