"""Sizes, rates and times: text read and written without guessing the unit.

The rule: ``B`` is bytes, ``b`` or ``bit`` is bits, ``Ki Mi Gi Ti`` are powers of 1024, ``k M G T`` powers
of 1000, a rate ends in ``/s`` or ``ps``. A bare number is in the field's own unit. A bare suffix letter
(``128G``) has three readings (QEMU's command line: powers of two; networks: bits; disks: powers of ten), so
it is refused with all three.
"""

from __future__ import annotations

import math
import numbers
import re
from fractions import Fraction
from typing import Any

from migsim.errors import ParameterError, UnitError

__all__ = [
    "LARGEST_COUNT",
    "PAGE_BYTES",
    "format_bytes",
    "format_duration_s",
    "format_rate",
    "format_two_figures",
    "format_value",
    "parse_bytes",
    "parse_duration_s",
    "parse_quantity",
    "parse_rate",
    "read_count",
    "read_positive_s",
]

PAGE_BYTES = 4096
"""Bytes of a page of guest memory (QEMU's TARGET_PAGE_SIZE on x86)."""

LARGEST_COUNT = 2**62
"""The largest whole number that a sweep's columns hold."""

_NUMBER = re.compile(r"\s*(\d+(?:_\d{3})*(?:\.\d+)?)\s*(.*?)\s*", re.DOTALL)
_PREFIXES = {"": 1} | {p: 1000**i for i, p in enumerate("kMGTPE", 1)}
_PREFIXES |= {f"{p}i": 1024**i for i, p in enumerate("KMGTPE", 1)}
_SIZES = {f"{prefix}B": Fraction(scale) for prefix, scale in _PREFIXES.items()}
_BITS = {f"{prefix}{b}": Fraction(scale, 8) for prefix, scale in _PREFIXES.items() for b in ("b", "bit")}
_RATES = {f"{unit}{per}": scale for unit, scale in (_SIZES | _BITS).items() for per in ("/s", "ps")}
_TIMES = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "min": Fraction(60),
    "h": Fraction(3600),
}
_MIB = 1024**2
_EXAMPLES = {"size": "4096, 64MiB or 128GiB", "rate": "10Gbps or 32MiB/s", "time": "300ms, 1.5s or 10min"}


def parse_bytes(value: str | int | float, *, field: str = "size") -> int:
    """Read a size in bytes.

    Parameters
    ----------
    value : str or int
        ``"128GiB"``, ``"10GB"``, or a bare number of bytes.
    field : str
        What is being read, for the error message.

    Raises
    ------
    UnitError
        Where the text has no single reading (``128G``, ``1Gb``), is negative or not finite.

    Examples
    --------
    >>> parse_bytes("128GiB")
    137438953472
    >>> parse_bytes(4096)
    4096
    """
    return _whole(_read(value, "size", _SIZES, Fraction(1), field), value, field)


def parse_rate(value: str | int | float, *, field: str = "rate") -> int:
    """Read a rate in bytes per second.

    Raises
    ------
    UnitError
        Where the text has no single reading (``10G``), lacks ``/s`` or ``ps``, or is negative.

    Examples
    --------
    >>> parse_rate("10Gbps"), parse_rate("32MiB/s"), parse_rate("100 Mbit/s")
    (1250000000, 33554432, 12500000)
    """
    return _whole(_read(value, "rate", _RATES, Fraction(1), field), value, field)


def parse_duration_s(value: str | int | float, *, field: str = "time") -> float:
    """Read a time in seconds; a bare number is seconds.

    Raises
    ------
    UnitError
        Where the text has no single reading (``5m``) or is negative.

    Examples
    --------
    >>> parse_duration_s("300ms"), parse_duration_s("2min"), parse_duration_s(1.5)
    (0.3, 120.0, 1.5)
    """
    return float(_read(value, "time", _TIMES, Fraction(1), field))


def parse_quantity(value: str | int | float, unit: str, *, field: str = "value") -> int:
    """Read a whole number in a QAPI field's own unit.

    Parameters
    ----------
    value : str, int or float
        Text with a unit, or a bare number that is in `unit` already.
    unit : str
        ``"bytes"``, ``"bytes/s"``, ``"MiB/s"``, ``"ms"``, ``"us"``, ``"percent"`` or ``""`` (a count).

    Raises
    ------
    UnitError
        Where the text is ambiguous, of another kind, or no whole number of `unit`.

    Examples
    --------
    >>> parse_quantity("1.5s", "ms", field="downtime-limit"), parse_quantity(300, "ms")
    (1500, 300)
    """
    if type(value) is int and value >= 0:
        return value
    if unit in ("bytes", "bytes/s"):
        return parse_bytes(value, field=field) if unit == "bytes" else parse_rate(value, field=field)
    if unit in ("ms", "us"):
        scale = _TIMES[unit]
        amount = _read(value, "time", _TIMES, scale, field) / scale
    elif unit == "MiB/s":
        amount = _read(value, "rate", _RATES, Fraction(_MIB), field) / _MIB
    else:
        known = {"%": Fraction(1)} if unit == "percent" else {}
        amount = _read(value, unit or "count", known, Fraction(1), field)
    if amount.denominator != 1:
        raise UnitError(
            f"{field} is {value!r}.",
            f"QEMU takes whole numbers of {unit or 'units'} here; this is {float(amount):g}.",
            "Round it.",
        )
    return int(amount)


