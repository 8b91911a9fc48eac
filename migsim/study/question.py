"""`Question`, the input of every study: one guest, its host, migration settings, and numbers of the simulation."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack

from migsim.engine.inputs import SimulationInput, check_ring, needed_terms
from migsim.errors import ParameterError, near_misses
from migsim.models.dirty.tcg_log import tcg_notes
from migsim.models.multifd.packets import check_multifd, zero_page_detection
from migsim.profiles import SIDES, HostProfile, Sides
from migsim.profiles.terms import TERMS
from migsim.qapi import NEWEST, OLDEST, QemuVersion
from migsim.qapi.machine_type import check_machine_type, machine_release
from migsim.scenario import MigrationSettings
from migsim.study.basis import Basis, basis_of
from migsim.study.modelled import LEFT_OUT, check_modelled, setting_notes
from migsim.study.quantities import QUANTITIES, read_count, read_number
from migsim.units import parse_duration_s
from migsim.workload import Workload

if TYPE_CHECKING:
    from migsim.calibrate.workload.fit import WorkloadFit
    from migsim.models.users.closed_loop import UserLoop
    from migsim.trace import Trace

__all__ = [
    "DRAWS",
    "Question",
    "QuestionKeywords",
    "Settings",
    "takes_question",
    "unmodelled_notes",
]

Settings = Mapping[str, Any] | Iterable[str] | MigrationSettings
"""Migration settings: a mapping by name, ``NAME=VALUE`` words, or settings that were read before."""

OTHER_DAY_SPREAD = 0.1
"""Deviation of a guest's write rate from one day to the next, as `Question.writes_spread`.

