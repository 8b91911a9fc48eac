"""What both engines share of a migration's end: the reason in a sentence, and how a standstill goes on.

A migration that stands still is not simulated to its deadline: its counters go on at the pace of its last rounds.
"""

from __future__ import annotations

from migsim.units import PAGE_BYTES, format_two_figures

__all__ = ["LAST_SYNCS", "LAST_TESTS", "carried_on", "completed_reason", "standing_reason"]

LAST_SYNCS = 9
"""Bitmap syncs whose mean gap and dirty rate a reason reports."""

LAST_TESTS = 8
"""Exact tests whose smallest result a reason reports."""


def carried_on(counter: float, at_middle: float, times: float) -> float:
    """Value of a counter at the deadline, from its value now and at the sync halfway.

    Parameters
    ----------
    counter, at_middle : float
    times : float
        Time from now to the deadline over the time from the sync halfway to now.

    Examples
    --------
    >>> carried_on(30.0, 10.0, 2.0)
    70.0
    """
    return counter + times * (counter - at_middle)


def completed_reason(pages: float, flush_s: float) -> str:
    """Say how a migration converged: the pages left when the guest stopped, and how long they took."""
    return f"{pages * PAGE_BYTES / 1e6:.1f} MB were left when the guest stopped, sent in {flush_s * 1000:.0f} ms."


def standing_reason(
    now: float,
    tests: int,
    gap_s: float,
    new_bytes_per_s: float,
    least: float,
    threshold: float,
    steady: bool,
) -> str:
    """Say why a migration does not converge.

    Parameters
    ----------
    now, gap_s : float
        When it was given up, and the mean time between its last syncs.
    tests : int
        Number of its exact tests.
    new_bytes_per_s : float
        Memory that these syncs found newly dirty, over that time: what the guest dirties.
    least, threshold : float
        The least bytes that one of the last `LAST_TESTS` tests found dirty, and the switchover threshold.
    steady : bool
        Whether it would go on like that.
    """
    if not tests:
        return f"The first pass over RAM was not done after {now:.0f} s."
    ending = "and stays so" if steady else f"until the deadline of {now:.0f} s"
    gap = format_two_figures(gap_s)
    return (
        f"Each {gap} s round leaves {least / 1e6:.1f} MB or more dirty "
        f"(dirty rate over a {gap} s round, {new_bytes_per_s / 1e6:.0f} MB/s), above the switchover threshold of "
        f"{threshold / 1e6:.1f} MB, {ending}."
    )
