"""The table of a question's numbers that are neither QEMU settings nor host terms: name, unit, meaning, and reader.

Python, the command line and sweeps read them by the same table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migsim.errors import MigsimError, ParameterError
from migsim.models.dirty.ring import ring_fill_pages
from migsim.units import LARGEST_COUNT, parse_duration_s, parse_rate, read_count

__all__ = ["LARGEST_COUNT", "QUANTITIES", "Quantity", "read_count", "read_jobs", "read_number", "read_share"]
_MOST_JOBS = 10_000


@dataclass(frozen=True)
class Quantity:
    """One number of a question.

    Attributes
    ----------
    unit : str
        Unit of the number, and of text without a unit.
    meaning : str
        The number's meaning in a few words.
    field : str
        The field of `migsim.Question` that holds it.
    read : callable
        Reads text or a number; raises ParameterError or UnitError.
    """

    unit: str
    meaning: str
    field: str
    read: Callable[[Any], Any]


def read_number(name: str, value: Any) -> float:
    """Read a plain number that is not negative, or a percentage: ``150%`` is 1.5.

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> read_number("writes-scale", "150%")
    1.5
    """
    text = value.strip() if isinstance(value, str) else value
    percent = isinstance(text, str) and text.endswith("%")
    try:
        number = float(text.removesuffix("%")) / 100 if percent else float(text)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number < math.inf:
        raise ParameterError(
            f"{name} is {value!r}.", "It is a number, finite and not negative.", "Write it like 1.5 or 150%."
        )
    return number


def read_jobs(jobs: Any) -> int:
    """Read a number of processes: 1 or more, or -1 for one per processor.

    Raises
    ------
    ParameterError, UnitError

    Examples
    --------
    >>> read_jobs(4), read_jobs(-1)
    (4, -1)
    """
    if isinstance(jobs, int) and jobs == -1:
        return -1
    try:
        return read_count("jobs", jobs, least=1, most=_MOST_JOBS)
    except MigsimError as error:
        raise ParameterError(
            f"jobs is {jobs!r}.",
            f"It counts processes, at most {_MOST_JOBS}; -1 means one per processor.",
            "Give 1 or more, or -1.",
        ) from error


def read_share(name: str, value: Any) -> float:
    """Read a share above 0 and at most 1.

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> read_share("load", "30%"), read_share("load", 0.3)
    (0.3, 0.3)
    """
    number = read_number(name, value)
    if 0 < number <= 1:
        return number
    raise ParameterError(
        f"{name} is {value!r}.", "It is a share, above 0 % and at most 100 %.", "Write it as 30% or 0.3."
    )


def _rate(value: Any) -> float:
    read: float = value if isinstance(value, float) else parse_rate(value, field="link")
    if 0 < read < math.inf:
        return read
    raise ParameterError(
        f"link is {value!r}.", "A link's bandwidth is above 0 and finite.", "Leave it out for no limit."
    )


def _deadline(value: Any) -> float:
    seconds = parse_duration_s(value, field="deadline")
    if 0 < seconds < math.inf:
        return seconds
    raise ParameterError(f"deadline is {value!r}.", "It is a time above 0.", "Write it like 90s or 30min.")


def _ring(value: Any) -> int:
    entries = read_count("dirty-ring-size", value)
    if entries:
        ring_fill_pages(entries)  # raises for a size that KVM would refuse
    return entries


QUANTITIES: dict[str, Quantity] = {
    "writes-scale": Quantity(
        "1",
        "The guest's write rates, over the traced ones",
        "writes_scale",
        lambda value: read_number("writes-scale", value),
    ),
    "load": Quantity(
        "1", "Share of its full speed that the guest needs", "load", lambda value: read_share("load", value)
    ),
    "link": Quantity("bytes/s", "What the network carries", "link_bytes_per_s", _rate),
    "deadline": Quantity("s", "When the migration is given up", "deadline_s", _deadline),
    "fresh-pages": Quantity(
        "pages",
        "Data pages that the destination has yet to touch",
        "fresh_pages",
        lambda value: read_count("fresh-pages", value),
    ),
    "host-cpus": Quantity(
        "processors",
        "Processors that the guest and multifd's channels share",
        "host_cpus",
        lambda value: read_count("host-cpus", value, least=1),
    ),
    "dirty-ring-size": Quantity(
        "entries", "KVM's dirty ring of a vCPU; 0 is the bitmap", "dirty_ring_size", _ring
    ),
}
"""By name, as the command line and sweeps write it."""
