"""A traced guest taken for a larger one, and what its migration would do: scaled by a stated rule, not measured.

The rule is `migsim.models.guest.scaling`. Its exponents are uncertain, and each draw of a prediction has its own, so
the intervals hold what the rule does not know. Every workload and prediction made here says in its assumptions that it
was scaled.
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
from migsim.study.question import QuestionKeywords
from migsim.units import PAGE_BYTES, format_bytes
from migsim.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MORE_VCPUS", "GuestSize", "predict_scaled", "scale_workload", "scaled_family"]


MORE_VCPUS = Exponent(1.0, 0.1)
"""How transactions a second go with vCPUs where the larger guest's are not given; for 80 vCPUs a factor of 1.55."""


@dataclass(frozen=True)
class GuestSize:
    """A guest that runs a database, as far as its writing depends on it.

    Attributes
    ----------
    ram_bytes : int
    vcpus : int
    users : int
    transactions_per_s : float, optional
        What it completes. Has to be known of the traced guest; of the larger one, where it is not, it goes with the
        vCPUs.
    buffers_fraction : float
        Share of RAM that its buffers (SGA) take.
    zero_fraction : float, optional
        Share of its pages that hold only zeros: what it never used. Of the larger guest, where it is not known, that of
        the traced one.

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
    vcpu_exponent: float = MORE_VCPUS.median,
) -> Workload:
    """Scale a traced guest's writing to a larger guest.

    Parameters
    ----------
    workload : Workload
        As `migsim.fit_workload` finds it.
    traced, larger : GuestSize
    every : float
        Writes to a page per transaction, of all or of one user, from which on (nearly) every one is said to write it.
    exponents : mapping, optional
        Of the pages and the writes of each kind; default: the rule's medians.
    vcpu_exponent : float
        How transactions go with vCPUs, where those of the larger guest are not given.

    Returns
    -------
    Workload
        Its assumptions say that it is scaled, and how.

    Raises
    ------
    ParameterError
        When it is not known what the traced guest completed, or the other one is smaller.
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
    for c, kind, count, extents in zip(workload.classes, kinds, pages, places, strict=True):
        writes = scaled_writes_per_s(c.writes_per_s, kind, chosen, ratio) if kind else 0.0
        if count:
            classes.append(c.replace(pages=count, writes_per_page_per_s=writes / count, extents=extents))
    return workload.replace(
        ram_bytes=larger.ram_bytes,
        ram_total_bytes=larger.ram_bytes + extra,
        zero_pages=zero,
        classes=tuple(classes),
        assumptions=(*_notes(traced, larger, kinds, ratio), *workload.assumptions),
        source=f"scaled from {workload.source}" if workload.source else "scaled",
    )


def scaled_family(
    workload: Workload, traced: GuestSize, larger: GuestSize, *, every: float = EVERY_TRANSACTION
) -> Callable[[np.random.Generator], Workload]:
    """Return a function that draws the exponents and scales: a workload for each call."""

    def draw(rng: np.random.Generator) -> Workload:
        exponents = draw_rule(rng, RULE)
        with_vcpus = MORE_VCPUS.median + MORE_VCPUS.spread * float(rng.standard_normal())
        return scale_workload(
            workload, traced, larger, every=every, exponents=exponents, vcpu_exponent=with_vcpus
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
        Of the traced guest.
    traced, larger : GuestSize
    every : float
    **keywords
        The keywords of `migsim.Question`: host, settings, qemu_version, load, draws, seed, ...

    Returns
    -------
    Prediction
        Its assumptions begin with the sentence that it is scaled.

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
            "It is not known how many transactions a second the traced guest completed.",
            "The rule scales writes per transaction.",
            "Give transactions_per_s, which the guest reported while it was traced.",
        )
    if traced.ram_bytes != workload.ram_bytes or larger.ram_bytes < traced.ram_bytes:
        raise ParameterError(
            f"A workload of {format_bytes(workload.ram_bytes)}, traced in a guest of {format_bytes(traced.ram_bytes)}, "
            f"is to be scaled to {format_bytes(larger.ram_bytes)}.",
            "The traced guest is the workload's, and the other one is not smaller.",
            "Correct the sizes.",
        )
    return traced.transactions_per_s


def _transactions_ratio(pace: float, traced: GuestSize, larger: GuestSize, vcpu_exponent: float) -> float:
    if larger.transactions_per_s is not None:
        return larger.transactions_per_s / pace
    return float((larger.vcpus / traced.vcpus) ** vcpu_exponent)


def _notes(traced: GuestSize, larger: GuestSize, kinds: list[PageKind | None], ratio: float) -> list[str]:
    """What scaling takes for granted, a sentence each; the first says that it was done."""
    pool, stays = RULE["pool"].pages, RULE["transaction"].pages
    buffers, users = larger.buffers_bytes / traced.buffers_bytes, larger.users / traced.users
    by_vcpus = f"with the vCPUs, exponent {MORE_VCPUS.median:g} ± {MORE_VCPUS.spread:g}"
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
