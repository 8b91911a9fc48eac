"""QmpSession against servers that answer rightly, answer wrongly, and close the connection."""

import asyncio
import json
import os
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from migsim.errors import QmpError
from migsim.qapi import QemuVersion
from migsim.qmp import QmpCommandError, QmpEvent, QmpSession

GREETING = {
    "QMP": {
        "version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": "x"},
        "capabilities": ["oob"],
    }
}


@contextmanager
def serving(path, handler):
    """An asyncio server in a thread; `handler(reader, writer)` speaks for QEMU."""
    loop = asyncio.new_event_loop()
    listening = threading.Event()

    async def swallow(reader, writer):
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def start():
        await asyncio.start_unix_server(swallow, path)
        listening.set()

    def work():
        task = loop.create_task(start())
        loop.run_forever()
        assert task.done()

    async def stop():
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=work)
    thread.start()
    assert listening.wait(60)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def send(writer, message):
    writer.write(json.dumps(message).encode() + b"\r\n")


async def requests(reader):
    """Yield requests; QMP has no framing, so a client may send objects without line ends."""
    text = ""
    while piece := await reader.read(65536):
        text += piece.decode()
        while text.strip():
            try:
                request, end = json.JSONDecoder().raw_decode(text.lstrip())
            except ValueError:
                break
            text = text.lstrip()[end:]
            yield request


def event(name, seconds=100, microseconds=250_000, **data):
    return {"event": name, "timestamp": {"seconds": seconds, "microseconds": microseconds}, "data": data}


async def monitor(reader, writer, answers=None):
    """Serve one client correctly; `answers` maps a command to a message, or to None to close the connection."""
    send(writer, GREETING)
    async for request in requests(reader):
        command = request.get("execute")
        right = {"running": True, "status": "running"} if command == "query-status" else {}
        answer = (answers or {}).get(command, {"return": right})
        if answer is None:
            return
        if callable(answer):
            answer = answer(writer)
        if answer != "no answer":
            send(writer, {**answer, "id": request["id"]} if "id" in request else answer)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "q.sock")


def with_answers(answers=None):
    async def handler(reader, writer):
        await monitor(reader, writer, answers)

    return handler


def test_commands_version_and_peer(path):
    with (
        serving(path, with_answers({"query-status": {"return": {"running": True, "status": "running"}}})),
        QmpSession(path) as qmp,
    ):
        assert qmp.execute("query-status") == {"running": True, "status": "running"}
        assert qmp.version == QemuVersion(10, 0, 2)
        assert qmp.package == "x"
        assert qmp.peer_pid == os.getpid()


def test_refused_command_names_command_and_reason(path):
    refusal = {"error": {"class": "CommandNotFound", "desc": "The command foo has not been found"}}
    with serving(path, with_answers({"foo": refusal})), QmpSession(path) as qmp:
        with pytest.raises(
            QmpCommandError, match=r"refused foo: The command foo has not been found\."
        ) as caught:
            qmp.execute("foo")
        assert caught.value.error_class == "CommandNotFound"
        assert qmp.execute("query-status")["running"]


def test_events_keep_qemus_time_and_order(path):
    def burst(writer):
        for index in range(3):
            send(writer, event("MIGRATION_PASS", 100 + index, 500_000, **{"pass": index}))
        return {"return": {}}

    with serving(path, with_answers({"migrate": burst})), QmpSession(path) as qmp:
        qmp.execute("migrate")
        first = qmp.wait_event("MIGRATION_PASS", timeout_s=60)
        assert first == QmpEvent("MIGRATION_PASS", {"pass": 0}, 100.5)
        assert qmp.wait_event("STOP", "MIGRATION_PASS", timeout_s=60).data == {"pass": 1}
        assert qmp.wait_event("MIGRATION_PASS", timeout_s=60).seconds == 102.5
        assert [e.data["pass"] for e in qmp.events] == [0, 1, 2]
        with pytest.raises(QmpError, match="No event MIGRATION_PASS"):
            qmp.wait_event("MIGRATION_PASS", timeout_s=0.05)


def test_event_before_the_wait_is_found_and_a_later_one_is_waited_for(path):
    def delayed(writer):
        asyncio.get_running_loop().call_later(0.2, send, writer, event("STOP"))
        return {"return": {}}

    with serving(path, with_answers({"stop": delayed})), QmpSession(path) as qmp:
        qmp.execute("stop")
        began = time.monotonic()
        assert qmp.wait_event("STOP", timeout_s=90).name == "STOP"
        assert time.monotonic() - began < 60  # not the whole time that it was given


