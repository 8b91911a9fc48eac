"""What a study of many migrations starts from: a trace or a workload, a host and settings, read once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from migsim.errors import MigsimError, ParameterError
from migsim.profiles import HostProfile
from migsim.qapi import CAPABILITIES, QemuVersion
from migsim.qapi.settings import parse_setting
from migsim.scenario import MigrationSettings
from migsim.study.draws import modelled_version, workload_of
from migsim.study.sweep.axis import Axis, read_axes
from migsim.study.sweep.cells import Plan
from migsim.study.sweep.guest_ram import check_ram
from migsim.workload import Workload

if TYPE_CHECKING:
    from migsim.study.scaling import GuestSize
    from migsim.trace import Trace

__all__ = ["Settings", "make_plan"]

Settings = Mapping[str, Any] | Iterable[str] | MigrationSettings
"""Migration settings: by name, as ``NAME=VALUE`` words, or read already."""

ENGINES = ("auto", "events")
TRIED = 1000
"""So many combinations are looked at before the work for one that QEMU takes."""


def make_plan(
    what: Trace | Workload,
    *,
    vary: Mapping[str, Any],
    host: HostProfile | None = None,
    qemu_version: str | None = None,
    settings: Settings = (),
    load: float = 1.0,
    draws: int = 0,
    seed: int = 1,
    engine: Literal["auto", "events"] = "auto",
    deadline_s: float = 1800.0,
    link_bytes_per_s: float | None = None,
    fresh_pages: int | None = None,
    dirty_ring_size: int = 0,
    traced: GuestSize | None = None,
) -> tuple[Plan, tuple[Axis, ...]]:
    """Read what is given; see `migsim.sweep` for the parameters.

    Raises
    ------
    ParameterError, UnitError, ProfileError, TraceError
        Also where no value of the switches and choices that are varied is one that QEMU takes.
    """
    if engine not in ENGINES:
        raise ParameterError(
            f"The engine is {engine!r}.", f"Engines are {' and '.join(ENGINES)}.", "Choose one of them."
        )
    trace = None if isinstance(what, Workload) else what
    version = _version(trace, host, qemu_version)
    if host is None:
        from migsim.profiles.bundled import bundled_profile

        host = bundled_profile(version, (trace.meta.accel if trace else None) or "kvm")
    axes = read_axes(vary, version)
    fixed = _settings(settings, version)
    both = [axis.name for axis in axes if axis.name in fixed.parameters or axis.name in fixed.capabilities]
    if both:
        raise ParameterError(f"{both[0]} is set and varied.", "It can be one of them.", "Drop one of them.")
    if isinstance(what, Workload):
        workload, vcpus = what.replace(load_fraction=load) if load != 1 else what, 1
    else:
        coded = bool(fixed.capabilities.get("xbzrle"))
        varied = any(axis.name == "xbzrle" and True in axis.listed for axis in axes)
        workload, _ = workload_of(what, host, load=load, contents=[coded, varied])
        vcpus = what.meta.vcpus or 1
    check_ram(axes, workload, traced)
    plan = Plan(
        workload=workload,
        host=host,
        version=version,
        settings=fixed,
        kinds={axis.name: axis.kind for axis in axes},
        draws=draws,
        seed=seed,
        engine=engine,
        deadline_s=deadline_s,
        link_bytes_per_s=link_bytes_per_s,
        fresh_pages=fresh_pages,
        dirty_ring_size=dirty_ring_size,
        vcpus=vcpus,
        traced=traced,
    )
    _check_some(plan, axes)
    return plan, axes


def _check_some(plan: Plan, axes: Iterable[Axis]) -> None:
    """Raise what is wrong with every combination of switches and choices, before the work."""
    own = [axis for axis in axes if axis.kind in ("choice", "guest")]
    values = [axis.listed or (axis.low, axis.high) for axis in own]
    first: MigsimError | None = None
    for chosen in itertools.islice(itertools.product(*values), TRIED):
        try:
            plan.base(dict(zip([axis.name for axis in own], chosen, strict=True)))
        except MigsimError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def _version(trace: Trace | None, host: HostProfile | None, given: str | None) -> QemuVersion:
    found = given or (host.qemu_version if host else trace.meta.qemu_version if trace else None)
    if not found:
        raise ParameterError(
            "Neither a QEMU version nor a host profile is given.",
            "A workload does not say which QEMU migrates it.",
            "Give qemu_version or host.",
        )
    return modelled_version(found)


def _settings(given: Settings, version: QemuVersion) -> MigrationSettings:
    """Read each setting by itself: rules between them are looked at with what is varied."""
    if isinstance(given, MigrationSettings):
        named: Mapping[str, Any] = {**given.parameters, **given.capabilities}
    elif isinstance(given, Mapping):
        named = given
    else:
        named = dict(_split(word) for word in given)
    read = {name: parse_setting(name, value, version) for name, value in named.items()}
    return MigrationSettings(
        parameters={name: value for name, value in read.items() if name not in CAPABILITIES},
        capabilities={name: value for name, value in read.items() if name in CAPABILITIES},
    )


def _split(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if equals:
        return name, value
    raise ParameterError(
        f"The setting is {word!r}.", "A setting is NAME=VALUE.", "Write it like max-bandwidth=1Gbps."
    )
