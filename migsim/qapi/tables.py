"""The vocabulary itself, read from the CSV tables beside this file.

``parameters.csv``: a default or a setting command that changed is written ``OLD 5.2=NEW``; a value of an
enumeration that came later ``zstd@5.0``. ``capabilities.csv``: a conflict that did not always hold
``multifd@8.0..10.0``. ``migration_info.csv``: the fields of ``query-migrate``, nested ones with a dot.
``until`` is the last release that has the name. `tests/qapi` holds the tables against real QEMUs.
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
        Releases that have it, under this name or (before 2.8, 2.11) through a command of its own.
    minimum, maximum : int or None
        QEMU's limits.
    values : tuple
        The values of an enumeration, with the releases that have them.
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
        """Return QEMU's own default in `version` (None: unset)."""
        text = _at(self.defaults, version)
        if self.type == "int":
            return int(text)
        if self.type == "bool":
            return text == "true"
        return None if self.type == "list" else text

    def set_command(self, version: QemuVersion) -> str:
        """Return the QMP command that sets it in `version`.

        Before 2.8 ``migrate_set_downtime`` takes seconds.
        """
        return _at(self.commands, version)


@dataclass(frozen=True, slots=True)
class Capability:
    """A migration capability; all are off by default."""

    name: str
    available: VersionRange
    needs: tuple[str, ...]
    conflicts: _Ranged
    description: str


@dataclass(frozen=True, slots=True)
class InfoField:
    """A field of ``query-migrate``; `name` has a dot where it is nested."""

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
    """Return the last entry that `version` has, or the first of all."""
    held = [text for text, available in ranged if version in available]
    return held[-1] if held else ranged[0][0] if ranged else ""


def _changes(text: str) -> _Ranged:
    """Read ``OLD 5.2=NEW``."""
    found = []
    for word in text.split():
        since, _, value = word.rpartition("=")
        found.append((value, VersionRange(QemuVersion.parse(since) if since else OLDEST)))
    return tuple(found)


def _ranged(text: str) -> _Ranged:
    """Read ``a b@5.0 c@8.0..10.0``."""
    found = []
    for word in text.split():
        name, _, versions = word.partition("@")
        since, _, until = versions.partition("..")
        found.append((name, VersionRange.parse(since or str(OLDEST), until)))
    return tuple(found)


def _parameters() -> Iterator[Parameter]:
    for row in _rows("parameters.csv"):
        yield Parameter(
            name=row["name"],
            type=row["type"],
            unit=row["unit"],
            available=VersionRange.parse(row["since"], row["until"]),
            minimum=int(row["minimum"]) if row["minimum"] else None,
            maximum=int(row["maximum"]) if row["maximum"] else None,
            values=_ranged(row["values"]),
            defaults=_changes(row["default"]),
            commands=_changes(row["command"]),
            description=row["description"],
        )


def _capabilities() -> Iterator[Capability]:
    for row in _rows("capabilities.csv"):
        yield Capability(
            name=row["name"],
            available=VersionRange.parse(row["since"], row["until"]),
            needs=tuple(row["needs"].split()),
            conflicts=_ranged(row["conflicts"]),
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
            values=_ranged(row["values"]),
            description=row["description"],
        )


PARAMETERS: Mapping[str, Parameter] = MappingProxyType({entry.name: entry for entry in _parameters()})
"""Migration parameters by name."""
CAPABILITIES: Mapping[str, Capability] = MappingProxyType({entry.name: entry for entry in _capabilities()})
"""Migration capabilities by name."""
INFO_FIELDS: Mapping[str, InfoField] = MappingProxyType({entry.name: entry for entry in _info_fields()})
"""Fields of ``query-migrate`` by dotted name."""
