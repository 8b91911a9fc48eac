"""The command line that tells the guest its workload; `migsim.lab.guest` says what its words mean."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm
from typing import Protocol

from migsim.errors import ScenarioError

MAX_CLASSES = 16
SCHEDULE_SLOTS = 1024
_MOST_EXACT_WEIGHT = 128  # up to this sum the guest's schedule holds any weights exactly


class _PageClass(Protocol):
    @property
    def base_page(self) -> int: ...
    @property
    def pages(self) -> int: ...
    @property
    def share(self) -> float: ...
    @property
    def pattern(self) -> str: ...
    @property
    def zipf_exponent(self) -> float: ...
    @property
    def content(self) -> str: ...
    @property
    def changed_bytes(self) -> int: ...


class _Workload(Protocol):
    @property
    def touched_pages(self) -> int: ...
    @property
    def classes(self) -> tuple[_PageClass, ...]: ...
    @property
    def pace(self) -> str: ...
    @property
    def writes_per_s(self) -> float | None: ...
    @property
    def check(self) -> bool: ...
    @property
    def report_s(self) -> float: ...
    @property
    def seed(self) -> int: ...


def guest_command_line(workload: _Workload) -> str:
    """Return the command line of a workload, for QEMU's ``-append``.

    Parameters
    ----------
    workload
        A `migsim.scenario.GuestWorkload`. The attributes ``fill``, ``work`` and ``tsc_khz`` are passed on where the
        workload has them.

    Returns
    -------
    str
        Settings separated by spaces, after ``--``.

    Raises
    ------
    ScenarioError
        For more than 16 classes, or for ``check`` with writes of more than 4088 bytes.

    Examples
    --------
    >>> from migsim.scenario import GuestWorkload, PageClass
    >>> guest_command_line(GuestWorkload(touched_pages=10, classes=(PageClass(base_page=0, pages=9),)))
    '-- touch=10 class=0:9:1:random:bytes=8 pace=closed report=1000 seed=1'
    """
    if len(workload.classes) > MAX_CLASSES:
        raise ScenarioError(
            f"The workload has {len(workload.classes)} page classes.",
            f"Our guest takes at most {MAX_CLASSES}.",
            "Merge some of them.",
        )
    words = ["--", f"touch={workload.touched_pages}"]
    if getattr(workload, "fill", "word") == "page":
        words.append("fill=page")
    if workload.check:  # before the classes, which the guest checks against this setting
        words.append("check=1")
    weights = schedule_weights([c.share for c in workload.classes])
    words += [
        _class_word(c, weight, check=workload.check)
        for c, weight in zip(workload.classes, weights, strict=True)
    ]
    words.append(f"pace={workload.pace}")
    if workload.pace == "clock":
        words.append(f"rate={max(1, round(workload.writes_per_s or 0))}")
    for key in ("work", "tsc_khz"):
        if value := getattr(workload, key, None):
            words.append(f"{key}={value}")
    words += [f"report={max(1, round(workload.report_s * 1000))}", f"seed={workload.seed}"]
    return " ".join(words)


def _class_word(c: _PageClass, weight: int, *, check: bool) -> str:
    pattern = f"zipf={round(c.zipf_exponent * 1000)}" if c.pattern == "zipf" else c.pattern
    content = f"bytes={c.changed_bytes}" if c.content == "bytes" else c.content
    if check and c.content == "bytes" and c.changed_bytes > 4088:
        raise ScenarioError(
            f"A page class changes {c.changed_bytes} bytes a write.",
            "With check the guest keeps the first 8 bytes of a page for itself, so a write has at most 4088.",
            'Use content = "page", or leave check out.',
        )
    return f"class={c.base_page}:{c.pages}:{weight}:{pattern}:{content}"


def schedule_weights(shares: list[float]) -> list[int]:
    """Return integer weights in the proportion of `shares`.

    They are exact where small integers (of a sum up to 128) have that proportion. Otherwise they are rounded to
    1024ths, each at least 1.

    Examples
    --------
    >>> schedule_weights([90.0, 10.0])
    [9, 1]
    >>> schedule_weights([1.0, 3.14159])
    [247, 777]
    """
    if not shares:
        return []
    exact = [Fraction(share).limit_denominator(1000) for share in shares]
    if all(abs(float(f) - s) <= 1e-9 * s for f, s in zip(exact, shares, strict=True)):
        scale = lcm(*(f.denominator for f in exact))
        whole = [int(f * scale) for f in exact]
        divisor = gcd(*whole)
        if sum(whole) // divisor <= _MOST_EXACT_WEIGHT:
            return [w // divisor for w in whole]
    parts = [share / sum(shares) * SCHEDULE_SLOTS for share in shares]
    weights = [max(1, int(part)) for part in parts]
    by_shortfall = sorted(range(len(parts)), key=lambda i: weights[i] - parts[i])
    missing = SCHEDULE_SLOTS - sum(weights)
    for i in range(missing):
        weights[by_shortfall[i % len(by_shortfall)]] += 1
    for _ in range(-missing):  # weights raised to 1 made the sum too large: the largest weight shrinks
        weights[max(range(len(weights)), key=weights.__getitem__)] -= 1
    return weights
