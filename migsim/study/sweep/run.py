"""`sweep`: predict one guest's migration under many settings and host terms, as labelled arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np

from migsim.errors import ParameterError
from migsim.provenance import Provenance
from migsim.study.basis import basis_of
from migsim.study.quantities import read_jobs
from migsim.study.question import Question, QuestionKeywords, takes_question
from migsim.study.sweep.axis import GUEST_RAM, Axis
from migsim.study.sweep.cells import ERROR, CellValues, Plan
from migsim.study.sweep.data import Sweep, assemble
from migsim.study.sweep.guest_ram import ram_notes
from migsim.study.sweep.jobs import run_jobs
from migsim.study.sweep.layout import Layout, check_memory
from migsim.study.sweep.piece import Piece, piece_name, plan_hash
from migsim.study.sweep.plan import make_plan
from migsim.study.sweep.store import Store
from migsim.units import read_count
from migsim.workload import Workload

if TYPE_CHECKING:
    from migsim.study.scaling import GuestSize
    from migsim.trace import Trace

__all__ = ["Sweep", "sweep"]


@takes_question(draws=1)
def sweep(
    guest: Question | Trace | Workload | str | os.PathLike[str],
    *,
    vary: Mapping[str, Any],
    samples: int | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    engine: Literal["auto", "events"] = "auto",
    traced: GuestSize | None = None,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
    **keywords: Unpack[QuestionKeywords],
) -> Sweep:
    """Predict a guest's migration for every combination of some values, or for samples of their ranges.

    Parameters
    ----------
    guest : Question, Trace, Workload or path
        The guest, or a question about it.
    vary : mapping of str to str or sequence
        Values by name: ``"1Gbps:25Gbps:20"`` (both ends included), ``"16MiB:1GiB:7:log"``, ``"on|off"``, or a sequence.
        The name is a migration parameter or capability; ``writes-scale`` (a factor on the guest's write rates),
        ``load``, ``link``, ``deadline``, ``fresh-pages``, ``host-cpus`` or ``dirty-ring-size``; ``guest-ram``, to which
        the guest's workload is scaled by a stated rule (it needs `traced`); a host term (``normal_page_s``), or a
        factor on one (``scale.normal_page_s``).
    samples : int, optional
        Number of points of a Sobol sequence over the ranges, in place of a grid.
    jobs : int
        Number of processes of this machine; -1 for one per processor.
    cluster : str, optional
        Address of a Dask scheduler whose workers simulate the cells instead.
    folder : path, optional
        Folder that keeps finished cells: the same sweep, started again, continues from them.
    engine : {"auto", "events"}
        The fastest engine that models a cell, or the event engine for all; they agree within 0.1 %.
    traced : GuestSize, optional
        The traced guest's size, users and transactions a second (see `migsim.study.scaling`).
    command : str
        The command line, for the provenance.
    progress : callable, optional
        Called with (done, of) cells.
    **keywords
        The keywords of `migsim.Question`: host, settings, qemu_version, load, seed, ... `draws` is 1 by default, the
        medians of guest and host; more of them, the same for all cells (common random numbers), give medians and 80 %
        intervals.

    Returns
    -------
    Sweep
        A cell that QEMU or an engine refuses has the outcome "error" and a reason.

    Raises
    ------
    ParameterError, UnitError
        For an unknown name, a value out of its limits, an empty or reversed range, or more cells than memory holds.
    ProfileError, TraceError
    HostError
        When the folder cannot be written, or the cluster does not answer.

    Examples
    --------
    >>> guest = Workload(ram_bytes=2**30, ram_total_bytes=2**30, zero_pages=2**18)
    >>> sweep(guest, qemu_version="10.0", vary={"max-bandwidth": "1Gbps:2Gbps:2"})
    <Sweep max-bandwidth (2): 2 completed>
    """
    if not isinstance(guest, Question):
        keywords.setdefault("draws", 1)
    jobs = read_jobs(jobs)
    samples = None if samples is None else read_count("samples", samples, least=1)
    question = Question.of(guest, **keywords)
    plan, axes = make_plan(question, vary=vary, engine=engine, traced=traced)
    layout = _layout(axes, samples, question.seed)
    check_memory(layout, question.draws)
    store = Store(Path(folder)) if folder is not None else None
    work = _Work(plan, layout, store, progress)
    work.run(processes=jobs, cluster=cluster)
    notes = [*work.notes(), *_without_effect(layout, work.columns)]
    attributes = _attributes(plan, samples, command)
    scaled = ram_notes(traced) if traced and GUEST_RAM in plan.kinds else ()
    return Sweep(
        assemble(layout, work.columns, work.reasons, attributes),
        axes,
        basis=basis_of(question, _capabilities(plan, axes)),
        assumptions=(
            *scaled,
            *question.assumptions_of(plan.workload, _capabilities(plan, axes)),
            *question.without_users(),
        ),
        notes=tuple(notes),
    )


class _Work:
    """The pieces of one sweep: stored ones are read, missing ones simulated; all are placed into columns."""

    def __init__(
        self, plan: Plan, layout: Layout, store: Store | None, progress: Callable[[int, int], None] | None
    ) -> None:
        self.plan = plan
        self.layout = layout
        self.store = store
        self.progress = progress
        self.columns: CellValues = {}
        self.reasons: list[str] = []
        self._index: dict[str, int] = {}
        self._shared = plan_hash(plan)
        self._pieces = list(layout.pieces(plan.draws))
        self._names: dict[int, str] = {}
        self._done = self._reused = 0

    def run(self, *, processes: int, cluster: str | None) -> None:
        """Read stored pieces, simulate the missing ones and store them."""
        missing = [number for number in range(len(self._pieces)) if not self._place_stored(number)]
        if not missing:
            return
        # joblib reads this generator in a thread of its own: it uses nothing that the loop below changes.
        jobs = ((number, self.plan, self.layout.columns(*self._pieces[number])) for number in missing)
        for number, piece in run_jobs(jobs, processes=processes, cluster=cluster):
            if self.store is not None:
                self.store.write(self._names[number], piece)
            self._place(number, piece)

    def notes(self) -> Iterator[str]:
        """Yield remarks on the folder, a sentence each."""
        if self.store is None:
            return
        for path in self.store.damaged:
            yield f"{path} was damaged; its cells were computed again."
        if self._reused:
            yield f"{self._reused:,} of {self.layout.cells:,} cells were in {self.store.folder} already."

    def _place_stored(self, number: int) -> bool:
        """Place a piece from the folder; return whether the folder has it."""
        if self.store is None:
            return False
        begin, end = self._pieces[number]
        self._names[number] = piece_name(self._shared, self.layout.columns(begin, end))
        piece = self.store.read(self._names[number], end - begin, intervals=self.plan.draws > 1)
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
            reason = piece.columns["reason"]
            self.columns["reason"][begin:end] = np.where(reason < 0, -1, np.array(places)[reason])
        self._done += end - begin
        if self.progress:
            self.progress(self._done, self.layout.cells)


def _layout(axes: tuple[Axis, ...], samples: int | None, seed: int) -> Layout:
    if not axes:
        raise ParameterError(
            "Nothing varies.", "A sweep has at least one axis.", "Give --vary max-bandwidth=1Gbps:25Gbps:20."
        )
    if samples is None:
        for axis in axes:
            if not axis.count:
                axis.values  # noqa: B018 - raises: a grid needs a count
    return Layout(axes, samples, seed)


def _capabilities(plan: Plan, axes: tuple[Axis, ...]) -> dict[str, bool]:
    varied = {axis.name: True for axis in axes if axis.kind == "choice" and True in axis.listed}
    return {**plan.question.settings.capabilities, **varied}


def _without_effect(layout: Layout, columns: CellValues) -> Iterator[str]:
    """Yield a remark for each axis that changes no figure of any cell."""
    if layout.samples is not None or not np.any(columns["outcome"] != ERROR):
        return
    for dimension, axis in enumerate(layout.axes):
        if axis.count > 1 and all(
            _constant(values.reshape(layout.shape), dimension)
            for name, values in columns.items()
            if name != "reason"
        ):
            yield f"{axis.name} changes nothing here: it plays no part in these migrations, or is not modelled."


def _constant(values: Any, dimension: int) -> bool:
    first = np.take(values, [0], axis=dimension)
    same = (values == first) | ((values != values) & (first != first))
    return bool(np.all(same))


def _attributes(plan: Plan, samples: int | None, command: str) -> dict[str, str]:
    provenance = Provenance.now(command, seed=plan.question.seed, qemu=str(plan.question.qemu_version))
    return {
        "title": "migsim sweep",
        "qemu-version": str(plan.question.qemu_version),
        "accel": plan.question.host.accel,
        "engine": plan.engine,
        "draws": str(plan.draws),
        "sampling": "grid" if samples is None else "sobol",
        "settings": json.dumps(plan.question.settings.as_dict(), sort_keys=True),
        "workload": plan.workload.source,
        "laws": plan_hash(plan),
        "provenance": json.dumps(provenance.as_dict(), sort_keys=True),
    }