@pytest.mark.parametrize("stamp", [None, {}, {"seconds": -1, "microseconds": -1}, {"seconds": "x"}])
def test_an_event_with_an_invalid_time_stamp_gets_the_current_time(stamp):
    assert abs(QmpEvent.from_message({"event": "X", "timestamp": stamp}).seconds - time.time()) < 5


def test_no_socket(path):
    with pytest.raises(QmpError, match="Cannot connect to the monitor socket"), QmpSession(path):
        pass


def test_a_path_too_long_for_a_socket(tmp_path):
    with pytest.raises(QmpError, match="Cannot connect"), QmpSession(tmp_path / ("x" * 200)):
        pass


def test_nobody_listens(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        with pytest.raises(QmpError, match="Cannot connect"), QmpSession(path):
            pass


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"QEVM\x00\x00\x00\x03\n",
        b"[]\n",
        b"{}\n",
        b'{"QMP": 3}\n',
        b'{"QMP": {"version": 3}}\n',
        b'{"QMP": {"version": {"qemu": 7}, "capabilities": []}}\n',
        b'{"QMP": {"version": {"qemu": {"major": "a"}}, "capabilities": []}}\n',
        b"\xff\xfe\x00\n",
        b"",
    ],
)
def test_garbage_greetings(path, greeting):
    async def handler(reader, writer):
        writer.write(greeting)
        await writer.drain()
        await asyncio.sleep(0.05)

    with serving(path, handler), pytest.raises(QmpError), QmpSession(path, timeout_s=2):
        pass


def test_a_silent_server_runs_into_the_timeout(path):
    async def handler(reader, writer):
        await reader.read()

    began = time.monotonic()
    with (
        serving(path, handler),
        pytest.raises(QmpError, match=r"No answer to the greeting within 0\.2 s"),
        QmpSession(path, timeout_s=0.2),
    ):
        pass
    assert time.monotonic() - began < 60


def test_closing_in_the_middle_of_a_command(path):
    with serving(path, with_answers({"migrate": None})), QmpSession(path) as qmp:
        with pytest.raises(QmpError, match="No connection for migrate"):
            qmp.execute("migrate")
        with pytest.raises(QmpError, match="No connection for query-status"):
            qmp.execute("query-status")
        with pytest.raises(QmpError, match="closed the connection"):
            qmp.wait_event("STOP", timeout_s=5)


def test_closing_right_after_the_handshake(path):
    async def handler(reader, writer):
        send(writer, GREETING)
        async for _ in requests(reader):
            send(writer, {"return": {}})
            return

    with serving(path, handler), pytest.raises(QmpError), QmpSession(path) as qmp:
        qmp.wait_event("STOP", timeout_s=5)


@pytest.mark.parametrize(
    "invalid", [b"not json\n", b"{}}\n", b"\x00\n", b"7\n", b'{"error": {"class": "G", "desc": "d"}}\n']
)
def test_invalid_bytes_instead_of_an_answer(path, invalid):
    def answer(writer):
        writer.write(invalid)
        return "no answer"

    with (
        serving(path, with_answers({"query-migrate": answer})),
        QmpSession(path, timeout_s=1) as qmp,
        pytest.raises(QmpError),
    ):
        qmp.execute("query-migrate")


def test_a_late_answer_does_not_reach_the_next_command(path):
    given_up = threading.Event()

    def late(writer):
        given_up.wait(60)
        return {"return": {"from": "slow"}}

    answers = {"slow": late, "fast": {"return": {"from": "fast"}}}
    with serving(path, with_answers(answers)), QmpSession(path) as qmp:
        with pytest.raises(QmpError, match="No answer to slow"):
            qmp.execute("slow", timeout_s=0.1)
        given_up.set()
        assert qmp.execute("fast") == {"from": "fast"}


def test_use_outside_the_block(path):
    with serving(path, with_answers()):
        qmp = QmpSession(path)
        with pytest.raises(QmpError, match="not open"):
            qmp.execute("query-status")
        with qmp:
            pass
        with pytest.raises(QmpError):
            qmp.execute("query-status")
        qmp.close()


def test_no_thread_or_socket_is_left(path):
    before = threading.active_count()
    for _ in range(3):
        with serving(path, with_answers()), QmpSession(path) as qmp:
            qmp.execute("query-status")
        Path(path).unlink()
    assert threading.active_count() == before


def test_exceptions_that_nobody_awaits_are_not_printed(path, caplog):
    with serving(path, with_answers({})), QmpSession(path) as qmp:
        qmp._loop.call_exception_handler({"message": "Future exception was never retrieved"})
    assert "never retrieved" not in caplog.text
