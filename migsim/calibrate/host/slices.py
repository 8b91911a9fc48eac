"""The work of a throttled vCPU's slices: a probe over throttle percentages and working sets.

Our guest writes at random into a working set, as fast as it can, and counts its writes. Auto-converge throttles it to
one percentage: the migration's rounds are short and its threshold 1 %, and `cpu-throttle-initial` is the maximum too.
Then the reader holds still, so that neither rounds nor the migration's threads disturb what is measured. With `c` the
vCPU's processor time of a write at full speed and `c'` under the throttle, a slice does `c/c'` of what it would do
awake. What its thread gets of the wall time, over what the percentage leaves it, tells how well the sleeps are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp
from typing import Any

import numpy as np

from migsim.calibrate.host.intervals import told_term
from migsim.calibrate.host.logged_guest import LoggedGuest, Turn, logged_guest, retried
from migsim.errors import GuestError, ProfileError
from migsim.models.throttle.cpu_throttle import SLICE_S, run_fraction, sleep_s
from migsim.models.throttle.slices import slice_lost_s
from migsim.profiles import Term
from migsim.scenario import PageClass, QemuSpec
from migsim.units import PAGE_BYTES

__all__ = ["PERCENTAGES", "WORKING_SETS", "SliceTurn", "measure_slices", "slice_terms"]

WORKING_SETS = (4 << 10, 512 << 10, 4 << 20, 64 << 20)
PERCENTAGES = (20, 50, 80, 90)
TURN_S = 2.0
RAM_BYTES = 128 << 20
LEAST_PACE = 4_000_000
OTHER_PAGES = 200
OTHER_SHARE = 0.005
"""Share of the writes that goes to other pages, without which a working set of a page would let the migration end."""
SETTLE_S = 0.3
LARGE_BYTES = 512 << 10
"""Working sets from which on the terms are fitted: a guest that is worth migrating works over megabytes."""
COOLS_S = (0.001, 0.3)


@dataclass(frozen=True, slots=True)
class SliceTurn:
    """What a guest did under one percentage.

    Attributes
    ----------
    guest : int
        Number of the guest.
    working_set_bytes : int
    percentage : int
    write_s : float
        Processor time of a write at full speed.
    throttled : Turn
    """

    guest: int
    working_set_bytes: int
    percentage: int
    write_s: float
    throttled: Turn

    @property
    def sleep_s(self) -> float:
        """The sleep before each slice."""
        return sleep_s(self.percentage)

    @property
    def work_fraction(self) -> float:
        """Work of a slice, over that of as much processor time awake."""
        return self.write_s / self.throttled.write_s

    @property
    def share_kept(self) -> float:
        """Share of the wall time that the vCPU had a processor, over what the percentage leaves it."""
        return self.throttled.processor_s / self.throttled.wall_s / run_fraction(self.percentage)


def measure_slices(
    qemu: QemuSpec,
    *,
    repeats: int = 3,
    working_sets: Sequence[int] = WORKING_SETS,
    percentages: Sequence[int] = PERCENTAGES,
    turn_s: float = TURN_S,
    progress: Callable[[int], None] | None = None,
) -> list[SliceTurn]:
    """Run the probe: a guest for each working set and repeat, under each percentage in turn.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`.
    """
    measured: list[SliceTurn] = []
    for done in range(repeats * len(working_sets)):
        if progress:
            progress(done)
        size = working_sets[done % len(working_sets)]
        measured += retried(partial(_of_guest, qemu, done, size, percentages, turn_s))
    return measured


def _of_guest(
    qemu: QemuSpec, number: int, size: int, percentages: Sequence[int], turn_s: float
) -> list[SliceTurn]:
    """Return the turns of one guest, one under each percentage."""
    pages = size // PAGE_BYTES
    classes = (
        PageClass(base_page=0, pages=pages, share=1 - OTHER_SHARE),
        PageClass(base_page=pages, pages=OTHER_PAGES, share=OTHER_SHARE),
    )
    with logged_guest(qemu, *classes, ram_bytes=RAM_BYTES, report_s=turn_s / 2) as guest:
        awake, *turns = _awake_and_throttled(guest, size, percentages, turn_s)
    return [
        SliceTurn(number, size, p, awake.write_s, turn) for p, turn in zip(percentages, turns, strict=True)
    ]


def _awake_and_throttled(
    guest: LoggedGuest, size: int, percentages: Sequence[int], turn_s: float
) -> list[Turn]:
    """Return a turn of the guest at full speed, and one under each of the rising percentages, all in one migration.

    All have the log on: under TCG its start makes the table of addresses another one. A throttle that was cancelled may
    never act again: where a vCPU finds the percentage 0 when it is to sleep, its work counts as scheduled for ever
    (`cpu_throttle_thread` in QEMU's cpu-throttle.c).
    """
    pace = max(LEAST_PACE, 2 * size)
    parameters = {"max-bandwidth": pace, "throttle-trigger-threshold": 100}
    with guest.migration(pace, parameters=parameters, capabilities={"auto-converge": True}) as migration:
        migration.hold()
        time.sleep(SETTLE_S)
        turns = [guest.turn(turn_s)]
        if shown := migration.info().get("cpu-throttle-percentage"):
            raise GuestError(
                f"The guest was throttled by {shown} % before it was to be.",
                "Its dirty pages are fewer than those sent, which a threshold of 100 % lets pass.",
                "Try again.",
            )
        for percentage in percentages:
            migration.set(_at_most(percentage))
            migration.go_on()
            migration.wait(partial(_is_throttled, percentage), f"throttle the guest by {percentage} %")
            migration.hold()
            time.sleep(SETTLE_S)
            turns.append(guest.turn(turn_s))
    return turns


def _is_throttled(percentage: int, info: dict[str, Any]) -> bool:
    return bool(info.get("cpu-throttle-percentage") == percentage)


def _at_most(percentage: int) -> dict[str, int]:
    """Return parameters with which the next action of auto-converge sets this percentage."""
    return {
        "throttle-trigger-threshold": 1,
        "cpu-throttle-initial": percentage,
        "cpu-throttle-increment": 99,
        "max-cpu-throttle": percentage,
    }


def slice_terms(turns: Sequence[SliceTurn]) -> dict[str, Term]:
    """Return `slice_lost_s` and `slice_cools_s`: the law of `migsim.models.throttle.slices`, fitted to the guests.

    All guests with a large working set share `slice_cools_s`; each has its own bound, and `slice_lost_s` is the median
    of these. A turn counts by its processor time, as the error of its work does. Where the interval of the median
    contains 0, nothing is lost.

    Raises
    ------
    ProfileError
        Where fewer than two guests have a large working set.

    Examples
    --------
    >>> def turn(guest, percentage):
    ...     lost = (1e-3 + 1e-5 * guest) * (1 - np.exp(-sleep_s(percentage) / 0.01))
    ...     return SliceTurn(guest, 4 << 20, percentage, 1e-6, Turn(10_000, 0.01 / (1 - lost / 0.01), 1.0))
    >>> terms = slice_terms([turn(guest, p) for guest in range(5) for p in PERCENTAGES])
    >>> {name: f"{term.median:.2g}" for name, term in terms.items()}
    {'slice_lost_s': '0.001', 'slice_cools_s': '0.01'}
    """
    from scipy.optimize import minimize_scalar

    guests = sorted({turn.guest for turn in turns if turn.working_set_bytes >= LARGE_BYTES})
    if len(guests) < 2:
        raise ProfileError(
            f"{len(guests)} guests with a large working set measured what slices lack.",
            "An interval needs two at least.",
            "Measure it with more --repeats.",
        )
    of_guests = [[turn for turn in turns if turn.guest == guest] for guest in guests]

    def missed(log_cools: float) -> float:
        return sum(_bound(of_guest, exp(log_cools))[0] for of_guest in of_guests)

    first, last = np.log(COOLS_S)
    near = min(np.linspace(first, last, 40), key=missed)
    step = (last - first) / 39
    cools_s = exp(
        minimize_scalar(missed, bounds=(max(near - step, first), min(near + step, last)), method="bounded").x
    )
    term = told_term([_bound(of_guest, cools_s)[1] for of_guest in of_guests], "s")
    cools = Term(median=cools_s if term.median else 0.0, n=len(guests), unit="s")
    return {"slice_lost_s": term, "slice_cools_s": cools}


def _bound(turns: Sequence[SliceTurn], cools_s: float) -> tuple[float, float]:
    """Fit one guest's bound, which may be below 0, by weighted least squares; return what the fit misses, and it."""
    shape = np.array([slice_lost_s(turn.sleep_s, 1.0, cools_s) for turn in turns])
    lost = np.array([SLICE_S * (1 - turn.work_fraction) for turn in turns])
    weight = np.square([turn.throttled.processor_s for turn in turns])
    bound = float(np.sum(weight * shape * lost) / np.sum(weight * shape**2))
    return float(np.sum(weight * (lost - bound * shape) ** 2)), bound
