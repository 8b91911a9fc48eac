"""The guest's own settings outlive a recording that is killed: they are kept before the first is changed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migsim.errors import HostError, QmpError, TraceError
from migsim.lab.guest_log import wait_ready
from migsim.qmp import QmpSession
from migsim.trace import TraceMeta, TraceWriter
from migsim.tracer.guest_settings import GuestSettings, restore_guest
from migsim.tracer.record import record_trace
from migsim.tracer.stream.collector import StreamCollector
from tests.live_guest import live_guest
from tests.tracer.played_qemu import PlayedQemu, monitor_of

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
NAME = "guest-settings.json"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "migsim", "trace", *words]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def recording(folder: Path, socket: str, changed: Callable[[], bool]) -> Iterator[subprocess.Popen[str]]:
    """A recording into a.trace, once it has changed the guest's settings; killed at the end."""
    words = ["trace", "record", "--qmp", socket, "-o", "a.trace", "--method", "stream", "--duration", "300s"]
    with subprocess.Popen(
        [sys.executable, "-m", "migsim", *words],
        cwd=folder,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    ) as recorder:
        deadline = time.monotonic() + 200
        while not changed() and recorder.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            assert changed()
            yield recorder
        finally:
            recorder.kill()


@pytest.fixture
def qemu() -> PlayedQemu:
    played = PlayedQemu([[31, 32], [33]] * 1000)
    played.capabilities["xbzrle"] = True
    played.parameters["tls-creds"] = "tls0"
    return played


def settings(qemu: PlayedQemu) -> tuple[dict[str, Any], dict[str, bool]]:
    return dict(qemu.parameters), dict(qemu.capabilities)


@pytest.fixture
def killed(qemu: PlayedQemu, tmp_path: Path) -> Iterator[tuple[dict[str, Any], dict[str, bool]]]:
    """The settings of a guest whose recording was killed, before it."""
    before = settings(qemu)
    with monitor_of(qemu, tmp_path / "q"):
        with recording(tmp_path, "q", lambda: qemu.migrations > 0 and qemu.capabilities["events"]):
            pass
        assert settings(qemu) != before
        assert qemu.parameters["tls-creds"] == "" and qemu.capabilities["pause-before-switchover"]
        while qemu.status != "cancelled":
            time.sleep(0.02)
        yield before


def test_restore_puts_them_back_and_says_what(
    qemu: PlayedQemu, killed: tuple[dict[str, Any], dict[str, bool]], tmp_path: Path
) -> None:
    done = run(tmp_path, "restore", "a.trace.part")
    assert done.returncode == 0, done.stderr
    assert settings(qemu) == killed
    assert "put back: max-bandwidth 134217728 (was " in done.stdout
    assert "put back: xbzrle on" in done.stdout and "put back: tls-creds tls0 (was )" in done.stdout
    again = run(tmp_path, "restore", "a.trace.part")
    assert again.returncode == 3 and "Nothing has to be put back" in again.stderr


def test_the_next_recording_puts_them_back_and_says_so(
    qemu: PlayedQemu, killed: tuple[dict[str, Any], dict[str, bool]], tmp_path: Path
) -> None:
    qemu.rounds = [[31], [32]]
    said: list[str] = []
    record_trace(
        tmp_path / "q", tmp_path / "b.trace", method="stream", duration_s=0.2, on_put_back=said.append
    )
    assert len(said) == 1 and "a.trace.part" in said[0] and "max-bandwidth 134217728" in said[0]
    assert settings(qemu) == killed
    assert (tmp_path / "b.trace").exists() and not (tmp_path / "a.trace.part" / NAME).exists()


def test_a_recording_into_the_same_file_puts_them_back_and_is_refused(
    qemu: PlayedQemu, killed: tuple[dict[str, Any], dict[str, bool]], tmp_path: Path
) -> None:
    done = run(tmp_path, "record", "--qmp", "q", "-o", "a.trace", "--method", "stream")
    assert done.returncode == 3 and "put back the guest's settings" in done.stderr
    assert "a.trace.part exists" in done.stderr
    assert settings(qemu) == killed


