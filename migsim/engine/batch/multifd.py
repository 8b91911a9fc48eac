"""Multifd in the batch engine: what `migsim.engine.events.multifd.MultifdSender` does while a migration runs.

What the channels count and take from the guest are the event engine's own functions (`migsim.engine.channels`). The
functions here are compiled, and run as Python too.
"""

from __future__ import annotations

from migsim.engine.batch.records import Cell, Ended, Kind, State
from migsim.engine.channels import GuestLosses, count_pages, lost_s, wait_for_channels
from migsim.models.multifd.packets import ZeroPages

__all__ = ["finder_of", "finish", "losses_of", "note_call", "recount_as_packets"]


def finder_of(kind: Kind) -> ZeroPages:
    """Who finds zero pages: `migsim.engine.batch.records.FINDERS`, by its code."""
    return "legacy" if kind.zero_pages == 0 else "multifd" if kind.zero_pages == 1 else "none"


def losses_of(cell: Cell) -> GuestLosses:
    """What the channels of a cell take from its guest."""
    return GuestLosses(
        cell.busy,
        cell.zero_lost_s,
        cell.page_s_0,
        cell.page_s_1,
        cell.page_s_2,
        cell.lost_s_0,
        cell.lost_s_1,
        cell.lost_s_2,
    )


def recount_as_packets(state: State, cell: Cell, kind: Kind, raw_before: float, zero_before: float) -> None:
    """Count pages that `send` has counted as plain records, since the counters were these, as packets instead."""
    raw, zero = state.normal - raw_before, state.duplicate - zero_before
    state.normal, state.duplicate = raw_before, zero_before
    count_pages(state, state, finder_of(kind), cell.places_a_page, raw, zero)
    state.ram_stream -= raw * cell.raw_bytes + zero * cell.zero_bytes


def note_call(
    state: State,
    cell: Cell,
    kind: Kind,
    raw_before: float,
    zero_before: float,
    begun: float,
    cursor_before: int,
) -> None:
    """Count an iterate call that went through the channels, from the counters, the time and the cursor before it."""
    raw, zero = state.normal - raw_before, state.duplicate - zero_before
    recount_as_packets(state, cell, kind, raw_before, zero_before)
    raw_s = state.now - begun - zero * cell.zero_page_s
    state.window_lost_s += lost_s(losses_of(cell), raw, zero, raw_s / max(raw, 1e-12))
    if state.cursor < cursor_before or state.remaining == 0 or kind.waits_in_calls:
        wait_for_channels(state, state, cell.channels, kind.main_bytes_a_wait)


def finish(state: State, cell: Cell, kind: Kind, end: Ended) -> None:
    """Count the last pages and the channels' last wait; the main channel's part of the blackout is noted."""
    main_before = state.ram_stream - state.multifd_stream
    count_pages(
        state, state, finder_of(kind), cell.places_a_page, end.again + end.first + end.fresh, end.zero
    )
    wait_for_channels(state, state, cell.channels, kind.main_bytes_a_wait)
    if kind.waits_at_end and not kind.waits_in_calls:
        wait_for_channels(state, state, cell.channels, kind.main_bytes_a_wait)
    end.blackout_bytes = state.ram_stream - state.multifd_stream - main_before
