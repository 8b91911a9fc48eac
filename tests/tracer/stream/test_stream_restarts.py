"""Recording an idle guest, whose source begins to switch over again and again: a fake QEMU 7.2."""

import fcntl
import socket
import struct
import termios
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from migsim.errors import QemuError
from migsim.qapi import QemuVersion
from migsim.qmp import QmpCommandError
from migsim.trace import Trace, TraceMeta, TraceWriter
from migsim.tracer.stream.collector import StreamCollector
from tests.tracer.stream.stream_bytes import section, stream_head

BLOCKS = (("pc.ram", 50),)
ROUND_S = 0.1
CAPABILITIES = ("events", "pause-before-switchover", "xbzrle")


class FakeQemu:
    """Sends its first round, then one round for each list of `rounds`, then begins to switch over.

    With `dies`, it closes the stream instead. With `loses_cancel`, a cancel comes between the check for it and the
    pause before the switchover, so that only `migrate-continue` wakes the migration.
    """

    version = QemuVersion.parse("7.2")
    peer_pid = None

    def __init__(self, rounds, stays_stopped=False, dies=False, loses_cancel=False):
        self.rounds, self.stays_stopped, self.dies = rounds, stays_stopped, dies
        self.loses_cancel, self.woken = loses_cancel, 0
        self.events, self.migrations, self.running, self.status = [], 0, True, "none"
        self.parameters = {"max-bandwidth": 1 << 27, "downtime-limit": 300}
        self.capabilities = dict.fromkeys(CAPABILITIES, False)
        self.thread = None
        self.cancelled = threading.Event()

    def execute(self, command, arguments=None, *, timeout_s=None):
        return getattr(self, command.replace("-", "_"))(arguments or {})

    def query_status(self, _arguments):
        return {"running": self.running}

    def query_migrate(self, _arguments):
        return {"status": self.status, "ram": {"remaining": 40960}}

    def query_dirty_rate(self, _arguments):
        return {"status": "unstarted"}

    def query_migrate_parameters(self, _arguments):
        return dict(self.parameters)

    def query_migrate_capabilities(self, _arguments):
        return [{"capability": name, "state": state} for name, state in self.capabilities.items()]

    def migrate_set_parameters(self, arguments):
        self.parameters.update(arguments)

    def migrate_set_capabilities(self, arguments):
        self.capabilities.update({c["capability"]: c["state"] for c in arguments["capabilities"]})

    def migrate(self, arguments):
        assert self.status in ("none", "cancelled")
        self.migrations += 1
        self.cancelled.clear()
        self.thread = threading.Thread(target=self.send, args=[arguments["uri"].removeprefix("unix:")])
        self.thread.start()

    def migrate_cancel(self, _arguments):
        if self.loses_cancel and not self.running:
            self.status = "cancelling"
            return
        self.cancelled.set()
        self.thread.join()

    def migrate_continue(self, arguments):
        if arguments["state"] != self.status:
            raise QmpCommandError("migrate-continue", "GenericError", "Migration not in expected state")
        self.woken += 1
        self.cancelled.set()
        self.thread.join()

    def note(self, name, **data):
        self.events.append(SimpleNamespace(name=name, data=data, seconds=time.time()))

    def announce(self, status):
        self.status = status
        self.note("MIGRATION", status=status)

    def deliver(self, stream, data):
        """Send `data`, wait until it has been read, then wait until the next sync is due."""
        stream.sendall(data)
        while (
            struct.unpack("i", fcntl.ioctl(stream, termios.TIOCOUTQ, bytes(4)))[0]
            and not self.cancelled.is_set()
        ):
            time.sleep(0.005)
        self.cancelled.wait(ROUND_S)

    def send(self, path):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(path)
            self.announce("active")
            self.note("MIGRATION_PASS")
            everything = [("zero" if page < 30 else "normal", "pc.ram", page) for page in range(50)]
            self.deliver(stream, stream_head(BLOCKS) + section(everything))
            for pages in self.rounds:
                if self.cancelled.is_set():
                    break
                self.note("MIGRATION_PASS")
                self.deliver(stream, section([("normal", "pc.ram", page) for page in pages]))
            if not self.dies and not self.cancelled.is_set():
                self.note("MIGRATION_PASS")
                self.note("STOP")
                self.running = False
                self.announce("pre-switchover")
            if not self.dies:
                self.cancelled.wait()
        if not self.running and not self.stays_stopped:
            self.running = True
            self.note("RESUME")
        self.announce("failed" if self.dies else "cancelled")


