"""The trace and the host profile that belong to a record, and the question that the record's migration answered.

A trace of a lab guest holds the guest's description in `meta.guest`; a record holds it in its scenario. The trace
matches when both are equal (same RAM, same workload; only the seed of a Linux guest's users may differ) and the
accelerator, which sets the guest's speed, is the same. A profile matches by QEMU's release and the accelerator; the
bundled profiles are always searched too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import ProfileError, RecordError, TraceError
from migsim.profiles import HostProfile, Sides
from migsim.profiles.bundled import bundled_profiles
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult, transactions
from migsim.scenario import LabScenario
from migsim.study.predict import Prediction, predict
from migsim.study.question import DRAWS, OTHER_DAY_SPREAD, Question
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.trace import Trace

__all__ = ["check_sides", "matching_profile", "matching_trace", "predict_record", "question_of_record"]

BUSY_LOAD = 0.95
"""A guest at least this busy has no idle time: its pace is limited by its processors."""

SAME_DAY_S = 12 * 3600.0
"""A trace is of the migration's day where it began so near it."""

PACE_S = 30.0
"""Length of the time before QMP ``migrate`` over which such a guest's pace is averaged."""


def matching_trace(record: MigrationResult, folder: Path, collector: str = "stream") -> Trace:
    """Find the trace of a record's guest in a folder.

    Of several, those by `collector` come first, then those of the record's QEMU release, then the nearest in time.

    Raises
    ------
    TraceError
        When the folder has no trace of that guest.
    """
    from migsim.trace import Trace

    guest = _description(record.scenario.get("guest"))
    traces = [Trace.open(p) for p in sorted(folder.glob("*.trace"))]
    same = sorted(
        (
            t
            for t in traces
            if guest and _description(t.meta.guest) == guest and t.meta.accel in ("", record.accel)
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

    Of several, those of the record's machine come first, then for a pinned record those with terms for two hosts, then
    the nearest in time.

    Parameters
    ----------
    record : MigrationResult
    folder : Path, optional
        A folder of profiles (``*.json``) to search beside the bundled ones.

    Raises
    ------
    ProfileError
        When the folder does not exist, a profile in it cannot be read, or none matches.
    """
    if folder is not None and not folder.is_dir():
        raise ProfileError(
            f"There is no folder {folder}.",
            "Its profiles are searched beside the bundled ones.",
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
            key=lambda profile: (
                _other_machine(profile, record),
                not profile.measured(_sides(record)),
                _apart_s(_measured(profile), record),
            ),
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
    """Predict the migration of a record from what was known before it; see `question_of_record`."""
    return predict(question_of_record(record, trace, host).replace(draws=draws, seed=seed))


def question_of_record(record: MigrationResult, trace: Trace, host: HostProfile) -> Question:
    """Return the question that a record's migration answered: its scenario, with what was known before it.

    Where the trace is of another day, the guest's pace may differ (`OTHER_DAY_SPREAD`).
    Nothing of the measured run is used, with two exceptions for a Linux guest: how busy it was before QMP ``migrate``,
    and, where it had no idle processor, its pace at that time relative to the traced guest's.

    Raises
    ------
    ScenarioError
        When the record does not hold its scenario.
    """
    scenario = LabScenario.from_dict(record.scenario, where=f"The record of {record.name!r}")
    load = _load(record, scenario, host)
    scale = _writes_scale(record, trace, load)
    return Question(
        trace,
        host=host,
        settings=scenario.migration,
        qemu_version=scenario.qemu.version,
        deadline_s=scenario.deadline_s,
        fresh_pages=_fresh_pages(scenario),
        dirty_ring_size=scenario.qemu.dirty_ring_size,
        sides=_sides(record),
        load=load,
        writes_scale=scale,
        writes_spread=_writes_spread(record, trace) if scale == 1 else 0.0,
        name=record.name,
    )


def check_sides(records: Iterable[MigrationResult]) -> None:
    """Refuse records of one name of which some were pinned and others not: one prediction cannot be for both.

    Raises
    ------
    RecordError
    """
    apart: dict[str, bool] = {}
    for record in records:
        if apart.setdefault(record.name, record.apart) != record.apart:
            raise RecordError(
                f"Of the records of {record.name!r} some were pinned and some were not.",
                "Records of one name are compared with one prediction, for two hosts or for one machine.",
                "Compare the pinned ones by themselves.",
            )


def _sides(record: MigrationResult) -> Sides:
    """Return where a record's sides ran: with cores of their own as on two hosts, else together on one machine."""
    return "two-hosts" if record.apart else "one-machine"


def _description(guest: dict[str, Any] | None) -> dict[str, Any]:
    """Return a guest's description without the seed of its users."""
    description = dict(guest or {})
    if isinstance(linux := description.get("linux"), dict):
        description["linux"] = {name: value for name, value in linux.items() if name != "seed"}
    return description


def _same_release(version: str, record: MigrationResult) -> bool:
    return QemuVersion.parse(version).release == QemuVersion.parse(record.qemu_version).release


def _measured(profile: HostProfile) -> str:
    """Return when a profile's probes ran."""
    return str(profile.provenance.get("measured") or profile.provenance.get("made", ""))


def _other_machine(profile: HostProfile, record: MigrationResult) -> bool:
    """Return whether a profile was measured on other processors than the record."""
    of_profile, of_record = (file.provenance.get("machine") or {} for file in (profile, record))
    return any(of_profile.get(name) != of_record.get(name) for name in ("cpu_model", "cpus", "architecture"))


def _apart_s(started: str, record: MigrationResult) -> float:
    """Return the time between a trace or profile and a record; infinite where either has no date."""
    try:
        recorded = datetime.fromisoformat(record.provenance["made"])
        return abs((datetime.fromisoformat(started) - recorded).total_seconds())
    except (KeyError, TypeError, ValueError):
        return float("inf")


def _fresh_pages(scenario: LabScenario) -> int | None:
    """Return the pages that the destination has to find memory for; an aliased guest has only its one file."""
    alias = scenario.guest.alias_bytes
    return None if alias is None else alias // PAGE_BYTES


def _load(record: MigrationResult, scenario: LabScenario, host: HostProfile) -> float:
    """Return the share of its full speed that a lab guest needs.

    For the bare-metal guest: the writes it is told to make, over the writes it could make on this host. For a Linux
    guest: how busy it was before the migration.
    """
    if scenario.guest.linux is not None:
        reports = transactions(record)
        busy = reports.loc[reports["t_s"] <= 0].drop_duplicates("t_s")["busy_fraction"].mean()
        return 1.0 if busy != busy else float(min(max(busy / scenario.guest.vcpus, 0.01), 1.0))
    told_writes_per_s = scenario.guest.workload.writes_per_s
    if told_writes_per_s is None:
        return 1.0
    return min(told_writes_per_s / host.median("guest_writes_per_s"), 1.0)


def _writes_spread(record: MigrationResult, trace: Trace) -> float:
    """Return how far the guest's pace may lie from the traced one: more where another day was traced."""
    return OTHER_DAY_SPREAD if _apart_s(trace.meta.started, record) > SAME_DAY_S else 0.0


def _writes_scale(record: MigrationResult, trace: Trace, load: float) -> float:
    """Return the pace of a Linux guest without an idle processor, over the traced guest's pace; 1 for other guests.

    Such a guest's pace is set by the machine and differs from day to day. The pace of other guests is set by their
    users.
    """
    traced = trace.meta.self_check.get("operations_per_s_traced") if load >= BUSY_LOAD else None
    if not traced:
        return 1.0
    reports = transactions(record)
    before = reports[(reports["t_s"] <= 0) & (reports["t_s"] > -PACE_S)]
    return float(before["completed"].sum() / before.drop_duplicates("t_s")["interval_s"].sum() / traced)
