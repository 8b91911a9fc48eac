"""The host profile: the terms of one host, each a median and a spread, as probe migrations show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from migsim.documents import Declared, RecordedModel
from migsim.errors import MigsimError, ProfileError, near_misses
from migsim.html import html_table
from migsim.intervals import NORMAL_DEVIATE

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SIDES", "HostProfile", "Sides", "Term"]

Sides = Literal["two-hosts", "one-machine"]
"""Where source and destination run: on two hosts, or on one machine, as in the lab, where they may share cores."""

SIDES: tuple[Sides, ...] = get_args(Sides)

LARGEST_MEDIAN = 1e12
"""Largest median of a term, in its unit."""

LARGEST_TIME_S = 1e6
"""Largest median of a term that is a time: eleven days for a page."""

LARGEST_SPREAD = 5.0
"""Largest spread of a term: a run in forty is then more than 18,000 times as slow as the median."""

_DRAWN_LAST = ("multifd_", "slice_")

SHARED = 0.5
"""Share of the variance of a host's times that is common to all of them."""


class Term(Declared):
    """One cost of a host, such as the time of a page.

    Attributes
    ----------
    median : float
        In `unit`.
    spread : float
        Standard deviation of the natural logarithm of one more run's value.
    n : int
        Number of measured values.
    unit : str
        Unit of the median, such as ``"s/page"``.
    measured_between : tuple of float, optional
        Interval of the measured median, where the term is a small difference of large numbers. Where it contains 0 the
        cost is not told from none, and the median is 0.
    """

    _error: ClassVar[type[MigsimError]] = ProfileError
    _what: ClassVar[str] = "A term"

    median: float = Field(ge=0, le=LARGEST_MEDIAN)
    spread: float = Field(default=0.0, ge=0, le=LARGEST_SPREAD)
    n: int = Field(default=1, ge=1)
    unit: str = ""
    measured_between: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _time(self) -> Term:
        if self.unit.startswith("s") and self.median > LARGEST_TIME_S:
            raise ValueError(f"The median of a time is at most {LARGEST_TIME_S:g} s.")
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Term:
        if self.measured_between is None:
            return self
        low, high = self.measured_between
        if not -LARGEST_MEDIAN <= low <= high <= LARGEST_MEDIAN:
            raise ValueError(
                f"measured-between is {low:g} to {high:g}; its first end is not above the second."
            )
        return self

    def sample(self, rng: np.random.Generator, common: float = 0.0) -> float:
        """Draw a value, log-normal about the median.

        Parameters
        ----------
        rng : numpy.random.Generator
        common : float
            Standard normal deviate of the host's common factor, 0 for none: a slow machine tends to be slow at
            everything.
        """
        # A spread of 0 takes its number too, so that the draws of other terms stay the same between profiles.
        return self.at(float(rng.standard_normal()), common or None)

    def at(self, deviate: float, common: float | None = None) -> float:
        """Return the value at standard normal deviates: the term's, and that of the host's common factor.

        Examples
        --------
        >>> Term(median=2.0, spread=0.1).at(0.0), round(Term(median=2.0, spread=0.1).at(1.0), 3)
        (2.0, 2.21)
        """
        if common is not None:
            deviate = math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * deviate
        return self.median * math.exp(self.spread * deviate)

    def interval(self) -> tuple[float, float]:
        """Return the interval that holds the middle 80 % of the draws of `sample`.

        Examples
        --------
        >>> [round(end, 2) for end in Term(median=1.0, spread=0.1).interval()]
        [0.88, 1.14]
        """
        factor = math.exp(NORMAL_DEVIATE * self.spread)
        return self.median / factor, self.median * factor


