"""Parsing and checking the values of migration parameters and capabilities for a QEMU version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from migsim.errors import ParameterError, near_misses
from migsim.qapi.tables import CAPABILITIES, PARAMETERS, Capability, Parameter
from migsim.qapi.version import QemuVersion
from migsim.units import parse_quantity

__all__ = ["check_capabilities", "check_parameters", "defaults", "parse_setting"]

_BOOLEAN_WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def parse_setting(name: str, value: Any, version: QemuVersion | str) -> Any:
    """Parse the value of a parameter or capability; return it in QAPI's unit.

    Parameters
    ----------
    name : str
        A migration parameter or capability, spelled as in QAPI.
    value : object
        Text with a unit (``"10Gbps"``, ``"300ms"``), ``"on"``, or a value; a number without a unit is in QAPI's unit
        of the parameter.
    version : QemuVersion or str
        The QEMU version that the value is for.

    Returns
    -------
    int, bool, str or list
        The value for QMP: in bytes, bytes/s, ms or percent; a bool for a capability.

    Raises
    ------
    ParameterError
        The name is unknown or not in this version, or the value is outside QEMU's limits.
    UnitError
        The value's unit is ambiguous or wrong.

    Examples
    --------
    >>> parse_setting("max-bandwidth", "1Gbps", "10.0"), parse_setting("downtime-limit", "0.5s", "10.0")
    (125000000, 500)
    >>> parse_setting("auto-converge", "on", "7.2")
    True
    """
    version = QemuVersion.parse(version)
    entry = _find(name, version)
    if isinstance(entry, Capability) or entry.type == "bool":
        return _parse_boolean(name, value)
    if entry.type == "int":
        return _parse_integer(entry, value)
    if entry.type == "enum":
        return _parse_enumeration(entry, value, version)
    if entry.type == "list":
        return _parse_list(name, value)
    if not isinstance(value, str):
        raise ParameterError(f"{name} is {value!r}.", "QEMU takes text here.", "Put it in quotes.")
    return value


def defaults(version: QemuVersion | str) -> dict[str, Any]:
    """Return the defaults of all parameters that `version` has; lists, which are unset by default, are left out.

    Examples
    --------
    >>> defaults("5.1")["max-bandwidth"], defaults("5.2")["max-bandwidth"]
    (33554432, 134217728)
    """
    return dict(_defaults(QemuVersion.parse(version)))


@lru_cache(maxsize=64)
def _defaults(version: QemuVersion) -> dict[str, Any]:
    available = {name: entry for name, entry in PARAMETERS.items() if version in entry.available}
    return {name: entry.default(version) for name, entry in available.items() if entry.type != "list"}


def check_capabilities(
    capabilities: Mapping[str, bool] | Iterable[str], version: QemuVersion | str
) -> frozenset[str]:
    """Check QEMU's rules for capabilities, and return those that are on.

    Parameters
    ----------
    capabilities : mapping of str to bool, or names
        The capabilities that are on; a mapping may also hold some that are off.

    Raises
    ------
    ParameterError
        `version` lacks a capability, two capabilities exclude each other, or one needs another that is off.

    Examples
    --------
    >>> sorted(check_capabilities({"xbzrle": True, "multifd": False}, "10.0"))
    ['xbzrle']
    """
    version = QemuVersion.parse(version)
    given = dict(capabilities) if isinstance(capabilities, Mapping) else {name: True for name in capabilities}
    for name in given:
        if isinstance(_find(name, version), Parameter):
            raise ParameterError(
                f"{name!r} is a parameter, not a capability.", "", "Give its value among the parameters."
            )
    active = frozenset(name for name, on in given.items() if _parse_boolean(name, on))
    for name in sorted(active):
        entry = CAPABILITIES[name]
        for other, when in entry.conflicts:
            if other in active and version in when:
                raise ParameterError(
                    f"Capabilities {name!r} and {other!r} are both on.",
                    f"QEMU {version} does not combine them.",
                    "Switch one of the two off.",
                )
        missing = [other for other in entry.needs if other not in active]
        if missing:
            raise ParameterError(
                f"Capability {name!r} is on without {missing[0]!r}.",
                f"QEMU {version} requires both.",
                f"Switch {missing[0]!r} on, or {name!r} off.",
            )
    return active


def check_parameters(
    parameters: Mapping[str, Any], version: QemuVersion | str, capabilities: Iterable[str] = ()
) -> dict[str, Any]:
    """Parse several parameters, and check QEMU's rules between them and the active capabilities.

    Raises
    ------
    ParameterError
        As in `parse_setting`, and if two settings exclude each other.
    """
    version = QemuVersion.parse(version)
    for name in parameters:
        if isinstance(_find(name, version), Capability):
            raise ParameterError(
                f"{name!r} is a capability, not a parameter.",
                "",
                "Switch it on or off among the capabilities.",
            )
    parsed = {name: parse_setting(name, value, version) for name, value in parameters.items()}
    settings = defaults(version) | parsed
    initial, maximum = settings.get("cpu-throttle-initial"), settings.get("max-cpu-throttle")
    if initial is not None and maximum is not None and maximum < initial:
        raise ParameterError(
            f"max-cpu-throttle is {maximum}, below cpu-throttle-initial, {initial}.",
            "QEMU throttles from the initial percentage up to the maximum.",
            "Raise max-cpu-throttle or lower cpu-throttle-initial.",
        )
    plain_only = {"zero-copy-send", "mapped-ram"} & set(capabilities)
    not_plain = settings.get("multifd-compression", "none") != "none" or settings.get("tls-creds")
    if plain_only and not_plain:
        raise ParameterError(
            f"{min(plain_only)} is on together with multifd-compression or tls-creds.",
            "QEMU offers it only for migrations without compression and without TLS.",
            "Switch one of them off.",
        )
    return parsed


def _find(name: str, version: QemuVersion) -> Parameter | Capability:
    entry = PARAMETERS.get(name) or CAPABILITIES.get(name)
    if entry is None:
        known = [other for other, entry in PARAMETERS.items() if version in entry.available]
        known += [other for other, entry in CAPABILITIES.items() if version in entry.available]
        dashed = name.replace("_", "-")
        hint = f"Did you mean {dashed!r}?" if dashed in known else near_misses(name, known)
        raise ParameterError(
            f"{name!r} is no migration parameter or capability.",
            "Names are spelled as in QEMU's QAPI, with hyphens.",
            hint
            or "The QMP commands query-migrate-parameters and query-migrate-capabilities list the names.",
        )
    if version not in entry.available:
        kind = "parameter" if isinstance(entry, Parameter) else "capability"
        twin = name.removeprefix("x-") if name.startswith("x-") else f"x-{name}"
        other = PARAMETERS.get(twin) or CAPABILITIES.get(twin)
        renamed = f" In {version} it is called {twin!r}." if other and version in other.available else ""
        if version < entry.available.since:
            todo = f"Leave it out, or use QEMU {entry.available.since} or later."
        else:
            todo = "Leave it out."
        raise ParameterError(
            f"QEMU {version} has no {kind} {name!r}.", f"It is in QEMU {entry.available}.{renamed}", todo
        )
    return entry


def _parse_boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _BOOLEAN_WORDS:
        return _BOOLEAN_WORDS[value.strip().lower()]
    raise ParameterError(f"{name} is {value!r}.", "It can only be on or off.", "Write on or off.")


def _parse_integer(entry: Parameter, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ParameterError(
            f"{entry.name} is {value!r}.", f"QEMU takes a whole number ({entry.unit or 'a count'}).", ""
        )
    amount = parse_quantity(value, entry.unit, field=entry.name)
    low, high = entry.minimum, entry.maximum
    if (low is not None and amount < low) or (high is not None and amount > high):
        nearest = low if low is not None and amount < low else high
        raise ParameterError(
            f"{entry.name} is {value!r}, that is {amount} {entry.unit}".rstrip() + ".",
            f"QEMU takes {low} to {high} {entry.unit}".rstrip() + ".",
            f"The nearest value that it takes is {nearest}.",
        )
    if entry.name == "xbzrle-cache-size" and amount & (amount - 1):
        raise ParameterError(
            f"xbzrle-cache-size is {value!r}, that is {amount} bytes.",
            "QEMU takes powers of two only.",
            f"Write {1 << (amount.bit_length() - 1)} or {1 << amount.bit_length()}.",
        )
    return amount


def _parse_enumeration(entry: Parameter, value: Any, version: QemuVersion) -> str:
    allowed = [text for text, releases in entry.values if version in releases]
    if value in allowed:
        return str(value)
    other_releases = [releases for text, releases in entry.values if text == value]
    rule = (
        f"{value!r} is in QEMU {other_releases[0]}."
        if other_releases
        else f"QEMU {version} has {', '.join(allowed)}."
    )
    hint = near_misses(value, allowed) if isinstance(value, str) else ""
    raise ParameterError(f"{entry.name} is {value!r}.", rule, hint or f"Write {' or '.join(allowed)}.")


def _parse_list(name: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if isinstance(value, list | tuple):
        return list(value)
    raise ParameterError(f"{name} is not a list.", "QEMU takes a list here.", "Write it as a JSON array.")