def format_bytes(count: float, *, exact: bool = False) -> str:
    """Write a size: four figures in binary units, or (`exact`) the largest binary unit that loses nothing.

    Examples
    --------
    >>> format_bytes(1_500_000_000), format_bytes(128 * 2**30, exact=True), format_bytes(4097, exact=True)
    ('1.397 GiB', '128GiB', '4097B')
    """
    units = [(unit, scale) for unit, scale in _SIZES.items() if unit == "B" or "i" in unit]
    return _write(count, units, exact)


def format_rate(bytes_per_s: float, *, bits: bool = False, exact: bool = False) -> str:
    """Write a rate: four figures in decimal bytes (or `bits`) a second; `exact` loses nothing.

    Examples
    --------
    >>> format_rate(1.25e9), format_rate(1.25e9, bits=True), format_rate(1_250_000_000, bits=True, exact=True)
    ('1.25 GB/s', '10 Gbps', '10Gbps')
    """
    table, per = (_BITS, "ps") if bits else (_SIZES, "/s")
    units = [(unit + per, scale) for unit, scale in table.items() if "i" not in unit]
    return _write(bytes_per_s, units, exact)


def format_two_figures(value: float) -> str:
    """Write a number with two figures, or all figures before the point, never with an exponent.

    Examples
    --------
    >>> format_two_figures(1.66), format_two_figures(42.4), format_two_figures(912.3), format_two_figures(0.066)
    ('1.7', '42', '912', '0.066')
    """
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"


def format_duration_s(seconds: float) -> str:
    """Write a time with four figures.

    Examples
    --------
    >>> format_duration_s(0.3), format_duration_s(42.123), format_duration_s(5400)
    ('300 ms', '42.12 s', '90 min')
    """
    units = [(unit, _TIMES[unit]) for unit in ("ns", "us", "ms", "s")]
    if abs(seconds) >= 600:
        units = [("min", _TIMES["min"])] if abs(seconds) < 36000 else [("h", _TIMES["h"])]
    return _write(seconds, units, exact=False)


def _read(
    value: str | int | float, kind: str, units: dict[str, Fraction], bare: Fraction, field: str
) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _unreadable(value, kind, field)
    if not isinstance(value, str):
        if value != value or value in (float("inf"), float("-inf")) or value < 0:
            raise UnitError(f"{field} is {value!r}.", f"A {kind} is finite and not negative.", "Correct it.")
        return Fraction(value) * bare
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise _unreadable(value, kind, field)
    number, unit = Fraction(match[1].replace("_", "")), match[2]
    if not unit:
        return number * bare
    if unit not in units:
        raise _wrong_unit(value, match[1], unit, kind, units, field)
    return number * units[unit]


def _whole(amount: Fraction, value: object, field: str) -> int:
    count = round(amount)
    if amount and not count:
        raise UnitError(
            f"{field} is {value!r}.", "This is less than one byte.", "Give at least one byte, or 0."
        )
    return count


def _write(amount: float, units: list[tuple[str, Fraction]], exact: bool) -> str:
    if amount != amount:
        return "unknown"
    if exact:
        whole = Fraction(amount)
        unit, scale = next(
            ((u, s) for u, s in reversed(units) if whole >= s and (whole / s).denominator == 1), units[0]
        )
        if (whole / scale).denominator != 1:
            raise UnitError(f"{amount!r} has no exact form.", "Exact sizes are whole numbers.", "Round it.")
        return f"{whole / scale}{unit}"
    # 0.99995: a value that rounds to 1000 of one unit is written as 1 of the next
    unit, scale = next(((u, s) for u, s in reversed(units) if abs(amount) >= s * 0.99995), units[0])
    text = f"{float(amount) / float(scale):.4g}"
    if "e" in text:
        text = f"{float(amount) / float(scale):.0f}"
    return f"{text} {unit}"


