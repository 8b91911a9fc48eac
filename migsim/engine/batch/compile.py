"""How the batch engine's loop is compiled: by numba, on first use, with the code kept on disk.

The laws of `migsim.models`, and what both engines share in `migsim.engine`, are compiled as they stand (`LAWS`), and so
are the modules of the loop (`LOOPS`). Compiled code is kept beside the modules. Where they cannot be written, it is
kept in the user's cache folder (numba's: ``$XDG_CACHE_HOME/numba``, ``~/.cache/numba``), and where that cannot be
written either, nowhere: then each process compiles, and says so. ``NUMBA_CACHE_DIR`` names another folder. The key
holds the sources of everything that was compiled, so that a changed law is never answered by old code.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from migsim.engine import channels, ending, guest_clock, segments, sending, standstill, throttling
from migsim.engine.batch import cache as batch_cache
from migsim.engine.batch import clock as batch_clock
from migsim.engine.batch import end as batch_end
from migsim.engine.batch import layout as batch_layout
from migsim.engine.batch import left as batch_left
from migsim.engine.batch import loop as batch_loop
from migsim.engine.batch import memory as batch_memory
from migsim.engine.batch import multifd as batch_multifd
from migsim.engine.batch import ram as batch_ram
from migsim.engine.batch import records as batch_records
from migsim.engine.batch import sending as batch_sending
from migsim.engine.batch import verdict as batch_verdict
from migsim.engine.batch import windows as batch_windows
from migsim.engine.batch import xbzrle as batch_xbzrle
from migsim.errors import HostError
from migsim.models.dirty import log as dirty_log
from migsim.models.dirty import page_writes
from migsim.models.guest import activity as guest_activity
from migsim.models.guest import work as guest_work
from migsim.models.loop import migration_thread, page_stream, query_migrate, rate_limit, switchover
from migsim.models.multifd import packets as multifd
from migsim.models.multifd import threads as multifd_threads
from migsim.models.throttle import auto_converge
from migsim.models.throttle import slices as throttle_slices
from migsim.models.throttle import trigger as throttle_trigger
from migsim.models.xbzrle import content as xbzrle_content
from migsim.models.xbzrle import encoding as xbzrle
from migsim.models.xbzrle import fluid_cache as xbzrle_fluid

__all__ = ["compiled_run", "digest"]

LAWS: tuple[Callable[..., Any], ...] = (
    auto_converge.raised_percentage,
    channels.count_channel_bytes,
    channels.count_pages,
    channels.greet,
    channels.lost_s,
    channels.next_share,
    channels.wait_for_channels,
    dirty_log.reported_pages,
    ending.carried_on,
    guest_activity.activity,
    guest_activity.end_and_mean,
    guest_activity.variance_of_mean,
    guest_clock.change_speed,
    guest_clock.run_s,
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
    migration_thread.expected_bytes,
    migration_thread.may_switch_over,
    migration_thread.needs_exact,
    page_stream.mean_page_s,
    page_stream.ram_bytes_of,
    page_stream.raw_pages_s,
    page_writes.arc_fraction,
    page_writes.binomial_quantile,
    page_writes.drawn_pages,
    page_writes.guest_seconds,
    page_writes.random_fraction,
    page_writes.sweep_fraction,
    query_migrate.encoding_rate,
    query_migrate.mean_mbps,
    query_migrate.transferred_bytes,
    rate_limit.window_bytes,
    rate_limit.window_quota_bytes,
    segments.cut_extent,
    sending.send_encoded,
    standstill.far_above,
    standstill.is_flat,
    standstill.trend,
    switchover.blackout_s,
    switchover.downtime_s,
    switchover.flush_s,
    switchover.waited_s,
    throttle_slices.slice_lost_s,
    throttle_slices.throttled_speed,
    throttle_trigger.background_sync_due,
    throttle_trigger.count_period,
    throttle_trigger.is_bad_period,
    throttle_trigger.judge_period,
    throttle_trigger.threshold_bytes,
    throttling.speed_settled,
    throttling.tick_asks,
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
"""Functions outside this package that the loop calls."""

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
    batch_end,
    batch_loop,
)
"""Modules whose functions are all compiled; those that the loop does not call cost nothing."""

NUMBERS: tuple[ModuleType, ...] = (batch_ram, batch_records)
"""Further modules whose constants are compiled in."""

FLAGS = {"nnan", "nsz", "reassoc", "arcp", "contract"}
"""Sums may be taken in any order, and no number is NaN; infinities are kept."""

OPTIONS: dict[str, Any] = {"fastmath": FLAGS, "error_model": "numpy", "_nrt": False}
"""Options for numba. Without its runtime (`_nrt`) the loop cannot allocate arrays, and numba does not count references
to the arrays that it is given: those atomic counts took half of its time."""


SPEAKERS = ("MainProcess", "LokyProcess-1")
"""Names of the processes that speak: of a sweep's many, which all compile, one says so."""


