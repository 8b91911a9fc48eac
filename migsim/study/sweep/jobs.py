"""Working on pieces: here, in processes of this machine, or on a Dask cluster.

joblib hands them out. A piece that a process loses is given to another one by a cluster's scheduler; here it ends the
sweep with an error. What is finished is yielded at once, in any order, so that it can be kept.
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
"""A piece to make: which one, what its cells share, their values."""

T = TypeVar("T")
PARTS = 16
"""Into so many jobs a few cells are divided."""
CONNECT_S = 5.0
WORKERS_S = 10.0
"""How long a scheduler, and its first worker, may take to answer."""
LOST_S = 30.0
"""How long a cluster may be without any worker."""
KEPT_BYTES = 24 << 20
"""What a process keeps of the memory that a piece gave back."""


def run_jobs(
    jobs: Iterable[Job], *, processes: int = 1, cluster: str | None = None
) -> Iterator[tuple[int, Piece]]:
    """Make pieces, and yield each with its number as it is finished.

    Parameters
    ----------
    jobs : iterable of Job
        Read as processes become free, by a thread of joblib's where they are several.
    processes : int
        Of this machine; -1 is one a processor.
    cluster : str, optional
        Address of a Dask scheduler, whose workers do the work instead.

    Raises
    ------
    HostError
        When the scheduler or its workers do not answer or vanish, they run another migsim, or a process dies.
    """
    if cluster is not None:
        yield from _on_cluster(jobs, cluster)
    elif processes == 1:
        for job in jobs:
            yield _make(job)
    else:
        yield from _in_processes(jobs, processes, _make)


@functools.cache
def _keep_memory() -> None:
    """Let the process keep freed memory for its next piece.

    The C library raises what it keeps to the largest block that was freed. A fresh process gives everything back, and
    the page faults of the next piece cost a tenth of its time.
    """
    np.empty(KEPT_BYTES, np.uint8)


def _make(job: Job) -> tuple[int, Piece]:
    _keep_memory()
    number, plan, columns = job
    return number, simulate_piece(plan, columns)


def run_cells(plan: Plan, columns: CellValues, *, processes: int = 1) -> CellResults:
    """Simulate a few cells, every draw kept, in processes of this machine.

    Raises
    ------
    HostError
        When a process dies.
    """
    cells = len(next(iter(columns.values())))
    if processes == 1 or cells == 1:
        return simulate_cells(plan, columns)
    parts = np.array_split(np.arange(cells), min(cells, PARTS))
    jobs = [(k, plan, {n: v[part] for n, v in columns.items()}) for k, part in enumerate(parts)]
    made = dict(_in_processes(jobs, processes, _draw))
    return functools.reduce(CellResults.joined_with, (made[k] for k in range(len(parts))))


def _draw(job: Job) -> tuple[int, CellResults]:
    _keep_memory()
    number, plan, columns = job
    return number, simulate_cells(plan, columns)


def _in_processes(
    jobs: Iterable[Job], processes: int, make: Callable[[Job], tuple[int, T]]
) -> Iterator[tuple[int, T]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = Parallel(n_jobs=processes, return_as="generator_unordered", batch_size=1)
    try:
        yield from parallel(delayed(make)(job) for job in jobs)
    except TerminatedWorkerError as error:
        raise HostError(
            "A process of the sweep died, killed by the system or out of memory.",
            "What it was working on is lost; what was finished before is kept where there is a --folder.",
            "Run it again, with fewer --jobs if memory is short.",
        ) from error


def _on_cluster(jobs: Iterable[Job], address: str) -> Iterator[tuple[int, Piece]]:
    client = _connect(address)
    try:
        for number, piece in _watched(client, address, _hand_out(client, jobs)):
            if piece.laws != laws_hash():
                raise HostError(
                    f"A worker of the cluster {address} runs another migsim than this one.",
                    "Figures of different laws do not belong into one sweep.",
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
            "A cluster is reached by Dask's scheduler.",
            "Install it with pip install 'migsim[cluster]'.",
        ) from None

    def client_of() -> Any:
        return Client(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]  # distributed has none

    try:
        try:
            client = client_of()
        except AssertionError:  # its thread did not begin in time: the machine was busy
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
            f"None came within {WORKERS_S:.0f} s.",
            f"Start some with `dask worker {address}`, on any machine that has this migsim.",
        ) from error
    return client


def _hand_out(client: Any, jobs: Iterable[Job]) -> Callable[[], Iterable[tuple[int, Piece]]]:
    from joblib import Parallel, delayed, parallel_config

    def begin() -> Iterable[tuple[int, Piece]]:
        with parallel_config(backend="dask", client=client, wait_for_workers_timeout=WORKERS_S):
            # A job is one tuple: a larger object would be placed on one worker first, and be lost with it.
            parallel = Parallel(n_jobs=-1, return_as="generator_unordered", batch_size=1)
            return parallel(delayed(_make)(job) for job in jobs)  # type: ignore[no-any-return]  # joblib

    return begin


def _watched(
    client: Any, address: str, begin: Callable[[], Iterable[tuple[int, Piece]]]
) -> Iterator[tuple[int, Piece]]:
    """Yield what a thread receives from the cluster; end with an error where nothing more will come.

    joblib waits for ever for a task that the scheduler gave up.
    """
    arrived: queue.Queue[tuple[int, Piece] | BaseException | None] = queue.Queue()

    def receive() -> None:
        try:
            for made in begin():
                arrived.put(made)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=receive, name="migsim-sweep", daemon=True).start()
    alone_since: float | None = None
    while True:
        try:
            made = arrived.get(timeout=1.0)
        except queue.Empty:
            alone_since = _still_alone(client, address, alone_since)
            continue
        if made is None:
            return
        if isinstance(
            made, concurrent.futures.CancelledError | OSError
        ):  # the scheduler took its tasks with it
            raise _lost(f"The Dask scheduler at {address} went away.", "Start it again") from made
        if isinstance(made, BaseException):
            raise made
        yield made


def _still_alone(client: Any, address: str, since: float | None) -> float | None:
    """Return since when the cluster has had no worker; None where it has some.

    Raises
    ------
    HostError
        When the scheduler is gone, no worker came back, or a task was given up.
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
        "Finished cells are kept where the sweep has a --folder.",
        f"{todo}; then run the same sweep again.",
    )
