"""What a Linux guest has said so far: its reports on the one port, and its kernel's complaints on the console."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from migsim.errors import GuestError
from migsim.results.linux_lines import LinuxFault, LinuxReady, LinuxWork, parse_linux_lines

__all__ = ["LinuxLog", "parse_linux"]

# A soft lockup is no damage: a guest that is throttled or stood still has one.
_COMPLAINT = re.compile(
    r"Kernel panic|Oops|BUG: unable|BUG: kernel|BUG: Bad|general protection|segfault at|Out of memory"
)


@dataclass
class LinuxLog:
    """All that a Linux guest has said so far; the attributes are those of our own guest's `SerialLog`.

    Attributes
    ----------
    ready : LinuxReady or None
        Its users have begun.
    progress : list of LinuxWork
        Its counters.
    faults : list of str
        What failed in it: its own words, and its kernel's.
    """

    ready: LinuxReady | None = None
    progress: list[LinuxWork] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    passes: tuple[()] = ()

    @property
    def failed(self) -> int:
        """How much has failed in it."""
        return len(self.faults)

    def raise_for_fault(self) -> None:
        """Raise where something in the guest has failed.

        Raises
        ------
        GuestError
            With the guest's own words.
        """
        if self.faults:
            raise GuestError(
                f"The Linux guest failed: {self.faults[0]}.",
                "Neither its programs nor its kernel complain while all is well.",
                "Before a migration: give it more RAM, or build its image anew. After one: memory was lost.",
            )


def parse_linux(reports: str, console: str = "") -> LinuxLog:
    r"""Read both ports' logs, which may end anywhere.

    Examples
    --------
    >>> parse_linux("", "[ 9.1] Kernel panic - not syncing: Attempted to kill init!\n").faults
    ['[ 9.1] Kernel panic - not syncing: Attempted to kill init!']
    """
    log = LinuxLog()
    for line in parse_linux_lines(reports):
        if isinstance(line, LinuxReady):
            log.ready = line
        elif isinstance(line, LinuxWork):
            log.progress.append(line)
        elif isinstance(line, LinuxFault):
            log.faults.append(line.message)
    whole = console.replace("\r", "").split("\n")[:-1]
    log.faults += [line.strip().rstrip(".") for line in whole if _COMPLAINT.search(line)]
    return log
