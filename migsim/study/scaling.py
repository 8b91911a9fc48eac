"""A traced guest scaled to a larger one by a stated rule, and the prediction of the larger guest's migration.

The rule is `migsim.models.guest.scaling`. Its exponents are uncertain: each draw of a prediction has exponents of its
own, so that the intervals include the rule's uncertainty. Workloads and predictions made here say in their assumptions
that they are scaled, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np

from migsim.errors import ParameterError
from migsim.models.guest.scaling import (
    EVERY_TRANSACTION,
    RULE,
    Exponent,
    Exponents,
    PageKind,
    draw_rule,
    median_rule,
    page_kinds,
    scaled_extents,
    scaled_pages,
    scaled_writes_per_s,
)
from migsim.study.predict import Prediction, predict
from migsim.study.quantities import read_number
from migsim.study.question import QuestionKeywords
from migsim.units import PAGE_BYTES, format_bytes, read_count
from migsim.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["VCPU_EXPONENT", "GuestSize", "predict_scaled", "scale_workload", "scaled_family"]


VCPU_EXPONENT = Exponent(1.0, 0.1)
"""Exponent of transactions a second in the number of vCPUs, where the larger guest's transactions are not given.

From 1 to 80 vCPUs one standard deviation is a factor of 1.55.
"""


@dataclass(frozen=True)
class GuestSize:
    """The size of a guest that runs a database: everything that its write rates are scaled by.

    Attributes
    ----------
    ram_bytes : int
    vcpus : int
    users : int
    transactions_per_s : float, optional
        Transactions that its users complete. Required of the traced guest; of the larger one they grow with the vCPUs
        by default.
    buffers_fraction : float
        Share of RAM that the database's buffers (SGA) take.
    zero_fraction : float, optional
        Share of its pages that hold only zeros, because it never used them. By default that of the traced guest.

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> GuestSize(128 << 30, vcpus=80, users=75).buffers_bytes / 2**30
    51.2
    """

    ram_bytes: int
    vcpus: int
    users: int
    transactions_per_s: float | None = None
    buffers_fraction: float = 0.4
    zero_fraction: float | None = None

    def __post_init__(self) -> None:
        for name in ("ram_bytes", "vcpus", "users"):
            read_count(name, getattr(self, name))
        optional = {"zero_fraction": self.zero_fraction, "transactions_per_s": self.transactions_per_s}
        given = {name: value for name, value in optional.items() if value is not None}
        for name, value in ({"buffers_fraction": self.buffers_fraction} | given).items():
            read_number(name, None if isinstance(value, str) else value)
        known, zero = self.transactions_per_s, self.zero_fraction
        counts = min(self.ram_bytes, self.vcpus, self.users)
        shares = 0 < self.buffers_fraction < 1 and (zero is None or 0 <= zero < 1)
        if counts > 0 and shares and (known is None or known > 0):
            return
        raise ParameterError(
            f"A guest has {self.ram_bytes} bytes, {self.vcpus} vCPUs, {self.users} users, {known} transactions a "
            f"second, buffers of {self.buffers_fraction:.0%}"
            + (f", {zero:.0%} zero pages." if zero else "."),
            "All are above 0; buffers and zero pages take less than the memory.",
            "Correct them.",
        )

    @property
    def buffers_bytes(self) -> float:
        """Size of the buffers."""
        return self.ram_bytes * self.buffers_fraction

    def __str__(self) -> str:
        pace = "" if self.transactions_per_s is None else f", {self.transactions_per_s:,.0f} transactions/s"
        return (
            f"{format_bytes(self.ram_bytes)}, {self.vcpus} vCPU, buffers {self.buffers_fraction:.0%}, "
            f"{self.users} users{pace}"
        )


def scale_workload(
    workload: Workload,
    traced: GuestSize,
    larger: GuestSize,
    *,
    every: float = EVERY_TRANSACTION,
    exponents: Mapping[PageKind, Exponents] | None = None,
    vcpu_exponent: float = VCPU_EXPONENT.median,
) -> Workload:
    """Scale a traced guest's workload to a larger guest.

    Parameters
    ----------
    workload : Workload
        The traced guest's, as `migsim.fit_workload` fits it.
    traced, larger : GuestSize
    every : float
        Writes to a page per transaction (of all users, or of one) from which on every transaction is taken to write it.
    exponents : mapping, optional
        Exponents of the number of pages and of their writes, by kind; by default the rule's medians.
    vcpu_exponent : float
        Exponent of transactions in vCPUs, where the larger guest's transactions are not given.

    Returns
    -------
    Workload
        The larger guest's. Its assumptions say that it is scaled, and how.

    Raises
    ------
    ParameterError
        When the traced guest's transactions are not given, or the other guest is smaller.
    """
    pace = _traced_pace(workload, traced, larger)
    chosen = median_rule() if exponents is None else exponents
    kinds = page_kinds(
        [c.writes_per_page_per_s for c in workload.classes],
        [c.pattern for c in workload.classes],
        pace,
        traced.users,
        every=every,
    )
    ratio = _transactions_ratio(pace, traced, larger, vcpu_exponent)
    extra = workload.ram_total_bytes - workload.ram_bytes
    total = (larger.ram_bytes + extra) // PAGE_BYTES
    pages, zero = scaled_pages(
        [c.pages for c in workload.classes],
        kinds,
        chosen,
        larger.buffers_bytes / traced.buffers_bytes,
        larger.users / traced.users,
        total,
        workload.zero_pages,
        larger.zero_fraction,
    )
    places = scaled_extents(
        [c.extents for c in workload.classes], pages, total, workload.ram_total_bytes // PAGE_BYTES
    )
    classes = []
    for page_class, kind, count, extents in zip(workload.classes, kinds, pages, places, strict=True):
        writes = scaled_writes_per_s(page_class.writes_per_s, kind, chosen, ratio) if kind else 0.0
        if count:
            classes.append(
                page_class.replace(pages=count, writes_per_page_per_s=writes / count, extents=extents)
            )
    return workload.replace(
        ram_bytes=larger.ram_bytes,
        ram_total_bytes=larger.ram_bytes + extra,
        zero_pages=zero,
        zero_extents=(),
        classes=tuple(classes),
        assumptions=(*_notes(traced, larger, kinds, ratio), *workload.assumptions),
        source=f"scaled from {workload.source}" if workload.source else "scaled",
    )


def scaled_family(
    workload: Workload, traced: GuestSize, larger: GuestSize, *, every: float = EVERY_TRANSACTION
) -> Callable[[np.random.Generator], Workload]:
    """Return a function that draws exponents and scales the workload with them, anew at each call."""

    def draw(rng: np.random.Generator) -> Workload:
        exponents = draw_rule(rng, RULE)
        vcpu_exponent = VCPU_EXPONENT.median + VCPU_EXPONENT.spread * float(rng.standard_normal())
        return scale_workload(
            workload, traced, larger, every=every, exponents=exponents, vcpu_exponent=vcpu_exponent
        )

    return draw


def predict_scaled(
    workload: Workload,
    traced: GuestSize,
    larger: GuestSize,
    *,
    every: float = EVERY_TRANSACTION,
    **keywords: Unpack[QuestionKeywords],
) -> Prediction:
    """Predict the migration of a guest larger than the traced one.

    Parameters
    ----------
    workload : Workload
        The traced guest's.
    traced, larger : GuestSize
    every : float
    **keywords
        The keywords of `migsim.Question`: host, settings, qemu_version, load, draws, seed, ...

    Returns
    -------
    Prediction
        Its first assumption is that it is scaled.

    Examples
    --------
    >>> oltp = GuestSize(128 << 30, vcpus=80, users=75)
    >>> predict_scaled(fit.workload, traced, oltp, host=host).assumptions[0]               # doctest: +SKIP
    'Scaled, never measured: ...'
    """
    keywords.setdefault("vcpus", larger.vcpus)
    return predict(
        scale_workload(workload, traced, larger, every=every),
        family=scaled_family(workload, traced, larger, every=every),
        **keywords,
    )


def _traced_pace(workload: Workload, traced: GuestSize, larger: GuestSize) -> float:
    if traced.transactions_per_s is None:
        raise ParameterError(
            "The traced guest's transactions a second are not given.",
            "The rule scales writes per transaction.",
            "Give transactions_per_s as the guest reported them while it was traced.",
        )
    if traced.ram_bytes != workload.ram_bytes or larger.ram_bytes < traced.ram_bytes:
        raise ParameterError(
            f"A workload of {format_bytes(workload.ram_bytes)}, traced in a guest of {format_bytes(traced.ram_bytes)}, "
            f"is to be scaled to {format_bytes(larger.ram_bytes)}.",
            "The traced guest has the workload's memory, and the other guest is not smaller.",
            "Correct the sizes.",
        )
    return traced.transactions_per_s


def _transactions_ratio(pace: float, traced: GuestSize, larger: GuestSize, vcpu_exponent: float) -> float:
    if larger.transactions_per_s is not None:
        return larger.transactions_per_s / pace
    return float((larger.vcpus / traced.vcpus) ** vcpu_exponent)


def _notes(traced: GuestSize, larger: GuestSize, kinds: list[PageKind | None], ratio: float) -> list[str]:
    """Return the assumptions of scaling, a sentence each; the first says that the guest is scaled."""
    pool, stays = RULE["pool"].pages, RULE["transaction"].pages
    buffers, users = larger.buffers_bytes / traced.buffers_bytes, larger.users / traced.users
    by_vcpus = f"with the vCPUs, exponent {VCPU_EXPONENT.median:g} ± {VCPU_EXPONENT.spread:g}"
    given = by_vcpus if larger.transactions_per_s is None else "given"
    return [
        f"Scaled, never measured: a traced guest ({traced}) is taken for another one ({larger}).",
        f"Transactions a second grow {ratio:.3g} times ({given}); each writes as much as in the traced guest "
        f"(exponent {RULE['pool'].writes.median:g} ± {RULE['pool'].writes.spread:g}).",
        f"Pages of the buffer pool ({kinds.count('pool')} classes) grow with the buffers, "
        f"{buffers:.3g} times as large (exponent {pool.median:g} ± {pool.spread:g}), those of sessions "
        f"({kinds.count('session')}) with the users, {users:.3g} times; pages that every transaction writes "
        f"({kinds.count('transaction')}) and the log's ({kinds.count('log')}) stay as many "
        f"(exponent {stays.median:g} ± {stays.spread:g}).",
    ]
