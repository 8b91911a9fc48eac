r"""The lines on our guest's serial port, and how they are read.

::

    migsim-guest boot version=1
    migsim-guest ready t_us=0 boot_us=281843 tsc=4095444443690 tsc_khz=2596134 \
        ram_bytes=268435456 touched=10000 workload_base=16777216
    migsim-guest progress t_us=500095 tsc=4096742759436 writes=65728 checked=0
    migsim-guest progress t_us=500335 tsc=4202091408685 writes=3920 checked=15802 failed=0      (check=1)
    migsim-guest check ok kind=stamps passes=1 pages=10000        a pass over all pages, no mismatch in it
    migsim-guest check FAILED page=77 expected=0x00000000000000a1 got=0x0000000000000000
    migsim-guest error unknown setting: foo=3                     the guest has halted

``t_us`` is guest time since ``ready``, from the time stamp counter, which stands still while the machine is stopped.
``check ok`` of the kind ``stamps`` compares each page's first word, of the kind ``words`` the sum of all others; each
kind reports at most once between two progress lines. After 20 ``FAILED`` lines the guest only counts mismatches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from migsim.errors import GuestError

_PREFIX = "migsim-guest "


@dataclass(frozen=True)
class Ready:
    """The guest has written its first pages and begins its workload."""

    boot_us: int
    tsc: int
    tsc_khz: int
    ram_bytes: int
    touched: int
    workload_base: int


@dataclass(frozen=True)
class ProgressLine:
    """Writes and checked pages since ready; `t_us` is guest time since ready, in microseconds."""

    t_us: int
    tsc: int
    writes: int
    checked: int
    failed: int = 0


@dataclass(frozen=True)
class CheckPass:
    """All pages compared once without a mismatch; `kind` is ``stamps`` or ``words``."""

    kind: str
    passes: int
    pages: int


@dataclass(frozen=True)
class CheckFailed:
    """A page that does not hold the data written to it."""

    page: int
    expected: int
    got: int


@dataclass(frozen=True)
class GuestFault:
    """The guest refused its command line or its machine, and halted."""

    message: str


Line = Ready | ProgressLine | CheckPass | CheckFailed | GuestFault


@dataclass
class SerialLog:
    """The lines of one guest so far, by kind."""

    ready: Ready | None = None
    progress: list[ProgressLine] = field(default_factory=list)
    passes: list[CheckPass] = field(default_factory=list)
    failures: list[CheckFailed] = field(default_factory=list)
    fault: GuestFault | None = None
    booted: bool = False

    @property
    def failed(self) -> int:
        """Number of damaged pages that the guest has found."""
        return max(len(self.failures), self.progress[-1].failed if self.progress else 0)

    def writes_per_s(self) -> float:
        """Return the mean rate of writes, a second of guest time, over all progress lines; 0 for fewer than two."""
        if len(self.progress) < 2 or self.progress[-1].t_us <= self.progress[0].t_us:
            return 0.0
        first, last = self.progress[0], self.progress[-1]
        return (last.writes - first.writes) / (last.t_us - first.t_us) * 1e6

    def raise_for_fault(self) -> None:
        """Raise where the guest has halted or found its memory damaged.

        Raises
        ------
        GuestError
            With the guest's own message.
        """
        if self.fault:
            raise GuestError(
                f"The guest halted: {self.fault.message}.",
                "Our guest halts where it does not understand its command line, or its RAM does not hold the pages.",
                "Correct the workload or the memory size.",
            )
        if self.failed:
            first = f"first workload page {self.failures[0].page}" if self.failures else "pages not named"
            raise GuestError(
                f"The guest found {self.failed} damaged pages, {first}.",
                "With check = true the guest compares every page with what it wrote.",
                "This QEMU or this host loses memory: keep the log and report it.",
            )


def parse_line(line: str) -> Line | None:
    """Read one line; None where it is not a complete line of our guest.

    Examples
    --------
    >>> parse_line("migsim-guest progress t_us=500 tsc=9 writes=64 checked=0")
    ProgressLine(t_us=500, tsc=9, writes=64, checked=0, failed=0)
    """
    line = line.strip()
    if not line.startswith(_PREFIX):
        return None
    kind, _, rest = line[len(_PREFIX) :].partition(" ")
    if kind == "error" and rest:
        return GuestFault(rest)
    if kind == "check":
        verdict, _, rest = rest.partition(" ")
        kind = f"{kind} {verdict}"
    values = dict(word.split("=", 1) for word in rest.split() if "=" in word)
    try:
        return _build(kind, values)
    except (KeyError, ValueError):
        return None


def _build(kind: str, values: dict[str, str]) -> Line | None:
    def whole(*names: str) -> dict[str, int]:
        return {name: int(values[name], 0) for name in names}

    if kind == "ready":
        return Ready(**whole("boot_us", "tsc", "tsc_khz", "ram_bytes", "touched", "workload_base"))
    if kind == "progress":
        return ProgressLine(
            **whole("t_us", "tsc", "writes", "checked"), failed=int(values.get("failed", "0"))
        )
    if kind == "check ok":
        return CheckPass(kind=values["kind"], **whole("passes", "pages"))
    if kind == "check FAILED":
        return CheckFailed(**whole("page", "expected", "got"))
    return None


def parse_serial(text: str) -> SerialLog:
    r"""Read a serial log, which may also hold other lines, such as the firmware's.

    A last line without its end is left out, because its numbers may be cut off.

    Examples
    --------
    >>> log = parse_serial("SeaBIOS\nmigsim-guest check ok kind=stamps passes=1 pages=9\nmigsim-gue")
    >>> log.passes
    [CheckPass(kind='stamps', passes=1, pages=9)]
    """
    log = SerialLog()
    for line in _whole_lines(text):
        _add(log, line)
    return log


def _whole_lines(text: str) -> Iterator[str]:
    lines: Iterable[str] = text.replace("\r", "").split("\n")[:-1]
    yield from lines


def _add(log: SerialLog, line: str) -> None:
    if line.startswith(_PREFIX + "boot"):
        log.booted = True
    match parse_line(line):
        case Ready() as ready:
            log.ready = ready
        case ProgressLine() as progress:
            log.progress.append(progress)
        case CheckPass() as done:
            log.passes.append(done)
        case CheckFailed() as failure:
            log.failures.append(failure)
        case GuestFault() as fault:
            log.fault = fault
