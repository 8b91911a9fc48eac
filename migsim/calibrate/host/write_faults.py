"""The guest time that the first write to a protected page costs: a probe that tells it from none, or bounds it.

Our guest sweeps a hot set as fast as it can, and counts its writes. A migration to a reader that takes a hot set's
bytes every 50 ms syncs the log and protects every page again as often, so that each page's first write in a round
faults (KVM) or takes the slow path (TCG). By turns of half a second the reader goes on and holds still: then no round
ends, and each page has its first write behind it. With `c` the vCPU's processor time of a write while the reader holds
still, and `t` that of `w` writes with rounds, `f` of them first writes,

    cost of a first write = (t - c w) / f.

A fault is handled in the vCPU's thread, so its processor time holds it, and does not hold what other threads take.
Short turns within one migration let what differs from guest to guest, or drifts, fall out. The guest without a log,
before the migration and after it, shows what the log costs beside first writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from migsim.calibrate.host.intervals import told_term
from migsim.calibrate.host.logged_guest import DiscardedMigration, LoggedGuest, Turn, logged_guest, retried
from migsim.errors import ProfileError
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.profiles import Term
from migsim.scenario import PageClass, QemuSpec

__all__ = ["HOT_PAGES", "ROUND_S", "FaultTurn", "fault_term", "measure_write_faults"]

HOT_PAGES = 2500
ROUND_S = 0.05
"""Time in which the reader takes a hot set's bytes."""
TURN_S = 0.5
PLAIN_TURN_S = 1.0
TURNS = 10
RAM_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class FaultTurn:
    """What a guest did in a turn with rounds.

    Attributes
    ----------
    guest : int
        Number of the guest.
    held_write_s : float
        Processor time of a write while no round ended: the mean of the turns before and after.
    plain_write_s : float
        Processor time of a write without a log: the mean of the turns before and after the migration.
    logged : Turn
        The turn with rounds.
    first_writes : float
        Pages found dirty in it.
    rounds_per_s : float
    """

    guest: int
    held_write_s: float
    plain_write_s: float
    logged: Turn
    first_writes: float
    rounds_per_s: float

    @property
    def cost_s(self) -> float:
        """Guest time lost at each first write; below 0 where noise exceeds it."""
        return (self.logged.processor_s - self.held_write_s * self.logged.writes) / self.first_writes


def measure_write_faults(
    qemu: QemuSpec,
    *,
    repeats: int = 5,
    turns: int = TURNS,
    turn_s: float = TURN_S,
    progress: Callable[[int], None] | None = None,
) -> list[FaultTurn]:
    """Run the probe: `repeats` guests, each with `turns` turns with rounds.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`.
    """
    measured: list[FaultTurn] = []
    for number in range(1, repeats + 1):
        if progress:
            progress(number - 1)
        measured += retried(partial(_of_guest, qemu, number, turns, turn_s))
    return measured


def _of_guest(qemu: QemuSpec, number: int, turns: int, turn_s: float) -> list[FaultTurn]:
    """Return the turns of one guest."""
    hot = PageClass(base_page=0, pages=HOT_PAGES, pattern="sweep")
    with logged_guest(qemu, hot, ram_bytes=RAM_BYTES) as guest:
        before = guest.turn(PLAIN_TURN_S)
        with_log = _with_log(guest, turns, turn_s)
        plain_write_s = (before.write_s + guest.turn(PLAIN_TURN_S).write_s) / 2
    return [
        FaultTurn(number, held_s, plain_write_s, logged, first_writes, rounds)
        for held_s, logged, first_writes, rounds in with_log
    ]


def _with_log(guest: LoggedGuest, turns: int, turn_s: float) -> list[tuple[float, Turn, float, float]]:
    """Return of each turn with rounds: `held_write_s`, the turn, its first writes, and rounds a second."""
    held, logged = [], []
    with guest.migration(HOT_PAGES * NORMAL_PAGE_BYTES / ROUND_S) as migration:
        for _ in range(turns):
            held.append(_held(guest, migration, turn_s))
            migration.go_on()
            time.sleep(2 * ROUND_S)
            began_s, (pages, syncs) = time.monotonic(), _sent(migration)
            turn = guest.turn(turn_s)
            seconds, (pages_then, syncs_then) = time.monotonic() - began_s, _sent(migration)
            first_writes = (pages_then - pages) / seconds * turn.wall_s
            logged.append((turn, first_writes, (syncs_then - syncs) / seconds))
        held.append(_held(guest, migration, turn_s))
    return [((held[k] + held[k + 1]) / 2, *of_turn) for k, of_turn in enumerate(logged)]


def _held(guest: LoggedGuest, migration: DiscardedMigration, turn_s: float) -> float:
    """Return the processor time of a write while no round ends, every page's first write over."""
    migration.hold()
    time.sleep(4 * ROUND_S)
    return guest.turn(turn_s).write_s


def _sent(migration: DiscardedMigration) -> tuple[int, int]:
    """Return pages sent and syncs so far; once the first pass is over, each page sent is one that was found dirty."""
    ram = migration.info()["ram"]
    return int(ram["normal"]) + int(ram["duplicate"]), int(ram["dirty-sync-count"])


def fault_term(turns: Sequence[FaultTurn]) -> Term:
    """Return `dirty_fault_s`: the median over the guests of their medians, with its interval.

    The median is 0 where the interval contains 0: the cost is then not told from none.

    Raises
    ------
    ProfileError
        Where there are fewer than two guests.

    Examples
    --------
    >>> def turn(seconds):
    ...     return FaultTurn(int(seconds * 1e3), 1e-5, 1e-5, Turn(90_000, seconds, 1.0), 50_000.0, 20.0)
    >>> term = fault_term([turn(0.95), turn(0.96), turn(0.94), turn(0.951), turn(0.945)])
    >>> f"{term.median:.3g}", [f"{end:.3g}" for end in term.measured_between]
    ('1e-06', ['8e-07', '1.2e-06'])
    """
    costs = [
        float(np.median([turn.cost_s for turn in turns if turn.guest == number]))
        for number in sorted({turn.guest for turn in turns})
    ]
    if len(costs) < 2:
        raise ProfileError(
            f"{len(costs)} guests measured the cost of a first write.",
            "An interval needs two at least, and five to be worth its name.",
            "Measure it with more --repeats.",
        )
    return told_term(costs, "s/page")