Two of our own guests that were traced on two days on one machine (`traces/hot-4g`, `hot-4g-b`, `sparse-128g`,
`sparse-128g-b`) wrote 12 % and 17 % more on the second, which is the deviation times the root of two.
"""

MOST_SPREAD = 1.0
"""Largest `Question.writes_spread`."""

DRAWS = 40
"""Simulated migrations behind the intervals of one prediction."""
Function = TypeVar("Function", bound=Callable[..., Any])


class QuestionKeywords(TypedDict, total=False):
    """The keyword arguments of `Question`, which every study takes too."""

    host: HostProfile | str | os.PathLike[str] | None
    settings: Settings | None
    qemu_version: QemuVersion | str | None
    load: float | str | None
    writes_scale: float | str
    writes_spread: float | str
    link_bytes_per_s: float | str | None
    deadline_s: float | str
    fresh_pages: int | str | None
    dirty_ring_size: int | str
    vcpus: int | str | None
    host_cpus: int | str | None
    machine_type: str | None
    sides: Sides
    users: UserLoop | None
    draws: int
    seed: int
    name: str


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Question:
    """One guest, its host, migration settings, and numbers of the simulation.

    Values are read and checked here, for Python and the command line alike: text with units is parsed, files are
    opened, and what is not given gets its default.

    Parameters
    ----------
    guest : Trace, Workload or path
        A trace that `migsim trace record` wrote, or a workload (a ``.json`` file).
    host : HostProfile or path, optional
        A profile that `migsim calibrate host` measured; by default the bundled one nearest to the QEMU version.
    settings : mapping, sequence of ``NAME=VALUE`` or MigrationSettings, optional
        Migration parameters and capabilities; the others have their release's defaults. Each setting is checked by
        itself; rules between settings are checked by `check` and `migration`.
    qemu_version : str, optional
        The version of QEMU that migrates, as "7.2" or "10.0"; by default that of the trace, then that of the profile.
    load : float, optional
        Share of its full speed that the guest needs for its work, above 0. At 1 the guest works as fast as it can, and
        does not catch up lost time. By default the workload's own; 1 for a trace.
    writes_scale : float
        Factor on the guest's write rates.
    writes_spread : float
        Deviation of the logarithm of the guest's write rate between the hour that was traced and the migration's,
        beside what the trace itself shows. 0 for a migration in the same hour; `OTHER_DAY_SPREAD` between two days of
        our own guests on one machine.
    link_bytes_per_s : float, optional
        Bandwidth of the network; by default the CPUs are the only limit.
    deadline_s : float
        The simulated time at which a migration is given up.
    fresh_pages : int, optional
        Data pages for which the destination has yet to allocate memory; by default all. 0 where it is preallocated.
    dirty_ring_size : int
        Entries of KVM's dirty ring of each vCPU; 0 for the dirty bitmap. dirty-limit needs a ring.
    vcpus : int, optional
        Number of vCPUs; by default the trace's, and 1 for a workload.
    host_cpus : int, optional
        Processors that the guest and multifd's channels share; by default the profile's.
    machine_type : str, optional
        The guest's, as "pc-q35-8.2": it keeps some of its release's rules. By default that of the migrating release.
    sides : {"two-hosts", "one-machine"}
        Where source and destination run: on two hosts, as a plan has them, or on one machine, where the scheduler may
        put both on one core, as in a record of the lab that was not pinned. The profile's costs of a page
        in the blackout are those for it, where it holds them.
    users : UserLoop, optional
        The guest's users, a closed loop, for `migsim.study.guest_performance`.
    draws : int
        Number of simulated migrations; 1 takes the medians and expected dirty counts.
    seed : int
        Seed of the draws: the same seed gives the same answer.
    name : str
        Name of the scenario in results.

    Raises
    ------
    ParameterError, UnitError
        For a value that no migration can have.
    TraceError, ProfileError
        For a file that cannot be read.

    Examples
    --------
    >>> idle = Workload(ram_bytes=2**30, ram_total_bytes=2**30, zero_pages=2**18)
    >>> question = Question(idle, qemu_version="10.0", settings=["max-bandwidth=1Gbps"], load="50%")
    >>> question.load, question.settings.parameters
    (0.5, {'max-bandwidth': 125000000})
    >>> question.assumptions[0]
    'The guest needs 50% of its full speed: it is slowed only below that, and catches up.'
    """

    guest: Trace | Workload
    host: HostProfile
    settings: MigrationSettings
    qemu_version: QemuVersion
    load: float | None
    writes_scale: float
    writes_spread: float
    link_bytes_per_s: float | None
    deadline_s: float
    fresh_pages: int | None
    dirty_ring_size: int
    vcpus: int
    host_cpus: int | None
    machine_type: str | None
    sides: Sides
    users: UserLoop | None
    draws: int
    seed: int
    name: str

    def __init__(
        self,
        guest: Trace | Workload | str | os.PathLike[str],
        *,
        host: HostProfile | str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
        qemu_version: QemuVersion | str | None = None,
        load: float | str | None = None,
        writes_scale: float | str = 1.0,
        writes_spread: float | str = 0.0,
        link_bytes_per_s: float | str | None = None,
        deadline_s: float | str = 1800.0,
        fresh_pages: int | str | None = None,
        dirty_ring_size: int | str = 0,
        vcpus: int | str | None = None,
        host_cpus: int | str | None = None,
        machine_type: str | None = None,
        sides: Sides = "two-hosts",
        users: UserLoop | None = None,
        draws: int = DRAWS,
        seed: int = 1,
        name: str = "",
    ) -> None:
        opened = _open_guest(guest)
        traced = None if isinstance(opened, Workload) else opened
        given = HostProfile.load(Path(host)) if isinstance(host, str | os.PathLike) else host
        version = _version(qemu_version, traced, given)
        asked_sides = _read_sides(sides)
        values = {
            "guest": opened,
            "host": (given or _bundled(version, traced)).for_sides(asked_sides),
            "settings": MigrationSettings.read(settings or {}, version),
            "qemu_version": version,
            "load": _read("load", load),
            "writes_scale": _read("writes-scale", writes_scale),
            "writes_spread": _read_spread(writes_spread),
            "link_bytes_per_s": _read("link", link_bytes_per_s),
            "deadline_s": _read("deadline", deadline_s),
            "fresh_pages": _read("fresh-pages", fresh_pages),
            "dirty_ring_size": _read("dirty-ring-size", dirty_ring_size),
            "vcpus": read_count("vcpus", _vcpus(traced) if vcpus is None else vcpus, least=1),
            "host_cpus": _read("host-cpus", host_cpus),
            "machine_type": _read_machine_type(machine_type),
            "sides": asked_sides,
            "users": _read_users(users),
            "draws": read_count("draws", draws, least=1),
            "seed": read_count("seed", seed, least=0),
            "name": _read_name(name),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    @classmethod
    def of(
        cls, guest: Question | Trace | Workload | str | os.PathLike[str], **keywords: Unpack[QuestionKeywords]
    ) -> Question:
        """Return the question about a guest; given a question, return it with `keywords` changed."""
        return guest.replace(**keywords) if isinstance(guest, Question) else cls(guest, **keywords)

    def replace(self, **keywords: Unpack[QuestionKeywords]) -> Self:
        """Return the question with some fields changed."""
        return self._changed(**keywords)

    def about(self, workload: Workload) -> Self:
        """Return the same question about another workload, whose load, rates and spread are taken as they are."""
        return self._changed(guest=workload, load=None, writes_scale=1.0, writes_spread=0.0)

    def _changed(self, **changes: Any) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)} | changes
        changed = type(self)(values.pop("guest"), **values)
        if changed.guest is self.guest and changed.host is self.host and "_fit" in self.__dict__:
            changed.__dict__["_fit"] = self.__dict__["_fit"]
        return changed

    @property
    def trace(self) -> Trace | None:
        """The guest's trace, where there is one."""
        return None if isinstance(self.guest, Workload) else self.guest

    @property
    def fit(self) -> WorkloadFit | None:
        """The fit of the trace; None for a workload.

        Raises
        ------
        TraceError, ProfileError
        """
        return None if isinstance(self.guest, Workload) else self._fit_of(self.guest)

    @property
    def is_fitted(self) -> bool:
        """Whether the fit of the trace is there already."""
        return "_fit" in self.__dict__

    def _fit_of(self, trace: Trace) -> WorkloadFit:
        if "_fit" not in self.__dict__:
            from migsim.calibrate.workload.fit import fit_workload

            self.__dict__["_fit"] = fit_workload(trace, dirty_fault_s=self.host.median("dirty_fault_s"))
        fit: WorkloadFit = self.__dict__["_fit"]
        return fit

    def workload(self, *, contents: bool | None = None) -> Workload:
        """Return the guest's workload, at the question's load and write rates, with a place for every class.

        Parameters
        ----------
        contents : bool, optional
            Whether to also fit how writes change the pages' contents; by default only where XBZRLE is on.

        Raises
        ------
        TraceError, ProfileError
        """
        guest = self.guest
        if isinstance(guest, Workload):
            workload = guest.laid_out()
        else:
            fit = self._fit_of(guest)
            workload = fit.workload
            if self.has_capability("xbzrle") if contents is None else contents:
                from migsim.calibrate.content import with_content

                workload = with_content(fit, guest)
        if self.load is not None and self.load != workload.load_fraction:
            workload = workload.replace(load_fraction=self.load)
        if self.writes_spread:
            workload = workload.replace(writes_spread=math.hypot(workload.writes_spread, self.writes_spread))
        return workload if self.writes_scale == 1 else workload.scaled(self.writes_scale)

    def has_capability(self, name: str) -> bool:
        """Whether a migration capability is switched on."""
        return bool(self.settings.capabilities.get(name, False))

    def check(self) -> MigrationSettings:
        """Check the rules between settings and the dirty ring; return the settings for the question's version.

        Raises
        ------
        ParameterError, UnitError
            For settings that QEMU would refuse.
        """
        checked = self.settings.for_version(self.qemu_version)
        check_machine_type(self.machine_type, self.qemu_version)
        check_ring(checked.capabilities, self.dirty_ring_size)
        check_multifd(checked.capabilities, checked.parameters, self.qemu_version)
        check_modelled(checked.parameters, checked.capabilities)
        return checked

    def migration(self, workload: Workload | None = None) -> SimulationInput:
        """Return the engines' input at the host's medians, with the rules between settings checked.

        Parameters
        ----------
        workload : Workload, optional
            A workload in place of the guest's own.

        Raises
        ------
        ParameterError, ProfileError, UnitError
        """
        checked = self.check()
        version = self.qemu_version
        machine = machine_release(self.machine_type) if self.machine_type else None
        zero_pages = zero_page_detection(checked.parameters, version, machine=machine)
        needed = needed_terms(checked.capabilities, zero_pages=zero_pages)
        return SimulationInput(
            workload=self.workload() if workload is None else workload,
            terms={
                name: self.host.median(name)
                for name in needed
                if name in self.host.terms or not TERMS[name].optional
            },
            version=version,
            # 2.5 and 2.6 have the throttle's parameters under names with x-.
            parameters={_current_name(name): value for name, value in checked.parameters.items()},
            capabilities=checked.capabilities,
            accel=self.host.accel,
            dirty_ring_size=self.dirty_ring_size,
            vcpus=self.vcpus,
            machine_type=self.machine_type,
            host_cpus=self.host_cpus,
            link_bytes_per_s=self.link_bytes_per_s,
            deadline_s=self.deadline_s,
            fresh_pages=self.fresh_pages,
            name=self.name,
        )

    @property
    def basis(self) -> Basis:
        """What an answer stands on: the profile, the guest and the link, and where one does not fit the others."""
        return basis_of(self)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What an answer takes for granted or leaves out, a sentence each."""
        return self.assumptions_of(self.workload())

    def assumptions_of(
        self, workload: Workload, capabilities: Mapping[str, bool] | None = None
    ) -> tuple[str, ...]:
        """Return `assumptions` for another workload, or with other capabilities switched on."""
        return (*workload.assumptions, *self.notes(workload.load_fraction, capabilities))

    def notes(self, load: float, capabilities: Mapping[str, bool] | None = None) -> tuple[str, ...]:
        """Return the assumptions that do not come from the workload; `load` is the share of speed the guest needs."""
        switched = self.settings.capabilities if capabilities is None else capabilities
        return (
            *host_cpus_notes(self.host_cpus, multifd=bool(switched.get("multifd"))),
            pace_note(load),
            *self._spread_notes(),
            *slice_notes(self.host, throttled=bool(switched.get("auto-converge"))),
            *unmodelled_notes(self.qemu_version, self.settings.parameters, switched, self.host.accel),
        )

    def _spread_notes(self) -> tuple[str, ...]:
        if not self.writes_spread:
            return ()
        return (
            f"The guest's write rate at the migration lies within {self.writes_spread:.0%} of the traced one, one "
            "deviation each way, beside what the trace shows.",
        )

    def without_users(self) -> tuple[str, ...]:
        """Return the sentence of an answer that does not hold what the question's users lose."""
        if self.users is None:
            return ()
        return ("What the users lose is not in this answer: predict, then ask for the guest's performance.",)

    def as_dict(self) -> dict[str, Any]:
        """Return all that determines an answer as plain data: the workload and the host's terms, not their files."""
        plain = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("guest", "host", "settings", "qemu_version", "users")
        }
        return plain | {
            "workload": self.workload().as_dict(),
            "terms": self.host.as_dict()["terms"],
            "accel": self.host.accel,
            "qemu_version": str(self.qemu_version),
            "settings": self.settings.as_dict(),
            "users": repr(self.users),
        }

    def __repr__(self) -> str:
        guest = (
            self.guest.source or "a workload" if isinstance(self.guest, Workload) else self.guest.path.name
        )
        named = {**self.settings.parameters, **self.settings.capabilities}
        settings = ": " + ", ".join(f"{name}={value}" for name, value in named.items()) if named else ""
        return f"<Question {guest} under QEMU {self.qemu_version} ({self.host.accel}){settings}>"


