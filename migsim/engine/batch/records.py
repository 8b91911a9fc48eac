"""Records of numbers that the batch engine's compiled loop reads and writes; those of the RAM are in `ram`.

Each record is declared once, as a class that names its fields: type checkers and readers use the class, NumPy and
numba the structured type that `record_type` makes from it (`STATE` from `State`). A *cell* is one migration, its *kind*
is what all cells of one call have in common, and its *state* changes while it runs. Flags are integers: 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from migsim.models.multifd.packets import ZeroPages

__all__ = [
    "ABSENT",
    "CELL",
    "CELL_FIGURES",
    "ENDED",
    "FINDERS",
    "KIND",
    "REASON",
    "STATE",
    "SYNC_NOTE",
    "UNKNOWN",
    "Cell",
    "CellFigures",
    "Ended",
    "Kind",
    "Notes",
    "Reason",
    "State",
    "SyncNote",
    "as_rows",
    "empty_records",
    "record_type",
    "repeated",
]

Floats = NDArray[np.float64]

UNKNOWN = -1.0
"""Value of a number that nothing has set yet: `expected-downtime` before the first window ends, a page's cost."""

ABSENT = -np.inf
"""Value of a figure that `query-migrate` does not report. The loop is compiled without NaN."""

FINDERS = get_args(ZeroPages)
"""Who finds zero pages, by the codes of `Kind.zero_pages`."""

NUMPY_TYPES = {float: "f8", int: "i8", bool: "i8"}


def record_type(fields: type) -> np.dtype[np.void]:
    """Make the structured type of a class's fields, in the order in which the class names them.

    Examples
    --------
    >>> from migsim.engine.batch.ram import Stretch
    >>> record_type(Stretch).names
    ('begin', 'end', 'part')
    """
    return np.dtype([(name, NUMPY_TYPES[kind]) for name, kind in get_type_hints(fields).items()])


def empty_records(count: int, type_of_record: np.dtype[np.void]) -> Any:
    """Allocate records with every field 0; type checkers take the array as a sequence of the record's class."""
    return np.zeros(count, type_of_record)


def as_rows(records: Any) -> NDArray[np.uint64]:
    """View records as rows of eight-byte words: NumPy copies these several times as fast as field by field."""
    words: NDArray[np.uint64] = records.view(np.uint64).reshape(len(records), -1)
    return words


def repeated(record: NDArray[Any], count: int) -> NDArray[Any]:
    """Make an array of `count` records like the one that an array holds."""
    records = np.empty(count, record.dtype)
    as_rows(records)[:] = as_rows(record)
    return records


class Kind(Protocol):
    """What all cells of one call have in common: the release's rules and the capabilities that are on."""

    # counters and the switchover
    counts_all_stream: int  # `transferred` counts the whole stream (8.2 on), not RAM records only
    charged_when_queued: int  # the rate limit counts a page when it is queued, not when it is flushed
    return_path: int  # the source waits for the destination's load before it ends its clocks
    expected_from_rate: int  # `expected-downtime` is the time to send a second's new dirty pages
    threshold_inclusive: int  # a switchover may begin at the threshold itself
    zero_pages: int  # who finds zero pages: index into `FINDERS`
    byte_split: int  # `query-migrate` reports precopy-bytes and downtime-bytes
    chunked: int  # a protect window begins when the page's chunk is cleared (KVM)
    keep_apart: int  # every segment stays one of its own
    # auto-converge
    throttled: int
    fixed_form: int  # fixed sleeps (1.6 to 2.4) instead of a percentage
    acts_on: int  # number of the bad period that acts
    needs_previous_rate: int  # a period counts only where the one before had a dirty rate
    tick_s: float  # period of the background sync's timer; infinite without one
    # standstill, see `migsim.engine.standstill`
    steady_rounds: int
    many_rounds: int
    deviations: float
    least_deviation: float  # of the tests' logarithms
    # how a drawn guest's activity wanders: deviations for each of `migsim.models.guest.activity.TIMES_S`
    wanders: int
    wander_0: float
    wander_1: float
    wander_2: float
    # XBZRLE
    xbzrle: int
    hits_are_pages: int  # `xbzrle-cache.pages` counts every page found
    overflow_counts: float  # bytes that `xbzrle-cache.bytes` counts for a page that overflows
    encoding_counts: float  # bytes that it counts beside an encoding
    # multifd
    multifd: int
    waits_in_calls: int  # the channels wait for each other in every iterate call
    waits_at_end: int  # and once more at the end
    main_bytes_a_wait: int
    greeting_bytes: int  # counted for a channel's first message


