"""Options that the sub-commands about a traced guest share: predict, replay, sweep, size, sensitivity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from migsim.profiles import HostProfile
    from migsim.trace import Trace

__all__ = [
    "Deadline",
    "Host",
    "Jobs",
    "Link",
    "Load",
    "QemuVersionOption",
    "RingSize",
    "Seed",
    "Settings",
    "TraceFile",
    "command_line",
    "guest_and_host",
    "named_values",
]

TraceFile = Annotated[Path, typer.Argument(metavar="TRACE", help="What `migsim trace record` wrote.")]
Host = Annotated[
    Path | None,
    typer.Option(metavar="PROFILE", help="What `migsim calibrate host` measured; else a bundled profile."),
]
QemuVersionOption = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="Behave like this QEMU, as 7.2 or 10.0; else like the traced one."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A migration parameter or capability, as max-bandwidth=10Gbps or downtime-limit=300ms; "
        "may be given several times.",
    ),
]
Link = Annotated[
    str | None,
    typer.Option(metavar="RATE", help="What the network carries, as 10Gbps; else the CPUs are the limit."),
]
Load = Annotated[
    str,
    typer.Option(
        metavar="SHARE",
        help="How much of its full speed the guest needs, as 30%; what is throttled above that costs it nothing.",
    ),
]
RingSize = Annotated[
    int,
    typer.Option(min=0, max=65536, metavar="N", help="Entries of KVM's dirty ring, which dirty-limit needs."),
]
Deadline = Annotated[
    str, typer.Option(metavar="TIME", help="When a migration would be given up, as 90s or 30min.")
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="The same seed, the same answer.")]
Jobs = Annotated[int, typer.Option(min=-1, metavar="N", help="Processes; -1 is one a processor.")]


def guest_and_host(
    trace: Path,
    host: Path | None,
    qemu_version: str | None,
    *,
    link: str | None,
    load: str,
    dirty_ring_size: int,
    deadline: str,
) -> tuple[Trace, dict[str, Any]]:
    """Read what the shared options name: the trace, and the arguments that all studies of it take.

    Raises
    ------
    TraceError, ProfileError, UnitError, UsageError
    """
    from migsim.cli.options import positive_duration_s, positive_rate, share
    from migsim.trace import Trace

    shared = {
        "deadline_s": positive_duration_s(deadline, option="--deadline"),
        "link_bytes_per_s": positive_rate(link, option="--link") if link else None,
        "load": share(load, option="--load"),
        "dirty_ring_size": dirty_ring_size,
    }
    opened = Trace.open(trace)
    version = qemu_version or opened.meta.qemu_version
    return opened, shared | {"host": _profile(host, version, opened), "qemu_version": version}


def _profile(host: Path | None, version: str, trace: Trace) -> HostProfile:
    from migsim.profiles import HostProfile
    from migsim.profiles.bundled import bundled_profile

    return HostProfile.load(host) if host else bundled_profile(version, trace.meta.accel or "kvm")


def named_values(words: list[str], *, option: str, example: str) -> dict[str, str]:
    """Read ``NAME=VALUES`` words, a name once.

    Raises
    ------
    UsageError

    Examples
    --------
    >>> named_values(["downtime-limit=50,300"], option="--vary", example="")
    {'downtime-limit': '50,300'}
    """
    from migsim.errors import UsageError

    read: dict[str, str] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not (equals and name and values):
            raise UsageError(f"{option} is {word!r}.", "It is NAME=VALUES.", f"Write it like {example}.")
        if name in read:
            raise UsageError(f"{option} names {name} twice.", "Each thing varies once.", "Drop one.")
        read[name] = values
    return read


def command_line() -> str:
    """Return the command line of this process as a shell would take it, for a file's provenance."""
    import shlex
    import sys

    return shlex.join(["migsim", *sys.argv[1:]])
