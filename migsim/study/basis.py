"""`Basis`, what an answer stands on: host profile, guest and link; and warnings where they do not fit the question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from migsim.html import html_list
from migsim.profiles import HostProfile, Sides
from migsim.profiles.bundled import bundled_profile
from migsim.qapi import QemuVersion
from migsim.units import PAGE_BYTES, format_duration_s, format_rate
from migsim.workload import Workload

if TYPE_CHECKING:
    from migsim.results import MigrationResult
    from migsim.study.question import Question
    from migsim.trace import Trace

__all__ = [
    "Basis",
    "basis_html",
    "basis_of",
    "fastest_bytes_per_s",
    "first_pass_warning",
    "short_trace_warning",
    "short_window_warning",
]

MEASURED_CHANNELS = 4
"""Most multifd channels that `migsim calibrate multifd` measures with."""


@dataclass(frozen=True)
class Basis:
    """What an answer stands on, a sentence each.

    Attributes
    ----------
    profile, guest, link : str
        The host profile, the trace or workload, and the network, with what bounds them.
    warnings : tuple of str
        Where one of them does not fit the question or another, the most important first.
    """

    profile: str
    guest: str
    link: str
    warnings: tuple[str, ...] = ()

    def with_warnings(self, warnings: Iterable[str]) -> Basis:
        """Return the basis with more warnings."""
        return replace(self, warnings=(*self.warnings, *warnings))

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """Pairs of a heading and a sentence: warnings first, then profile, guest and link."""
        return (
            *(("warning", text) for text in self.warnings),
            ("profile", self.profile),
            ("guest", self.guest),
            ("link", self.link),
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """`lines` as text."""
        return tuple(f"{heading}: {text}" for heading, text in self.lines)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Basis:
        """Return the basis that `as_dict` gave."""
        return cls(data["profile"], data["guest"], data["link"], tuple(data["warnings"]))

    def as_dict(self) -> dict[str, Any]:
        """Return the basis as plain data."""
        return {
            "profile": self.profile,
            "guest": self.guest,
            "link": self.link,
            "warnings": list(self.warnings),
        }


def basis_html(basis: Basis | None) -> str:
    """Return the lines as an HTML list; nothing without a basis."""
    return html_list("Stands on", basis.sentences) if basis else ""


def basis_of(question: Question, capabilities: Mapping[str, bool] | None = None) -> Basis:
    """Return what the answers to a question stand on.

    Parameters
    ----------
    question : Question
    capabilities : mapping, optional
        Capabilities in place of the question's, where some of them vary.
    """
    switched = question.settings.capabilities if capabilities is None else capabilities
    return Basis(
        _profile_text(question.host, question.sides),
        _workload_text(question.guest)
        if isinstance(question.guest, Workload)
        else _trace_text(question.guest, question),
        _link_text(question),
        tuple(_warnings(question, switched)),
    )


def fastest_bytes_per_s(host: HostProfile) -> float:
    """Return what the host sends at the most on one channel: pages again and again, or in the blackout."""
    times = [host.terms[name].median for name in ("normal_page_s", "burst_page_s") if name in host.terms]
    least = min((t for t in times if t > 0), default=0.0)
    return PAGE_BYTES / least if least else float("inf")


def into_fresh_memory_bytes_per_s(host: HostProfile) -> float:
    """Return what the host sends on one channel where the destination has yet to find memory for each page."""
    fresh = host.terms["fresh_page_s"].median if "fresh_page_s" in host.terms else 0.0
    return PAGE_BYTES / fresh if fresh else float("inf")


def _profile_text(host: HostProfile, sides: Sides) -> str:
    machine = host.machine or host.provenance.get("machine") or {}
    facts = [str(machine["cpu_model"])] if machine.get("cpu_model") else []
    if machine.get("cpus"):
        facts.append(f"{machine['cpus']} processors" if machine["cpus"] != 1 else "1 processor")
    facts += [host.accel.upper(), f"QEMU {host.qemu_version}"]
    measured = str(host.provenance.get("measured") or host.provenance.get("made") or "")[:10]
    source = "bundled, not of your host" if _is_bundled(host) else "given"
    text = f"{source}: {', '.join(facts)}{f', measured {measured}' if measured else ''}"
    fastest, fresh = fastest_bytes_per_s(host), into_fresh_memory_bytes_per_s(host)
    if fastest < float("inf"):
        text += f"; one channel sends at most {_gbps(fastest)}"
    if fresh < fastest:
        text += f", {_gbps(fresh)} where the destination has yet to allocate"
    return f"{text}; {_SWITCHOVER[host.sides == 'two-hosts', sides == 'two-hosts']}."


_SWITCHOVER = {
    (True, True): "its switchover was measured with each side on cores of its own, as two hosts have them",
    (
        False,
        True,
    ): "its switchover was measured with both sides on the same cores: a page of it takes two hosts "
    "as little as half of that",
    (False, False): "its switchover was measured with both sides on the same cores, as they are here",
    (
        True,
        False,
    ): "its switchover was measured with each side on cores of its own, which they do not have here",
}
"""Where a switchover was measured, by whether that was as on two hosts, and whether two hosts are asked about."""


def _is_bundled(host: HostProfile) -> bool:
    return bundled_profile(host.qemu_version, host.accel).for_sides(host.sides) == host


def _trace_text(trace: Trace, question: Question) -> str:
    meta, shortest_s = trace.meta, _shortest_window_s(trace, question)
    text = f"{trace.path.name}, traced by {meta.collector} for {format_duration_s(meta.duration_s)}"
    if meta.started:
        text += f" on {meta.started[:10]}"
    if shortest_s is not None:
        text += f"; its shortest window is {format_duration_s(shortest_s)}"
    return text + (f"; {meta.lost_events:,} events lost." if meta.lost_events else ".")


def _shortest_window_s(trace: Trace, question: Question) -> float | None:
    # A fit that is there spares reading the curve, and pandas.
    windows = (
        question.fit.spectrum.window_s
        if question.is_fitted and question.fit
        else trace.unique_dirty_curve().window_s
    )
    # Points of the curve are means over windows of a length.
    shortest = [float(each.min()) for each in (windows, trace.columns("windows")["measured_s"]) if len(each)]
    return min(shortest, default=None)


def _workload_text(workload: Workload) -> str:
    return f"a workload, not a trace: {workload.source or 'declared'}."


def _link_text(question: Question) -> str:
    if question.link_bytes_per_s is not None:
        return f"{_gbps(question.link_bytes_per_s)}."
    burst = question.host.terms.get("burst_page_s")
    if burst is None or not burst.median:
        return "none given: the network is no limit."
    return (
        f"none given. The last pages, which max-bandwidth does not limit, go at up to "
        f"{_gbps(PAGE_BYTES / burst.median)}, as fast as the profile's processors send them."
    )


def _gbps(bytes_per_s: float) -> str:
    return format_rate(float(f"{bytes_per_s:.3g}"), bits=True)


def _warnings(question: Question, capabilities: Mapping[str, bool]) -> Iterable[str]:
    host, version = question.host, question.qemu_version
    trace = question.trace
    if trace is not None:
        yield from _trace_warnings(trace, question)
    if _release(host.qemu_version) != version.release:
        yield f"The host profile was measured with QEMU {host.qemu_version}, not {version}."
    yield from _processor_warnings(question, multifd=bool(capabilities.get("multifd")))
    yield from _rate_warnings(question, capabilities)


def _processor_warnings(question: Question, *, multifd: bool) -> Iterable[str]:
    """Yield where a question goes beyond the processors of the profile's own machine."""
    host, vcpus, host_cpus = question.host, question.vcpus, question.host_cpus
    term = host.terms.get("multifd_cpus")
    if multifd and term is not None:
        own = term.median
        if host_cpus is not None and host_cpus != own:
            yield f"Times of a page measured with {own:g} processors are taken to hold with {host_cpus}."
        elif host_cpus is None and vcpus > own:
            yield (
                f"The guest's {vcpus} vCPUs and the channels share {own:g} processors, those of the profile's machine: "
                "say how many the host has (host-cpus)."
            )
        return
    machine = host.machine or host.provenance.get("machine") or {}
    cpus = machine.get("cpus")
    if isinstance(cpus, int) and vcpus > cpus:
        yield (
            f"The guest has {vcpus} vCPUs, and the profile's host {cpus} processors: "
            "costs that they share are those of that host."
        )