def _unreadable(value: object, kind: str, field: str) -> UnitError:
    return UnitError(
        f"{field} is {value!r}, which is not a {kind}.",
        "A number comes first, then its unit; signs, exponents and commas are not read.",
        f"Write {_EXAMPLES.get(kind, 'a whole number')}.",
    )


def _wrong_unit(
    value: str, number: str, unit: str, kind: str, units: dict[str, Fraction], field: str
) -> UnitError:
    what = f"{field} is {value!r}."
    if kind in ("size", "rate"):
        if unit in ("k", "K", "M", "G", "T", "P", "E", "KB", "KBps", "KB/s"):
            return _ambiguous(what, number, unit[0], kind)
        if kind == "size" and unit in _BITS:
            return UnitError(
                what,
                "b is bits, B is bytes, and a size is in bytes.",
                f"Write {number}{_unit_in_bytes(unit)}.",
            )
        if kind == "size" and unit in _RATES:
            return UnitError(what, "This is a rate, and a size is asked for.", f"Write {_EXAMPLES['size']}.")
        if kind == "rate" and unit in _SIZES | _BITS:
            return UnitError(what, "A rate ends in /s or ps.", f"Write {number}{unit}/s if that is meant.")
    if kind == "time" and unit in ("m", "M"):
        return UnitError(what, "m could be minutes or milliseconds.", f"Write {number}min or {number}ms.")
    folded = [known for known in units if known.lower() == unit.lower()]
    hint = f"Did you mean {' or '.join(number + known for known in folded)}? " if folded else ""
    listed = ", ".join(list(units)[:6]) or "none"
    return UnitError(
        what,
        f"{unit!r} is no unit of a {kind} (upper and lower case count; known: {listed} ...).",
        f"{hint}Write {_EXAMPLES.get(kind, 'a bare whole number')}.",
    )


def _unit_in_bytes(unit: str) -> str:
    return unit.removesuffix("it").removesuffix("b") + "B"


def _ambiguous(what: str, number: str, letter: str, kind: str) -> UnitError:
    binary, decimal = f"{letter.upper()}i", "k" if letter in "kK" else letter
    per = "/s" if kind == "rate" else ""
    readings = [
        f"{number}{binary}B{per} (bytes, powers of 1024)",
        f"{number}{decimal}B{per} (bytes, powers of 1000)",
        f"{number}{decimal}bps (bits a second)"
        if per
        else f"{number}{decimal}bit (bits; a size is in bytes)",
    ]
    choices = f"{number}{binary}B{per}" + (f" or {number}{decimal}bps" if per else f" or {number}{decimal}B")
    return UnitError(what, f"It has three readings: {'; '.join(readings)}.", f"Write {choices}.")


def format_value(value: Any, unit: str) -> str:
    """Write a value with its unit, short enough for a table.

    Examples
    --------
    >>> format_value(1_250_000_000, "bytes/s"), format_value(300, "ms"), format_value(True, "")
    ('10 Gbps', '300 ms', 'on')
    """
    value = value.item() if hasattr(value, "item") else value  # NumPy's scalars
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    if not value:
        return "0"
    if unit == "bytes/s":
        return format_rate(float(value), bits=True)
    if unit == "bytes":
        return format_bytes(float(value))
    if unit in ("ms", "s"):
        return format_duration_s(float(value) / (1000 if unit == "ms" else 1))
    if unit == "percent":
        return f"{value:g} %"
    return f"{value:.4g}" if unit in ("", "1") else f"{value:.4g} {unit}"


def read_count(name: str, value: Any, *, least: int = 0, most: int = LARGEST_COUNT) -> int:
    """Read a whole number from `least` to `most`.

    Raises
    ------
    ParameterError, UnitError

    Examples
    --------
    >>> read_count("draws", "40", least=1)
    40
    """
    whole = value if isinstance(value, numbers.Integral) and not isinstance(value, bool) else None
    number = int(whole) if whole is not None else parse_quantity(value, "", field=name)
    if least <= number <= most:
        return number
    raise ParameterError(
        f"{name} is {number}.",
        f"It is a whole number from {least} on." if number < least else f"It is at most {most}.",
        f"Give {least} or more." if number < least else f"Give {most} or less.",
    )


def read_positive_s(name: str, value: Any) -> float:
    """Read a time above 0 and finite, in seconds.

    Raises
    ------
    ParameterError, UnitError

    Examples
    --------
    >>> read_positive_s("duration", 2.5)
    2.5
    """
    seconds = parse_duration_s(value, field=name)
    if 0 < seconds < math.inf:
        return seconds
    raise ParameterError(f"{name} is {value!r}.", "It is a time above 0.", "Give more than 0 s.")