class Cell(Protocol):
    """One migration: its parameters in QAPI's units, and its host's terms (`migsim.engine.inputs.HOST_TERMS`)."""

    # migration parameters; `rates_row` is the cell's row of the table of write rates
    downtime_limit_ms: float
    switchover_bytes_per_s: int
    max_bandwidth: int
    deadline_s: float
    rates_row: int
    load_fraction: float
    guest_start_s: float  # guest time at the start: where the sweeps stand
    fresh_pages: float  # data pages whose memory the destination has yet to find
    # times of the migration's steps
    connect_s: float
    setup_s: float
    sync_s: float
    wake_up_s: float
    switch_gap_s: float
    stop_s: float
    device_state_s: float
    load_s: float
    device_state_bytes: float
    dirty_fault_s: float
    # cost of a page while the guest runs, in the blackout, and its bytes in the stream
    normal_page_s: float
    cold_page_s: float
    fresh_page_s: float
    zero_page_s: float
    burst_page_s: float
    burst_cold_page_s: float
    burst_fresh_page_s: float
    burst_zero_page_s: float
    raw_bytes: float
    zero_bytes: float
    # auto-converge
    threshold_percent: int
    initial: int
    increment: int
    maximum: int
    tailslow: int
    fixed_speed: float  # speed of a guest that fixed sleeps throttle
    slice_lost_s: float
    slice_cools_s: float
    # XBZRLE
    cache_size: int
    xbzrle_hit_s: float
    xbzrle_miss_s: float
    # multifd; the fields of `migsim.engine.channels.GuestLosses`
    window_bytes: float
    channels: float
    places_a_page: float  # places of packets that a page takes
    busy: float
    zero_lost_s: float
    page_s_0: float
    page_s_1: float
    page_s_2: float
    lost_s_0: float
    lost_s_1: float
    lost_s_2: float


class State(Protocol):
    """One migration while it runs; times are seconds since the QMP command, quantities of the stream are bytes."""

    now: float
    # counters
    ram_stream: float
    other_stream: float
    multifd_stream: float
    normal: float
    duplicate: float
    xbzrle_pages: float
    cache_miss: float
    xbzrle_overflow: float
    xbzrle_bytes: float
    xbzrle_encoded: float  # pages
    cache_miss_rate: float
    encoding_rate: float
    dirty_pages_rate: float
    mbps: float
    pages_per_second: float
    expected_downtime_ms: float
    syncs: int
    # what is left to send, and where the sender stands
    remaining: float  # pages
    first_left: float  # those of them that were never sent, zero pages apart
    zero_left: float
    cursor: int
    threshold: float
    dirty_after_sync: float  # bytes
    # the window: counters at its start, and the bytes that it may carry
    window_start: float
    window_stream: float
    window_pages: float
    quota: float
    # a whole window of pages of one cost
    full_page_s: float
    full_page_bytes: float
    full_pages: float
    full_s: float
    full_stream: float
    full_threshold: float
    full_calls: int
    # the dirty-rate period: counters at its start, and the pages that became dirty since
    period_start: float
    period_pages: float
    period_transferred: float
    period_sent: float
    period_cache_miss: float
    period_xbzrle_pages: float
    period_xbzrle_bytes: float
    # guest time: at the last sync, at the QMP command; what the guest has lost
    guest_s: float
    guest_began_s: float
    guest_lost_s: float
    synced_at: float  # run time at the last sync
    # the time that writes are counted by, likewise, the activity between the two, and the levels of its processes
    writing_s: float
    writing_before_s: float
    activity: float
    level_0: float
    level_1: float
    level_2: float
    # the guest's speed: the fields of `migsim.engine.guest_clock.GuestSpeed`
    speed: float
    allowed: float
    share: float
    since: float
    run: float
    backlog: float
    # auto-converge
    percentage: int
    fixed_sleeps: int
    bad_periods: int
    dirtied_before: int
    next_tick: float
    syncs_at_tick: int
    # exact tests: their number, and what the last ones look like
    tests: int
    tests_lowest: float
    tests_deviation: float
    tests_trend: float
    tests_long_trend: float
    # XBZRLE
    xbzrle_started: int  # pages go through the cache: RAM was gone through once
    xbzrle_quota: float  # the window's quota from then on
    # multifd
    queued_pages: float  # pages since the channels last waited for each other
    window_lost_s: float  # time that the guest lost in this window to the channels