@cache
def compiled_run() -> Callable[..., int]:
    """Return `migsim.engine.batch.loop.run_cells`, compiled at its first call with arguments of new types.

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
    loop_functions = [f for module in LOOPS for f in vars(module).values() if _is_function_of(f, module)]
    for function in (*LAWS, *loop_functions):
        register_jitable(forceinline=True, **OPTIONS)(function)
    run_cells, sources = batch_loop.run_cells, digest()

    # `sources` is part of the cache's key because the function uses it. The arguments are not gathered in a tuple: for
    # a tuple with a random generator numba would work out the types in each call, which takes longer than most
    # migrations.
    def run(
        room: Any, extents: Any, cache: Any, states: Any, kinds: Any, run_fractions: Any, cells: Any, rates: Any,
        notes: Any, ends: Any, figures: Any, reasons: Any, first: int, rng: Any,
    ) -> int:  # fmt: skip
        return run_cells(
            room, extents, cache, states, kinds, run_fractions, cells, rates, notes, ends, figures, reasons, first, rng,
        ) if sources else 0  # fmt: skip

    return _KeptCode(run, lambda **kept: njit(run, nogil=True, **kept, **OPTIONS))


class _KeptCode:
    """A function that is compiled when it is called, and whose code is kept on disk as far as the disk allows it.

    What goes wrong with kept code is said once and never ends a call: it is compiled again.

    Parameters
    ----------
    function : callable
    compile_with : callable
        Makes numba's dispatcher of it; takes ``cache=True``.
    """

    def __init__(self, function: Callable[..., int], compile_with: Callable[..., Any]) -> None:
        self._function = function
        self._compile_with = compile_with
        self._said = False
        try:
            self._run = compile_with(cache=True)
        except RuntimeError:  # numba finds no folder that can be written
            self._say_not_kept("neither migsim's folder nor the user's cache folder can be written")
            self._run = compile_with()
        _announce(self)

    def __call__(self, *arguments: Any) -> int:
        from numba.core.errors import NumbaError

        try:
            return self._run(*arguments)  # type: ignore[no-any-return]  # numba has no types
        except NumbaError:
            raise
        except Exception as error:  # the loop itself raises nothing: kept code could not be read or written
            self._say_not_kept(f"{type(error).__name__}: {error}".rstrip(": ."))
            if not isinstance(error, OSError):
                self._remove_kept()
        try:
            return self._run(*arguments)  # type: ignore[no-any-return]  # numba has no types
        except NumbaError:
            raise
        except Exception:
            self._run = self._compile_with()
            return self._run(*arguments)  # type: ignore[no-any-return]  # numba has no types

    def compiles(self, dispatcher: Any) -> bool:
        """Whether a dispatcher of numba's is this function's."""
        return dispatcher is self._run

    def _remove_kept(self) -> None:
        """Remove damaged code, and its index."""
        name = f"{Path(__file__).stem}.{self._function.__qualname__}".replace("<", "").replace(">", "")
        with contextlib.suppress(OSError):
            for path in Path(self._run.stats.cache_path).glob(f"{name}-*.nb?"):
                path.unlink()

    def _say_not_kept(self, why: str) -> None:
        if not self._said:
            _say(
                f"the batch engine's compiled code is not kept ({why}). "
                "It is compiled again, which takes half a minute. "
                "Set NUMBA_CACHE_DIR to a folder that can be written, with some space."
            )
        self._said = True


def _announce(code: _KeptCode) -> None:
    """Let each compilation of this code be said where stderr is a terminal: it may look like a hang."""
    from numba.core import event

    class Listener(event.Listener):
        def on_start(self, started: Any) -> None:
            if code.compiles(started.data["dispatcher"]) and sys.stderr is not None and sys.stderr.isatty():
                _say("compiling the batch engine (some 20 s; the code is kept for the next time) ...")

        def on_end(self, ended: Any) -> None:
            pass

    event.register("numba:compile", Listener())  # type: ignore[no-untyped-call]  # numba has no types


def _say(text: str) -> None:
    import multiprocessing

    if multiprocessing.current_process().name in SPEAKERS:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed
            print(f"migsim: {text}", file=sys.stderr, flush=True)


def _is_function_of(thing: Any, module: ModuleType) -> bool:
    return inspect.isfunction(thing) and thing.__module__ == module.__name__


def digest() -> int:
    """Digest the source files of everything that is compiled."""
    modules = {inspect.getmodule(law) for law in LAWS} | set(LOOPS) | set(NUMBERS)
    sources = hashlib.sha256()
    for module in sorted(modules, key=lambda m: m.__name__ if m else ""):
        sources.update(inspect.getsource(module).encode() if module else b"")
    return int.from_bytes(sources.digest()[:7], "big")
