"""The tree of migsim's errors, and the suggestion for a misspelled name.

::

    MigsimError                 what and where with the value; the rule; what to do      exit 3
    ├── UsageError              the command line itself is wrong                         exit 2
    ├── UnitError               a size, rate or time that has no single reading
    ├── ParameterError          a QAPI name or value that this QEMU version does not take
    ├── ScenarioError           a scenario that contradicts itself
    ├── TraceError              a trace that cannot be read or lacks what a command needs
    ├── RecordError             a migration record that cannot be read
    ├── ProfileError            a host profile that cannot be read or lacks a term
    ├── HostError               this machine lacks something (KVM, tracefs, disk space, a package)
    └── QemuError               a QEMU that is missing, refuses or dies
        ├── QmpError            the monitor socket: not QMP, closed, command refused
        └── GuestError          the guest inside never became ready, or found its memory damaged

A migration that does not converge is a result, never one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "GuestError",
    "HostError",
    "MigsimError",
    "ParameterError",
    "ProfileError",
    "QemuError",
    "QmpError",
    "RecordError",
    "ScenarioError",
    "TraceError",
    "UnitError",
    "UsageError",
    "near_misses",
]


class MigsimError(Exception):
    """Base of every error whose cause is the input or the host, not a bug of migsim.

    Parameters
    ----------
    what : str
        What is wrong and where, with the offending value.
    rule : str
        The rule that was broken, and whose rule it is.
    todo : str
        What to do about it.

    Examples
    --------
    >>> print(UnitError("max-bandwidth is '10G'.", "A bare G could be bits or bytes.", "Write 10Gbps."))
    max-bandwidth is '10G'. A bare G could be bits or bytes. Write 10Gbps.
    """

    exit_code = 3

    def __init__(self, what: str, rule: str = "", todo: str = "") -> None:
        self.what = what
        self.rule = rule
        self.todo = todo
        super().__init__(" ".join(part for part in (what, rule, todo) if part))


class UsageError(MigsimError):
    """The command line itself is wrong."""

    exit_code = 2


class UnitError(MigsimError):
    """A size, rate or time that has no single reading."""


class ParameterError(MigsimError):
    """A QAPI name or value that the chosen QEMU version does not take."""


class ScenarioError(MigsimError):
    """A scenario that contradicts itself."""


class TraceError(MigsimError):
    """A trace that cannot be read, or lacks what a command needs."""


class RecordError(MigsimError):
    """A migration record that cannot be read."""


class ProfileError(MigsimError):
    """A host profile that cannot be read, or lacks a term."""


class HostError(MigsimError):
    """The machine lacks something: KVM, tracefs, disk space, a package."""


class QemuError(MigsimError):
    """A QEMU that is missing, refuses or dies."""


class QmpError(QemuError):
    """The monitor socket is not QMP, closed, or refused a command."""


class GuestError(QemuError):
    """The guest never became ready, or found its own memory damaged."""


def near_misses(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the known names most like `name`, "" where none is like it.

    Examples
    --------
    >>> near_misses("max-bandwith", ["max-bandwidth", "downtime-limit"])
    "Did you mean 'max-bandwidth'?"
    """
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
