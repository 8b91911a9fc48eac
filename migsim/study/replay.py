"""A replay: one migration of a traced guest, by the trace's own page numbers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Unpack

from migsim.engine.pages.replay import replay_pages
from migsim.errors import ParameterError, TraceError
from migsim.results import MigrationResult
from migsim.study.question import Question, QuestionKeywords, takes_question

if TYPE_CHECKING:
    from migsim.trace import Trace

__all__ = ["replay"]


@takes_question()
def replay(
    guest: Question | Trace | str | os.PathLike[str], **keywords: Unpack[QuestionKeywords]
) -> MigrationResult:
    """Simulate the migration of a traced guest by the trace's own pages.

    Parameters
    ----------
    guest : Question, Trace or path
        A trace with page numbers (stream or dirty-ring); its first interval is what the guest does first.
    **keywords
        The keywords of `migsim.Question`. The host's medians are taken; `seed` draws the instants of writes inside an
        interval and the lengths of encodings; it is one migration, whatever `draws` says.

    Returns
    -------
    MigrationResult
        Kind "simulated"; its scenario lists the `assumptions`.

    Raises
    ------
    TraceError
        The trace names no pages, or is damaged.
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
            f"{question!r} is about a workload.",
            "A replay takes the pages that a trace saw, in their order.",
            "Give a trace with page numbers, or predict the workload.",
        )
    if question.writes_scale != 1:
        raise ParameterError(
            f"writes-scale is {question.writes_scale:g}.",
            "A replay takes the trace's writes as they were.",
            "Leave it out, or predict the migration instead.",
        )
    question.check()  # before the trace's pages are read
    load = 1.0 if question.load is None else question.load
    result, notes = replay_pages(
        trace,
        question.migration,
        dirty_fault_s=question.host.median("dirty_fault_s"),
        load=load,
        seed=question.seed,
    )
    assumptions = [*notes, *question.notes(load)]
    return result.replace(scenario={**result.scenario, "trace": trace.path.name, "assumptions": assumptions})
