r"""Auto-converge: how far the vCPUs are throttled.

Law
---
Percentage form (2.5 on). An action (`migsim.models.throttle.trigger`) sets `cpu-throttle-initial` the first time, later

.. math:: p' = \min(p + i,\; p_{max}), \qquad
          i_{tailslow} = \min\!\left(c - \lfloor c\,X_T / D \rfloor,\; i\right), \quad c = 100 - p

with `i` = `cpu-throttle-increment`, :math:`p_{max}` = `max-cpu-throttle`, `D` the period's dirty bytes and :math:`X_T`
the threshold's share of its sent bytes. Nothing lowers it but the migration's end, or a maximum that is set below it.
With every period bad the `k`-th level is in force after `2k` of them: 20 % after 2, 99 %, the ninth, after 18.

Fixed form (1.6 to 2.4). The first action turns it on, and it stays on.

Mirrors: `arch_init.c` (1.6 to 2.4), `migration/ram.c` (2.5 to 10.2).
Leaves out: a capability that is switched off on the way.
Source: QEMU's release trees; the mechanics reference, sections 5.2 and 5.3. `tailslow` as its change describes and the
tree computes it: double precision, the ideal share cut to a whole percent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from migsim.errors import ParameterError
from migsim.models.throttle.trigger import (
    DEFAULT_THRESHOLD_PERCENT,
    ThrottleRules,
    Trigger,
    close_trigger,
    threshold_bytes,
)

__all__ = ["MAX_PERCENTAGE", "ThrottleState", "close_period", "next_percentage", "raised_percentage"]

MAX_PERCENTAGE = 99
"""Highest throttle percentage: QEMU takes 1 to 99."""


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """State of a guest's throttle.

    Attributes
    ----------
    percentage : int
        `cpu-throttle-percentage`; 0 while it is not throttled, and in the fixed form.
    trigger : Trigger
        Its count of bad periods; `trigger.acts` says whether the last period acted.
    fixed_sleeps : bool
        Whether the fixed form is on.
    """

    percentage: int = 0
    trigger: Trigger = field(default_factory=Trigger)
    fixed_sleeps: bool = False

    @property
    def bad_periods(self) -> int:
        """Bad periods since the last action."""
        return self.trigger.bad_periods

    @property
    def active(self) -> bool:
        """Whether the vCPUs are throttled."""
        return self.fixed_sleeps or self.percentage > 0


def next_percentage(
    percentage: int,
    *,
    dirty_bytes: int = 0,
    threshold_bytes: int = 0,
    initial: int = 20,
    increment: int = 10,
    maximum: int = MAX_PERCENTAGE,
    tailslow: bool = False,
) -> int:
    """Return the percentage that an action sets.

    Parameters
    ----------
    percentage : int
        The percentage in force, 0 for none.
    dirty_bytes, threshold_bytes : int
        Dirty bytes of the bad period, and the threshold's share of its sent bytes; only tailslow uses them.
    initial, increment, maximum : int
        `cpu-throttle-initial`, `cpu-throttle-increment`, `max-cpu-throttle`.
    tailslow : bool
        `cpu-throttle-tailslow`.

    Examples
    --------
    >>> next_percentage(0), next_percentage(20), next_percentage(90)
    (20, 30, 99)
    >>> next_percentage(80, dirty_bytes=100, threshold_bytes=85, tailslow=True)
    83
    """
    for name, value in (
        ("cpu-throttle-initial", initial),
        ("cpu-throttle-increment", increment),
        ("max-cpu-throttle", maximum),
    ):
        if not 1 <= value <= MAX_PERCENTAGE:
            raise ParameterError(
                f"{name} is {value}.",
                "QEMU throttles by whole percents from 1 to 99.",
                f"Use {min(max(value, 1), MAX_PERCENTAGE)}.",
            )
    return raised_percentage(percentage, dirty_bytes, threshold_bytes, initial, increment, maximum, tailslow)


def raised_percentage(
    percentage: int,
    dirty_bytes: int,
    threshold_bytes: int,
    initial: int,
    increment: int,
    maximum: int,
    tailslow: bool,
) -> int:
    """Return what `next_percentage` does, without checking the parameters.

    Examples
    --------
    >>> raised_percentage(80, 100, 85, 20, 10, 99, True)
    83
    """
    if not percentage:
        return initial
    if tailslow:
        now = 100 - percentage
        ideal = int(now * (threshold_bytes / dirty_bytes))
        increment = min(now - ideal, increment)
    return min(percentage + increment, maximum, MAX_PERCENTAGE)


def close_period(
    state: ThrottleState,
    *,
    dirty_bytes: int,
    transferred_bytes: int,
    rules: ThrottleRules,
    threshold_percent: int = DEFAULT_THRESHOLD_PERCENT,
    initial: int = 20,
    increment: int = 10,
    maximum: int = MAX_PERCENTAGE,
    tailslow: bool = False,
    in_block_bulk: bool = False,
) -> ThrottleState:
    """Return the throttle's state at the end of a dirty-rate period, with auto-converge.

    Parameters
    ----------
    state : ThrottleState
    dirty_bytes, transferred_bytes, threshold_percent, in_block_bulk
        As `migsim.models.throttle.trigger.close_trigger` takes them.
    rules : ThrottleRules
        Of the QEMU release.
    initial, increment, maximum, tailslow
        As `next_percentage` takes them.

    Raises
    ------
    ParameterError
        For a value that QEMU refuses or the release does not know.

    Examples
    --------
    >>> from migsim.models.throttle.trigger import throttle_rules
    >>> state, percentages = ThrottleState(), []
    >>> for _ in range(6):
    ...     state = close_period(state, dirty_bytes=90, transferred_bytes=100, rules=throttle_rules("7.2"))
    ...     percentages.append(state.percentage)
    >>> percentages
    [0, 20, 20, 30, 30, 40]
    """
    unknown = {
        "max-cpu-throttle": maximum != MAX_PERCENTAGE and not rules.maximum_parameter,
        "cpu-throttle-tailslow": tailslow and not rules.tailslow_parameter,
    }
    for name, given in unknown.items():
        if given:
            raise ParameterError(
                f"{name} is set.", "This QEMU release does not know it.", "Leave it out, or use a newer one."
            )
    trigger = close_trigger(
        state.trigger,
        dirty_bytes=dirty_bytes,
        transferred_bytes=transferred_bytes,
        rules=rules,
        threshold_percent=threshold_percent,
        in_block_bulk=in_block_bulk,
    )
    if not trigger.acts or rules.form == "none":
        return replace(state, trigger=trigger)
    if rules.form == "fixed":
        return ThrottleState(trigger=trigger, fixed_sleeps=True)
    percentage = next_percentage(
        state.percentage,
        dirty_bytes=dirty_bytes,
        threshold_bytes=threshold_bytes(transferred_bytes, threshold_percent),
        initial=initial,
        increment=increment,
        maximum=maximum,
        tailslow=tailslow,
    )
    return ThrottleState(percentage, trigger)
