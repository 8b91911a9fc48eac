"""Monitors that answer with other types than QEMU's, or flood the recorder: a QmpError, in bounded time and memory."""

from __future__ import annotations

import copy
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import migsim
from migsim.errors import MigsimError, QmpError
from migsim.qmp import QmpSession
from migsim.qmp import session as sessions
from migsim.qmp.answers import ANSWERS, check_answer
from migsim.tracer.record import record_trace
from migsim.tracer.stream import reader, recording
from tests.tracer.played_qemu import PlayedQemu, monitor_of

ROOT = Path(__file__).parents[2]
ODD: list[Any] = [
    None, True, False, -1, 0, 1, 1.5, 1e300, float("inf"), float("nan"), 2**53 + 1, 2**63, 10**300, "", "x",
    "\x1b[2J", "9" * 5000, [], [None], [[]], [{}], {}, {"return": {}}, {"status": []}, {"enabled": "yes"},
]  # fmt: skip
COMMANDS = [
    "query-status", "query-migrate", "query-migrate-parameters", "query-migrate-capabilities", "query-dirty-rate",
    "query-memory-size-summary", "query-kvm", "query-cpus-fast", "human-monitor-command", "migrate",
    "migrate-set-parameters", "migrate-set-capabilities", "migrate_cancel", "query-uuid",
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in inside for place in places(inner, (*at, key)))]


def spoilt(rng: random.Random, right: Any) -> Any:
    """An answer with one value in it replaced by an odd one, or taken away."""
    place = rng.choice(places(right))
    if not place:
        return rng.choice(ODD)
    changed = copy.deepcopy(right)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    if rng.random() < 0.3:
        del holder[place[-1]]
    else:
        holder[place[-1]] = rng.choice(ODD)
    return changed


@pytest.mark.parametrize("seed", range(300))
def test_one_odd_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(reader, "_CLOSES_S", 0.2)  # the played QEMU closes at once, or not before the end
    rng = random.Random(seed)
    command, nth, count = COMMANDS[seed % len(COMMANDS)], rng.choice([0, 0, 1, 2]), 0

    def answer(asked: str, right: Any) -> Any:
        nonlocal count
        if asked != command:
            return right
        count += 1
        return spoilt(rng, right) if count == nth + 1 or nth == 2 else right

    method = rng.choice(["stream", "stream", "auto", "dirty-rate"])
    with monitor_of(PlayedQemu([[31, 32], [33]] * 2), tmp_path / "q", answer):
        try:
            record_trace(
                tmp_path / "q", tmp_path / "a.trace", method=method, duration_s=0.1, stop=lambda: count > nth
            )
        except MigsimError as error:
            assert len(str(error)) < 2000


@pytest.mark.parametrize("command", sorted(set(COMMANDS) & set(ANSWERS)))
def test_an_answer_of_another_type_is_named(tmp_path: Path, command: str) -> None:
    qemu = PlayedQemu([])
    arguments = {"capabilities": [], "uri": "unix:/dev/null", "command-line": "info ramblock"}
    right = {} if command == "migrate" else qemu.execute(command, arguments)
    wrong: Any = [] if isinstance(right, dict | str) else {}
    with (
        monitor_of(qemu, tmp_path / "q", lambda asked, right: wrong if asked == command else right),
        QmpSession(tmp_path / "q") as session,
        pytest.raises(QmpError, match=command),
    ):
        session.execute(command, arguments)


@pytest.mark.parametrize(
    "greeting", [None, 1, [], {}, {"qemu": 1}, {"qemu": {"major": "x", "minor": 0, "micro": 0}}]
)
def test_an_odd_greeting(tmp_path: Path, greeting: Any) -> None:
    odd = "nothing" if greeting is None else greeting
    with monitor_of(PlayedQemu([]), tmp_path / "q", greeting=odd), pytest.raises(QmpError):
        QmpSession(tmp_path / "q").__enter__()


def test_what_migsim_asks_has_a_shape() -> None:
    """Each command that stands in the source is in the table, so that its answer is checked."""
    source = "".join(path.read_text() for path in Path(migsim.__file__).parent.rglob("*.py"))
    asked = set(re.findall(r"""execute\(\s*"([a-z_-]+)\"""", source))
    assert {"query-migrate", "calc-dirty-rate"} < asked
    assert asked == set(ANSWERS)


def test_a_measured_window_without_a_length(tmp_path: Path) -> None:
    def answer(asked: str, right: Any) -> Any:
        measured = asked == "query-dirty-rate"
        return {"status": "measured", "dirty-rate": 3} if measured else right

    qemu = PlayedQemu([])
    qemu.calc_dirty_rate = lambda _arguments: {}  # type: ignore[attr-defined]
    with (
        monitor_of(qemu, tmp_path / "q", answer),
        pytest.raises(QmpError, match="not how long it took"),
    ):
        record_trace(tmp_path / "q", tmp_path / "a.trace", method="dirty-rate", duration_s=0.1)