class SyncNote(Protocol):
    """The counters at a bitmap sync, and when it began."""

    begun_s: float
    dirty_pages: float  # that the sync found new
    remaining_bytes: float
    dirty_pages_rate: float
    mbps: float
    guest_lost_s: float
    normal: float
    duplicate: float
    ram_stream: float
    other_stream: float
    multifd_stream: float
    xbzrle_pages: float
    cache_miss: float
    xbzrle_overflow: float
    xbzrle_bytes: float


class Ended(Protocol):
    """One migration at its end: completed, with the blackout still to be counted, or given up."""

    now: float
    completed: int
    # the counters, as in `State`
    setup_s: float
    ram_stream: float
    other_stream: float
    multifd_stream: float
    normal: float
    duplicate: float
    remaining: float
    xbzrle_pages: float
    cache_miss: float
    xbzrle_overflow: float
    xbzrle_bytes: float
    cache_miss_rate: float
    encoding_rate: float
    dirty_pages_rate: float
    mbps: float
    pages_per_second: float
    expected_downtime_ms: float
    threshold: float
    dirty_sync_count: float
    percentage: int
    guest_worked_s: float
    guest_lost_s: float
    # completed: pages left by what they cost (`migsim.models.loop.switchover.PagesLeft`)
    again: float
    first: float
    fresh: float
    zero: float
    blackout_bytes: float  # of the main channel, with multifd
    # completed with XBZRLE: whether the cache was in use, and what the pages left became
    encoded: int
    encoded_raw: float
    encoded_bytes: float
    encoded_extra_s: float
    # given up: the number of the sync halfway, and the last rounds
    middle_sync: int
    steady: int
    tests: int
    gap_s: float
    new_bytes_per_s: float
    least_test: float


class Reason(Protocol):
    """What a cell's reason is told from: pages left and their time, or what the last exact tests found."""

    completed: int
    steady: int
    tests: int
    now: float
    pages: float
    flush_s: float
    gap_s: float
    new_bytes_per_s: float
    least_test: float
    threshold: float


class CellFigures(Protocol):
    """Figures of one migration, in the order of `migsim.engine.batch.result.FIGURE_NAMES`."""

    total_time_ms: float
    setup_time_ms: float
    downtime_ms: float
    expected_downtime_ms: float
    transferred_bytes: float
    remaining_bytes: float
    normal_pages: float
    duplicate_pages: float
    dirty_sync_count: float
    dirty_pages_rate: float
    pages_per_second: float
    mbps: float
    precopy_bytes: float
    downtime_bytes: float
    multifd_bytes: float
    cpu_throttle_percentage: float
    xbzrle_bytes: float
    xbzrle_pages: float
    xbzrle_cache_miss_pages: float
    xbzrle_cache_miss_rate: float
    xbzrle_encoding_rate: float
    xbzrle_overflow_pages: float
    blackout_ms: float
    guest_lost_s: float


KIND, CELL, STATE, SYNC_NOTE = record_type(Kind), record_type(Cell), record_type(State), record_type(SyncNote)
ENDED, REASON, CELL_FIGURES = record_type(Ended), record_type(Reason), record_type(CellFigures)


class Notes(NamedTuple):
    """What is noted of one migration while it runs: each sync, each exact test, and the running sums of the tests.

    `throttle_s` is when each percentage of auto-converge first showed in `query-migrate`, 0 where it did not.
    """

    syncs: Sequence[SyncNote]
    tests: Floats
    sums: Floats
    throttle_s: Floats
