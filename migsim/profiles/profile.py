"""What a host costs the model: terms with a median and a spread, from probe migrations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from migsim.documents import Declared, RecordedModel
from migsim.errors import MigsimError, ProfileError, near_misses
from migsim.html import html_table
from migsim.intervals import NORMAL_DEVIATE

if TYPE_CHECKING:
    import numpy as np

__all__ = ["HostProfile", "Term"]

SHARED = 0.5
"""How much of the variance of a host's times is common to them."""


class Term(Declared):
    """One term of the host.

    Attributes
    ----------
    median : float
        In `unit`.
    spread : float
        Standard deviation of the natural log of one more run.
    n : int
        Measurements behind it.
    unit : str
        Of the median, such as ``"s/page"``.
    """

    _error: ClassVar[type[MigsimError]] = ProfileError
    _what: ClassVar[str] = "A term"

    median: float = Field(ge=0)
    spread: float = Field(default=0.0, ge=0)
    n: int = Field(default=1, ge=1)
    unit: str = ""

    def sample(self, rng: np.random.Generator, common: float = 0.0) -> float:
        """Draw a value: log-normal about the median.

        Parameters
        ----------
        rng : numpy.random.Generator
            Where chance comes from.
        common : float
            A standard normal deviate shared with other terms: they move together in part, as a machine that
            is slow at one thing is slow at most.
        """
        # drawn even when it changes nothing, so that streams stay aligned between profiles
        return self.at(float(rng.standard_normal()), common or None)

    def at(self, own: float, common: float | None = None) -> float:
        """Return the value at a standard normal deviate of its own, and one that it shares with other terms.

        Examples
        --------
        >>> Term(median=2.0, spread=0.1).at(0.0), round(Term(median=2.0, spread=0.1).at(1.0), 3)
        (2.0, 2.21)
        """
        deviation = own
        if common is not None:
            deviation = math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own
        return self.median * math.exp(self.spread * deviation)

    def interval(self) -> tuple[float, float]:
        """Return the middle 80 % of what `sample` draws.

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
        By name.
    qemu_version : str
        The QEMU that was measured.
    accel : {"kvm", "tcg"}
        Its accelerator.
    machine : dict
        What the host is (see `migsim.provenance.Machine`).
    provenance : dict
        Who measured it, and when.

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

    def term(self, name: str) -> Term:
        """Return a term.

        Raises
        ------
        ProfileError
            Naming the term, where the profile lacks it.
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
        """Draw every term once, in the order of their names; those that are times move together in part.

        Terms of multifd come last, so that a profile to which they are added draws the others as before.

        Parameters
        ----------
        rng : numpy.random.Generator
            Where chance comes from.
        """
        common = float(rng.standard_normal())
        turns = [name for name, _ in sorted(self.terms.items(), key=_drawn_in_turn)]
        return self.at(common, {name: float(rng.standard_normal()) for name in turns})

    def at(self, common: float, own: Mapping[str, float]) -> dict[str, float]:
        """Return every term at standard normal deviates: one that the times share, and each one's own (0 if absent)."""
        return {
            name: term.at(own.get(name, 0.0), common if term.unit.startswith("s") else None)
            for name, term in self.terms.items()
        }

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{term.median:.3g}", term.unit, *(f"{end:.3g}" for end in term.interval()), str(term.n))
            for name, term in sorted(self.terms.items())
        ]
        caption = f"Host profile, QEMU {self.qemu_version} ({self.accel})"
        return html_table(caption, ("term", "median", "unit", "80 % from", "to", "measured"), rows)


def _drawn_in_turn(item: tuple[str, Term]) -> tuple[bool, str]:
    return item[0].startswith("multifd_"), item[0]


def _measured_by(name: str) -> str:
    if name.startswith("multifd_"):
        return "`migsim calibrate multifd PROFILE` adds it."
    return "`migsim calibrate host` measures every term."
