"""From what a run showed to a `MigrationResult`: outcome, rounds, timeline, switchover, logs, provenance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from migsim.errors import GuestError
from migsim.lab import guest_log
from migsim.lab.linux_machine import image_facts
from migsim.lab.qemu import QemuProcess, without_folders
from migsim.lab.rounds import round_rows
from migsim.lab.switchover import blackout_ms, downtime_parts_ms
from migsim.lab.trace_events import TraceEvent, parse_trace_log
from migsim.provenance import Provenance
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.lab.migrate import ObservedRun
    from migsim.results import MigrationResult, Outcome
    from migsim.scenario import LabScenario

__all__ = ["make_result"]


def make_result(scenario: LabScenario, seen: ObservedRun, *, command: str = "") -> MigrationResult:
    """Put a run in order.

    Parameters
    ----------
    scenario : LabScenario
        What was asked for.
    seen : ObservedRun
        What was seen; both QEMU processes still run, or their logs are still there.
    command : str
        The command line that asked for it.
    """
    from migsim.results import MigrationResult, iterations_frame, timeline_frame

    trace = parse_trace_log(seen.source.trace_lines())
    began, ended = _bounds(trace, seen)
    info = _info(seen.samples[-1])
    rows = round_rows(trace, seen.samples, began, ended)
    completed = info.get("status") == "completed"
    return MigrationResult(
        kind="measured",
        name=scenario.name,
        qemu_version=str(seen.source.qmp.version),
        accel=scenario.qemu.accel,
        outcome=_outcome(seen, info, rows),
        info=info,
        iterations=iterations_frame(rows),
        timeline=timeline_frame((sample["seconds"] - began, _info(sample)) for sample in seen.samples),
        events=_events(seen),
        downtime_parts_ms=downtime_parts_ms(trace, info.get("downtime", 0)) if completed else {},
        blackout_ms=blackout_ms(seen.source.qmp.events, seen.destination.qmp.events)
        if completed
        else math.nan,
        scenario=scenario.as_dict(),
        provenance=_provenance(scenario, seen, command),
        guest_log=(seen.serial_watch or guest_log.SerialWatch(seen.source, seen.destination)).lines(began),
        host_load=seen.host_load,
    )


def _bounds(trace: list[TraceEvent], seen: ObservedRun) -> tuple[float, float]:
    """Return when QEMU's own clock for `total-time` began and ended, host clock."""
    states = {e.text.removeprefix("new state "): e.seconds for e in trace if e.name == "migrate_set_state"}
    ended = next(
        (states[name] for name in ("completed", "failed", "cancelling") if name in states), seen.ended
    )
    return states.get("setup", seen.began), ended


def _info(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sample.items() if name != "seconds"}


def _events(seen: ObservedRun) -> list[dict[str, Any]]:
    found = [
        {"name": event.name, "seconds": event.seconds, "data": event.data, "side": side.role}
        for side in (seen.source, seen.destination)
        for event in side.qmp.events
    ]
    return sorted(found, key=lambda event: event["seconds"])


def _outcome(seen: ObservedRun, info: dict[str, Any], rows: list[dict[str, Any]]) -> Outcome:
    from migsim.results import Outcome

    status = info.get("status")
    if seen.not_converged:
        return _fault(seen.source) or Outcome("not-converged", _why_not(seen, info, rows))
    if status == "completed":
        return _after_arrival(seen)
    reason = str(info.get("error-desc", "")) or f"QEMU gives no reason for the state {status}."
    if not seen.destination.alive:
        reason = f"{reason.rstrip('.')}. The destination's last words: {seen.destination.last_words()}"
    return Outcome("cancelled" if status == "cancelled" else "failed", reason)


def _after_arrival(seen: ObservedRun) -> Outcome:
    """Judge a migration that QEMU calls completed by how the guest fared."""
    from migsim.results import Outcome

    fault = _fault(seen.destination) or _fault(seen.source)
    if fault is not None:
        return fault
    if not seen.progressed:
        return Outcome("failed", "The guest did not go on at the destination: its serial port stayed silent.")
    return Outcome("completed", "")


def _fault(side: QemuProcess) -> Outcome | None:
    """Return the failure that the guest tells of, in its own words."""
    from migsim.results import Outcome

    try:
        guest_log.log_of(side).raise_for_fault()
    except GuestError as error:
        return Outcome("failed", error.what)
    return None


def _why_not(seen: ObservedRun, info: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Say in one sentence why the deadline came first, from the last whole round."""
    ram = info.get("ram", {})
    begin = (
        f"Not converged after {seen.ended - seen.began:.0f} s and {ram.get('dirty-sync-count', 0)} syncs: "
        f"{ram.get('remaining', 0) / 1e6:.0f} MB remained"
    )
    if len(rows) < 3:
        sent = _rate(ram.get("transferred", 0), seen.ended - seen.began)
        return f"{begin}; the first rounds took all the time, at {sent}."
    last, after = rows[-2:]
    duration_s = last["end_s"] - last["start_s"]
    return (
        f"{begin}; in its last whole round of {duration_s:.2f} s the guest dirtied "
        f"{_rate(after['dirty_pages'] * PAGE_BYTES, duration_s)} "
        f"while {_rate(last['transferred_bytes'], duration_s)} were sent."
    )


def _rate(size: float, seconds: float) -> str:
    return f"{size / 1e6 / seconds if seconds > 0 else 0.0:.1f} MB/s"


def _provenance(scenario: LabScenario, seen: ObservedRun, command: str) -> dict[str, Any]:
    made = Provenance.now(command, qemu=f"{seen.source.qmp.version} {seen.source.qmp.package}".strip())
    lines = {side.role: without_folders(side.arguments) for side in (seen.source, seen.destination)}
    image = {"linux_image": image_facts()} if scenario.guest.linux is not None else {}
    return made.as_dict() | {"qemu_arguments": lines} | image
