"""What a study of many migrations starts from: a question, and what of it varies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from migsim.errors import MigsimError, ParameterError
from migsim.study.question import Question
from migsim.study.sweep.axis import Axis, read_axes
from migsim.study.sweep.cells import Plan
from migsim.study.sweep.guest_ram import check_ram

if TYPE_CHECKING:
    from migsim.study.scaling import GuestSize

__all__ = ["make_plan"]

ENGINES = ("auto", "events")
MOST_TRIALS = 1000
"""How many combinations are tried, before the work, to find one that QEMU takes."""


def make_plan(
    question: Question,
    *,
    vary: Mapping[str, Any],
    engine: Literal["auto", "events"] = "auto",
    traced: GuestSize | None = None,
) -> tuple[Plan, tuple[Axis, ...]]:
    """Read what varies; see `migsim.sweep` for the parameters.

    Raises
    ------
    ParameterError, UnitError, ProfileError, TraceError
        Also where no value of the switches and choices that are varied is one that QEMU takes.
    """
    if engine not in ENGINES:
        raise ParameterError(
            f"The engine is {engine!r}.", f"Engines are {' and '.join(ENGINES)}.", "Choose one of them."
        )
    axes = read_axes(vary, question.qemu_version)
    _check_not_set(question, axes)
    xbzrle = any(axis.name == "xbzrle" and True in axis.listed for axis in axes)
    workload = question.workload(contents=True if xbzrle else None)
    check_ram(axes, workload, traced)
    plan = Plan(
        question=question.about(workload),
        kinds={axis.name: axis.kind for axis in axes},
        engine=engine,
        traced=traced,
    )
    _check_some(plan, axes)
    return plan, axes


def _check_not_set(question: Question, axes: Iterable[Axis]) -> None:
    settings = question.settings
    for axis in axes:
        if axis.name in settings.parameters or axis.name in settings.capabilities:
            raise ParameterError(
                f"{axis.name} is set and varied.", "It can be one of them.", "Drop one of them."
            )


def _check_some(plan: Plan, axes: Iterable[Axis]) -> None:
    """Raise what is wrong with every combination of switches and choices, before the work."""
    grouping = [axis for axis in axes if axis.kind in ("choice", "guest")]
    values = [axis.listed or (axis.low, axis.high) for axis in grouping]
    first: MigsimError | None = None
    for chosen in itertools.islice(itertools.product(*values), MOST_TRIALS):
        try:
            plan.migration(dict(zip([axis.name for axis in grouping], chosen, strict=True)))
        except MigsimError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first