@pytest.mark.parametrize("process", ["1 2 another-boot", ""])
def test_another_guest_is_left_alone(
    qemu: PlayedQemu, killed: tuple[dict[str, Any], dict[str, bool]], tmp_path: Path, process: str
) -> None:
    path = tmp_path / "a.trace.part" / NAME
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"guest": process, "uuid": "00000000-0000-0000-0000-000000000008"}))
    left = settings(qemu)
    done = run(tmp_path, "restore", "a.trace.part", "--qmp", "q")
    assert done.returncode == 3 and "another guest" in done.stderr
    assert settings(qemu) == left
    path.write_text(json.dumps(kept | {"guest": "", "uuid": "00000000-0000-0000-0000-000000000007"}))
    assert run(tmp_path, "restore", "a.trace.part", "--qmp", "q").returncode == 0
    assert settings(qemu) == killed


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"socket": 1}', None])
def test_damaged_settings_are_refused(tmp_path: Path, qemu: PlayedQemu, text: str | None) -> None:
    folder = tmp_path / "a.trace.part"
    folder.mkdir()
    whole = {
        "socket": "",
        "guest": "",
        "uuid": "",
        "recorder": "",
        "parameters": {},
        "capabilities": {"events": 1},
    }
    (folder / NAME).write_text(json.dumps(whole) if text is None else text)
    with pytest.raises(TraceError, match="Cannot read the guest's settings"):
        GuestSettings.load(folder)
    with monitor_of(qemu, tmp_path / "q"):  # another recording goes on without them
        qemu.rounds = [[31], [32]]
        record_trace(tmp_path / "q", tmp_path / "b.trace", method="stream", duration_s=0.2)


def test_not_while_the_recording_is_under_way(qemu: PlayedQemu, tmp_path: Path) -> None:
    with (
        monitor_of(qemu, tmp_path / "q"),
        recording(tmp_path, "q", lambda: qemu.migrations > 0 and qemu.capabilities["events"]),
    ):
        kept = GuestSettings.load(tmp_path / "a.trace.part")
        assert kept is not None and kept.is_recorded_elsewhere()
    assert not kept.is_recorded_elsewhere()


def test_a_guest_that_waits_for_the_switchover_is_let_go(tmp_path: Path, qemu: PlayedQemu) -> None:
    qemu.rounds = [[31]]
    before = settings(qemu)
    with monitor_of(qemu, tmp_path / "q"), QmpSession(tmp_path / "q") as session:
        kept = GuestSettings.of(session)
        with TraceWriter(tmp_path / "a.trace", TraceMeta("stream", "7.2", 50 * 4096)) as writer:
            writer.add_interval(0, 1, pages=[31])
            kept.keep(tmp_path / "a.trace")
            session.execute("migrate-set-parameters", {"max-bandwidth": 1000})
            qemu.status, qemu.running = "pre-switchover", False
            qemu.migrate_cancel = lambda _arguments: vars(qemu).update(status="cancelled") or {}  # type: ignore[method-assign]  # the played QEMU is changed
            assert restore_guest(session, tmp_path / "a.trace.part") == ["max-bandwidth 134217728 (was 1000)"]
    assert settings(qemu) == before and qemu.status == "cancelled"


def test_they_are_kept_before_the_first_is_changed(tmp_path: Path, qemu: PlayedQemu) -> None:
    seen: list[bool] = []
    path = tmp_path / "a.trace.part" / NAME
    for name in ("migrate_set_parameters", "migrate_set_capabilities"):
        right = getattr(qemu, name)
        setattr(qemu, name, lambda arguments, right=right: seen.append(path.exists()) or right(arguments))
    qemu.rounds = [[31], [32]]
    with TraceWriter(tmp_path / "a.trace", TraceMeta("stream", "7.2", 50 * 4096)) as writer:
        StreamCollector().record(
            qemu,
            writer,
            duration_s=0.2,
            progress=lambda *_: None,
            stop=lambda: False,
        )
        assert not path.exists()  # all was put back
    assert len(seen) > 3 and all(seen)


