"""A Linux guest's log: its reports on the second serial port, and its kernel's complaints on the console."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from migsim.errors import GuestError
from migsim.results.linux_lines import LinuxFault, LinuxReady, LinuxWork, parse_linux_lines

__all__ = ["LinuxLog", "parse_linux"]

# A soft lockup is left out: a throttled or stopped guest reports one, and nothing is wrong with it.
_COMPLAINT = re.compile(
    r"Kernel panic|Oops|BUG: unable|BUG: kernel|BUG: Bad|general protection|segfault at|Out of memory"
)


@dataclass
class LinuxLog:
    """A Linux guest's log so far, with the same attributes as our own guest's `SerialLog`.

    Attributes
    ----------
    ready : LinuxReady or None
        The report that its users have begun.
    progress : list of LinuxWork
        Its reports of completed transactions.
    faults : list of str
        Error lines of its programs and of its kernel.
    """

    ready: LinuxReady | None = None
    progress: list[LinuxWork] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    passes: tuple[()] = ()

    @property
    def failed(self) -> int:
        """Number of faults."""
        return len(self.faults)

    def raise_for_fault(self) -> None:
        """Raise where the log holds a fault.

        Raises
        ------
        GuestError
            With the first faulty line.
        """
        if self.faults:
            raise GuestError(
                f"The Linux guest failed: {self.faults[0]}.",
                "A healthy guest reports no error, and its kernel writes none on the console.",
                "Before a migration: give it more RAM, or build its image anew. After one: memory was lost.",
            )


def parse_linux(reports: str, console: str = "") -> LinuxLog:
    r"""Read the texts of both ports; each may end in the middle of a line.

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