class HostProfile(RecordedModel):
    """A host's terms, measured for one QEMU version and accelerator.

    Attributes
    ----------
    terms : dict of str to Term
        By the term's name.
    qemu_version : str
        Version of the QEMU that was measured.
    accel : {"kvm", "tcg"}
        Its accelerator.
    machine : dict
        The host's hardware (see `migsim.provenance.Machine`).
    provenance : dict
        How and when the profile was measured (see `migsim.provenance.Provenance`).
    sides : {"one-machine", "two-hosts"}
        Where both sides of a migration run that `terms` are for.
    other_sides : dict of str to Term
        The terms that differ where both sides run as `sides` does not say; empty where only one was measured.

    Examples
    --------
    >>> profile = HostProfile(terms={"zero_page_s": Term(median=9e-7, spread=0.2)}, qemu_version="10.0")
    >>> profile.median("zero_page_s")
    9e-07
    """

    _format: ClassVar[str] = "migsim-host-profile"
    _error: ClassVar[type[MigsimError]] = ProfileError
    _what: ClassVar[str] = "The host profile"

    terms: dict[str, Term]
    qemu_version: str
    accel: Literal["kvm", "tcg"] = "kvm"
    machine: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    sides: Sides = "one-machine"
    other_sides: dict[str, Term] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _same_terms(self) -> HostProfile:
        if unknown := sorted(self.other_sides.keys() - self.terms.keys()):
            raise ValueError(f"other-sides holds {unknown[0]}, and terms does not.")
        return self

    def measured(self, sides: Sides) -> bool:
        """Whether the profile holds terms that were measured with both sides there."""
        return sides == self.sides or bool(self.other_sides)

    def for_sides(self, sides: Sides) -> HostProfile:
        """Return the profile with the terms for `sides` in place; unchanged where they were not measured.

        Examples
        --------
        >>> profile = HostProfile(
        ...     terms={"burst_page_s": Term(median=1.4e-6)},
        ...     other_sides={"burst_page_s": Term(median=8e-7)},
        ...     qemu_version="10.0",
        ... )
        >>> profile.for_sides("two-hosts").median("burst_page_s")
        8e-07
        >>> profile.for_sides("two-hosts").for_sides("one-machine") == profile
        True
        """
        if sides == self.sides or not self.other_sides:
            return self
        replaced = {name: self.terms[name] for name in self.other_sides}
        return self.replace(terms=self.terms | self.other_sides, sides=sides, other_sides=replaced)

    def term(self, name: str) -> Term:
        """Return a term.

        Raises
        ------
        ProfileError
            Where the profile lacks the term.
        """
        try:
            return self.terms[name]
        except KeyError:
            raise ProfileError(
                f"The host profile has no term {name!r} (it has {', '.join(sorted(self.terms)) or 'none'}).",
                "The model needs it.",
                f"{near_misses(name, self.terms)} {_measured_by(name)}".lstrip(),
            ) from None

    def median(self, name: str) -> float:
        """Return a term's median; ProfileError where the profile lacks it."""
        return self.term(name).median

    def medians(self) -> dict[str, float]:
        """Return every term's median, by name."""
        return {name: term.median for name, term in self.terms.items()}

    def sample(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw every term once, in the order of the names; times share the host's common factor.

        Terms of multifd and of slices are drawn last, so that adding them to a profile leaves the draws of the others
        as they were.
        """
        common = float(rng.standard_normal())
        order = sorted(self.terms, key=_drawing_order)
        return self.at(common, {name: float(rng.standard_normal()) for name in order})

    def at(self, common: float, deviates: Mapping[str, float]) -> dict[str, float]:
        """Return every term at standard normal deviates.

        Parameters
        ----------
        common : float
            Deviate of the common factor, for terms that are times.
        deviates : mapping of str to float
            Deviate of each term, by name; 0 for a term that it lacks.
        """
        return {
            name: term.at(deviates.get(name, 0.0), common if term.unit.startswith("s") else None)
            for name, term in self.terms.items()
        }

    def labelled_terms(self) -> list[tuple[str, Term]]:
        """Return all terms by name, those for the other `sides` labelled and last."""
        other = "two hosts" if self.sides == "one-machine" else "one machine"
        return [
            *sorted(self.terms.items()),
            *((f"{name} ({other})", term) for name, term in sorted(self.other_sides.items())),
        ]

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{term.median:.3g}", term.unit, *(f"{end:.3g}" for end in term.interval()), str(term.n))
            for name, term in self.labelled_terms()
        ]
        caption = f"Host profile, QEMU {self.qemu_version} ({self.accel})"
        return html_table(caption, ("term", "median", "unit", "80 % from", "to", "measured"), rows)


def _drawing_order(name: str) -> tuple[int, str]:
    last = [place for place, kind in enumerate(_DRAWN_LAST, start=1) if name.startswith(kind)]
    return (last[0] if last else 0), name


def _measured_by(name: str) -> str:
    if name.startswith("multifd_"):
        return "`migsim calibrate multifd PROFILE` adds it."
    if name.startswith("slice_"):
        return "`migsim calibrate guest PROFILE` adds it."
    return "`migsim calibrate host` measures every term."
