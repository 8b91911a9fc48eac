"""Reading and checking the inputs of many migrations: a question, and the axes that vary."""

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
"""Most combinations that are tried before a sweep, to find one that QEMU accepts."""


def make_plan(
    question: Question,
    *,
    vary: Mapping[str, Any],
    engine: Literal["auto", "events"] = "auto",
    traced: GuestSize | None = None,
) -> tuple[Plan, tuple[Axis, ...]]:
    """Read the axes and check them with the question; see `migsim.sweep` for the parameters.

    Raises
    ------
    ParameterError, UnitError, ProfileError, TraceError
        Also where QEMU accepts no combination of the switches and choices that vary.
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
    _check_any_valid(plan, axes)
    return plan, axes


def _check_not_set(question: Question, axes: Iterable[Axis]) -> None:
    settings = question.settings
    for axis in axes:
        if axis.name in settings.parameters or axis.name in settings.capabilities:
            raise ParameterError(
                f"{axis.name} is set and varied.", "A setting is either set or varied.", "Drop one of them."
            )


def _check_any_valid(plan: Plan, axes: Iterable[Axis]) -> None:
    """Raise the error of the first combination of switches and choices where none is valid, before the sweep."""
    grouping = [axis for axis in axes if axis.kind in ("choice", "guest")]
    values = [axis.listed or (axis.low, axis.high) for axis in grouping]
    first_error: MigsimError | None = None
    for chosen in itertools.islice(itertools.product(*values), MOST_TRIALS):
        try:
            plan.migration(dict(zip([axis.name for axis in grouping], chosen, strict=True)))
        except MigsimError as error:
            first_error = first_error or error
        else:
            return
    if first_error is not None:
        raise first_error
