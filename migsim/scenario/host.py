"""What a host costs the model: terms with a median and a spread, from probe migrations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from migsim.errors import MigsimError, ProfileError, near_misses
from migsim.scenario.base import Declared, RecordedModel

if TYPE_CHECKING:
    import numpy as np

__all__ = ["HostProfile", "Term"]


class Term(Declared):
    """One term of the host.

    Attributes
    ----------
    median : float
        In `unit`.
    spread : float
        Standard deviation of the natural log, run to run.
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

    def sample(self, rng: np.random.Generator) -> float:
        """Draw a value: log-normal about the median."""
        # drawn even when it changes nothing, so that streams stay aligned between profiles
        deviation = float(rng.standard_normal())
        return self.median * math.exp(self.spread * deviation)


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
                near_misses(name, self.terms) or "Measure the host again with `migsim calibrate host`.",
            ) from None

    def median(self, name: str) -> float:
        """Return a term's median; ProfileError where the profile lacks it."""
        return self.term(name).median

    def medians(self) -> dict[str, float]:
        """Return every term's median, by name."""
        return {name: term.median for name, term in self.terms.items()}

    def sample(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw every term once, in the order of their names.

        Parameters
        ----------
        rng : numpy.random.Generator
            Where chance comes from.
        """
        return {name: self.terms[name].sample(rng) for name in sorted(self.terms)}