def test_where_they_cannot_be_kept_nothing_is_changed(
    tmp_path: Path, qemu: PlayedQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise HostError("Cannot write: No space left on device.")

    monkeypatch.setattr("migsim.tracer.guest_settings.write_text_atomically", full)
    before = settings(qemu)
    with monitor_of(qemu, tmp_path / "q"), pytest.raises(HostError, match="No space left"):
        record_trace(tmp_path / "q", tmp_path / "a.trace", method="stream", duration_s=0.2)
    assert settings(qemu) == before and qemu.migrations == 0


class LosesItsMonitor(PlayedQemu):
    """Answers nonsense to all, from the first migration on, as long as `lost` is true."""

    lost = True

    def answer(self, command: str, right: Any) -> Any:
        if self.lost and self.migrations:
            self.lost = self.lost_for_good
            return 7
        return right

    lost_for_good = False


@pytest.mark.parametrize("for_good", [False, True])
def test_a_recording_that_loses_its_monitor_puts_back_through_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    monkeypatch.setattr("migsim.tracer.stream.reader._CLOSES_S", 0.2)  # nobody ends the migration meanwhile
    qemu = LosesItsMonitor([[31]] * 1000)
    qemu.lost_for_good = for_good
    before = settings(qemu)
    with monitor_of(qemu, tmp_path / "q", qemu.answer):
        with pytest.raises(QmpError) as lost:
            record_trace(tmp_path / "q", tmp_path / "a.trace", method="stream", duration_s=60)
        if for_good:
            assert settings(qemu) != before and "migsim trace restore" in str(lost.value)
            qemu.lost = qemu.lost_for_good = False
            qemu.end()
            with QmpSession(tmp_path / "q") as session:
                assert restore_guest(session, tmp_path / "a.trace.part")
        assert settings(qemu) == before


def test_what_one_odd_answer_left_is_put_back_at_once(tmp_path: Path, qemu: PlayedQemu) -> None:
    """Its monitor serves one client: the first session is closed before another puts the settings back."""
    odd = iter([7])
    before = settings(qemu)
    with (
        monitor_of(
            qemu,
            tmp_path / "q",
            lambda asked, right: next(odd, right) if asked == "migrate_cancel" else right,
        ),
        pytest.raises(QmpError, match="migrate_cancel") as lost,
    ):
        record_trace(tmp_path / "q", tmp_path / "a.trace", method="stream", duration_s=0.2)
    assert "migsim trace restore" not in str(lost.value)
    assert settings(qemu) == before


@pytest.mark.live
@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_a_killed_recording_of_a_real_guest(version: str, tmp_path: Path) -> None:
    with live_guest(tmp_path, version, monitor="second") as qemu:
        wait_ready(qemu, 60.0)
        qemu.qmp.execute(
            "migrate-set-capabilities", {"capabilities": [{"capability": "xbzrle", "state": True}]}
        )
        qemu.qmp.execute("migrate-set-parameters", {"max-bandwidth": 123_000_000, "downtime-limit": 77})

        def of_the_guest() -> list[Any]:
            return [qemu.qmp.execute(f"query-migrate-{what}") for what in ("parameters", "capabilities")]

        before = of_the_guest()
        with (
            recording(
                tmp_path, "second", lambda: qemu.qmp.execute("query-migrate").get("status") == "active"
            ) as recorder,
            pytest.raises(QmpError, match="under way"),
        ):
            restore_guest(qemu.qmp, tmp_path / "a.trace.part")
        assert recorder.returncode == -9 and of_the_guest() != before
        done = run(tmp_path, "restore", "a.trace.part")
        assert done.returncode == 0, done.stderr
        assert of_the_guest() == before
        assert (
            "put back: max-bandwidth 123000000 (was" in done.stdout and "put back: xbzrle on" in done.stdout
        )
        assert qemu.qmp.execute("query-status")["running"]
