"""The axes of a sweep: the quantities that vary, read from ``NAME=VALUES``.

``LOW:HIGH:COUNT`` is evenly spaced values, both ends included; ``LOW:HIGH:COUNT:log`` has equal ratios; ``A,B,C`` is a
list; ``on|off`` is both. ``LOW:HIGH`` is a range to be sampled; a grid needs a count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.errors import ParameterError, near_misses
from migsim.profiles.terms import TERMS
from migsim.qapi import CAPABILITIES, PARAMETERS, QemuVersion
from migsim.qapi.settings import parse_setting
from migsim.study.quantities import LARGEST_COUNT, QUANTITIES, read_number
from migsim.units import parse_bytes, parse_duration_s, parse_quantity

__all__ = ["GUEST_RAM", "QUESTION_AXES", "SCALE_PREFIX", "Axis", "AxisKind", "read_axes", "read_value"]

AxisKind = Literal["parameter", "choice", "input", "term", "scale", "guest"]
"""What the values of an axis are: see `Axis.kind`."""

SCALE_PREFIX = "scale."
"""Prefix of a host term's name that makes it a factor on the term's value."""

GUEST_RAM = "guest-ram"
"""Axis of the guest's memory, to which its workload is scaled (`migsim.study.sweep.guest_ram`)."""

QUESTION_AXES = {name: (quantity.unit, quantity.meaning) for name, quantity in QUANTITIES.items()} | {
    GUEST_RAM: ("bytes", "The guest's memory, its writing scaled to it by a stated rule")
}
"""Unit and meaning of the axes that are neither QEMU settings nor host terms, by name."""

_GUEST_AXES = ("load", "dirty-ring-size", GUEST_RAM)


@dataclass(frozen=True)
class Axis:
    """One quantity that varies, and its values.

    Attributes
    ----------
    name : str
    unit : str
        Unit of the values; QAPI's for migration parameters.
    kind : {"parameter", "choice", "input", "term", "scale", "guest"}
        A QEMU setting that is a number; a setting that is switched or chosen; a number of the question; a host term;
        a factor on a host term; a number that changes the guest.
    listed : tuple
        The values, where they are given one by one.
    low, high : float
        Ends of a range.
    count : int
        Number of values; 0 for a range that can only be sampled.
    log : bool
        Whether values of the range have equal ratios rather than equal differences.
    whole : bool
        Whether values are whole numbers.
    """

    name: str
    unit: str
    kind: AxisKind
    listed: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    count: int = 0
    log: bool = False
    whole: bool = False

    @cached_property
    def values(self) -> NDArray[Any]:
        """The values of the axis in a grid.

        Raises
        ------
        ParameterError
            Where the range has no count, or a count above the number of whole numbers in it.
        """
        if self.listed:
            return np.array(self.listed)
        if not self.count:
            raise ParameterError(
                f"{self.name} varies from {self.low:g} to {self.high:g} without a count.",
                "A grid needs LOW:HIGH:COUNT.",
                "Add the count, or sample (--samples N).",
            )
        values = self.at(np.linspace(0, 1, self.count))
        found = len(np.unique(values))
        if found < self.count:
            rounded = "powers of two" if self.name == "xbzrle-cache-size" else "whole numbers"
            raise ParameterError(
                f"{self.name} has {self.count} values from {self.low:g} to {self.high:g} {self.unit}.",
                f"Rounded to {rounded}, only {found} of them differ.",
                f"Ask for {found} or fewer, or list the values.",
            )
        return values

    def at(self, fraction: ArrayLike) -> NDArray[Any]:
        """Return the values at fractions (0 to 1) of the way from the low end to the high one, rounded where whole."""
        along = np.asarray(fraction, dtype=np.float64)
        if self.listed:
            index = np.minimum((along * len(self.listed)).astype(int), len(self.listed) - 1)
            return np.asarray(np.array(self.listed)[index])
        ratio = self.high / self.low if self.log else 1.0
        values = self.low * ratio**along if self.log else self.low + (self.high - self.low) * along
        if self.name == "xbzrle-cache-size":
            values = np.exp2(np.round(np.log2(values)))
        values = np.where(along >= 1, self.high, values)  # exactly, without a rounding error
        if not self.whole:
            return np.clip(values, self.low, self.high)
        return np.clip(np.round(values), self.low, self.high).astype(np.int64)


def read_axes(vary: Mapping[str, Any], version: QemuVersion | str) -> tuple[Axis, ...]:
    """Read the axes of a sweep.

    Parameters
    ----------
    vary : mapping of str to str or sequence
        Values by name: text as in this module's docstring, or a sequence.
    version : QemuVersion or str
        The version of QEMU that has to accept them.

    Raises
    ------
    ParameterError
        For an unknown name, an empty or reversed range, a value given twice or outside of QEMU's limits.
    UnitError

    Examples
    --------
    >>> read_axes({"downtime-limit": "100ms:300ms:3"}, "10.0")[0].values
    array([100, 200, 300])
    >>> read_axes({"xbzrle": "on|off"}, "10.0")[0].values
    array([ True, False])
    """
    wanted = QemuVersion.parse(version)
    return tuple(_read(name, values, wanted) for name, values in vary.items())


