r"""Fewer classes where the pages themselves tell them apart no better.

Law
---
A curve of unique pages bends alike for one class and for two near it, so that a stall of the guest can pass for a
second class. How often each page was dirty tells: a page of class k is dirty in a round of length t with
:math:`f_k(t)`, the number of its rounds is Poisson-binomial, and over all pages a mixture by the classes' sizes. Two
neighbours are joined unless they raise the logarithm of its likelihood by more than the logarithm of the number of
pages (Schwarz's criterion for two parameters), each side with the speed of the guest that suits it best.

Leaves out: sweeps, whose pages are dirty in turn; a fit that has any is left as it is.
Source: Schwarz (1978) for the criterion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.calibrate.workload.spectrum import Spectrum, join_classes
from migsim.models.dirty.page_writes import random_fraction

if TYPE_CHECKING:
    from migsim.calibrate.workload.rounds import RoundHistory

__all__ = ["fewest_classes", "log_likelihood"]

Floats = NDArray[np.float64]

SPEEDS = np.exp(np.linspace(-0.3, 0.3, 25))
"""Speeds of the guest that are tried, relative to that of the fit."""


def fewest_classes(spectrum: Spectrum, history: RoundHistory, most_pages: float) -> Spectrum:
    """Join classes that the pages' hits do not tell apart.

    Parameters
    ----------
    spectrum : Spectrum
        Fitted to the same trace's curve.
    history : RoundHistory
    most_pages : float
        Number of pages that can be written.

    Returns
    -------
    Spectrum
        Fitted again with fewer classes, or unchanged.
    """
    if spectrum.is_sweep.any():
        return spectrum
    lengths = history.lengths_s
    likelihood = log_likelihood(spectrum, lengths, history.hits)
    while len(spectrum.pages) > 1:
        joined = [join_classes(spectrum, i, most_pages) for i in range(len(spectrum.pages) - 1)]
        likelihoods = [log_likelihood(s, lengths, history.hits) for s in joined]
        best = int(np.argmax(likelihoods))
        if likelihoods[best] < likelihood - np.log(len(history.hits)):
            break
        spectrum, likelihood = joined[best], likelihoods[best]
    return spectrum


def log_likelihood(spectrum: Spectrum, lengths_s: Floats, hits: NDArray[np.int64]) -> float:
    """Return the logarithm of the likelihood of the pages' hits, at the most likely speed of the guest.

    Parameters
    ----------
    spectrum : Spectrum
        Random classes.
    lengths_s : ndarray, shape (rounds,)
    hits : ndarray, shape (pages,)
        Number of rounds in which each page was dirty, at least 1. The classes' other pages were dirty in no round.
    """
    count = np.bincount(hits, minlength=len(lengths_s) + 1).astype(float)
    count[0] = max(float(spectrum.pages.sum()) - len(hits), 0.0)
    weights = spectrum.pages / spectrum.pages.sum()
    best = -np.inf
    for speed in SPEEDS:
        by_class = [
            _number_of_successes(random_fraction(rate * speed, lengths_s))
            for rate in spectrum.writes_per_page_per_s
        ]
        chance = weights @ np.array(by_class)
        best = max(best, float(count @ np.log(np.maximum(chance, 1e-12))))
    return best


def _number_of_successes(chances: Floats) -> Floats:
    """Return the Poisson-binomial probabilities of 0, 1, ... successes."""
    probability = np.zeros(len(chances) + 1)
    probability[0] = 1.0
    for i, p in enumerate(chances):
        probability[1 : i + 2] = probability[1 : i + 2] * (1 - p) + probability[: i + 1] * p
        probability[0] *= 1 - p
    return probability
