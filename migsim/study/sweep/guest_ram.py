"""The guest's memory as an axis of a sweep: its workload scaled to more memory by a stated rule, never measured.

The rule is `migsim.models.guest.scaling`, with the traced guest's users and transactions. It tells pages apart by how
often a transaction writes them; a sweep over RAM therefore needs the traced guest's users and transactions.
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
    """Raise where RAM varies and the rule cannot be applied.

    Raises
    ------
    ParameterError
        When the traced guest's users and transactions are not given, or a guest would be smaller than it.
    """
    for axis in axes:
        if axis.name != GUEST_RAM:
            continue
        if traced is None or traced.transactions_per_s is None:
            raise ParameterError(
                f"{GUEST_RAM} varies, and the traced guest's users and transactions are not given.",
                "A workload is scaled to more memory by a stated rule (migsim.models.guest.scaling), which tells pages "
                "apart by how often a transaction of a user writes them.",
                "Give both (traced=GuestSize(...); migsim sweep --users N --transactions N), or trace a guest of "
                "that size.",
            )
        least = min(axis.listed) if axis.listed else axis.low
        if least < traced.ram_bytes:
            raise ParameterError(
                f"{GUEST_RAM} goes down to {format_bytes(least)}, and the traced guest has "
                f"{format_bytes(traced.ram_bytes)}.",
                "The rule scales a guest to more memory, not to less.",
                f"Begin at {format_bytes(traced.ram_bytes, exact=True)}, or trace a smaller guest.",
            )
        scale_workload(
            workload, traced, replace(traced, ram_bytes=int(least))
        )  # raises for anything else that is wrong


def with_ram(
    workload: Workload, traced: GuestSize, ram_bytes: int, rng: np.random.Generator | None = None
) -> Workload:
    """Scale a workload to more memory: with the rule's medians, or with exponents drawn by `rng`."""
    larger = replace(traced, ram_bytes=ram_bytes)
    if rng is None:
        return scale_workload(workload, traced, larger)
    return scaled_family(workload, traced, larger)(rng)


def ram_notes(traced: GuestSize) -> tuple[str, ...]:
    """Return the assumptions of a sweep over RAM, a sentence each.

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
