"""Sweeps: one guest's migration under many settings, on many hosts, as labelled arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from migsim.errors import ParameterError
from migsim.profiles import HostProfile
from migsim.provenance import Provenance
from migsim.study.predict import left_out, pace_note
from migsim.study.sweep.axis import RAM, Axis
from migsim.study.sweep.cells import ERROR, Columns, Plan
from migsim.study.sweep.data import Sweep, assemble
from migsim.study.sweep.guest_ram import ram_notes
from migsim.study.sweep.jobs import run_jobs
from migsim.study.sweep.layout import Layout, check_room
from migsim.study.sweep.piece import Piece, piece_name, plan_hash
from migsim.study.sweep.plan import Settings, make_plan
from migsim.study.sweep.store import Store
from migsim.workload import Workload

if TYPE_CHECKING:
    from migsim.study.scaling import GuestSize
    from migsim.trace import Trace

__all__ = ["Sweep", "sweep"]


def sweep(
    what: Trace | Workload,
    *,
    vary: Mapping[str, Any],
    set: Settings = (),
    host: HostProfile | None = None,
    qemu_version: str | None = None,
    samples: int | None = None,
    draws: int = 0,
    seed: int = 1,
    jobs: int = 1,
    cluster: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    engine: Literal["auto", "events"] = "auto",
    load: float = 1.0,
    deadline_s: float = 1800.0,
    link_bytes_per_s: float | None = None,
    fresh_pages: int | None = None,
    dirty_ring_size: int = 0,
    traced: GuestSize | None = None,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Predict the migration of a guest for every combination of some values, or for samples of them.

    Parameters
    ----------
    what : Trace or Workload
        The guest.
    vary : mapping of str to str or sequence
        By name: ``"1Gbps:25Gbps:20"`` (both ends included), ``"16MiB:1GiB:7:log"``, ``"on|off"``, or the values.
        The name is a migration parameter or capability; ``writes-scale`` (a factor on the guest's write rates),
        ``load``, ``link``, ``deadline``, ``fresh-pages`` or ``dirty-ring-size``; ``guest-ram``, to which the guest's
        writing is scaled by a stated rule (it needs `traced`); a host term (``normal_page_s``), or a factor on one
        (``scale.normal_page_s``).
    set : mapping, sequence of ``NAME=VALUE`` or MigrationSettings
        Settings that all cells share; what is absent has the release's default.
    host : HostProfile, optional
        Default: the bundled profile that is nearest to the QEMU version.
    qemu_version : str, optional
        Default: the profile's, or the traced one.
    samples : int, optional
        So many points of a Sobol sequence over the ranges, rather than a grid.
    draws : int
        Draws a cell, the same for all cells (common random numbers), for medians and 80 % intervals; 0: the medians of
        guest and host.
    seed : int
    jobs : int
        Processes of this machine; -1 is one a processor.
    cluster : str, optional
        Address of a Dask scheduler; its workers do the work.
    folder : path, optional
        Where finished cells are kept: the same sweep, started again, goes on there.
    engine : {"auto", "events"}
        The fastest engine that models a cell, or the event engine for all; they agree within 0.1 %.
    load, deadline_s, link_bytes_per_s, fresh_pages, dirty_ring_size
        As in `migsim.predict`.
    traced : GuestSize, optional
        What the traced guest was, its users and its transactions a second (see `migsim.study.scaling`).
    command : str
        The command line, for the provenance.
    progress : callable, optional
        Called with (done, of) cells.

    Returns
    -------
    Sweep
        A cell that QEMU would refuse, or that fails, has the outcome "error" and a reason.

    Raises
    ------
    ParameterError, UnitError
        For a name or value that nothing takes, an empty or reversed range, or more cells than memory holds.
    ProfileError, TraceError
    HostError
        When the folder cannot be written, or the cluster does not answer.

    Examples
    --------
    >>> from migsim.profiles.bundled import bundled_profile
    >>> guest = Workload(ram_bytes=2**30, ram_total_bytes=2**30, zero_pages=2**18)
    >>> sweep(guest, host=bundled_profile("10.0"), vary={"max-bandwidth": "1Gbps:2Gbps:2"})
    <Sweep max-bandwidth (2): 2 completed>
    """
    plan, axes = make_plan(
        what,
        vary=vary,
        host=host,
        qemu_version=qemu_version,
        settings=set,
        load=load,
        draws=draws,
        seed=seed,
        engine=engine,
        deadline_s=deadline_s,
        link_bytes_per_s=link_bytes_per_s,
        fresh_pages=fresh_pages,
        dirty_ring_size=dirty_ring_size,
        traced=traced,
    )
    layout = _layout(axes, samples, seed)
    check_room(layout, draws)
    _check_counts(jobs, draws)
    store = Store(Path(folder)) if folder is not None else None
    work = _Work(plan, layout, store, progress)
    work.run(processes=jobs, cluster=cluster)
    notes = [*work.notes(), *_without_effect(layout, work.columns)]
    attributes = _attributes(plan, samples, command)
    return Sweep(
        assemble(layout, work.columns, work.reasons, attributes),
        axes,
        assumptions=(
            *(ram_notes(traced) if traced and RAM in plan.kinds else ()),
            *plan.workload.assumptions,
            pace_note(load),
            *left_out(plan.version, _capabilities(plan, axes), plan.host.accel),
        ),
        notes=tuple(notes),
    )


