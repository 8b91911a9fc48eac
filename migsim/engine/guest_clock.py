"""A guest's speed, and the work that it has done: wall time, less what throttling and full rings take from it.

The functions take any object with the fields of `GuestSpeed`: the event engine's `GuestClock`, and the state record of
the batch engine, for which numba compiles them.
"""

from __future__ import annotations

from typing import Protocol

from migsim.models.guest.work import backlog_after, worked_s

__all__ = ["GuestClock", "GuestSpeed", "change_speed", "run_s"]


class GuestSpeed(Protocol):
    """A guest's speed since its last change.

    Attributes
    ----------
    speed : float
        Share of the wall time that the vCPUs run: the smaller of the two that follow.
    allowed : float
        What throttling and full rings leave them.
    share : float
        Share of the processors that they get.
    since, run, backlog : float
        When the speed last changed, the seconds of work done by then, and the seconds of work that were overdue.
    """

    speed: float
    allowed: float
    share: float
    since: float
    run: float
    backlog: float


def run_s(guest: GuestSpeed, load: float, now: float) -> float:
    """Seconds of its work that a guest has done by `now`, which is not before the last change of its speed."""
    return guest.run + worked_s(guest.backlog, guest.speed, load, now - guest.since)


def change_speed(guest: GuestSpeed, load: float, now: float) -> bool:
    """Set the speed that `allowed` and `share` give; False where it stays the same."""
    speed = min(guest.allowed, guest.share)
    if speed == guest.speed:
        return False
    run = run_s(guest, load, now)
    guest.backlog = backlog_after(guest.backlog, guest.speed, load, now - guest.since)
    guest.run, guest.since, guest.speed = run, now, speed
    return True


class GuestClock:
    """Guest run time against the wall, for a speed that changes in steps; a `GuestSpeed`.

    Parameters
    ----------
    load : float
        Share of its full speed that the guest needs for its work. 1 is a closed loop. A guest that needs less works
        by the clock: a speed above its load does not hold it up, and it catches up on work that is overdue.

    Attributes
    ----------
    steps : list of (float, float)
        When the speed changed, and the new speed.

    Examples
    --------
    >>> clock = GuestClock()
    >>> clock.set_speed(2.0, 0.5)
    >>> clock.run_s(4.0)
    3.0
    >>> by_the_clock = GuestClock(load=0.5)
    >>> by_the_clock.set_speed(2.0, 0.5)
    >>> by_the_clock.run_s(4.0)
    4.0
    """

    def __init__(self, load: float = 1.0) -> None:
        self.load = load
        self.speed = self.share = self.allowed = 1.0
        self.since = self.run = self.backlog = 0.0
        self.steps: list[tuple[float, float]] = [(0.0, 1.0)]

    @property
    def steady(self) -> bool:
        """Whether the guest goes on at one pace as long as its speed stays: it is not catching up."""
        return self.load == 1 or self.speed <= self.load or not self.backlog

    def set_speed(self, now: float, speed: float) -> None:
        """Let the guest run at `speed` from `now` on, or less where processors are short."""
        self.allowed = speed
        self._change(now)

    def set_share(self, now: float, share: float) -> None:
        """Give the guest this share of its processors from `now` on."""
        self.share = share
        self._change(now)

    def _change(self, now: float) -> None:
        if change_speed(self, self.load, now):
            self.steps.append((now, self.speed))

    def run_s(self, now: float) -> float:
        """Seconds of its work that the guest has done by `now`, which is not before the last change of its speed."""
        return run_s(self, self.load, now)