def _current_name(parameter: str) -> str:
    return parameter.removeprefix("x-") if parameter.startswith("x-cpu-throttle-") else parameter


def _read_users(users: Any) -> UserLoop | None:
    from migsim.models.users.closed_loop import UserLoop

    if isinstance(users, UserLoop):
        read_count("users", users.users, least=1)
        read_count("vcpus of the users' guest", users.vcpus, least=1)
        parse_duration_s(users.think_s, field="think")
        parse_duration_s(users.demand_s, field="demand")
    if users is None or isinstance(users, UserLoop):
        return users
    raise ParameterError(
        f"users is {users!r}.",
        "It is a UserLoop: how many, how long they think.",
        "Give one, or leave it out.",
    )


def _read_spread(value: Any) -> float:
    """Return the deviation of the write rate's logarithm, checked."""
    spread = read_number("writes-spread", value)
    if spread <= MOST_SPREAD:
        return spread
    raise ParameterError(
        f"writes-spread is {value!r}.",
        f"It is a deviation of the logarithm of the write rate, at most {MOST_SPREAD:g}: a factor of three each way.",
        "Write it like 10%.",
    )


def _read_sides(value: Any) -> Sides:
    """Return where both sides run, checked."""
    if value in SIDES:
        sides: Sides = value
        return sides
    raise ParameterError(
        f"sides is {value!r}.",
        f"Source and destination run on {' or on '.join(SIDES)}.",
        near_misses(str(value), SIDES) or "Leave it out to plan for two hosts.",
    )


