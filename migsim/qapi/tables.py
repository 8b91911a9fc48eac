"""The tables of parameters, capabilities and fields of ``query-migrate``, read from the CSV files of this folder.

- ``parameters.csv``: ``OLD 5.2=NEW`` is a default, or a command for setting the parameter, that changed with 5.2;
  ``zstd@5.0`` is a value of an enumeration that exists since 5.0.
- ``capabilities.csv``: ``multifd@8.0..10.0`` is a conflict with a capability that exists only in these releases.
- ``migration_info.csv``: the fields of ``query-migrate``; the names of nested fields contain dots.

The column ``until`` is the last release that has the name. `tests/qapi` compares the tables with real QEMUs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

from migsim.qapi.version import OLDEST, QemuVersion, VersionRange

__all__ = ["CAPABILITIES", "INFO_FIELDS", "PARAMETERS", "Capability", "InfoField", "Parameter"]

_Ranged = tuple[tuple[str, VersionRange], ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A migration parameter.

    Attributes
    ----------
    type : str
        ``int``, ``bool``, ``enum``, ``str`` or ``list``.
    unit : str
        ``bytes``, ``bytes/s``, ``MiB/s``, ``ms``, ``percent`` or "".
    available : VersionRange
        Releases that have it, under this name or, before 2.8 or 2.11, as the argument of a separate command.
    minimum, maximum : int or None
        QEMU's limits, in the parameter's unit.
    values : tuple
        The values of an enumeration, each with the releases that have it.
    defaults, commands : tuple
        The defaults, and the QMP commands that set the parameter, each with the releases from which it holds. The
        command ``migrate_set_downtime``, which is used before 2.8, takes seconds.
    """

    name: str
    type: str
    unit: str
    available: VersionRange
    minimum: int | None
    maximum: int | None
    values: _Ranged
    defaults: _Ranged
    commands: _Ranged
    description: str

    def default(self, version: QemuVersion) -> int | bool | str | None:
        """Return QEMU's default in `version`; None where the parameter is unset."""
        text = _at(self.defaults, version)
        if self.type == "int":
            return int(text)
        if self.type == "bool":
            return text == "true"
        return None if self.type == "list" else text


@dataclass(frozen=True, slots=True)
class Capability:
    """A migration capability; all are off by default.

    Attributes
    ----------
    needs : tuple of str
        Capabilities that must be on with it.
    conflicts : tuple
        Capabilities that must be off with it, each with the releases in which that holds.
    """

    name: str
    available: VersionRange
    needs: tuple[str, ...]
    conflicts: _Ranged
    description: str


@dataclass(frozen=True, slots=True)
class InfoField:
    """A field of ``query-migrate``; the `name` of a nested field contains dots."""

    name: str
    type: str
    unit: str
    available: VersionRange
    optional: bool
    values: _Ranged
    description: str


def _rows(table: str) -> Iterator[dict[str, str]]:
    text = resources.files("migsim.qapi").joinpath(table).read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())


def _at(ranged: _Ranged, version: QemuVersion) -> str:
    """Return the last entry whose releases include `version`; the first entry if there is none."""
    valid = [text for text, available in ranged if version in available]
    return valid[-1] if valid else ranged[0][0] if ranged else ""


def _parse_changes(text: str) -> _Ranged:
    """Parse ``OLD 5.2=NEW``."""
    entries = []
    for word in text.split():
        since, _, value = word.rpartition("=")
        entries.append((value, VersionRange(QemuVersion.parse(since) if since else OLDEST)))
    return tuple(entries)


def _parse_ranged(text: str) -> _Ranged:
    """Parse ``a b@5.0 c@8.0..10.0``."""
    entries = []
    for word in text.split():
        name, _, versions = word.partition("@")
        since, _, until = versions.partition("..")
        entries.append((name, VersionRange.parse(since or str(OLDEST), until)))
    return tuple(entries)


def _parameters() -> Iterator[Parameter]:
    for row in _rows("parameters.csv"):
        yield Parameter(
            name=row["name"],
            type=row["type"],
            unit=row["unit"],
            available=VersionRange.parse(row["since"], row["until"]),
            minimum=int(row["minimum"]) if row["minimum"] else None,
            maximum=int(row["maximum"]) if row["maximum"] else None,
            values=_parse_ranged(row["values"]),
            defaults=_parse_changes(row["default"]),
            commands=_parse_changes(row["command"]),
            description=row["description"],
        )


def _capabilities() -> Iterator[Capability]:
    for row in _rows("capabilities.csv"):
        yield Capability(
            name=row["name"],
            available=VersionRange.parse(row["since"], row["until"]),
            needs=tuple(row["needs"].split()),
            conflicts=_parse_ranged(row["conflicts"]),
            description=row["description"],
        )


def _info_fields() -> Iterator[InfoField]:
    for row in _rows("migration_info.csv"):
        yield InfoField(
            name=row["name"],
            type=row["type"],
            unit=row["unit"],
            available=VersionRange.parse(row["since"], row["until"]),
            optional=row["optional"] == "yes",
            values=_parse_ranged(row["values"]),
            description=row["description"],
        )


PARAMETERS: Mapping[str, Parameter] = MappingProxyType({entry.name: entry for entry in _parameters()})
"""Migration parameters by name."""
CAPABILITIES: Mapping[str, Capability] = MappingProxyType({entry.name: entry for entry in _capabilities()})
"""Migration capabilities by name."""
INFO_FIELDS: Mapping[str, InfoField] = MappingProxyType({entry.name: entry for entry in _info_fields()})
"""Fields of ``query-migrate`` by dotted name."""
