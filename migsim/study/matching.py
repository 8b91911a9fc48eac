"""Which trace and which host profile a record is to be compared with.

A trace of a lab guest says in its `meta.guest` what the guest was told to do; a record's scenario says the same. The
trace matches when both are equal: same RAM, same workload (of a Linux guest: users, think time, buffers; the seed of
its users' chance may differ), and the same accelerator, which sets the guest's speed. A profile matches by QEMU's
release and the accelerator; the bundled ones are always among those that are looked at.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import ProfileError, TraceError
from migsim.profiles import HostProfile
from migsim.profiles.bundled import bundled_profiles
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult, transactions
from migsim.scenario import LabScenario
from migsim.study.predict import Prediction, predict
from migsim.study.question import DRAWS, Question
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.trace import Trace

__all__ = ["matching_profile", "matching_trace", "predict_record", "question_of_record"]

SATURATED = 0.95
"""So busy is a guest that would do more if it could."""

PACE_S = 30.0
"""How long before QMP ``migrate`` its pace is looked at."""


def matching_trace(record: MigrationResult, folder: Path, collector: str = "stream") -> Trace:
    """Find the trace of a record's guest in a folder; of several by the collector, QEMU's release, nearest in time.

    Raises
    ------
    TraceError
        When no trace there is of that guest.
    """
    from migsim.trace import Trace

    guest = _kind_of(record.scenario.get("guest"))
    traces = [Trace.open(p) for p in sorted(folder.glob("*.trace"))]
    same = sorted(
        (
            t
            for t in traces
            if guest and _kind_of(t.meta.guest) == guest and t.meta.accel in ("", record.accel)
        ),
        key=lambda t: (not _same_release(t.meta.qemu_version, record), _apart_s(t.meta.started, record)),
    )
    if not same:
        raise TraceError(
            f"None of the {len(traces)} traces in {folder} is of the guest of {record.name!r}.",
            "A trace of a lab guest carries its description; that and the accelerator have to equal the record's.",
            "Give the trace with --trace, or record one with `migsim lab trace`.",
        )
    return next((t for t in same if t.meta.collector == collector), same[0])


def matching_profile(record: MigrationResult, folder: Path | None = None) -> HostProfile:
    """Find the host profile for a record's QEMU release and accelerator.

    Of several, those of the record's machine come before others, and then the nearest in time.

    Parameters
    ----------
    record : MigrationResult
    folder : Path, optional
        Whose profiles (``*.json``) are looked at beside the bundled ones.

    Raises
    ------
    ProfileError
        When the folder is not there, a profile in it cannot be read, or none is of that kind.
    """
    if folder is not None and not folder.is_dir():
        raise ProfileError(
            f"There is no folder {folder}.",
            "Its profiles are looked at beside the bundled ones.",
            "Check the path, or give a profile with --host.",
        )
    paths = [*(sorted(folder.glob("*.json")) if folder else ()), *bundled_profiles()]
    profiles = [HostProfile.load(path) for path in paths]
    of_kind = [
        profile
        for profile in profiles
        if profile.accel == record.accel and _same_release(profile.qemu_version, record)
    ]
    if of_kind:
        return min(
            of_kind,
            key=lambda profile: (_other_machine(profile, record), _apart_s(_measured(profile), record)),
        )
    raise ProfileError(
        f"No bundled profile{f', and none in {folder},' if folder else ''} is of QEMU {record.qemu_version} "
        f"with {record.accel}.",
        "Costs differ between releases and accelerators.",
        "Measure it with `migsim calibrate host`, or give a profile with --host.",
    )


def predict_record(
    record: MigrationResult, trace: Trace, host: HostProfile, *, draws: int = DRAWS, seed: int = 1
) -> Prediction:
    """Predict a record's migration from what was known before it; see `question_of_record`."""
    return predict(question_of_record(record, trace, host).replace(draws=draws, seed=seed))


def question_of_record(record: MigrationResult, trace: Trace, host: HostProfile) -> Question:
    """Return the question that a record's migration answered: its scenario, asked of what was known before it.

    Nothing of the measured run is used but, of a Linux guest, how busy it said it was before QMP ``migrate``, and where
    it had no processor to spare, its pace then beside that of the traced one.

    Raises
    ------
    ScenarioError
        When the record does not hold the scenario it came from.
    """
    scenario = LabScenario.from_dict(record.scenario, where=f"The record of {record.name!r}")
    load = _load(record, scenario, host)
    return Question(
        trace,
        host=host,
        settings=scenario.migration,
        qemu_version=scenario.qemu.version,
        deadline_s=scenario.deadline_s,
        fresh_pages=_fresh_pages(scenario),
        dirty_ring_size=scenario.qemu.dirty_ring_size,
        load=load,
        writes_scale=_writes_scale(record, trace, load),
        name=record.name,
    )


def _kind_of(guest: dict[str, Any] | None) -> dict[str, Any]:
    """What a guest was told to do, without what only draws its users' chance."""
    told = dict(guest or {})
    if isinstance(linux := told.get("linux"), dict):
        told["linux"] = {name: value for name, value in linux.items() if name != "seed"}
    return told


def _same_release(version: str, record: MigrationResult) -> bool:
    return QemuVersion.parse(version).release == QemuVersion.parse(record.qemu_version).release


def _measured(profile: HostProfile) -> str:
    """When a profile's probes ran."""
    return str(profile.provenance.get("measured") or profile.provenance.get("made", ""))


def _other_machine(profile: HostProfile, record: MigrationResult) -> bool:
    """Whether a profile was measured on other processors than the record."""
    measured, ran = (made.provenance.get("machine") or {} for made in (profile, record))
    return any(measured.get(name) != ran.get(name) for name in ("cpu_model", "cpus", "architecture"))


def _apart_s(started: str, record: MigrationResult) -> float:
    """Time between a trace and a record; infinite where one does not say when it was made."""
    try:
        made = datetime.fromisoformat(record.provenance["made"])
        return abs((datetime.fromisoformat(started) - made).total_seconds())
    except (KeyError, TypeError, ValueError):
        return float("inf")


def _fresh_pages(scenario: LabScenario) -> int | None:
    """Pages that the destination has to find memory for: of an aliased guest only the one file behind it."""
    alias = scenario.guest.alias_bytes
    return None if alias is None else alias // PAGE_BYTES


def _load(record: MigrationResult, scenario: LabScenario, host: HostProfile) -> float:
    """Share of its full speed that a lab guest needs.

    Of ours, what it is told to write over what one can write here; of a Linux guest, how busy it was before.
    """
    if scenario.guest.linux is not None:
        seen = transactions(record)
        busy = seen.loc[seen["t_s"] <= 0].drop_duplicates("t_s")["busy_fraction"].mean()
        return 1.0 if busy != busy else float(min(max(busy / scenario.guest.vcpus, 0.01), 1.0))
    asked = scenario.guest.workload.writes_per_s
    if asked is None:
        return 1.0
    return min(asked / host.median("guest_writes_per_s"), 1.0)


def _writes_scale(record: MigrationResult, trace: Trace, load: float) -> float:
    """How fast a Linux guest without a processor to spare worked, times the traced one.

    Both do what the machine lets them, and that differs from day to day; the pace of others is set by their users.
    """
    traced = trace.meta.self_check.get("operations_per_s_traced") if load >= SATURATED else None
    if not traced:
        return 1.0
    seen = transactions(record)
    before = seen[(seen["t_s"] <= 0) & (seen["t_s"] > -PACE_S)]
    return float(before["completed"].sum() / before.drop_duplicates("t_s")["interval_s"].sum() / traced)