def record(qemu, path, duration_s, stop=lambda: False):
    meta = TraceMeta(collector="stream", qemu_version="7.2", ram_bytes=50 * 4096)
    before = qemu.query_migrate_parameters({}), qemu.query_migrate_capabilities({})
    try:
        with TraceWriter(path, meta) as writer:
            StreamCollector().record(qemu, writer, duration_s=duration_s, progress=lambda *_: None, stop=stop)
    finally:
        qemu.thread.join(10.0)
        assert not qemu.thread.is_alive()
    assert (qemu.query_migrate_parameters({}), qemu.query_migrate_capabilities({})) == before
    return Trace.open(path)


def test_a_migration_whose_cancel_qemu_lost_is_woken_up(tmp_path):
    qemu = FakeQemu([[31, 32]], loses_cancel=True)
    trace = record(qemu, tmp_path / "a.trace", 1.0)
    assert qemu.woken >= 1
    check = trace.meta.self_check
    assert check["guest_running_at_end"] and check["settings_restored"]
    assert 50 <= check["guest_stopped_ms"] / qemu.woken < 1000


def test_recording_goes_on_in_a_new_migration_until_the_time_is_over(tmp_path):
    qemu = FakeQemu([[31, 32], [33], [31, 34]])
    begun = time.monotonic()
    trace = record(qemu, tmp_path / "a.trace", 2.0)
    assert 2.0 < time.monotonic() - begun < 30.0
    assert trace.meta.complete
    assert qemu.migrations >= 2
    switchovers = sum(event.name == "STOP" for event in qemu.events)
    times = "once" if switchovers == 1 else f"{switchovers} times"
    assert times in trace.meta.note and "stood still for" in trace.meta.note
    check = trace.meta.self_check
    assert check["guest_running_at_end"] and check["settings_restored"]
    assert check["guest_stopped_ms"] > 0
    assert trace.meta.zero_pages == 30
    # All rounds of a migration are written, also the last one, which no later section closed.
    pages = [trace.pages(number).tolist() for number in trace.intervals["interval"]]
    assert pages[:3] == [[31, 32], [33], [31, 34]]
    assert len(pages) >= 3 * (switchovers - 1)
    assert all(np.isin(found, [31, 32, 33, 34]).all() for found in pages)
    starts, ends = trace.intervals["start_s"].to_numpy(), trace.intervals["end_s"].to_numpy()
    assert (starts[1:] >= ends[:-1] - 1e-9).all()


def test_pauses_between_migrations_grow_while_the_guest_stays_idle(tmp_path):
    qemu = FakeQemu([])
    trace = record(qemu, tmp_path / "a.trace", 4.0)
    assert 2 <= qemu.migrations <= 3
    assert trace.meta.complete
    assert "switch over" in trace.meta.note


def test_a_guest_that_does_not_run_again_ends_the_recording(tmp_path):
    qemu = FakeQemu([[31]], stays_stopped=True)
    trace = record(qemu, tmp_path / "a.trace", 60.0)
    assert qemu.migrations == 1
    assert not trace.meta.self_check["guest_running_at_end"]


def test_stopping_in_a_pause_between_migrations(tmp_path):
    qemu = FakeQemu([])
    until = time.monotonic() + 2.0
    record(qemu, tmp_path / "a.trace", 60.0, stop=lambda: time.monotonic() > until)
    assert time.monotonic() < until + 30.0  # half of what it would go on for


def test_after_a_broken_migration_no_other_is_started(tmp_path):
    qemu = FakeQemu([[31], [32], [33]], dies=True)
    with pytest.raises(QemuError, match="ended by itself"):
        record(qemu, tmp_path / "a.trace", 60.0)
    assert qemu.migrations == 1
    trace = Trace.open(tmp_path / "a.trace")
    assert not trace.meta.complete
    assert len(trace.intervals) >= 1