def _trace_warnings(trace: Trace, question: Question) -> Iterable[str]:
    meta = trace.meta
    if meta.accel and meta.accel != question.host.accel:
        yield (
            f"The trace is of a guest under {meta.accel.upper()}, the profile of {question.host.accel.upper()}: "
            "the guest's pace and the costs are not of one host."
        )
    if not meta.complete:
        yield f"The trace was cut short{f': {meta.note}' if meta.note else ''}."
    if meta.lost_events:
        yield f"{meta.lost_events:,} events of the trace were lost: it holds fewer writes than the guest made."
    if _release(meta.qemu_version) != question.qemu_version.release:
        yield (
            f"The trace was recorded under QEMU {meta.qemu_version}, and QEMU {question.qemu_version} migrates: "
            "what a release resolves, and the guest's pace under it, differ."
        )


def _rate_warnings(question: Question, capabilities: Mapping[str, bool]) -> Iterable[str]:
    parameters = question.settings.parameters
    if capabilities.get("multifd"):
        channels = int(parameters.get("multifd-channels", 2))
        if channels > MEASURED_CHANNELS:
            yield (
                f"multifd-channels is {channels}; profiles are measured with up to {MEASURED_CHANNELS}: "
                "how more of them share the processors is extrapolated."
            )
        return
    fastest = fastest_bytes_per_s(question.host)
    given = {"max-bandwidth": parameters.get("max-bandwidth"), "link": question.link_bytes_per_s}
    beyond = {name: rate for name, rate in given.items() if rate and rate > fastest}
    if beyond:
        name, rate = max(beyond.items(), key=lambda pair: pair[1])
        yield (
            f"{name} is {_gbps(rate)}; the profile's host sends at most {_gbps(fastest)} on one channel, "
            "and a faster host more."
        )