class _Work:
    """The pieces of one sweep, put together as they come."""

    def __init__(
        self, plan: Plan, layout: Layout, store: Store | None, progress: Callable[[int, int], None] | None
    ) -> None:
        self.plan = plan
        self.layout = layout
        self.store = store
        self.progress = progress
        self.columns: Columns = {}
        self.reasons: list[str] = []
        self._index: dict[str, int] = {}
        self._shared = plan_hash(plan)
        self._pieces = list(layout.pieces(plan.draws))
        self._names: dict[int, str] = {}
        self._done = self._reused = 0

    def run(self, *, processes: int, cluster: str | None) -> None:
        """Take what is kept, make the rest, keep it."""
        missing = [number for number in range(len(self._pieces)) if not self._kept(number)]
        if not missing:
            return
        # read by joblib's own threads: it touches nothing that is written here
        jobs = ((number, self.plan, self.layout.columns(*self._pieces[number])) for number in missing)
        for number, piece in run_jobs(jobs, processes=processes, cluster=cluster):
            if self.store is not None:
                self.store.write(self._names[number], piece)
            self._place(number, piece)

    def notes(self) -> Iterator[str]:
        """What to say about the folder."""
        if self.store is None:
            return
        for path in self.store.damaged:
            yield f"{path} was damaged; its cells were computed again."
        if self._reused:
            yield f"{self._reused:,} of {self.layout.cells:,} cells were in {self.store.folder} already."

    def _kept(self, number: int) -> bool:
        """Place a piece that the folder has; say whether it has."""
        if self.store is None:
            return False
        begin, end = self._pieces[number]
        self._names[number] = piece_name(self._shared, self.layout.columns(begin, end))
        piece = self.store.read(self._names[number], end - begin)
        if piece is None:
            return False
        self._reused += end - begin
        self._place(number, piece)
        return True

    def _place(self, number: int, piece: Piece) -> None:
        begin, end = self._pieces[number]
        for name, values in piece.columns.items():
            if name not in self.columns:
                self.columns[name] = np.empty(self.layout.cells, dtype=values.dtype)
            self.columns[name][begin:end] = values
        if piece.reasons:
            places = [self._index.setdefault(reason, len(self._index)) for reason in piece.reasons]
            self.reasons = list(self._index)
            own = piece.columns["reason"]
            self.columns["reason"][begin:end] = np.where(own < 0, -1, np.array(places)[own])
        self._done += end - begin
        if self.progress:
            self.progress(self._done, self.layout.cells)


def _layout(axes: tuple[Axis, ...], samples: int | None, seed: int) -> Layout:
    if not axes:
        raise ParameterError(
            "Nothing is varied.", "A sweep varies something.", "Give --vary max-bandwidth=1Gbps:25Gbps:20."
        )
    if samples is None:
        for axis in axes:
            if not axis.count:
                axis.values  # noqa: B018 - says that a grid needs a count
    elif samples < 1:
        raise ParameterError(f"{samples} samples are asked for.", "A sweep has a cell.", "Ask for more.")
    return Layout(axes, samples, seed)


def _check_counts(jobs: int, draws: int) -> None:
    if jobs < 1 and jobs != -1:
        raise ParameterError(
            f"jobs is {jobs}.", "It counts processes; -1 is one a processor.", "Give 1 or more, or -1."
        )
    if draws < 0:
        raise ParameterError(f"draws is {draws}.", "It is a count; 0 takes the medians.", "Give 0 or more.")


def _capabilities(plan: Plan, axes: tuple[Axis, ...]) -> dict[str, bool]:
    varied = {axis.name: True for axis in axes if axis.kind == "choice" and True in axis.listed}
    return {**plan.settings.capabilities, **varied}


def _without_effect(layout: Layout, columns: Columns) -> Iterator[str]:
    """Name what was varied and changes no figure of any cell."""
    if layout.samples is not None or not np.any(columns["outcome"] != ERROR):
        return
    for place, axis in enumerate(layout.axes):
        if axis.count > 1 and all(
            _constant(values.reshape(layout.shape), place)
            for name, values in columns.items()
            if name != "reason"
        ):
            yield f"{axis.name} changes nothing here: it plays no part in these migrations, or is not modelled."


def _constant(values: Any, place: int) -> bool:
    first = np.take(values, [0], axis=place)
    same = (values == first) | ((values != values) & (first != first))
    return bool(np.all(same))


def _attributes(plan: Plan, samples: int | None, command: str) -> dict[str, str]:
    made = Provenance.now(command, seed=plan.seed, qemu=str(plan.version))
    return {
        "title": "migsim sweep",
        "qemu-version": str(plan.version),
        "accel": plan.host.accel,
        "engine": plan.engine,
        "draws": str(plan.draws),
        "sampling": "grid" if samples is None else "sobol",
        "settings": json.dumps(plan.settings.as_dict(), sort_keys=True),
        "workload": plan.workload.source,
        "laws": plan_hash(plan),
        "provenance": json.dumps(made.as_dict(), sort_keys=True),
    }