def _read_machine_type(machine_type: Any) -> str | None:
    if machine_type is None:
        return None
    machine_release(str(machine_type))  # raises for a name that is none
    return str(machine_type)


def _read_name(name: Any) -> str:
    if isinstance(name, str):
        return name
    raise ParameterError(f"name is {name!r}.", "It is text, shown in results.", "Give text, or leave it out.")


def _vcpus(trace: Trace | None) -> int:
    """Return the number of the traced guest's vCPUs; 1 where it is not known."""
    return (trace.meta.vcpus if trace else 0) or 1


def pace_note(load: float) -> str:
    """Return the sentence on whether the guest catches up lost time."""
    if load == 1:
        return "The guest works in a closed loop: time lost to the migration is not caught up."
    return f"The guest needs {load:.0%} of its full speed: it is slowed only below that, and catches up."


def slice_notes(host: HostProfile, *, throttled: bool) -> list[str]:
    """Return the sentence on what a throttled guest's slices do, where the profile does not tell."""
    if not throttled or "slice_lost_s" in host.terms:
        return []
    return [
        "A throttled guest is taken to do its whole share: what its sleeps cost beside their length was not measured "
        "(`migsim calibrate guest`)."
    ]


def unmodelled_notes(
    version: QemuVersion, parameters: Mapping[str, Any], capabilities: Mapping[str, bool], accel: str
) -> list[str]:
    """Return what was asked for and is not modelled, or changes nothing, a sentence each."""
    notes = setting_notes(parameters, capabilities)
    if version.release > NEWEST:
        notes.append(f"QEMU {version} is taken to behave like {NEWEST}, the newest release that is known.")
    if version.release > QemuVersion(11, 0):
        notes.append(
            "From 11.1 on QEMU computes expected-downtime when asked, with the devices' part: this is not modelled."
        )
    if capabilities.get("multifd") and QemuVersion(4, 0) <= version < QemuVersion(8, 0):
        notes.append(
            "Before 8.0 and where processors are short up to a page of each packet goes twice: 0.4 % is added."
        )
    if version.release == QemuVersion(8, 1):
        notes.append(
            "QEMU 8.1 writes each page by itself: its pages take longer than a profile of another release says."
        )
    return [*notes, *tcg_notes(version, accel), LEFT_OUT]