@pytest.mark.parametrize(
    ("command", "wrong", "said"),
    [
        ("query-migrate", {"xbzrle-cache": {"pages": {}}}, "'pages' of 'xbzrle-cache' is an object"),
        ("query-migrate", {"ram": {"mbps": "fast"}}, "'mbps' of 'ram' is a text, not a number"),
        ("query-migrate", {"more": float("inf")}, "not finite"),
        ("query-migrate-parameters", {"max-bandwidth": 1 << 70}, "22 characters is too large"),
        ("query-migrate-parameters", {"a": json.loads("[" * 100 + "]" * 100)}, "deeper than 64"),
        ("query-migrate-parameters", {"a": "\ud800"}, "surrogates not allowed"),
        ("any-other", float("nan"), "not finite"),
    ],
)
def test_what_no_answer_holds(command: str, wrong: Any, said: str) -> None:
    with pytest.raises(QmpError, match=f"{command} was answered.*{said}") as error:
        check_answer(command, wrong)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"running": 1, "status": "running"},
        {"running": True},
        {"running": True, "status": 10**5000},
        {"running": True, "status": [[[[]]]] * 1000},
        "x" * 10**6,
    ],
)
def test_what_is_wrong_is_said_shortly(wrong: Any) -> None:
    with pytest.raises(QmpError, match="query-status") as error:
        check_answer("query-status", wrong)
    assert len(str(error.value)) < 500


class Flood(PlayedQemu):
    """Announces 30,000 events at once, when it is asked for its parameters."""

    def __init__(self, name: str, data: Any) -> None:
        super().__init__([[31]] * 1000)
        self.flood = SimpleNamespace(name=name, data=data, seconds=time.time())

    def migrate(self, arguments: Any) -> Any:
        self.events.extend([self.flood] * 30_000)
        return super().migrate(arguments)


@pytest.mark.parametrize(
    ("name", "data", "refused"),
    [
        ("MIGRATION_PASS", {"pass": 1}, True),
        ("MIGRATION", {"status": {}}, False),
        ("RTC_CHANGE", {"text": "x" * 3000}, True),
        ("NIC_RX_FILTER_CHANGED", {}, False),
    ],
)
def test_thirty_thousand_events(tmp_path: Path, name: str, data: Any, refused: bool) -> None:
    """In a process of its own, whose processor time and memory are looked at."""
    recorder = """
import json, sys, time
from pathlib import Path
from migsim.errors import QmpError
from migsim.tracer.record import record_trace
import pyarrow
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before, begun = peak(), time.process_time()
try:
    record_trace("q", "a.trace", method="stream", duration_s=0.3)
    said = ""
except QmpError as error:
    said = str(error)
print(json.dumps([said, time.process_time() - begun, (peak() - before) / 1024]))
"""
    with monitor_of(Flood(name, data), tmp_path / "q"):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{recorder}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    said, spent_s, mib = json.loads(done.stdout)
    assert bool(said) == refused, said
    assert spent_s < 6.0 and mib < 150, (spent_s, mib)


def test_events_that_go_on_end_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "EVENTS_AT_MOST", 100)
    qemu = PlayedQemu([])
    with monitor_of(qemu, tmp_path / "q"), QmpSession(tmp_path / "q") as session:
        for _ in range(150):
            qemu.note("RTC_CHANGE")
        with pytest.raises(QmpError, match="more events than migsim keeps"):
            session.wait_event("STOP", timeout_s=60)
        assert len(session.events) == 100
        with pytest.raises(QmpError, match="more events"):
            session.execute("query-status")


@pytest.mark.parametrize(
    "stamp",
    [{"seconds": 10**400}, {"seconds": True}, {"seconds": 1, "microseconds": "x"}, {"seconds": -1}, "now"],
)
def test_an_odd_time_is_now(stamp: Any) -> None:
    from migsim.qmp import QmpEvent

    event = QmpEvent.from_message({"event": "STOP", "timestamp": stamp, "data": [1]})
    assert abs(event.seconds - time.time()) < 300 and event.data == {}


class Silent(PlayedQemu):
    """Says that it migrates, and sends nothing."""

    def send(self, path: str) -> None:
        self.cancelled.wait()
        self.announce("cancelled")


def test_a_migration_that_never_begins_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_LONGEST_STILL_S", 0.5)
    qemu = Silent([])
    before = dict(qemu.parameters)
    with monitor_of(qemu, tmp_path / "q"), pytest.raises(QmpError, match="not got further"):
        record_trace(tmp_path / "q", tmp_path / "a.trace", method="stream", duration_s=0.3)
    assert qemu.parameters == before and not list(tmp_path.glob("a.trace*"))
