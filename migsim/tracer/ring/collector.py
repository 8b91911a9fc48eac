"""The `dirty-ring` collector: every page that KVM logs as dirty, with its time and vCPU.

During a dirty-rate measurement, a guest that runs with ``-accel kvm,dirty-ring-size=N`` logs dirty pages into a ring
for each vCPU, and the kernel's tracepoint ``kvm_dirty_ring_push`` fires for every entry. A page is logged at its
first write after each re-protection (``kvm_dirty_ring_reset``), so the trace's intervals begin at resets.

KVM on a host without hardware virtualisation emulates instructions and logs every write. It also writes past the end
of a full ring, and the guest then hangs for ever. There the measurements are kept so short that the rings are emptied
long before they are full.
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from migsim.errors import QmpError
from migsim.qapi import QemuVersion
from migsim.tracer.base import Availability, ProgressCallback, StopCallback
from migsim.tracer.preflight import is_root, refuse_while_busy, run_hmp
from migsim.tracer.ring.memory_slots import SlotMap, parse_mtree
from migsim.tracer.ring.tracefs import EVENTS, RingEvents, TracingInstance, mounted_tracefs

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

__all__ = ["DirtyRingCollector", "choose_next_window_s", "read_ring_entries"]

_MILLISECONDS_SINCE = QemuVersion.parse("8.2")
_SMALL_RING = 32768
_SHORTEST_S, _LONGEST_S = 0.05, 60.0
_FULLEST = 0.3  # the share of a ring that may fill up where a full ring would hang the guest
_INTERVAL_S = 0.25  # shortest interval
_POLL_S = 0.04
_OVERDUE_S = 30.0


def read_ring_entries(pid: int | None, proc: Path = Path("/proc")) -> int | None:
    """Read the size of QEMU's dirty rings from its command line; 0 without a ring, None where unknown."""
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    found = re.search(r"dirty-ring-size=(\d+)", words)
    return int(found[1]) if found else 0


