"""The guest's speed in the batch engine: `throttle.Throttle` and `guest_clock.GuestClock`, by numbers alone.

Functions here run as Python and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from typing import Any

from migsim.engine.batch.memory import run_s
from migsim.engine.batch.records import Floats
from migsim.engine.events.throttle import SETTLED_S
from migsim.models.guest.work import backlog_after
from migsim.models.throttle.auto_converge import raised_percentage
from migsim.models.throttle.trigger import (
    background_sync_due,
    count_period,
    is_bad_period,
    threshold_bytes,
)
from migsim.units import PAGE_BYTES

__all__ = ["change_speed", "handled", "settled", "throttle", "tick_asks", "transferred", "worked"]


def worked(s: Any, c: Any) -> float:
    """How long the guest has worked since the QMP command."""
    return s.guest_s + run_s(s, c, s.now) - s.synced_at - s.guest_began_s


def handled(s: Any) -> float:
    """Pages handled, as `pages-per-second` counts them."""
    return s.normal + s.duplicate + s.xbzrle_pages


def transferred(s: Any, kind: Any) -> float:
    """`ram.transferred` by the release's definition."""
    return s.ram_stream + (s.other_stream if kind.all_stream else 0.0)


def throttle(s: Any, c: Any, kind: Any, run_fractions: Floats) -> None:
    """Close a dirty-rate period, and throttle where it is time to."""
    new = round(s.period_pages * PAGE_BYTES)
    sent = round(transferred(s, kind) - s.period_transferred)
    counted = s.dirtied_before or not kind.needs_previous_rate
    bad = counted and is_bad_period(new, sent, c.threshold_percent)
    s.bad_periods, acts = count_period(s.bad_periods, bad, kind.acts_on)
    s.dirtied_before = new > 0
    if acts and kind.fixed_form:
        s.fixed_sleeps = 1
    elif acts:
        allowed = threshold_bytes(sent, c.threshold_percent)
        tailslow = c.tailslow > 0
        s.percentage = raised_percentage(
            s.percentage, new, allowed, c.initial, c.increment, c.maximum, tailslow
        )
    speed = c.fixed_speed if s.fixed_sleeps else run_fractions[s.percentage]
    s.allowed = speed
    change_speed(s, c)


def change_speed(s: Any, c: Any) -> None:
    """Let the guest run as throttling allows it, or less where processors are short."""
    speed = min(s.allowed, s.share)
    if speed != s.speed:
        run = run_s(s, c, s.now)
        s.backlog = backlog_after(s.backlog, s.speed, c.load, s.now - s.since)
        s.run, s.since, s.speed, s.changed_at = run, s.now, speed, s.now


def tick_asks(s: Any, kind: Any) -> bool:
    """Whether the timer has ticked and asks for a sync."""
    due = False
    while s.now >= s.next_tick:
        s.next_tick += kind.tick_s
        due = due or background_sync_due(s.syncs, s.syncs_at_tick)
        s.syncs_at_tick = s.syncs + (1 if due else 0)
    return due


def settled(s: Any, c: Any, kind: Any) -> bool:
    """Whether the guest's speed will not change any more, as far as can be told."""
    at_its_end = not kind.throttled or s.percentage >= c.maximum or s.fixed_sleeps > 0
    return at_its_end or s.now - s.changed_at > SETTLED_S
