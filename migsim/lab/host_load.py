"""The host's load during a run, which shows whether other programs disturbed it.

Read from ``/proc``: the processor time of each thread of the watched processes and of the whole machine, and the time
that a hypervisor below took away (steal).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["HostLoad"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STAT_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class HostLoad:
    """Counts processor time between `start` and `stop`.

    Parameters
    ----------
    processes : iterable of (role, pid)
        Processes whose threads are counted, with a role for each.

    Examples
    --------
    >>> load = HostLoad([("self", os.getpid())])
    >>> load.start()
    >>> sorted(load.stop())[:3]
    ['busy_fraction', 'cpus', 'duration_s']
    """

    def __init__(self, processes: Iterable[tuple[str, int]]) -> None:
        self.processes = list(processes)
        self._began = time.monotonic()
        self._machine: dict[str, float] = {}
        self._at_start: dict[tuple[str, int], tuple[str, float]] = {}
        self._latest: dict[tuple[str, int], tuple[str, float]] = {}

    def start(self) -> None:
        """Begin the count."""
        self._began = time.monotonic()
        self._machine = _machine_seconds()
        self._at_start = self._latest = self._thread_seconds()

    def sample(self) -> None:
        """Read the threads' times now, so that a thread that ends before `stop` keeps those of its last sample."""
        self._latest = {**self._latest, **self._thread_seconds()}

    def stop(self) -> dict[str, Any]:
        """Return the load since `start`.

        Returns
        -------
        dict
            ``duration_s``, ``cpus``, ``busy_fraction`` and ``steal_fraction`` (of all processors' time),
            ``others_cpu_s`` (used by other processes), ``load_average`` (1, 5, 15 minutes) and ``threads``:
            role, name and ``cpu_s`` of each watched thread that used any.
        """
        self.sample()
        duration_s = time.monotonic() - self._began
        machine = {name: value - self._machine.get(name, 0.0) for name, value in _machine_seconds().items()}
        total = sum(machine.values()) or 1.0
        busy = total - machine.get("idle", 0.0) - machine.get("iowait", 0.0) - machine.get("steal", 0.0)
        threads = [
            {
                "role": role,
                "name": name,
                "cpu_s": round(used - self._at_start.get((role, tid), ("", 0.0))[1], 2),
            }
            for (role, tid), (name, used) in sorted(self._latest.items())
        ]
        threads = [thread for thread in threads if float(str(thread["cpu_s"])) > 0]
        watched = sum(float(str(thread["cpu_s"])) for thread in threads)
        return {
            "duration_s": round(duration_s, 3),
            "cpus": os.cpu_count() or 1,
            "busy_fraction": round(busy / total, 4),
            "steal_fraction": round(machine.get("steal", 0.0) / total, 4),
            "others_cpu_s": round(max(busy - watched, 0.0), 2),
            "load_average": [round(value, 2) for value in os.getloadavg()],
            "threads": threads,
        }

    def _thread_seconds(self) -> dict[tuple[str, int], tuple[str, float]]:
        seconds: dict[tuple[str, int], tuple[str, float]] = {}
        for role, pid in self.processes:
            try:
                folders = list(Path(f"/proc/{pid}/task").iterdir())
            except OSError:
                continue
            for folder in folders:
                try:
                    text = (folder / "stat").read_text()
                except OSError:
                    continue
                # The name is in brackets and may hold spaces; user and system time are fields 14 and 15.
                name, rest = (
                    text[text.index("(") + 1 : text.rindex(")")],
                    text[text.rindex(")") + 2 :].split(),
                )
                seconds[role, int(folder.name)] = (name, (int(rest[11]) + int(rest[12])) / _TICKS_PER_S)
        return seconds


def _machine_seconds() -> dict[str, float]:
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return {}
    return {name: int(value) / _TICKS_PER_S for name, value in zip(_STAT_FIELDS, first, strict=False)}