def emulates_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Say whether this is an x86 host without hardware virtualisation, whose KVM emulates instructions."""
    if platform.machine() not in ("x86_64", "i686"):
        return False
    try:
        return not re.search(r"\b(vmx|svm)\b", cpuinfo.read_text())
    except OSError:
        return False


def choose_next_window_s(last_s: float, pushes: int, entries: int) -> float:
    """Choose the length of the next measurement so that a ring stays less than a third full.

    The rate of pushes is taken from the last measurement; the length at most doubles.

    Examples
    --------
    >>> choose_next_window_s(0.05, 5000, 65536)
    0.1
    >>> choose_next_window_s(0.4, 120_000, 65536)
    0.065
    """
    rate = max(pushes / last_s, 1.0)
    wanted = min(_FULLEST * entries / rate, 2 * last_s, 5.0)
    return max(int(wanted * 1000) / 1000, _SHORTEST_S)


class DirtyRingCollector:
    """Reads KVM's dirty-ring events through tracefs, as root.

    Examples
    --------
    >>> DirtyRingCollector().name
    'dirty-ring'
    """

    name = "dirty-ring"

    def check(self, session: QmpSession) -> Availability:
        """Say whether this process is root, the tracepoint and the ring exist, and the ring cannot hang the guest."""
        if not is_root():
            return Availability(False, "reading tracefs needs root")
        if not session.execute("query-kvm").get("enabled"):
            return Availability(False, "the guest does not run under KVM")
        entries = read_ring_entries(session.peer_pid)
        if entries is None:
            return Availability(False, "QEMU's command line cannot be read, so its dirty ring is unknown")
        if not entries:
            return Availability(False, "the guest was not started with -accel kvm,dirty-ring-size=N")
        if emulates_instructions() and (
            entries < _SMALL_RING or session.version < _MILLISECONDS_SINCE or _vcpus(session) > 1
        ):
            return Availability(
                False,
                "this host's KVM emulates instructions and hangs a guest whose ring fills up; to be safe, a guest "
                f"needs one vCPU, dirty-ring-size={_SMALL_RING} or more, and QEMU {_MILLISECONDS_SINCE} or newer",
            )
        try:
            with mounted_tracefs() as tracefs:
                missing = [name for name in EVENTS if not (tracefs / "events" / "kvm" / name).is_dir()]
        except Exception as error:
            return Availability(False, str(error))
        if missing:
            return Availability(False, f"the kernel has no tracepoint {missing[0]}")
        return Availability(True, "KVM's dirty ring gives every logged page with its time")

    def record(
        self,
        session: QmpSession,
        writer: TraceWriter,
        *,
        duration_s: float,
        progress: ProgressCallback,
        stop: StopCallback,
    ) -> None:
        """Keep a dirty-ring measurement running and record its events.

        Raises
        ------
        HostError
            tracefs fails, or a memory slot fits no piece of guest RAM.
        QmpError
            A migration or a measurement is under way, or QEMU ends.
        """
        refuse_while_busy(session)
        entries = read_ring_entries(session.peer_pid) or 0
        ring_can_overflow = emulates_instructions()
        slots = SlotMap(parse_mtree(run_hmp(session, "info mtree -f")), writer.meta.ram_blocks)
        window = _SHORTEST_S if ring_can_overflow else min(duration_s, _LONGEST_S)
        with mounted_tracefs() as tracefs, TracingInstance(tracefs, _threads(session)) as instance:
            began = time.monotonic()
            log = _EventLog(writer, slots, instance, int(began * 1e9))
            while time.monotonic() - began < duration_s and not stop():
                event_count = self._measure(
                    session,
                    log,
                    window,
                    stop,
                    lambda: progress(time.monotonic() - began, f"{log.events:,} events"),
                )
                if ring_can_overflow:
                    window = choose_next_window_s(window, event_count, entries)
                left = duration_s - (time.monotonic() - began)
                window = max(min(window, left), _SHORTEST_S)
        writer.update_meta(
            note="; ".join(filter(None, (writer.meta.note, f"memory slots: {slots}" if str(slots) else "")))
        )

    def _measure(
        self,
        session: QmpSession,
        log: _EventLog,
        window_s: float,
        stop: StopCallback,
        show_progress: Callable[[], None],
    ) -> int:
        """Run one measurement; return the number of its events."""
        milliseconds = session.version >= _MILLISECONDS_SINCE
        arguments: dict[str, object] = {"mode": "dirty-ring"}
        if milliseconds:
            arguments |= {"calc-time": round(window_s * 1000), "calc-time-unit": "millisecond"}
        else:
            arguments |= {"calc-time": max(1, round(window_s))}
        before = log.events
        log.begin()
        session.execute("calc-dirty-rate", arguments)
        due = time.monotonic() + window_s
        while True:
            left = due - time.monotonic()
            time.sleep(min(max(left, 0.002), _POLL_S))
            log.take()
            show_progress()
            if stop():
                break
            if left > _POLL_S:
                continue
            if session.execute("query-dirty-rate").get("status") == "measured":
                break
            if left < -_OVERDUE_S:
                raise QmpError(
                    f"QEMU has not finished a {window_s:g} s measurement {_OVERDUE_S:g} s after it was due.",
                    "To end it, QEMU has to stop the guest's vCPUs for a moment.",
                    "Check whether the guest hangs.",
                )
        log.finish()
        return log.events - before


class _EventLog:
    """Cuts the events into intervals that begin at a re-protection, and writes them to the trace."""

    def __init__(
        self, writer: TraceWriter, slots: SlotMap, instance: TracingInstance, origin_ns: int
    ) -> None:
        self.events = 0
        self._writer = writer
        self._slots = slots
        self._instance = instance
        self._origin_ns = origin_ns
        self._start_ns: int | None = None
        self._unwritten: list[RingEvents] = []

    def begin(self) -> None:
        """Prepare for a measurement, which starts with every page protected: discard older events."""
        self._instance.read()
        self._start_ns = None
        self._unwritten = []

    def take(self) -> None:
        """Read the new events, and write every interval that has ended."""
        new = self._instance.read()
        if not new.time_ns.size and not new.resets_ns.size:
            return
        self.events += new.time_ns.size
        if self._start_ns is None and new.time_ns.size:
            # QEMU starts logging some time after the command; the first event is closer to the true start.
            self._start_ns = int(new.time_ns[0])
        self._unwritten.append(new)
        for reset in new.resets_ns:
            if self._start_ns is not None and reset - self._start_ns >= _INTERVAL_S * 1e9:
                self._write_interval(int(reset))

    def finish(self) -> None:
        """Write the events since the last reset as the measurement's last interval."""
        self.take()
        if self._start_ns is None:
            return
        ends = [
            int(times[-1])
            for part in self._unwritten
            for times in (part.time_ns, part.resets_ns)
            if times.size
        ]
        if ends and max(ends) > self._start_ns:
            self._write_interval(max(ends) + 1)

    def _write_interval(self, end_ns: int) -> None:
        """Write the interval from `_start_ns` to `end_ns`; the next one begins there."""
        time_ns, vcpu, slot, offset = (
            np.concatenate([getattr(part, name) for part in self._unwritten])
            for name in ("time_ns", "vcpu", "slot", "offset")
        )
        inside = time_ns < end_ns
        pages = self._slots.page_numbers(slot[inside], offset[inside])
        self._writer.add_events((time_ns[inside] - self._origin_ns) // 1000, pages, vcpu[inside])
        start = self._start_ns or 0
        self._writer.add_interval(
            (start - self._origin_ns) / 1e9,
            (end_ns - self._origin_ns) / 1e9,
            pages=pages,
            lost_events=self._instance.lost(),
        )
        later = ~inside
        rest = RingEvents(time_ns[later], vcpu[later], slot[later], offset[later], np.zeros(0, np.int64))
        self._unwritten = [rest]
        self._start_ns = end_ns


def _threads(session: QmpSession) -> list[int]:
    """Return all of QEMU's threads: vCPU threads push ring entries, the thread that reaps a ring resets it."""
    try:
        return sorted(int(task.name) for task in Path(f"/proc/{session.peer_pid}/task").iterdir())
    except OSError:
        return sorted(int(cpu["thread-id"]) for cpu in session.execute("query-cpus-fast"))


def _vcpus(session: QmpSession) -> int:
    return len(session.execute("query-cpus-fast"))
