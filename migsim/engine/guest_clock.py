"""How far the guest has run: wall time times the speed that throttling and full rings leave it."""

from __future__ import annotations

__all__ = ["GuestClock"]


class GuestClock:
    """Guest run time against the wall, for a speed that changes in steps.

    Attributes
    ----------
    speed : float
        Share of the wall time that the guest's vCPUs run, now.
    steps : list of (float, float)
        When the speed changed, and what to.

    Examples
    --------
    >>> clock = GuestClock()
    >>> clock.set_speed(2.0, 0.5)
    >>> clock.run_s(4.0)
    3.0
    """

    def __init__(self) -> None:
        self.speed = 1.0
        self.steps: list[tuple[float, float]] = [(0.0, 1.0)]
        self._since = 0.0
        self._run = 0.0

    def set_speed(self, now: float, speed: float) -> None:
        """Let the guest run at `speed` from `now` on."""
        if speed == self.speed:
            return
        self._run = self.run_s(now)
        self._since, self.speed = now, speed
        self.steps.append((now, speed))

    def run_s(self, now: float) -> float:
        """Seconds that the guest has run since time 0; `now` is not before the last change."""
        return self._run + (now - self._since) * self.speed
