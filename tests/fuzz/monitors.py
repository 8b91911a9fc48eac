"""A monitor that is played from a script: lines of ``COMMAND REPLY``, whose mutations are what a QEMU may answer.

A reply is what is sent, byte for byte, with the id of the request in the place of ``"ID"``. A command that is asked
again gets its next line; the last one stays. The events are sent before the first answer. A reply of no bytes closes
the connection. After a reply that is not the good one, the monitor waits a little for a next request and then closes:
what it sends may be no whole message, and the client is waiting for the rest.
"""

import contextlib
import json
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz import mutators

Script = list[tuple[str, bytes]]

_WAIT_S = 0.15
_AFTER_ODD = 40
"""Requests that are answered after the first odd reply: a client may ask the same until it likes the answer."""

_RAM = {
    **{"total": 204800, "transferred": 4096, "remaining": 40960, "normal": 30, "duplicate": 20, "mbps": 80.5},
    **{"normal-bytes": 122880, "page-size": 4096, "dirty-sync-count": 3, "dirty-pages-rate": 7},
    **{"multifd-bytes": 0, "pages-per-second": 9, "precopy-bytes": 4000, "downtime-bytes": 96},
    **{"postcopy-bytes": 0, "postcopy-requests": 0, "dirty-sync-missed-zero-copy": 0},
}
_XBZRLE = {
    **{"cache-size": 1 << 26, "bytes": 90, "pages": 1, "cache-miss": 2, "overflow": 0},
    **{"cache-miss-rate": 0.5, "encoding-rate": 2.0},
}
_GOOD: tuple[tuple[str, Any], ...] = (
    (
        "greeting",
        {
            "QMP": {
                "version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""},
                "capabilities": [],
            }
        },
    ),
    ("event", {"event": "RTC_CHANGE", "data": {"offset": 1}, "timestamp": {"seconds": 9, "microseconds": 1}}),
    (
        "event",
        {"event": "MIGRATION_PASS", "data": {"pass": 1}, "timestamp": {"seconds": 10, "microseconds": 5}},
    ),
    ("qmp_capabilities", {}),
    ("query-status", {"running": True, "status": "running"}),
    ("query-migrate", {"status": "none"}),
    ("query-migrate", {}),
    ("query-migrate", {"status": "active", "ram": _RAM, "xbzrle-cache": _XBZRLE}),
    ("query-migrate", {"status": "completed", "total-time": 90, "downtime": 9, "setup-time": 1, "ram": _RAM}),
    ("query-dirty-rate", {"status": "unstarted", "start-time": 0, "calc-time": 0}),
    ("query-dirty-rate", {"status": "measured", "start-time": 0, "calc-time": 50, "dirty-rate": 3}),
    ("calc-dirty-rate", {}),
    ("query-memory-size-summary", {"base-memory": 50 * 4096, "plugged-memory": 0}),
    ("query-kvm", {"enabled": True, "present": True}),
    ("query-cpus-fast", [{"thread-id": 1}]),
    ("query-uuid", {"UUID": "00000000-0000-0000-0000-000000000007"}),
    ("query-migrate-parameters", {"max-bandwidth": 1 << 27, "downtime-limit": 300, "tls-creds": ""}),
    ("query-migrate-capabilities", [{"capability": "xbzrle", "state": False}]),
    ("migrate-set-parameters", {}),
    ("migrate-set-capabilities", {}),
    ("migrate", {}),
    ("migrate_cancel", {}),
    ("migrate-continue", {}),
    ("trace-event-get-state", [{"name": "migration_bitmap_sync_start", "state": "disabled"}]),
    ("trace-event-set-state", {}),
    ("human-monitor-command", "  pc.ram    4 KiB  0x0000000000000000 0x0000000000032000 0x0000000000032000"),
)


def good_script() -> bytes:
    """Return the script of a monitor that answers as QEMU does."""
    rows = []
    for name, said in _GOOD:
        message = said if name in ("greeting", "event") else {"return": said, "id": "ID"}
        rows.append((name, json.dumps(message).encode() + b"\r\n"))
    return packed(rows)


def packed(rows: Script) -> bytes:
    """Return the script of some rows."""
    # a reply may hold line ends of its own: each row says how many bytes it has
    return b"".join(b"%s %d\n%s" % (name.encode(), len(reply), reply) for name, reply in rows)


def rows_of(data: bytes) -> Script:
    """Return the rows of a script, as far as they can be told."""
    rows, at = [], 0
    while found := re.compile(rb"([\w-]+) (\d+)\n").match(data, at):
        length = int(found[2])
        rows.append((found[1].decode(), data[found.end() : found.end() + length]))
        at = found.end() + length
    return rows


def _changing(change: Callable[[random.Random, bytes], bytes]) -> mutators.Mutator:
    """Make a mutator of a script out of one of a reply."""

    def mutate(rng: random.Random, data: bytes) -> bytes:
        rows = rows_of(data)
        if rows:
            at = rng.randrange(len(rows))
            rows[at] = (rows[at][0], change(rng, rows[at][1]))
        return packed(rows)

    return mutate


def _json_of_reply(rng: random.Random, reply: bytes) -> bytes:
    return mutators.change_json(rng, reply.rstrip()) + b"\r\n"


