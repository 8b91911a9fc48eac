"""Simulation of pieces: in this process, in processes of this machine, or on a Dask cluster.

joblib distributes the pieces. When a worker of a cluster dies, its scheduler gives the piece to another one; when a
process of this machine dies, the sweep ends with an error. Finished pieces are yielded at once, in any order, so that
they can be stored.
"""

from __future__ import annotations

import concurrent.futures
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from migsim.errors import HostError
from migsim.study.sweep.cells import CellResults, CellValues, Plan, simulate_cells
from migsim.study.sweep.piece import Piece, laws_hash, simulate_piece

__all__ = ["Job", "run_cells", "run_jobs"]

Job = tuple[int, Plan, CellValues]
"""A piece to simulate: its number, the inputs that its cells share, and their values."""

T = TypeVar("T")
MOST_PARTS = 16
"""Number of jobs that `run_cells` divides its cells into, at most."""
CONNECT_S = 5.0
"""Time in which a scheduler has to answer."""
WORKERS_S = 10.0
"""Time in which a cluster's first worker has to appear."""
LOST_S = 30.0
"""Time that a cluster may be without workers."""
KEPT_BYTES = 24 << 20
"""Freed memory that a process keeps for its next piece."""


def run_jobs(
    jobs: Iterable[Job], *, processes: int = 1, cluster: str | None = None
) -> Iterator[tuple[int, Piece]]:
    """Simulate pieces, and yield each with its number when it is finished.

    Parameters
    ----------
    jobs : iterable of Job
        Read when a process is free; with several processes, in a thread of joblib.
    processes : int
        Number of processes of this machine; -1 for one per processor.
    cluster : str, optional
        Address of a Dask scheduler whose workers simulate the pieces instead.

    Raises
    ------
    HostError
        When the scheduler or its workers do not answer or disappear, when workers run another migsim, or when a process
        dies.
    """
    if cluster is not None:
        yield from _on_cluster(jobs, cluster)
    elif processes == 1:
        for job in jobs:
            yield _simulate_piece(job)
    else:
        yield from _in_processes(jobs, processes, _simulate_piece)


@functools.cache
def _keep_memory() -> None:
    """Make the C library keep freed memory for this process's next piece.

    The C library keeps as much as the largest block that was freed. A new process would return all memory, and the page
    faults of the next piece would take a tenth of its time.
    """
    np.empty(KEPT_BYTES, np.uint8)


def _simulate_piece(job: Job) -> tuple[int, Piece]:
    _keep_memory()
    number, plan, columns = job
    return number, simulate_piece(plan, columns)


def run_cells(plan: Plan, columns: CellValues, *, processes: int = 1) -> CellResults:
    """Simulate a few cells in processes of this machine; return the results of every draw.

    Raises
    ------
    HostError
        When a process dies.
    """
    cells = len(next(iter(columns.values())))
    if processes == 1 or cells == 1:
        return simulate_cells(plan, columns)
    parts = np.array_split(np.arange(cells), min(cells, MOST_PARTS))
    jobs = [(k, plan, {n: v[part] for n, v in columns.items()}) for k, part in enumerate(parts)]
    results = dict(_in_processes(jobs, processes, _simulate_cells))
    return functools.reduce(CellResults.joined_with, (results[k] for k in range(len(parts))))


def _simulate_cells(job: Job) -> tuple[int, CellResults]:
    _keep_memory()
    number, plan, columns = job
    return number, simulate_cells(plan, columns)