def read_value(name: str, value: Any, version: QemuVersion) -> tuple[Any, str, AxisKind]:
    """Read one value of an axis; return it in the axis's unit, the unit, and the kind.

    Raises
    ------
    ParameterError, UnitError

    Examples
    --------
    >>> read_value("link", "10Gbps", QemuVersion.parse("10.0"))
    (1250000000, 'bytes/s', 'input')
    """
    if name in PARAMETERS or name in CAPABILITIES:
        read = parse_setting(name, value, version)
        entry = PARAMETERS.get(name)
        if entry is not None and entry.type == "int":
            return _bounded(name, read), entry.unit, "parameter"
        if isinstance(read, list):
            raise ParameterError(
                f"{name} is a list.", "Only numbers and choices can vary.", "Set it instead."
            )
        return read, "", "choice"
    if name in QUESTION_AXES:
        return _quantity(name, value), QUESTION_AXES[name][0], "guest" if name in _GUEST_AXES else "input"
    term = name.removeprefix(SCALE_PREFIX)
    if term in TERMS:
        if name != term:
            return read_number(name, value), "1", "scale"
        in_s = term.endswith("_s") and isinstance(value, str)
        return (
            (parse_duration_s(value, field=name) if in_s else read_number(name, value)),
            TERMS[term].unit,
            "term",
        )
    known = [n for table in (PARAMETERS, CAPABILITIES) for n, e in table.items() if version in e.available]
    hint = near_misses(name, [*known, *QUESTION_AXES, *TERMS, *(SCALE_PREFIX + t for t in TERMS)])
    raise ParameterError(
        f"{name!r} can neither be set nor varied.",
        f"Axes are the migration parameters and capabilities of QEMU {version}, {', '.join(QUESTION_AXES)}, host "
        f"terms such as normal_page_s, and factors on them such as {SCALE_PREFIX}normal_page_s.",
        hint or "Correct the name.",
    )


def _read(name: str, values: Any, version: QemuVersion) -> Axis:
    if isinstance(values, str):
        parts = [part.strip() for part in values.split(":")]
        if len(parts) > 1:
            return _range(name, values, parts, version)
        values = values.replace("|", ",").split(",") if values.strip() else []
    elif not isinstance(values, Sequence | np.ndarray):
        values = [values]
    read = [read_value(name, _plain(value), version) for value in values]
    if not read:
        raise ParameterError(f"{name} has no values.", "An axis has at least one.", f"Write {name}=A,B,C.")
    listed = tuple(value for value, _, _ in read)
    if len(set(listed)) < len(listed):
        twice = next(value for value in listed if listed.count(value) > 1)
        raise ParameterError(f"{name} has {twice!r} twice.", "The values of an axis differ.", "Drop one.")
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in listed)
    return Axis(name, read[0][1], read[0][2], listed, count=len(listed), whole=whole)


def _range(name: str, text: str, parts: list[str], version: QemuVersion) -> Axis:
    log = parts[-1] == "log"
    ends, counts = parts[:2], parts[2 : len(parts) - log]
    if len(counts) > 1 or len(parts) < 2 + log or not all(ends):
        raise ParameterError(
            f"The range of {name} is {text!r}.",
            "A range is LOW:HIGH:COUNT or LOW:HIGH:COUNT:log.",
            "Write it like 1Gbps:25Gbps:20.",
        )
    (low, unit, kind), (high, _, _) = (read_value(name, end, version) for end in ends)
    if kind == "choice":
        raise ParameterError(f"The range of {name} is {text!r}.", "It is no number.", "List its values.")
    count = parse_quantity(counts[0], "", field=f"The count of {name}") if counts else 0
    if counts and count < 2:
        raise ParameterError(
            f"The range of {name} is {text!r}: {count} values.",
            "A range has two ends.",
            "Ask for at least 2.",
        )
    if low >= high:
        turned = ":".join([ends[1], ends[0], *parts[2:]])
        raise ParameterError(
            f"The range of {name} is {text!r}, which is {'empty' if low == high else 'reversed'}.",
            "A range goes from LOW up to HIGH.",
            f"Write {turned}." if low > high else f"Write {name}={ends[0]} for the one value.",
        )
    if log and low <= 0:
        raise ParameterError(
            f"The range of {name} is {text!r}.",
            "Equal ratios cannot start at 0.",
            "Begin above 0, or drop :log.",
        )
    whole = isinstance(low, int) and isinstance(high, int)
    return Axis(name, unit, kind, (), low, high, count, log or name == "xbzrle-cache-size", whole)


def _quantity(name: str, value: Any) -> int | float:
    if name == GUEST_RAM:
        read = _bounded(name, parse_bytes(value, field=name))
        if read > 0:
            return read
        raise ParameterError(f"{name} is {value!r}.", "It is above 0.", "Give a size like 16GiB.")
    number: int | float = QUANTITIES[name].read(value)
    return _bounded(name, number) if isinstance(number, int) else number


def _bounded(name: str, value: int) -> int:
    if value > LARGEST_COUNT:
        raise ParameterError(
            f"{name} is {value}.", f"A sweep holds numbers up to {LARGEST_COUNT}.", "Lower it."
        )
    return value


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as a Python one, other values as they are."""
    return value.item() if isinstance(value, np.generic) else value
