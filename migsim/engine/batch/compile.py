"""The batch engine's loop, compiled by numba on first use and kept on disk.

The laws of `migsim.models` are compiled as they stand: nothing is written twice. Compiled code is kept beside the
package (or in numba's folder of the user, where that cannot be written); its key holds the sources of everything that
was compiled, so that a changed law is never answered by old code.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from migsim.engine import segments, standstill
from migsim.engine.batch import cache as batch_cache
from migsim.engine.batch import clock as batch_clock
from migsim.engine.batch import end as batch_ended
from migsim.engine.batch import layout as batch_layout
from migsim.engine.batch import left as batch_left
from migsim.engine.batch import loop as batch_lane
from migsim.engine.batch import memory as batch_memory
from migsim.engine.batch import multifd as batch_multifd
from migsim.engine.batch import records as batch_state
from migsim.engine.batch import sending as batch_sending
from migsim.engine.batch import verdict as batch_verdict
from migsim.engine.batch import windows as batch_windows
from migsim.engine.batch import xbzrle as batch_xbzrle
from migsim.engine.events import multifd as engine_multifd
from migsim.engine.events import throttle
from migsim.errors import HostError
from migsim.models.dirty import log as dirty_log
from migsim.models.dirty import page_writes
from migsim.models.guest import work as guest_work
from migsim.models.loop import migration_thread, page_stream, query_migrate, rate_limit, switchover
from migsim.models.multifd import packets as multifd
from migsim.models.multifd import threads as multifd_threads
from migsim.models.throttle import auto_converge
from migsim.models.throttle import trigger as throttle_trigger
from migsim.models.xbzrle import content as xbzrle_content
from migsim.models.xbzrle import encoding as xbzrle
from migsim.models.xbzrle import fluid_cache as xbzrle_fluid

__all__ = ["compiled_run", "digest"]

LAWS: tuple[Callable[..., Any], ...] = (
    auto_converge.raised_percentage,
    dirty_log.reported_pages,
    guest_work.backlog_after,
    guest_work.worked_s,
    migration_thread.close_window,
    multifd.counted_bytes,
    multifd.counted_pages,
    multifd.share_left,
    multifd.wait_bytes,
    multifd.whole_packets,
    multifd_threads.lost_a_page_s,
    migration_thread.dirty_pages_rate,
    migration_thread.may_switch_over,
    migration_thread.needs_exact,
    page_stream.mean_page_s,
    page_stream.ram_bytes_of,
    page_stream.raw_pages_s,
    page_writes.arc_fraction,
    page_writes.drawn_pages,
    page_writes.guest_seconds,
    page_writes.random_fraction,
    page_writes.sweep_fraction,
    query_migrate.encoding_rate,
    query_migrate.mean_mbps,
    rate_limit.window_bytes,
    rate_limit.window_quota_bytes,
    segments.cut_extent,
    standstill.far_above,
    standstill.is_flat,
    standstill.trend,
    switchover.blackout_s,
    switchover.downtime_s,
    switchover.flush_s,
    throttle_trigger.background_sync_due,
    throttle_trigger.count_period,
    throttle_trigger.is_bad_period,
    throttle_trigger.threshold_bytes,
    xbzrle.xbzrle_seconds,
    xbzrle_content.false_dirty_pages,
    xbzrle_content.false_dirty_share,
    xbzrle_content.interpolated,
    xbzrle_content.left_encoded,
    xbzrle_content.overflow_of_changed,
    xbzrle_fluid.aged_step,
    xbzrle_fluid.hazard_of,
    xbzrle_fluid.hits_without_insertion,
)
"""What the loop takes from elsewhere."""

LOOPS: tuple[ModuleType, ...] = (
    batch_layout,
    batch_memory,
    batch_left,
    batch_sending,
    batch_clock,
    batch_verdict,
    batch_multifd,
    batch_windows,
    batch_cache,
    batch_xbzrle,
    batch_ended,
    batch_lane,
)
"""Modules whose functions are all compiled."""

NUMBERS: tuple[ModuleType, ...] = (batch_state, engine_multifd, throttle)
"""Further modules whose constants are compiled in."""

FLAGS = {"nnan", "nsz", "reassoc", "arcp", "contract"}
"""Sums may be taken in any order, and nothing is NaN; infinities are kept."""

OPTIONS: dict[str, Any] = {"fastmath": FLAGS, "error_model": "numpy", "_nrt": False}
"""For numba. Without its runtime no array is made or counted: the loop only looks into those that it is given, and
atomic counts of who does took half of its time."""


@cache
def compiled_run() -> Callable[..., int]:
    """`batch_lane.run_cells`, compiled.

    Raises
    ------
    HostError
        Without numba.
    """
    try:
        from numba import njit
        from numba.extending import register_jitable
    except ImportError as error:
        raise HostError(
            f"numba cannot be imported: {error}.",
            "The batch engine compiles its loop with it.",
            "Install numba, or ask for the event engine (engine='events').",
        ) from error
    own = [f for module in LOOPS for f in vars(module).values() if _belongs(f, module)]
    for function in (*LAWS, *own):
        register_jitable(forceinline=True, **OPTIONS)(function)
    run_cells, sources = batch_lane.run_cells, digest()

    # `sources` is part of the cache's key because it is used. Arguments stand by themselves: the types of a tuple that
    # holds a random generator numba works out anew in each call, which takes longer than most migrations.
    def run(
        room: Any, extents: Any, cache: Any, state: Any, kinds: Any, run_fractions: Any, cells: Any, rates: Any,
        notes: Any, ended: Any, figures: Any, whys: Any, first: int, rng: Any,
    ) -> int:  # fmt: skip
        return run_cells(
            room, extents, cache, state, kinds, run_fractions, cells, rates, notes, ended, figures, whys, first, rng,
        ) if sources else 0  # fmt: skip

    return njit(run, cache=True, nogil=True, **OPTIONS)  # type: ignore[no-any-return]  # numba has no types


def _belongs(thing: Any, module: ModuleType) -> bool:
    return inspect.isfunction(thing) and thing.__module__ == module.__name__


def digest() -> int:
    """Digest of the files of all that is compiled."""
    modules = {inspect.getmodule(law) for law in LAWS} | set(LOOPS) | set(NUMBERS)
    digest = hashlib.sha256()
    for module in sorted(modules, key=lambda m: m.__name__ if m else ""):
        digest.update(inspect.getsource(module).encode() if module else b"")
    return int.from_bytes(digest.digest()[:7], "big")