def host_cpus_notes(host_cpus: int | None, *, multifd: bool) -> list[str]:
    """Return that host-cpus plays no part, where it is given and does not."""
    if host_cpus is None or multifd:
        return []
    return ["host-cpus changes nothing without multifd: only its channels share processors with the guest."]


def takes_question(*, draws: int = DRAWS) -> Callable[[Function], Function]:
    """Show the keywords of `Question` in the signature of a study that takes them as ``**keywords``.

    Parameters
    ----------
    draws : int
        The study's default number of draws.
    """

    def shown(function: Function) -> Function:
        signature = inspect.signature(function)
        kept = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        shared = [
            p.replace(default=draws) if p.name == "draws" else p
            for p in inspect.signature(Question).parameters.values()
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        vars(function)["__signature__"] = signature.replace(parameters=[*kept, *shared])
        return function

    return shown


def _open_guest(guest: Trace | Workload | str | os.PathLike[str]) -> Trace | Workload:
    if not isinstance(guest, str | os.PathLike):
        return guest
    path = Path(guest)
    if path.suffix == ".json":
        return Workload.load(path)
    from migsim.trace import Trace

    return Trace.open(path)


def _version(given: QemuVersion | str | None, trace: Trace | None, host: HostProfile | None) -> QemuVersion:
    found = given or (trace.meta.qemu_version if trace else None) or (host.qemu_version if host else None)
    if not found:
        raise ParameterError(
            "Neither a QEMU version nor a host profile is given.",
            "A workload does not say which QEMU migrates it.",
            "Give qemu_version or host.",
        )
    wanted = QemuVersion.parse(found)
    if wanted < OLDEST:
        raise ParameterError(
            f"QEMU {wanted} cannot be predicted.",
            f"migsim models {OLDEST} and later.",
            "Choose a later version, as 7.2 or 10.0.",
        )
    return wanted


def _bundled(version: QemuVersion, trace: Trace | None) -> HostProfile:
    from migsim.profiles.bundled import bundled_profile

    return bundled_profile(version, (trace.meta.accel if trace else None) or "kvm")


def _read(name: str, value: Any) -> Any:
    """Read a quantity; None stays None where it stands for a default that is no number."""
    if value is None and name in ("load", "link", "fresh-pages", "host-cpus"):
        return None
    return QUANTITIES[name].read(value)
