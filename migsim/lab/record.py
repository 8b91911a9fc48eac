"""From what a run showed to a `MigrationResult`: outcome, rounds, timeline, switchover, logs, provenance."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from migsim.lab import guest_log
from migsim.lab.qemu import QemuProcess, shortened
from migsim.lab.rounds import Round, rounds
from migsim.lab.switchover import blackout_ms, downtime_parts_ms
from migsim.lab.trace_events import TraceEvent, parse_trace_log
from migsim.provenance import Provenance

if TYPE_CHECKING:
    from migsim.lab.migrate import Observed
    from migsim.results import MigrationResult, Outcome
    from migsim.scenario import LabScenario

__all__ = ["make_result"]

_PAGE_BYTES = 4096


def make_result(scenario: LabScenario, seen: Observed, *, command: str = "") -> MigrationResult:
    """Put a run in order.

    Parameters
    ----------
    scenario : LabScenario
        What was asked for.
    seen : Observed
        What was seen; both QEMU processes still run, or their logs are still there.
    command : str
        The command line that asked for it.
    """
    import pandas as pd

    from migsim.results import MigrationResult

    trace = parse_trace_log(seen.source.trace_lines())
    began, ended = _bounds(trace, seen)
    info = _last_info(seen)
    rows = rounds(trace, seen.samples, began, ended)
    completed = info.get("status") == "completed"
    return MigrationResult(
        kind="measured",
        name=scenario.name,
        qemu_version=str(seen.source.qmp.version),
        accel=scenario.qemu.accel,
        outcome=_outcome(seen, info, rows),
        info=info,
        iterations=pd.DataFrame([dataclasses.asdict(row) for row in rows]),
        timeline=_timeline(seen.samples, began),
        events=_events(seen),
        downtime_parts_ms=downtime_parts_ms(trace, info.get("downtime", 0)) if completed else {},
        blackout_ms=blackout_ms(seen.source.qmp.events, seen.destination.qmp.events) if completed else None,
        scenario=scenario.as_dict(),
        provenance=_provenance(seen, command),
        guest_log=_guest_lines("source", seen.source) + _guest_lines("destination", seen.destination),
        host_load=seen.host_load,
    )


def _bounds(trace: list[TraceEvent], seen: Observed) -> tuple[float, float]:
    """Return when QEMU's own clock for `total-time` began and ended, host clock."""
    states = {e.text.removeprefix("new state "): e.seconds for e in trace if e.name == "migrate_set_state"}
    ended = next(
        (states[name] for name in ("completed", "failed", "cancelling") if name in states), seen.ended
    )
    return states.get("setup", seen.began), ended


def _last_info(seen: Observed) -> dict[str, Any]:
    return {name: value for name, value in seen.samples[-1].items() if name != "seconds"}


def _timeline(samples: list[dict[str, Any]], began: float) -> Any:
    """Return one row a sample: ``t_s``, then the answer's fields, nested ones with a dot between."""
    import pandas as pd

    frame = pd.json_normalize(samples)
    frame.insert(0, "t_s", frame.pop("seconds") - began)
    return frame


def _events(seen: Observed) -> list[dict[str, Any]]:
    found = [
        {"name": event.name, "seconds": event.seconds, "data": event.data, "side": side.role}
        for side in (seen.source, seen.destination)
        for event in side.qmp.events
    ]
    return sorted(found, key=lambda event: event["seconds"])


def _outcome(seen: Observed, info: dict[str, Any], rows: list[Round]) -> Outcome:
    from migsim.results import Outcome

    status = info.get("status")
    if seen.not_converged:
        return Outcome("not-converged", _why_not(seen, info, rows))
    if status == "completed":
        lost = guest_log.damage(seen.source.serial_lines() + seen.destination.serial_lines())
        if lost:
            return Outcome("failed", f"The guest found its memory damaged: {lost}")
        if not seen.progressed:
            return Outcome(
                "failed", "The guest did not go on at the destination: no line on its serial port."
            )
        return Outcome("completed", "")
    reason = str(info.get("error-desc", "")) or f"QEMU gives no reason for the state {status}."
    return Outcome("cancelled" if status == "cancelled" else "failed", reason)


def _why_not(seen: Observed, info: dict[str, Any], rows: list[Round]) -> str:
    """Say in one sentence why the deadline came first, from the last whole round."""
    ram = info.get("ram", {})
    begin = (
        f"Not converged after {seen.ended - seen.began:.0f} s and {ram.get('dirty-sync-count', 0)} syncs: "
        f"{ram.get('remaining', 0) / 1e6:.0f} MB remained"
    )
    whole = [row for row in rows[1:-1] if row.duration_s > 0]
    if not whole:
        return f"{begin}; the first round was not over, at {_rate(ram.get('transferred', 0), seen.ended - seen.began)}."
    dirtied = rows[rows.index(whole[-1]) + 1].dirty_pages * _PAGE_BYTES
    last = whole[-1]
    return (
        f"{begin}; in its last whole round of {last.duration_s:.2f} s the guest dirtied "
        f"{_rate(dirtied, last.duration_s)} while {_rate(last.sent_bytes, last.duration_s)} were sent."
    )


def _rate(size: float, seconds: float) -> str:
    return f"{size / 1e6 / seconds if seconds > 0 else 0.0:.1f} MB/s"


def _guest_lines(role: str, side: QemuProcess) -> list[dict[str, str]]:
    return [{"side": role, "line": line} for line in side.serial_lines()]


def _provenance(seen: Observed, command: str) -> dict[str, Any]:
    made = Provenance.now(command, qemu=f"{seen.source.qmp.version} {seen.source.qmp.package}".strip())
    lines = {side.role: shortened(side.arguments) for side in (seen.source, seen.destination)}
    return made.as_dict() | {"qemu_arguments": lines}
