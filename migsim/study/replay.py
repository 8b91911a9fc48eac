"""Replays: one migration of a traced guest, simulated with the page numbers of the trace itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Unpack

from migsim.engine.pages.replay import replay_pages
from migsim.errors import ParameterError, TraceError
from migsim.results import MigrationResult
from migsim.study.basis import first_pass_warning, short_trace_warning
from migsim.study.question import Question, QuestionKeywords, takes_question

if TYPE_CHECKING:
    from migsim.trace import Trace

__all__ = ["replay"]


@takes_question()
def replay(
    guest: Question | Trace | str | os.PathLike[str], **keywords: Unpack[QuestionKeywords]
) -> MigrationResult:
    """Simulate the migration of a traced guest with the page numbers of its trace.

    Parameters
    ----------
    guest : Question, Trace or path
        A trace with page numbers (stream or dirty-ring). The migration starts with the trace's first interval.
    **keywords
        The keywords of `migsim.Question`. The host's terms have their medians. `seed` draws the instants of writes
        within an interval and the lengths of encodings. `draws` is ignored: a replay is one migration.

    Returns
    -------
    MigrationResult
        Kind "simulated"; its scenario holds the `basis` and the `assumptions`.

    Raises
    ------
    TraceError
        The trace has no page numbers, or is damaged.
    ProfileError, ParameterError, UnitError

    Examples
    --------
    >>> replay("db.trace", settings=["max-bandwidth=10Gbps"]).outcome.status              # doctest: +SKIP
    'completed'
    """
    question = Question.of(guest, **keywords)
    trace = question.trace
    if trace is None:
        raise TraceError(
            f"The guest of {question!r} is a workload.",
            "A replay needs the page numbers of a trace.",
            "Give a trace with page numbers, or predict the workload.",
        )
    if question.writes_scale != 1:
        raise ParameterError(
            f"writes-scale is {question.writes_scale:g}.",
            "A replay takes the writes of the trace, unscaled.",
            "Leave it out, or predict the migration instead.",
        )
    if question.writes_spread:
        raise ParameterError(
            f"writes-spread is {question.writes_spread:g}.",
            "A replay is one run, of the writes that the trace holds.",
            "Leave it out, or predict the migration instead.",
        )
    question.check()  # raises before the trace's pages are read
    load = 1.0 if question.load is None else question.load
    result, notes = replay_pages(
        trace,
        question.migration,
        dirty_fault_s=question.host.median("dirty_fault_s"),
        load=load,
        seed=question.seed,
    )
    assumptions = [*notes, *question.notes(load), *question.without_users()]
    basis = question.basis
    if result.outcome.status == "completed":
        basis = basis.with_warnings(first_pass_warning(question, [result]))
        basis = basis.with_warnings(short_trace_warning(question, result.total_time_ms / 1000))
    scenario = {
        **result.scenario,
        "trace": trace.path.name,
        "basis": basis.as_dict(),
        "assumptions": assumptions,
    }
    return result.replace(scenario=scenario)
