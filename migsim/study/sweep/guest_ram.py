"""A sweep's guest with more memory: scaled by a stated rule, never measured.

The rule is `migsim.models.guest.scaling`, with as many users and transactions as were traced. It tells pages apart
by how often a transaction writes them, so that a sweep over RAM has to be told what the traced guest completed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from migsim.errors import ParameterError
from migsim.models.guest.scaling import RULE
from migsim.study.scaling import GuestSize, scale_workload, scaled_family
from migsim.study.sweep.axis import GUEST_RAM, Axis
from migsim.units import format_bytes
from migsim.workload import Workload

__all__ = ["check_ram", "ram_notes", "with_ram"]


def check_ram(axes: Iterable[Axis], workload: Workload, traced: GuestSize | None) -> None:
    """Raise where RAM is varied and the rule does not apply.

    Raises
    ------
    ParameterError
        When it is not known what the traced guest completed, or a guest would be smaller than it.
    """
    for axis in axes:
        if axis.name != GUEST_RAM:
            continue
        if traced is None or traced.transactions_per_s is None:
            raise ParameterError(
                f"{GUEST_RAM} is varied, and it is not known how many users and transactions the traced guest had.",
                "A guest's writing is taken to more memory by a stated rule (migsim.models.guest.scaling), which "
                "tells its pages apart by how often a user's transaction writes them. Without them there is no rule.",
                "Give both (traced=GuestSize(...); migsim sweep --users N --transactions N), or trace a guest of "
                "that size.",
            )
        least = min(axis.listed) if axis.listed else axis.low
        if least < traced.ram_bytes:
            raise ParameterError(
                f"{GUEST_RAM} goes down to {format_bytes(least)}, and the traced guest has "
                f"{format_bytes(traced.ram_bytes)}.",
                "The rule takes a guest to more memory, not to less.",
                f"Begin at {format_bytes(traced.ram_bytes, exact=True)}, or trace a smaller guest.",
            )
        scale_workload(workload, traced, replace(traced, ram_bytes=int(least)))  # says what else is wrong


def with_ram(
    workload: Workload, traced: GuestSize, ram_bytes: int, rng: np.random.Generator | None = None
) -> Workload:
    """Return the workload of a guest with more memory: by the rule's medians, or by exponents that are drawn."""
    larger = replace(traced, ram_bytes=ram_bytes)
    if rng is None:
        return scale_workload(workload, traced, larger)
    return scaled_family(workload, traced, larger)(rng)


def ram_notes(traced: GuestSize) -> tuple[str, ...]:
    """What a sweep over RAM takes for granted, a sentence each.

    Examples
    --------
    >>> ram_notes(GuestSize(1 << 30, vcpus=1, users=75, transactions_per_s=60.0))[0][:49]
    'Scaled, never measured: the traced guest (1 GiB, '
    """
    pool, stays = RULE["pool"].pages, RULE["transaction"].pages
    return (
        f"Scaled, never measured: the traced guest ({traced}) is given more memory ({GUEST_RAM}) by the stated rule of "
        "migsim.models.guest.scaling, with as many users and transactions as it had.",
        f"Pages of its buffer pool grow with the memory (exponent {pool.median:g} ± {pool.spread:g}, that of the "
        "order-entry guest), those that every transaction writes, the log's and the sessions' stay as many "
        f"(exponent {stays.median:g} ± {stays.spread:g}); pages never written and zero pages keep their shares of the "
        "rest.",
    )
