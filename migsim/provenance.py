"""How a file was made: versions, machine, command, seed and date; no name of a person or a host."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Machine", "Provenance"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine on which a file was made."""

    cpu_model: str
    cpus: int
    memory_bytes: int
    kernel: str
    architecture: str

    @classmethod
    def here(cls) -> Machine:
        """Describe this machine.

        Examples
        --------
        >>> Machine.here().cpus >= 1
        True
        """
        return cls(
            cpu_model=_field_of("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
            cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory_bytes=int((_field_of("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) * 1024,
            kernel=f"{platform.system()} {platform.release()}",
            architecture=platform.machine(),
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a file was made.

    Attributes
    ----------
    command : str
        The command line that makes it again ("" when made from Python).
    seed : int or None
        The seed that was used.
    made : str
        Date and time in UTC, ISO 8601.
    versions : dict
        Of migsim, python, numpy, and what the caller of `now` adds (``qemu``).
    machine : Machine
        Processor, memory, kernel; no host name and no user name.
    """

    command: str = ""
    seed: int | None = None
    made: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    machine: Machine | None = None

    @classmethod
    def now(
        cls, command: str | Sequence[str] = "", *, seed: int | None = None, **versions: str
    ) -> Provenance:
        """Describe this process, this machine and this moment.

        Parameters
        ----------
        command : str or sequence of str
            The command line; a sequence is quoted for the shell. The home folder is written as ``~``.
        seed : int, optional
            The seed in use.
        **versions : str
            Further versions, such as ``qemu="10.0.2"``.

        Examples
        --------
        >>> Provenance.now("migsim predict db.trace", seed=1, qemu="10.0").versions["qemu"]
        '10.0'
        """
        if not isinstance(command, str):
            command = shlex.join(command)
        known = {
            "migsim": _version("migsim"),
            "python": platform.python_version(),
            "numpy": _version("numpy"),
        }
        return cls(
            command=_without_home(command),
            seed=seed,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=known | versions,
            machine=Machine.here(),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Provenance:
        """Read what `as_dict` wrote; unknown keys of a newer migsim are dropped."""
        known = {key: data[key] for key in cls.__slots__ if key in data}
        machine = known.get("machine")
        if isinstance(machine, dict):
            fields = {key: machine[key] for key in Machine.__slots__ if key in machine}
            known["machine"] = Machine(**fields) if len(fields) == len(Machine.__slots__) else None
        return cls(**known)


def _version(package: str) -> str:
    if package == "migsim":
        from migsim.version import __version__

        return __version__
    # a loaded module tells the version that really ran
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(loaded, str):
        return loaded
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _field_of(path: str, key: str) -> str:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
    except OSError:
        pass
    return ""


def _without_home(command: str) -> str:
    # a home folder holds the user's name
    home = str(Path("~").expanduser())
    return command.replace(home, "~") if len(home) > 1 else command
