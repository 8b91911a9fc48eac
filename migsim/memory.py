"""The memory that this process may still take: the machine's, its control group's, its own limit's."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["available_bytes", "usable_bytes"]

MOST_OF_MEMORY = 0.8
"""Share of the available memory that one step may take."""
_UNKNOWN = 2 << 30
_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""A group's limit and use, in versions 2 and 1, and the field of its statistics that says how much of it is given back
when it is needed: file pages that nobody uses."""


def usable_bytes() -> int:
    """Return the memory that one step may take: most of what is available.

    Examples
    --------
    >>> usable_bytes() < available_bytes()
    True
    """
    return int(MOST_OF_MEMORY * available_bytes())


def available_bytes() -> int:
    """Return the memory that is available to this process.

    It is the least of what Linux counts as available on the machine (2 GiB where it does not say), what is left of the
    limit of each control group above the process, and what is left of its address space (``ulimit -v``).

    Examples
    --------
    >>> available_bytes() > 1 << 20
    True
    """
    left = [_field("/proc/meminfo", "MemAvailable"), *_left_in_groups()]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        left.append(limit - (_field("/proc/self/status", "VmSize") or 0))
    return max(min([each for each in left if each is not None], default=_UNKNOWN), 0)


def _field(file: str, name: str) -> int | None:
    """Return a field of one of Linux's files of ``NAME: N kB`` lines, in bytes."""
    try:
        for line in Path(file).read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _left_in_groups(of_process: str = "/proc/self/cgroup", groups: Path = _GROUPS) -> list[int]:
    """Return what is left of each memory limit on the way from the process's control group up to the root.

    In a container the root is the container's own group, and the path inside it may not exist.
    """
    try:
        lines = Path(of_process).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        top = groups / "memory" if controllers else groups
        folder = top / path.lstrip("/")
        for each in (folder, *folder.parents):
            for limit, used, idle in _LIMITS:
                most, now = _number(each / limit), _number(each / used)
                if most is not None and now is not None:
                    left.append(most - now + _idle(each / "memory.stat", idle))
            if each == top:
                break
    return left


def _idle(path: Path, name: str) -> int:
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return next((int(row[1]) for row in rows if row[:1] == [name]), 0)
    except (OSError, ValueError, IndexError):
        return 0


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() else None  # "max": no limit
