"""Auto-converge and the guest's speed in the batch engine: what `migsim.engine.events.throttle.Throttle` does.

The guest's clock, the background sync's timer and the settled speed are the event engine's own functions
(`migsim.engine.guest_clock`, `migsim.engine.throttling`). The functions here are compiled, and run as Python too.
"""

from __future__ import annotations

from migsim.engine.batch.records import Cell, Floats, Kind, State
from migsim.engine.guest_clock import change_speed, run_s
from migsim.engine.throttling import speed_settled
from migsim.models.loop.query_migrate import transferred_bytes
from migsim.models.throttle.auto_converge import raised_percentage
from migsim.models.throttle.slices import throttled_speed
from migsim.models.throttle.trigger import judge_period, threshold_bytes
from migsim.units import PAGE_BYTES

__all__ = ["handled", "settled", "throttle", "transferred", "worked"]


def worked(state: State, cell: Cell) -> float:
    """Seconds of work that the guest has done since the QMP command."""
    run = run_s(state, cell.load_fraction, state.now)
    return state.guest_s + run - state.synced_at - state.guest_began_s


def handled(state: State) -> float:
    """Pages handled, as `pages-per-second` counts them."""
    return state.normal + state.duplicate + state.xbzrle_pages


def transferred(state: State, kind: Kind) -> float:
    """`ram.transferred` by the release's definition."""
    return transferred_bytes(state.ram_stream, state.other_stream, kind.counts_all_stream > 0)


def throttle(state: State, cell: Cell, kind: Kind, run_fractions: Floats) -> None:
    """End the dirty-rate period at a bitmap sync, and throttle the guest where the period acts.

    `run_fractions` holds the share of time that the vCPUs run, for each percentage.
    """
    dirty = round(state.period_pages * PAGE_BYTES)
    sent = round(transferred(state, kind) - state.period_transferred)
    state.bad_periods, acts = judge_period(
        state.bad_periods,
        state.dirtied_before > 0,
        dirty,
        sent,
        cell.threshold_percent,
        kind.needs_previous_rate > 0,
        kind.acts_on,
    )
    state.dirtied_before = dirty > 0
    if acts and kind.fixed_form:
        state.fixed_sleeps = 1
    elif acts:
        state.percentage = raised_percentage(
            state.percentage,
            dirty,
            threshold_bytes(sent, cell.threshold_percent),
            cell.initial,
            cell.increment,
            cell.maximum,
            cell.tailslow > 0,
        )
    if state.fixed_sleeps:
        state.allowed = cell.fixed_speed
    else:
        runs = run_fractions[state.percentage]
        state.allowed = throttled_speed(runs, cell.slice_lost_s, cell.slice_cools_s)
    change_speed(state, cell.load_fraction, state.now)


def settled(state: State, cell: Cell, kind: Kind) -> bool:
    """Whether the guest's speed will not change any more, as far as can be told."""
    unchanged_s = state.now - state.since
    return not kind.throttled or speed_settled(
        state.percentage, cell.maximum, state.fixed_sleeps > 0, unchanged_s
    )
