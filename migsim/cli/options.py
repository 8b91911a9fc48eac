"""Readers of option values that several sub-commands take; they raise usage errors and unit errors."""

from __future__ import annotations

from collections.abc import Sequence

from migsim.errors import UsageError, near_misses
from migsim.units import parse_duration_s

__all__ = ["command_line", "named_values", "one_of", "positive_duration_s"]


def one_of(value: str, choices: Sequence[str], *, option: str) -> str:
    """Return `value`, which has to be one of `choices`.

    Raises
    ------
    UsageError
        When it is not.

    Examples
    --------
    >>> one_of("json", ("table", "json"), option="--format")
    'json'
    """
    if value in choices:
        return value
    raise UsageError(
        f"{option} is {value!r}.",
        f"It is {', '.join(choices[:-1])} or {choices[-1]}.",
        near_misses(value, choices) or "Choose one of them.",
    )


def positive_duration_s(value: str, *, option: str) -> float:
    """Read a time above 0, in seconds.

    Raises
    ------
    UnitError
        When it is ambiguous (``5m``).
    UsageError
        When it is 0.

    Examples
    --------
    >>> positive_duration_s("2min", option="--duration")
    120.0
    """
    seconds = parse_duration_s(value, field=option)
    if seconds > 0:
        return seconds
    raise UsageError(f"{option} is {value!r}.", "It is a time above 0.", "Give more than 0 s.")


def named_values(words: list[str], *, option: str, example: str) -> dict[str, str]:
    """Read ``NAME=VALUES`` words; each name may occur once.

    Raises
    ------
    UsageError

    Examples
    --------
    >>> named_values(["downtime-limit=50,300"], option="--vary", example="")
    {'downtime-limit': '50,300'}
    """
    read: dict[str, str] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not (equals and name and values):
            raise UsageError(f"{option} is {word!r}.", "It is NAME=VALUES.", f"Write it like {example}.")
        if name in read:
            raise UsageError(f"{option} names {name} twice.", "Each name is given once.", "Drop one.")
        read[name] = values
    return read


def command_line() -> str:
    """Return this process's command line, quoted for a shell, for a file's provenance."""
    import shlex
    import sys

    return shlex.join(["migsim", *sys.argv[1:]])