def _retyped(rng: random.Random, reply: bytes) -> bytes:
    """Answer something of another type, or of another size."""
    odd = rng.choice(
        ("null", "7", '"x"', "[]", "{}", "true", "-1", "1e999", "NaN", '[{"a":[]}]', "9" * 30, "9" * 5000)
    )
    return re.sub(rb'("return": ).*(, "id": "ID"})', lambda m: m[1] + odd.encode() + m[2], reply)


def _refused(rng: random.Random, _reply: bytes) -> bytes:
    """Refuse the command, as QEMU does or not quite."""
    error = rng.choice(
        (
            {"class": "GenericError", "desc": "not now"},
            {"class": "CommandNotFound", "desc": "The command has not been found"},
            {"class": "GenericError", "desc": "\x1b[2J" + "x" * 100_000},
            {"class": 7, "desc": None},
            {"desc": "no class"},
            {},
            "refused",
            None,
        )
    )
    return json.dumps({"error": error, "id": "ID"}).encode() + b"\r\n"


def _with_odd_bytes(rng: random.Random, reply: bytes) -> bytes:
    at = rng.randrange(len(reply) + 1)
    odd = rng.choice(
        (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[2J", b"\\ud800", b"\n", b"\r\n\r\n", b"\x7f" * 3000)
    )
    return reply[:at] + odd + reply[at:]


def _nested(rng: random.Random, reply: bytes) -> bytes:
    deep = rng.choice((b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"[" * 900 + b"]" * 900))
    return rng.choice((deep + b"\r\n", reply.replace(b'"return": ', b'"return": ' + deep + b', "b": ', 1)))


def _vast(rng: random.Random, _reply: bytes) -> bytes:
    """Answer more than a client buffers, with or without an end of the line."""
    return (
        b'{"return": "'
        + b"x" * rng.choice((1 << 16, 1 << 20, 11 << 20))
        + rng.choice((b'", "id": "ID"}\r\n', b""))
    )


def _doubled(rng: random.Random, reply: bytes) -> bytes:
    """Answer twice, with another id, or with events before and after."""
    event = b'{"event": "STOP", "data": {}, "timestamp": {"seconds": 11, "microseconds": 0}}\r\n'
    odd = b'{"event": {"a": 1}, "data": 7, "timestamp": {"seconds": -1, "microseconds": "x"}}\r\n'
    return rng.choice(
        (
            reply + reply,
            reply.replace(b'"ID"', rng.choice((b'"other"', b"7", b"null", b"{}", b"[1]"))),
            reply.replace(b', "id": "ID"', b""),
            event + reply + event,
            odd + reply,
            event * 500 + reply,
            b'{"x": 1}\r\n' + reply,
        )
    )


def _silent(_rng: random.Random, _reply: bytes) -> bytes:
    return b""


MONITOR: tuple[mutators.Mutator, ...] = tuple(
    _changing(change)
    for change in (
        *(_json_of_reply,) * 8,
        *(_retyped, mutators.change_number_in_text) * 4,
        *(_refused, _with_odd_bytes, _doubled) * 3,
        *(mutators.flip_bits, mutators.cut, mutators.insert, _nested, _silent, _vast),
    )
)


@contextlib.contextmanager
def playing(data: bytes, path: Path) -> Iterator[None]:
    """Serve the monitor of a script on a socket, to one client after the other."""
    rows, good = rows_of(data), set(rows_of(good_script()))
    stopped = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        path.unlink(missing_ok=True)
        server.bind(str(path))
        server.listen()
        server.settimeout(0.02)
        asked: Counter[str] = Counter()

        def serve() -> None:
            while not stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    client = server.accept()[0]
                    with client, contextlib.suppress(OSError):
                        _talk(client, rows, good, asked, stopped)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


def _talk(
    client: socket.socket,
    rows: Script,
    good: set[tuple[str, bytes]],
    asked: Counter[str],
    stopped: threading.Event,
) -> None:
    first = [row for row in rows if row[0] in ("greeting", "event")]
    first.sort(key=lambda row: row[0] != "greeting")
    client.settimeout(5.0)
    client.sendall(first[0][1] if first[:1] and first[0][0] == "greeting" else b"")
    odd, waited, text = int(any(row not in good for row in first)), 0.0, ""
    events = b"".join(reply for name, reply in first if name == "event")
    while not stopped.is_set():
        client.settimeout(0.02)
        try:
            piece = client.recv(1 << 16)
        except TimeoutError:
            waited += 0.02
            if odd and waited > _WAIT_S:
                return
            continue
        if not piece:
            return
        waited, text = 0.0, text + piece.decode()
        client.settimeout(5.0)
        while text.strip():
            try:
                request, end = json.JSONDecoder().raw_decode(text.lstrip())
            except ValueError:
                break
            text = text.lstrip()[end:]
            name = request["execute"]
            replies = [reply for command, reply in rows if command == name]
            if not replies:
                return
            reply = replies[min(asked[name], len(replies) - 1)]
            asked[name] += 1
            odd += bool(odd) or (name, reply) not in good
            if not reply or odd > _AFTER_ODD:
                return
            if name != "qmp_capabilities":  # QEMU sends no event before the client is known
                client.sendall(events)
                events = b""
            client.sendall(reply.replace(b'"ID"', json.dumps(request.get("id")).encode()))
