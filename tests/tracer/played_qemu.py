"""A QEMU that is played: its migration stream, its settings, and a monitor socket that any client may talk to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from migsim.qapi import QemuVersion
from migsim.qmp import QmpCommandError
from tests.tracer.stream.stream_bytes import section, stream_head

BLOCKS = (("pc.ram", 50),)
ROUND_S = 0.1
CAPABILITIES = ("events", "pause-before-switchover", "xbzrle")
RAM_BLOCKS = "  pc.ram    4 KiB  0x0000000000000000 0x0000000000032000 0x0000000000032000"


class PlayedQemu:
    """Sends its first round, then one round for each list of `rounds`, then begins to switch over.

    With `dies`, it closes the stream instead. With `loses_cancel`, a cancel comes between the check for it and the
    pause before the switchover, so that only `migrate-continue` wakes the migration.
    """

    version = QemuVersion.parse("7.2")
    peer_pid = None

    def __init__(
        self,
        rounds: list[list[int]],
        stays_stopped: bool = False,
        dies: bool = False,
        loses_cancel: bool = False,
    ) -> None:
        self.rounds, self.stays_stopped, self.dies = rounds, stays_stopped, dies
        self.loses_cancel, self.woken = loses_cancel, 0
        self.events: list[SimpleNamespace] = []
        self.migrations, self.running, self.status = 0, True, "none"
        self.parameters: dict[str, Any] = {"max-bandwidth": 1 << 27, "downtime-limit": 300}
        self.capabilities = dict.fromkeys(CAPABILITIES, False)
        self.thread: threading.Thread | None = None
        self.cancelled = threading.Event()

    def execute(self, command: str, arguments: Any = None, *, timeout_s: float | None = None) -> Any:
        return getattr(self, command.replace("-", "_"))(arguments or {})

    def query_status(self, _arguments: Any) -> Any:
        return {"running": self.running, "status": "running" if self.running else "paused"}

    def query_migrate(self, _arguments: Any) -> Any:
        return {"status": self.status, "ram": {"remaining": 40960}}

    def query_named_block_nodes(self, _arguments: Any) -> Any:
        return []

    def query_dirty_rate(self, _arguments: Any) -> Any:
        return {"status": "unstarted"}

    def query_migrate_parameters(self, _arguments: Any) -> Any:
        return dict(self.parameters)

    def query_migrate_capabilities(self, _arguments: Any) -> Any:
        return [{"capability": name, "state": state} for name, state in self.capabilities.items()]

    def migrate_set_parameters(self, arguments: Any) -> Any:
        self.parameters.update(arguments)
        return {}

    def migrate_set_capabilities(self, arguments: Any) -> Any:
        self.capabilities.update({c["capability"]: c["state"] for c in arguments["capabilities"]})
        return {}

    def migrate(self, arguments: Any) -> Any:
        assert self.status in ("none", "cancelled", "failed")
        self.migrations += 1
        self.cancelled.clear()
        self.thread = threading.Thread(target=self.send, args=[arguments["uri"].removeprefix("unix:")])
        self.thread.start()
        return {}

    def migrate_cancel(self, _arguments: Any) -> Any:
        if self.loses_cancel and not self.running:
            self.status = "cancelling"
            return {}
        self.end()
        return {}

    def migrate_continue(self, arguments: Any) -> Any:
        if arguments["state"] != self.status:
            raise QmpCommandError("migrate-continue", "GenericError", "Migration not in expected state")
        self.woken += 1
        self.end()
        return {}

    def end(self) -> None:
        self.cancelled.set()
        if self.thread is not None:
            self.thread.join()

    def note(self, name: str, **data: Any) -> None:
        self.events.append(SimpleNamespace(name=name, data=data, seconds=time.time()))

    def announce(self, status: str) -> None:
        self.status = status
        self.note("MIGRATION", status=status)

    def deliver(self, stream: socket.socket, data: bytes) -> None:
        """Send `data`, wait until it has been read, then wait until the next sync is due."""
        stream.sendall(data)
        while (
            struct.unpack("i", fcntl.ioctl(stream, termios.TIOCOUTQ, bytes(4)))[0]
            and not self.cancelled.is_set()
        ):
            time.sleep(0.005)
        self.cancelled.wait(ROUND_S)

    def send(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as stream, contextlib.suppress(ConnectionError):
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

    # ---- what a whole recording asks besides ----

    def qmp_capabilities(self, _arguments: Any) -> Any:
        return {}

    def human_monitor_command(self, _arguments: Any) -> Any:
        return RAM_BLOCKS

    def query_memory_size_summary(self, _arguments: Any) -> Any:
        return {"base-memory": 50 * 4096}

    def query_kvm(self, _arguments: Any) -> Any:
        return {"enabled": True, "present": True}

    def query_cpus_fast(self, _arguments: Any) -> Any:
        return [{"thread-id": 1}]

    def query_uuid(self, _arguments: Any) -> Any:
        return {"UUID": "00000000-0000-0000-0000-000000000007"}


Answer = Callable[[str, Any], Any]


@contextlib.contextmanager
def monitor_of(
    qemu: PlayedQemu, path: Path, answer: Answer | None = None, greeting: Any = None
) -> Iterator[None]:
    """Serve a played QEMU's monitor on a socket, to one client after the other.

    Parameters
    ----------
    answer : callable, optional
        ``answer(command, right answer)``: what is answered instead.
    greeting : object, optional
        What is said in place of the greeting's version.
    """
    major, minor = qemu.version.major, qemu.version.minor
    version = {"qemu": {"major": major, "minor": minor, "micro": 0}, "package": ""}
    said = {"QMP": {"version": version if greeting is None else greeting, "capabilities": []}}
    stopped = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(0.05)

        def serve() -> None:
            while not stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    client = server.accept()[0]
                    with client, contextlib.suppress(OSError):
                        client.settimeout(0.01)
                        client.sendall(json.dumps(said).encode() + b"\n")
                        _talk(client, qemu, answer, stopped)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            qemu.end()
            thread.join()


def _talk(client: socket.socket, qemu: PlayedQemu, answer: Answer | None, stopped: threading.Event) -> None:
    told, text = len(qemu.events), ""
    while not stopped.is_set():
        for event in qemu.events[told:]:
            told += 1
            whole, part = divmod(event.seconds, 1)
            stamp = {"seconds": int(whole), "microseconds": int(part * 1e6)}
            _say(client, {"event": event.name, "data": event.data, "timestamp": stamp})
        try:
            piece = client.recv(65536)
        except TimeoutError:
            continue
        if not piece:
            return
        text += piece.decode()
        while text.strip():
            try:
                request, end = json.JSONDecoder().raw_decode(text.lstrip())
            except ValueError:
                break
            text = text.lstrip()[end:]
            _say(client, _reply(qemu, request, answer) | {"id": request.get("id")})


def _reply(qemu: PlayedQemu, request: Any, answer: Answer | None) -> dict[str, Any]:
    command = request["execute"]
    try:
        right = qemu.execute(command, request.get("arguments"))
    except QmpCommandError as error:
        return {"error": {"class": error.error_class, "desc": error.description}}
    except AttributeError:
        return {"error": {"class": "CommandNotFound", "desc": f"The command {command} has not been found"}}
    return {"return": right if answer is None or command == "qmp_capabilities" else answer(command, right)}


def _say(client: socket.socket, message: dict[str, Any]) -> None:
    client.settimeout(20.0)
    client.sendall(json.dumps(message).encode() + b"\n")
    client.settimeout(0.01)
