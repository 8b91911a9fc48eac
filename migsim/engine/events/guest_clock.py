"""How far the guest has got: wall time, less what throttling and full rings take from its work."""

from __future__ import annotations

from migsim.models.guest.work import backlog_after, worked_s

__all__ = ["GuestClock"]


class GuestClock:
    """Guest run time against the wall, for a speed that changes in steps.

    Parameters
    ----------
    load : float
        Share of its full speed that the guest needs for its work: 1 is a closed loop; a guest that needs less works
        by the clock, is not held up by a speed above its load, and catches up.

    Attributes
    ----------
    speed : float
        Share of the wall time that the guest's vCPUs run, now: the smaller of what throttling leaves them and `share`.
    share : float
        Share of the processors that they get.
    steps : list of (float, float)
        When the speed changed, and what to.

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
        self.speed = self.share = self._allowed = 1.0
        self.steps: list[tuple[float, float]] = [(0.0, 1.0)]
        self._since = 0.0
        self._run = 0.0
        self._backlog_s = 0.0

    @property
    def steady(self) -> bool:
        """Whether the guest goes on at one pace as long as its speed stays: it is not catching up."""
        return self.load == 1 or self.speed <= self.load or not self._backlog_s

    def set_speed(self, now: float, speed: float) -> None:
        """Let the guest run at `speed` from `now` on, or less where processors are short."""
        self._allowed = speed
        self._change(now)

    def set_share(self, now: float, share: float) -> None:
        """Give the guest that share of its processors from `now` on."""
        self.share = share
        self._change(now)

    def _change(self, now: float) -> None:
        speed = min(self._allowed, self.share)
        if speed == self.speed:
            return
        run = self.run_s(now)
        self._backlog_s = self._backlog_at(now)
        self._run, self._since, self.speed = run, now, speed
        self.steps.append((now, speed))

    def run_s(self, now: float) -> float:
        """Seconds of its work that the guest has done since time 0; `now` is not before the last change."""
        return self._run + worked_s(self._backlog_s, self.speed, self.load, now - self._since)

    def _backlog_at(self, now: float) -> float:
        return backlog_after(self._backlog_s, self.speed, self.load, now - self._since)
