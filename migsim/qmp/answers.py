"""The shapes of QEMU's answers: what is taken from an answer is checked as it comes, command by command.

A shape is a type (`float`: any number), a `Whole` number, a list with one shape for all items, or a mapping of names to
shapes, in which a name with a ``?`` may be missing. Other names are left as they are: each release has more of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migsim.errors import QmpError
from migsim.reading import check_values

__all__ = ["ANSWERS", "Whole", "check_answer"]


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int = 0
    most: int = 1 << 53


_BYTES = Whole(most=1 << 52)
_COUNT = Whole(least=-(1 << 63), most=1 << 64)
_DIRTY_RATE = {
    "status": str,
    "calc-time?": Whole(most=1 << 32),
    "dirty-rate?": Whole(least=-1, most=1 << 32),
}
_MIGRATION = {
    "status?": str,
    "ram?": {
        **{"remaining?": _BYTES, "transferred?": _BYTES, "total?": _BYTES},
        **{"normal?": _COUNT, "duplicate?": _COUNT, "dirty-sync-count?": _COUNT},
        **{"dirty-pages-rate?": _COUNT, "mbps?": float},
    },
    "xbzrle-cache?": {"pages?": _COUNT, "cache-miss?": _COUNT, "overflow?": _COUNT, "encoding-rate?": float},
    "compression?": {"pages?": _COUNT},
    "total-time?": _COUNT,
    "downtime?": _COUNT,
    "error-desc?": str,
    "blocked-reasons?": [str],
    "socket-address?": [{"type?": str}],
}

ANSWERS: dict[str, Any] = {
    "block-dirty-bitmap-add": dict,
    "blockdev-add": dict,
    "blockdev-del": dict,
    "calc-dirty-rate": dict,
    "human-monitor-command": str,
    "migrate": dict,
    "migrate-continue": dict,
    "migrate-incoming": dict,
    "migrate-set-capabilities": dict,
    "migrate-set-parameters": dict,
    "migrate_cancel": dict,
    "query-cpus-fast": [{"thread-id": Whole(most=1 << 31)}],
    "query-dirty-rate": _DIRTY_RATE,
    "query-kvm": {"enabled": bool},
    "query-memory-size-summary": {"base-memory": _BYTES, "plugged-memory?": _BYTES},
    "query-migrate": _MIGRATION,
    "query-migrate-capabilities": [{"capability": str, "state": bool}],
    "query-migrate-parameters": dict,
    "query-named-block-nodes": [{"node-name?": str, "dirty-bitmaps?": list}],
    "query-status": {"running": bool, "status": str},
    "query-uuid": {"UUID": str},
    "trace-event-get-state": [{"name": str}],
    "trace-event-set-state": dict,
}
"""The shape of each answer, by command; other commands may answer anything."""

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def check_answer(command: str, answer: Any) -> None:
    """Check what QEMU answered to a command.

    Raises
    ------
    QmpError
        The answer has not the shape that QEMU's answers to this command have, or holds numbers, texts or a depth
        that no answer has.

    Examples
    --------
    >>> check_answer("query-status", {"running": True, "status": "running"})
    """
    try:
        check_values(answer, finite=True)
        wrong = _find_wrong(ANSWERS[command], answer, "") if command in ANSWERS else ""
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise QmpError(
            f"{command} was answered with {_short(answer)}: {wrong}.",
            "QEMU documents the types of its answers (qemu-qmp-ref), and migsim takes no others.",
            "Check that the socket belongs to QEMU's QMP monitor, and that no proxy changes what passes.",
        )


def _find_wrong(shape: Any, value: Any, where: str) -> str:
    """Return what is wrong with a value, "" where nothing is."""
    at = where or "the answer"
    if isinstance(shape, Whole):
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{at} is {_kind(value)}, not a whole number"
        inside = shape.least <= value <= shape.most
        return "" if inside else f"{at} is out of its range, {shape.least} to {shape.most}"
    if shape is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number else f"{at} is {_kind(value)}, not a number"
    if isinstance(shape, type):
        return "" if isinstance(value, shape) else f"{at} is {_kind(value)}, not {_KINDS[shape]}"
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{at} is {_kind(value)}, not a list"
        found = (_find_wrong(shape[0], item, f"item {k} of {at}") for k, item in enumerate(value))
        return next(filter(None, found), "")
    if not isinstance(value, Mapping):
        return f"{at} is {_kind(value)}, not an object"
    for name, inner in shape.items():
        key = name.removesuffix("?")
        if key in value:
            if wrong := _find_wrong(inner, value[key], f"{key!r} of {where}" if where else repr(key)):
                return wrong
        elif key == name:
            return f"{at} lacks {key!r}"
    return ""


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _short(value: Any) -> str:
    """Return the first letters of a value, however long or deep it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 64:
        return "a number of more than 64 bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; a nest of lists
        return _kind(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
