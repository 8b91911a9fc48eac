r"""When QEMU decides that a guest has to be slowed down: the trigger of auto-converge and of dirty-limit.

Law
---
At a bitmap sync that closes a dirty-rate period (more than 1 s after the last one that did), with `D` bytes newly
dirty and `X` bytes sent since, and `T` = `throttle-trigger-threshold`, the period is *bad* when

.. math:: D > \lfloor X T / 100 \rfloor

and every `n`-th bad period acts. Good periods between bad ones do not clear the count, an action does.

===========  ======  =====  ==============================================================================
release      T       acts   besides
===========  ======  =====  ==============================================================================
1.6 to 2.4   50      6th    only where the period before had a dirty rate too, so the first never counts
2.5 to 2.9   50      3rd    likewise
2.10 on      50      2nd
2.11 to 9.0  50              no period is looked at while old block migration is in its bulk phase
5.0 on       param
===========  ======  =====  ==============================================================================

From 9.2 on, with auto-converge, a timer in the main loop looks every 5 s and syncs when the migration has done more
than one sync and none since the last look, so a long round is cut into periods of 5 s (its first piece: up to 10 s).
The timer starts before the setup, so the bulk round is exempt; it runs on a clock that stands while the guest does.

Mirrors: `arch_init.c` (1.6 to 2.4), `migration/ram.c` (2.5 to 10.2), `migration/cpu-throttle.c` (9.2 on).
Leaves out: a dirty rate below 1 page/s, which counts as none; a counter that COLO resets (6.2 on).
Source: QEMU's release trees; the mechanics reference, sections 1.7, 5.3 and 5.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from migsim.errors import ParameterError
from migsim.qapi import QemuVersion

__all__ = [
    "DEFAULT_THRESHOLD_PERCENT",
    "ThrottleRules",
    "Trigger",
    "background_sync_due",
    "close_trigger",
    "count_period",
    "is_bad_period",
    "judge_period",
    "threshold_bytes",
    "throttle_rules",
]

DEFAULT_THRESHOLD_PERCENT = 50
"""Default of `throttle-trigger-threshold`, and the built-in value before 5.0."""


@dataclass(frozen=True, slots=True)
class ThrottleRules:
    """What one QEMU release does to a guest that does not converge.

    Attributes
    ----------
    form : {"none", "fixed", "percentage"}
        No auto-converge (up to 1.5), fixed sleeps (1.6 to 2.4), a percentage that rises (2.5 on).
    acts_on : int
        Number of the bad period that acts.
    needs_previous_rate : bool
        Whether a period counts only when the one before had a dirty rate (up to 2.9).
    threshold_parameter, maximum_parameter, tailslow_parameter : bool
        Whether `throttle-trigger-threshold` (5.0 on), `max-cpu-throttle` (3.1 on), `cpu-throttle-tailslow` (5.1 on)
        exist.
    dirty_counts : {"new", "delivered"}
        Whether `D` holds pages that became dirty, or every page that the log delivered, queued ones and the whole RAM
        of a first sync included (2.9 to 5.0).
    skips_block_bulk : bool
        Whether nothing is decided during the bulk phase of old block migration (2.11 to 9.0).
    rearms_timer : bool
        Whether setting a percentage restarts the timer, which lets the guest run longer (2.5 to 5.2).
    stacks_sleeps : bool
        Whether a tick during a sleep adds another sleep (2.5 to 2.9); later releases skip it.
    interruptible_sleep : bool
        Whether stopping the guest ends a sleep (4.2 on).
    background_sync_s : float or None
        Period of the timer that syncs in long rounds (9.2 on).
    dirty_limit : bool
        Whether the capability dirty-limit exists (8.1 on).
    """

    form: Literal["none", "fixed", "percentage"]
    acts_on: int
    needs_previous_rate: bool
    threshold_parameter: bool
    maximum_parameter: bool
    tailslow_parameter: bool
    dirty_counts: Literal["new", "delivered"]
    skips_block_bulk: bool
    rearms_timer: bool
    stacks_sleeps: bool
    interruptible_sleep: bool
    background_sync_s: float | None
    dirty_limit: bool


@lru_cache(maxsize=64)
def throttle_rules(version: QemuVersion | str) -> ThrottleRules:
    """Look up the rules of a QEMU release.

    Examples
    --------
    >>> [throttle_rules(v).acts_on for v in ("1.6", "2.5", "2.10", "10.0")]
    [6, 3, 2, 2]
    >>> throttle_rules("7.2").background_sync_s, throttle_rules("10.0").background_sync_s
    (None, 5.0)
    """
    release = QemuVersion.parse(version).release

    def within(since: str, until: str = "99.0") -> bool:
        return QemuVersion.parse(since) <= release <= QemuVersion.parse(until)

    return ThrottleRules(
        form="percentage" if within("2.5") else "fixed" if within("1.6") else "none",
        acts_on=2 if within("2.10") else 3 if within("2.5") else 6,
        needs_previous_rate=not within("2.10"),
        threshold_parameter=within("5.0"),
        maximum_parameter=within("3.1"),
        tailslow_parameter=within("5.1"),
        dirty_counts="delivered" if within("2.9", "5.0") else "new",
        skips_block_bulk=within("2.11", "9.0"),
        rearms_timer=within("2.5", "5.2"),
        stacks_sleeps=within("2.5", "2.9"),
        interruptible_sleep=within("4.2"),
        background_sync_s=5.0 if within("9.2") else None,
        dirty_limit=within("8.1"),
    )


@dataclass(frozen=True, slots=True)
class Trigger:
    """State of the trigger between two periods.

    Attributes
    ----------
    bad_periods : int
        Bad periods since the last action.
    dirtied_before : bool
        Whether the last closed period had a dirty rate.
    acts : bool
        Whether the period just closed acts.
    """

    bad_periods: int = 0
    dirtied_before: bool = False
    acts: bool = False


def is_bad_period(
    dirty_bytes: int, transferred_bytes: int, threshold_percent: int = DEFAULT_THRESHOLD_PERCENT
) -> bool:
    """Whether a period's dirty bytes exceed the threshold's share of its sent bytes.

    Examples
    --------
    >>> is_bad_period(50, 100), is_bad_period(51, 100), is_bad_period(51, 100, 80)
    (False, True, False)
    """
    return dirty_bytes > threshold_bytes(transferred_bytes, threshold_percent)


def threshold_bytes(transferred_bytes: int, threshold_percent: int) -> int:
    """Return the most dirty bytes of a period that is not bad.

    Examples
    --------
    >>> threshold_bytes(1001, 50)
    500
    """
    return transferred_bytes * threshold_percent // 100


def close_trigger(
    trigger: Trigger,
    *,
    dirty_bytes: int,
    transferred_bytes: int,
    rules: ThrottleRules,
    threshold_percent: int = DEFAULT_THRESHOLD_PERCENT,
    in_block_bulk: bool = False,
) -> Trigger:
    """Return the trigger's state at the end of a period.

    Parameters
    ----------
    trigger : Trigger
    dirty_bytes, transferred_bytes : int
        Bytes dirtied and sent in the period; the second as `ram.transferred` counts it
        (`transferred_counts` of `migsim.models.loop.behaviour.Behaviour`).
    rules : ThrottleRules
    threshold_percent : int
        `throttle-trigger-threshold`.
    in_block_bulk : bool
        Whether old block migration is in its bulk phase.

    Raises
    ------
    ParameterError
        For a negative count, or a threshold outside 1 to 100 or other than 50 before 5.0.

    Examples
    --------
    >>> t = close_trigger(Trigger(), dirty_bytes=60, transferred_bytes=100, rules=throttle_rules("10.0"))
    >>> close_trigger(t, dirty_bytes=60, transferred_bytes=100, rules=throttle_rules("10.0")).acts
    True
    """
    if min(dirty_bytes, transferred_bytes) < 0:
        raise ParameterError(
            f"A period of {dirty_bytes} dirty and {transferred_bytes} sent bytes.",
            "Counts of a period are 0 or more.",
            "Subtract the counters at the period's start from those at its end.",
        )
    if not 1 <= threshold_percent <= 100 or not (
        rules.threshold_parameter or threshold_percent == DEFAULT_THRESHOLD_PERCENT
    ):
        raise ParameterError(
            f"throttle-trigger-threshold is {threshold_percent}.",
            "QEMU takes 1 to 100 from 5.0 on; before, 50 is built in.",
            f"Use {min(max(threshold_percent, 1), 100) if rules.threshold_parameter else 50}.",
        )
    bad_periods, acts = judge_period(
        trigger.bad_periods,
        trigger.dirtied_before,
        dirty_bytes,
        transferred_bytes,
        threshold_percent,
        rules.needs_previous_rate,
        rules.acts_on,
        rules.skips_block_bulk and in_block_bulk,
    )
    return Trigger(bad_periods, dirty_bytes > 0, acts)


def judge_period(
    bad_periods: int,
    dirtied_before: bool,
    dirty_bytes: int,
    transferred_bytes: int,
    threshold_percent: int,
    needs_previous_rate: bool,
    acts_on: int,
    held: bool = False,
) -> tuple[int, bool]:
    """Return the bad periods since the last action, a closed period included, and whether that period acts.

    Parameters
    ----------
    bad_periods, dirtied_before
        As `Trigger` has them.
    dirty_bytes, transferred_bytes, threshold_percent
        As `close_trigger` takes them, unchecked.
    needs_previous_rate, acts_on
        As `ThrottleRules` has them.
    held : bool
        Whether nothing is decided in this period.

    Examples
    --------
    >>> judge_period(1, True, 60, 100, 50, False, 2), judge_period(0, False, 60, 100, 50, True, 3)
    ((0, True), (0, False))
    """
    counted = (dirtied_before or not needs_previous_rate) and not held
    bad = counted and is_bad_period(dirty_bytes, transferred_bytes, threshold_percent)
    return count_period(bad_periods, bad, acts_on)


def count_period(bad_periods: int, bad: bool, acts_on: int) -> tuple[int, bool]:
    """Return the bad periods since the last action, a closed period included, and whether that period acts.

    Examples
    --------
    >>> count_period(0, True, 2), count_period(1, False, 2), count_period(1, True, 2)
    ((1, False), (1, False), (0, True))
    """
    if not bad:
        return bad_periods, False
    acts = bad_periods + 1 >= acts_on
    return (0 if acts else bad_periods + 1), acts


def background_sync_due(sync_count: int, sync_count_at_last_tick: int) -> bool:
    """Whether a tick of the background timer syncs the bitmap.

    Parameters
    ----------
    sync_count : int
        `dirty-sync-count` now; 1 during the bulk round.
    sync_count_at_last_tick : int
        `dirty-sync-count` after the last tick, whose own sync counts; 0 before the first tick.

    Examples
    --------
    >>> [background_sync_due(sync_count=n, sync_count_at_last_tick=m) for n, m in ((1, 1), (2, 1), (2, 2))]
    [False, False, True]
    """
    return sync_count > 1 and sync_count == sync_count_at_last_tick