def _release(version: str) -> Any:
    return QemuVersion.parse(version).release


def short_window_warning(question: Question, rounds: float) -> tuple[str, ...]:
    """Return the warning that the verdict hangs on windows shorter than the trace's, where it does.

    A migration converges once a round leaves no more than can be sent within the downtime limit. So what the guest
    dirties in windows of that length decides, unless the first rounds leave little anyway.

    Parameters
    ----------
    question : Question
    rounds : float
        Of the predicted migration; NaN where it does not converge.
    """
    trace = question.trace
    shortest_s = _shortest_window_s(trace, question) if trace is not None else None
    limit_s = question.settings.effective(question.qemu_version)["downtime-limit"] / 1000
    if shortest_s is None or limit_s >= shortest_s or rounds <= FEW_ROUNDS:
        return ()
    return (
        f"The verdict hangs on what the guest dirties in some {format_duration_s(limit_s)}, the downtime limit; the "
        f"trace's shortest window is {format_duration_s(shortest_s)}: shorter ones are extrapolated.",
    )


FEW_ROUNDS = 4
"""Bitmap syncs of a migration that is through before short windows matter."""


def first_pass_warning(question: Question, results: Sequence[MigrationResult]) -> tuple[str, ...]:
    """Return the warning that where zero pages lie decides and is not known, where it is so of most migrations.

    A guest that is stopped before each of its pages was sent once leaves the end of its RAM: up to the switchover
    threshold of pages that hold data, or are zero.

    Parameters
    ----------
    question : Question
    results : sequence of MigrationResult
        The predicted migrations, all of which complete.
    """
    guest, trace = question.guest, question.trace
    if isinstance(guest, Workload):
        zero, known = guest.zero_pages, bool(guest.zero_extents)
    else:
        zero, known = guest.meta.zero_pages or 0, guest.meta.data_map is not None
    if known or not zero:
        return ()
    page_s = question.host.median("burst_fresh_page_s")
    limit_s = question.settings.effective(question.qemu_version)["downtime-limit"] / 1000
    hanging = sum(
        min(_left_of_first_pass(result, limit_s), zero) * page_s * 1000 > _MATTERS * result.downtime_ms
        for result in results
    )
    if 2 * hanging <= len(results):
        return ()
    return (
        "The guest is stopped within the first pass over its RAM or soon after, and the "
        f"{'workload' if trace is None else 'trace'} does not say where its zero pages lie: the downtime hangs on "
        "whether the end of RAM is zero. A trace that the stream collector records anew says it.",
    )


def _left_of_first_pass(result: MigrationResult, limit_s: float) -> float:
    """Return how many pages a stop within the first pass may leave, 0 where the migration stops well after that."""
    ram = result.info["ram"]
    threshold = ram["mbps"] * 1e6 / 8 * limit_s / PAGE_BYTES
    sent = ram["normal"] + ram["duplicate"] - (result.outcome.left_bytes or 0) / PAGE_BYTES
    return float(threshold) if sent < ram["total"] / PAGE_BYTES + threshold else 0.0


_MATTERS = 0.5
"""Part of the predicted downtime by which it may be wrong, from which on an answer says so."""


def short_trace_warning(question: Question, total_time_s: float) -> tuple[str, ...]:
    """Return the warning that a predicted migration lasts longer than the trace, where it does."""
    trace = question.trace
    if trace is None or not total_time_s > trace.meta.duration_s > 0:
        return ()
    return (
        f"The predicted migration lasts {format_duration_s(total_time_s)}, the trace "
        f"{format_duration_s(trace.meta.duration_s)}: that the guest goes on like this is assumed.",
    )
