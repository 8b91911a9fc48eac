"""From an observed migration to a `MigrationResult`: outcome, rounds, timeline, switchover, logs, provenance."""

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


def make_result(scenario: LabScenario, run: ObservedRun, *, command: str = "") -> MigrationResult:
    """Make the result of an observed migration.

    Parameters
    ----------
    scenario : LabScenario
        The scenario that was run.
    run : ObservedRun
        What was observed; the logs of both QEMUs still exist.
    command : str
        The command line of migsim, for the provenance.
    """
    from migsim.results import MigrationResult, iterations_frame, timeline_frame

    trace = parse_trace_log(run.source.trace_lines())
    began, ended = _bounds(trace, run)
    info = _info(run.samples[-1])
    rows = round_rows(trace, run.samples, began, ended)
    completed = info.get("status") == "completed"
    return MigrationResult(
        kind="measured",
        name=scenario.name,
        qemu_version=str(run.source.qmp.version),
        accel=scenario.qemu.accel,
        outcome=_outcome(run, info, rows),
        info=info,
        iterations=iterations_frame(rows),
        timeline=timeline_frame((sample["seconds"] - began, _info(sample)) for sample in run.samples),
        events=_events(run),
        downtime_parts_ms=downtime_parts_ms(trace, info.get("downtime", 0)) if completed else {},
        blackout_ms=blackout_ms(run.source.qmp.events, run.destination.qmp.events) if completed else math.nan,
        scenario=scenario.as_dict(),
        provenance=_provenance(scenario, run, command),
        guest_log=(run.serial_watch or guest_log.SerialWatch(run.source, run.destination)).lines(began),
        host_load=run.host_load,
    )


def _bounds(trace: list[TraceEvent], run: ObservedRun) -> tuple[float, float]:
    """Return when the time that QEMU counts as `total-time` began and ended, on the host's clock."""
    states = {e.text.removeprefix("new state "): e.seconds for e in trace if e.name == "migrate_set_state"}
    ended = next(
        (states[name] for name in ("completed", "failed", "cancelling") if name in states), run.ended
    )
    return states.get("setup", run.began), ended


def _info(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sample.items() if name != "seconds"}


def _events(run: ObservedRun) -> list[dict[str, Any]]:
    found = [
        {"name": event.name, "seconds": event.seconds, "data": event.data, "side": side.role}
        for side in (run.source, run.destination)
        for event in side.qmp.events
    ]
    return sorted(found, key=lambda event: event["seconds"])


def _outcome(run: ObservedRun, info: dict[str, Any], rows: list[dict[str, Any]]) -> Outcome:
    from migsim.results import Outcome

    status = info.get("status")
    if run.not_converged:
        return _fault(run.source) or Outcome("not-converged", _why_not_converged(run, info, rows))
    if status == "completed":
        return _after_arrival(run)
    reason = str(info.get("error-desc", "")) or f"QEMU gives no reason for the state {status}."
    if not run.destination.alive:
        reason = f"{reason.rstrip('.')}. The destination's last words: {run.destination.last_words()}"
    return Outcome("cancelled" if status == "cancelled" else "failed", reason)


def _after_arrival(run: ObservedRun) -> Outcome:
    """Return the outcome of a migration that QEMU calls completed: it failed where the guest does not work on."""
    from migsim.results import Outcome

    fault = _fault(run.destination) or _fault(run.source)
    if fault is not None:
        return fault
    if not run.progressed:
        return Outcome("failed", "The guest did not go on at the destination: its serial port stayed silent.")
    return Outcome("completed", "")


def _fault(side: QemuProcess) -> Outcome | None:
    """Return the outcome where the guest's log reports a fault, None where it reports none."""
    from migsim.results import Outcome

    try:
        guest_log.log_of(side).raise_for_fault()
    except GuestError as error:
        return Outcome("failed", error.what)
    return None


def _why_not_converged(run: ObservedRun, info: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Say in one sentence why the migration did not converge, from its last whole round."""
    ram = info.get("ram", {})
    begin = (
        f"Not converged after {run.ended - run.began:.0f} s and {ram.get('dirty-sync-count', 0)} syncs: "
        f"{ram.get('remaining', 0) / 1e6:.0f} MB remained"
    )
    if len(rows) < 3:
        sent = _rate(ram.get("transferred", 0), run.ended - run.began)
        return f"{begin}; the first rounds took all the time, at {sent}."
    last, following = rows[-2:]
    duration_s = last["end_s"] - last["start_s"]
    return (
        f"{begin}; in its last whole round of {duration_s:.2f} s the guest dirtied "
        f"{_rate(following['dirty_pages'] * PAGE_BYTES, duration_s)} "
        f"while {_rate(last['transferred_bytes'], duration_s)} were sent."
    )


def _rate(size: float, seconds: float) -> str:
    return f"{size / 1e6 / seconds if seconds > 0 else 0.0:.1f} MB/s"


def _provenance(scenario: LabScenario, run: ObservedRun, command: str) -> dict[str, Any]:
    provenance = Provenance.now(command, qemu=f"{run.source.qmp.version} {run.source.qmp.package}".strip())
    arguments = {side.role: without_folders(side.arguments) for side in (run.source, run.destination)}
    image = {"linux_image": image_facts()} if scenario.guest.linux is not None else {}
    cores = {"cores": run.cores.as_dict()} if run.cores is not None else {}
    return provenance.as_dict() | {"qemu_arguments": arguments} | cores | image