def _in_processes(
    jobs: Iterable[Job], processes: int, simulate: Callable[[Job], tuple[int, T]]
) -> Iterator[tuple[int, T]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = Parallel(n_jobs=processes, return_as="generator_unordered", batch_size=1)
    try:
        yield from parallel(delayed(simulate)(job) for job in jobs)
    except TerminatedWorkerError as error:
        raise HostError(
            "A process of the sweep died, killed by the system or out of memory.",
            "Its piece is lost; pieces that were finished before are kept in the --folder, where there is one.",
            "Run it again, with fewer --jobs if memory is short.",
        ) from error


def _on_cluster(jobs: Iterable[Job], address: str) -> Iterator[tuple[int, Piece]]:
    client = _connect(address)
    try:
        for number, piece in _watched(client, address, _hand_out(client, jobs)):
            if piece.laws != laws_hash():
                raise HostError(
                    f"A worker of the cluster {address} runs another migsim than this one.",
                    "All figures of a sweep come from the same laws.",
                    "Install the same version on every machine, and restart the workers.",
                )
            yield number, piece
    finally:
        client.close(timeout=CONNECT_S)


def _connect(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise HostError(
            "The package distributed is not installed.",
            "migsim reaches a cluster through Dask.",
            "Install it with pip install 'migsim[cluster]'.",
        ) from None

    def client_of() -> Any:
        return Client(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]  # distributed has none

    try:
        try:
            client = client_of()
        except AssertionError:  # on a busy machine the client's thread may start too late
            client = client_of()
    except (OSError, ValueError, TimeoutError, AssertionError) as error:
        raise HostError(
            f"The Dask scheduler at {address!r} does not answer within {CONNECT_S:.0f} s.",
            f"--cluster is the address that `dask scheduler` prints, as tcp://HOST:8786 ({type(error).__name__}).",
            "Start one with `dask scheduler`, and workers with `dask worker ADDRESS`; then run it again.",
        ) from error
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as error:
        client.close(timeout=CONNECT_S)
        raise HostError(
            f"The Dask scheduler at {address} has no workers.",
            f"No worker appeared within {WORKERS_S:.0f} s.",
            f"Start some with `dask worker {address}`, on any machine that has this version of migsim.",
        ) from error
    return client


def _hand_out(client: Any, jobs: Iterable[Job]) -> Callable[[], Iterable[tuple[int, Piece]]]:
    from joblib import Parallel, delayed, parallel_config

    def begin() -> Iterable[tuple[int, Piece]]:
        with parallel_config(backend="dask", client=client, wait_for_workers_timeout=WORKERS_S):
            # A job is one tuple: joblib would send a larger object to one worker first, and lose it with that worker.
            parallel = Parallel(n_jobs=-1, return_as="generator_unordered", batch_size=1)
            return parallel(delayed(_simulate_piece)(job) for job in jobs)  # type: ignore[no-any-return]  # joblib

    return begin


def _watched(
    client: Any, address: str, begin: Callable[[], Iterable[tuple[int, Piece]]]
) -> Iterator[tuple[int, Piece]]:
    """Yield pieces that a thread receives from the cluster; raise where no more can arrive.

    joblib alone would wait for ever for a task that the scheduler gave up.
    """
    arrived: queue.Queue[tuple[int, Piece] | BaseException | None] = queue.Queue()

    def receive() -> None:
        try:
            for numbered_piece in begin():
                arrived.put(numbered_piece)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=receive, name="migsim-sweep", daemon=True).start()
    alone_since: float | None = None
    while True:
        try:
            item = arrived.get(timeout=1.0)
        except queue.Empty:
            alone_since = _still_alone(client, address, alone_since)
            continue
        if item is None:
            return
        if isinstance(
            item, concurrent.futures.CancelledError | OSError
        ):  # the scheduler ended, with its tasks
            raise _lost(f"The Dask scheduler at {address} went away.", "Start it again") from item
        if isinstance(item, BaseException):
            raise item
        yield item


def _still_alone(client: Any, address: str, since: float | None) -> float | None:
    """Return since when the cluster has had no worker; None while it has workers.

    Raises
    ------
    HostError
        When the scheduler is gone, no worker came back in time, or the scheduler gave up a task.
    """
    try:
        workers = client.scheduler_info()["workers"] if client.status == "running" else None
    except (OSError, TimeoutError):
        workers = None
    if workers is None:
        raise _lost(f"The Dask scheduler at {address} went away.", "Start it again")
    if any(state.status == "error" for state in list(client.futures.values())):
        raise _lost(
            f"The workers at {address} died over the same cells again and again.",
            "Look at their logs (memory?), or try those cells with --jobs 1",
        )
    if workers:
        return None
    now = time.monotonic()
    if since is not None and now - since > LOST_S:
        raise _lost(f"All workers of {address} went away and none came back in {LOST_S:.0f} s.", "Start some")
    return since or now


def _lost(what: str, todo: str) -> HostError:
    return HostError(
        what,
        "Finished cells are kept in the --folder, where the sweep has one.",
        f"{todo}; then run the same sweep again.",
    )
