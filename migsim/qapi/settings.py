"""Reading parameters and capabilities as a given QEMU version would take them."""

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

_YES = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def parse_setting(name: str, value: Any, version: QemuVersion | str) -> Any:
    """Read the value of a parameter or capability, in QAPI's own unit.

    Parameters
    ----------
    name : str
        A migration parameter or capability, spelled as in QAPI.
    value : object
        Text (``"10Gbps"``, ``"300ms"``, ``"on"``) or a value; a bare number is in the parameter's own unit.
    version : QemuVersion or str
        The QEMU that is to take it.

    Returns
    -------
    int, bool, str or list
        What QMP takes: bytes, bytes/s, ms, percent, a bool for capabilities.

    Raises
    ------
    ParameterError
        Name unknown, not in this version, or value outside QEMU's limits.
    UnitError
        Value with an ambiguous or wrong unit.

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
        return _boolean(name, value)
    if entry.type == "int":
        return _integer(entry, value)
    if entry.type == "enum":
        return _enumeration(entry, value, version)
    if entry.type == "list":
        return _list(name, value)
    if not isinstance(value, str):
        raise ParameterError(f"{name} is {value!r}.", "QEMU takes text here.", "Put it in quotes.")
    return value


def defaults(version: QemuVersion | str) -> dict[str, Any]:
    """Return every parameter that `version` has, with its default; a list that is unset is left out.

    Examples
    --------
    >>> defaults("5.1")["max-bandwidth"], defaults("5.2")["max-bandwidth"]
    (33554432, 134217728)
    """
    return dict(_defaults(QemuVersion.parse(version)))


@lru_cache(maxsize=64)
def _defaults(version: QemuVersion) -> dict[str, Any]:
    held = {name: entry for name, entry in PARAMETERS.items() if version in entry.available}
    return {name: entry.default(version) for name, entry in held.items() if entry.type != "list"}


def check_capabilities(
    capabilities: Mapping[str, bool] | Iterable[str], version: QemuVersion | str
) -> frozenset[str]:
    """Return the capabilities that are on, once QEMU's rules about them hold.

    Parameters
    ----------
    capabilities : mapping of str to bool, or names
        What is switched on (and, in a mapping, off).

    Raises
    ------
    ParameterError
        A name that `version` lacks, a pair that excludes each other, or a missing companion.

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
                f"{name!r} is a parameter, not a capability.", "", "Give it a value instead."
            )
    active = frozenset(name for name, on in given.items() if _boolean(name, on))
    for name in sorted(active):
        entry = CAPABILITIES[name]
        for other, when in entry.conflicts:
            if other in active and version in when:
                raise ParameterError(
                    f"Capabilities {name!r} and {other!r} are both on.",
                    f"QEMU {version} does not combine them.",
                    "Switch one of them off.",
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
    """Read several parameters and check QEMU's rules between them and the active capabilities.

    Raises
    ------
    ParameterError
        As `parse_setting`, and where two settings exclude each other.
    """
    version = QemuVersion.parse(version)
    for name in parameters:
        if isinstance(_find(name, version), Capability):
            raise ParameterError(f"{name!r} is a capability, not a parameter.", "", "Switch it on or off.")
    read = {name: parse_setting(name, value, version) for name, value in parameters.items()}
    every = defaults(version) | read
    floor, ceiling = every.get("cpu-throttle-initial"), every.get("max-cpu-throttle")
    if floor is not None and ceiling is not None and ceiling < floor:
        raise ParameterError(
            f"max-cpu-throttle is {ceiling}, below cpu-throttle-initial, {floor}.",
            "QEMU throttles from the initial percentage up to the maximum.",
            "Raise max-cpu-throttle or lower cpu-throttle-initial.",
        )
    plain = {"zero-copy-send", "mapped-ram"} & set(capabilities)
    coded = every.get("multifd-compression", "none") != "none" or every.get("tls-creds")
    if plain and coded:
        raise ParameterError(
            f"{min(plain)} is on together with multifd-compression or tls-creds.",
            "QEMU offers it for plain, uncompressed migrations only.",
            "Drop one of them.",
        )
    return read


def _find(name: str, version: QemuVersion) -> Parameter | Capability:
    entry = PARAMETERS.get(name) or CAPABILITIES.get(name)
    if entry is None:
        known = [n for n, e in PARAMETERS.items() if version in e.available]
        known += [n for n, e in CAPABILITIES.items() if version in e.available]
        dashed = name.replace("_", "-")
        hint = f"Did you mean {dashed!r}?" if dashed in known else near_misses(name, known)
        raise ParameterError(
            f"{name!r} is no migration parameter or capability.",
            "Names are spelled as in QEMU's QAPI, in kebab-case.",
            hint or "`query-migrate-parameters` and `query-migrate-capabilities` list what a QEMU has.",
        )
    if version not in entry.available:
        what = "parameter" if isinstance(entry, Parameter) else "capability"
        twin = name.removeprefix("x-") if name.startswith("x-") else f"x-{name}"
        other = PARAMETERS.get(twin) or CAPABILITIES.get(twin)
        renamed = f" In {version} it is called {twin!r}." if other and version in other.available else ""
        if version < entry.available.since:
            todo = f"Leave it out, or use QEMU {entry.available.since} or later."
        else:
            todo = "Leave it out."
        raise ParameterError(
            f"QEMU {version} has no {what} {name!r}.", f"It is in QEMU {entry.available}.{renamed}", todo
        )
    return entry


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _YES:
        return _YES[value.strip().lower()]
    raise ParameterError(f"{name} is {value!r}.", "It is either on or off.", "Write on or off.")


def _integer(entry: Parameter, value: Any) -> int:
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


def _enumeration(entry: Parameter, value: Any, version: QemuVersion) -> str:
    held = [text for text, when in entry.values if version in when]
    if value in held:
        return str(value)
    later = [when for text, when in entry.values if text == value]
    rule = f"{value!r} is in QEMU {later[0]}." if later else f"QEMU {version} has {', '.join(held)}."
    hint = near_misses(value, held) if isinstance(value, str) else ""
    raise ParameterError(f"{entry.name} is {value!r}.", rule, hint or f"Write {' or '.join(held)}.")


def _list(name: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if isinstance(value, list | tuple):
        return list(value)
    raise ParameterError(f"{name} is not a list.", "QEMU takes a list here.", "Write it as a JSON array.")
