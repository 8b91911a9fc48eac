"""The dirty-rate collector against a fake QMP session: windows, modes, versions and refusals."""

import pytest

from migsim.errors import QmpError, UsageError
from migsim.qapi import QemuVersion
from migsim.qmp import QmpCommandError
from migsim.trace import Trace, TraceMeta, TraceWriter
from migsim.tracer import dirty_rate
from migsim.tracer.base import never_stop, no_progress
from migsim.tracer.dirty_rate import DirtyRateCollector, choose_sample_pages, choose_windows_s

RAMBLOCK = (
    "              Block Name    PSize              Offset               Used              Total\n"
    "                  pc.ram    4 KiB  0x0000000000000000 0x0000000040000000 0x0000000040000000\n"
    "      /rom@etc/acpi/rsdp    4 KiB  0x00000000402c0000 0x0000000000001000 0x0000000000001000\n"
)


class FakeSession:
    """Answers as QEMU does; every measurement ends at once."""

    def __init__(self, version="10.0.8", ring=False, migration="none", busy=False, rate=100, dies_after=None):
        self.version = QemuVersion.parse(version)
        self.peer_pid = None
        self.ring = ring
        self.migration = migration
        self.rate = rate
        self.asked = []
        self.status = "measuring" if busy else "unstarted"
        self.dies_after = dies_after

    def execute(self, command, arguments=None, *, timeout_s=None):
        if command == "query-migrate":
            return {} if self.migration == "none" else {"status": self.migration}
        if command == "human-monitor-command":
            return RAMBLOCK
        if command == "query-dirty-rate":
            last = self.asked[-1] if self.asked else {"calc-time": 0}
            return {"status": self.status, "dirty-rate": self.rate, "calc-time": last["calc-time"]}
        assert command == "calc-dirty-rate"
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise QmpError("QEMU closed the connection.")
        if arguments.get("mode") == ("dirty-bitmap" if self.ring else "dirty-ring"):
            text = f"mode {arguments['mode']} is not enabled, use other method instead."
            raise QmpCommandError(command, "GenericError", text)
        self.asked.append(arguments)
        self.status = "measured"
        return {}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls):
            return cls.now

        @classmethod
        def sleep(cls, seconds):
            cls.now += seconds

    monkeypatch.setattr(dirty_rate, "time", Clock)


def record(path, session, duration_s=30.0, modes=(), stop=never_stop, accel="kvm", **more):
    meta = TraceMeta("dirty-rate", str(session.version), 1 << 30, accel=accel)
    with TraceWriter(path, meta) as writer:
        collector = DirtyRateCollector(modes, **more)
        collector.record(session, writer, duration_s=duration_s, progress=no_progress, stop=stop)
    return Trace.open(path)


def test_every_window_in_every_mode_that_works(tmp_path):
    session = FakeSession()
    windows = record(tmp_path / "a.trace", session).windows
    assert set(windows["mode"]) == {"dirty-bitmap", "page-sampling"}
    for _, group in windows.groupby("mode"):
        assert sorted(set(group["window_s"])) == choose_windows_s(True, 30)
        assert (group["window_s"].value_counts() > 1).any()
    assert windows["start_s"].is_monotonic_increasing
    assert (windows["start_s"] + windows["measured_s"]).max() < 32
    row = windows[(windows["mode"] == "dirty-bitmap") & (windows["window_s"] == 0.4)].iloc[0]
    assert row["dirty_bytes"] == 100 * 2**20 * 0.4
    assert all(a["calc-time-unit"] == "millisecond" for a in session.asked)


def test_with_a_dirty_ring_the_bitmap_is_not_used(tmp_path):
    windows = record(tmp_path / "a.trace", FakeSession(ring=True)).windows
    assert set(windows["mode"]) == {"dirty-ring", "page-sampling"}


def test_older_qemu_is_asked_for_whole_seconds(tmp_path):
    session = FakeSession("7.2.22")
    windows = record(tmp_path / "a.trace", session).windows
    assert sorted(set(windows["window_s"])) == [1, 2, 3, 5]
    assert not any("calc-time-unit" in a for a in session.asked)
    assert {a["calc-time"] for a in session.asked} == {1, 2, 3, 5}


def test_sample_pages_only_where_qemu_takes_them(tmp_path):
    session = FakeSession()
    windows = record(tmp_path / "a.trace", session, 3).windows
    assert {a.get("sample-pages") for a in session.asked if a["mode"] != "page-sampling"} == {None}
    asked = [a["sample-pages"] for a in session.asked if a["mode"] == "page-sampling"]
    # one GiB: QEMU samples as many as asked a GiB
    assert windows[windows["mode"] == "page-sampling"]["sampled_pages"].tolist() == asked


def test_qemu_before_6_2_is_asked_without_a_mode(tmp_path):
    session = FakeSession("5.2.0")
    record(tmp_path / "a.trace", session, 3)
    assert not any("mode" in a for a in session.asked)
    assert not DirtyRateCollector().check(FakeSession("5.1"))


def test_a_mode_asked_for_and_refused_is_an_error(tmp_path):
    with pytest.raises(QmpError, match="dirty-ring-size"):
        record(tmp_path / "a.trace", FakeSession(), modes=["dirty-ring"])
    with pytest.raises(QmpError, match="dirty-bitmap"):  # raised by the warm-up measurement
        record(tmp_path / "b.trace", FakeSession(ring=True), modes=["dirty-bitmap"])
    with pytest.raises(UsageError, match="Did you mean 'dirty-bitmap'"):
        DirtyRateCollector(["dirty-bitmp"])


def test_under_tcg_the_bitmap_is_not_used_as_it_counts_nothing(tmp_path):
    session = FakeSession()
    record(tmp_path / "a.trace", session, accel="tcg")
    assert {a["mode"] for a in session.asked} == {"page-sampling"}
    with pytest.raises(QmpError, match="TCG"):
        record(tmp_path / "b.trace", FakeSession(), modes=["dirty-bitmap"], accel="tcg")
    session = FakeSession()
    record(tmp_path / "c.trace", session, modes=["dirty-bitmap"], accel="tcg", only_if_offered=True)
    assert session.asked == []


def test_a_tcg_guest_is_not_measured_where_qemu_would_crash(tmp_path):
    session = FakeSession("7.2.22")
    with pytest.raises(QmpError, match="crashes"):
        record(tmp_path / "a.trace", session, accel="tcg")
    assert session.asked == []
    record(tmp_path / "b.trace", session, accel="kvm")
    assert session.asked


@pytest.mark.parametrize("version", ["7.2.22", "10.0.8"])
def test_the_bitmap_warms_up_first_and_that_is_not_recorded(tmp_path, version):
    session = FakeSession(version)
    windows = record(tmp_path / "a.trace", session).windows
    assert session.asked[0]["mode"] == "dirty-bitmap"
    assert session.asked[0]["calc-time"] == min(a["calc-time"] for a in session.asked)
    assert len(windows) == len(session.asked) - 1
    assert windows["mode"].tolist() == [a["mode"] for a in session.asked[1:]]
    assert windows["start_s"].iloc[0] == 0


def test_page_sampling_protects_nothing_and_needs_no_warm_up(tmp_path):
    session = FakeSession()
    windows = record(tmp_path / "a.trace", session, modes=["page-sampling"]).windows
    assert len(windows) == len(session.asked)
    assert set(windows["mode"]) == {"page-sampling"}


@pytest.mark.parametrize(("version", "more"), [("7.2.22", 1), ("8.2.0", 0), ("10.0.8", 0)])
def test_the_resolution_is_that_of_qemus_rounding(tmp_path, version, more):
    """QEMU answers whole MiB/s; before 8.2 the bitmap's memory is whole MiB too. Sampling rounds only the rate."""
    windows = record(tmp_path / "a.trace", FakeSession(version)).windows
    bitmap = windows["mode"] == "dirty-bitmap"
    mib = windows["resolution_bytes"] / 2**20
    assert mib[bitmap].tolist() == pytest.approx((windows["measured_s"] + more)[bitmap].tolist(), rel=1e-4)
    assert mib[~bitmap].tolist() == pytest.approx(windows["measured_s"][~bitmap].tolist(), rel=1e-4)
    assert bitmap.any() and not bitmap.all()


def test_given_windows_replace_the_default_ones(tmp_path):
    session = FakeSession()
    windows = record(tmp_path / "a.trace", session, 5, modes=["dirty-bitmap"], windows_s=[0.07, 0.2]).windows
    assert [a["calc-time"] for a in session.asked[:3]] == [70, 70, 200]
    assert windows["window_s"].tolist()[:4] == [0.07, 0.2, 0.07, 0.2]
    assert set(windows["window_s"]) == {0.07, 0.2}


@pytest.mark.parametrize(
    "status", ["active", "setup", "postcopy-active", "device", "cancelling", "wait-unplug"]
)
def test_never_while_a_migration_is_under_way(tmp_path, status):
    with pytest.raises(QmpError, match="migration"):
        record(tmp_path / "a.trace", FakeSession(migration=status))
    assert not list(tmp_path.iterdir())


def test_never_while_somebody_else_measures(tmp_path):
    with pytest.raises(QmpError, match="measuring"):
        record(tmp_path / "a.trace", FakeSession(busy=True))


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_migration_that_is_over_is_no_hindrance(tmp_path, status):
    assert len(record(tmp_path / "a.trace", FakeSession(migration=status), 2).windows)


def test_the_windows_before_qemu_ends_are_kept(tmp_path):
    with pytest.raises(QmpError, match="closed"):
        record(tmp_path / "a.trace", FakeSession(dies_after=3))
    trace = Trace.open(tmp_path / "a.trace")
    assert len(trace.windows) == 2  # the first measurement is the warm-up
    assert not trace.meta.complete


def test_stop_ends_soon(tmp_path):
    calls = iter(range(1000))
    trace = record(tmp_path / "a.trace", FakeSession(), stop=lambda: next(calls) > 5)
    assert 0 < len(trace.windows) < 5


@pytest.mark.parametrize("duration", [0.1, 1, 5, 60, 600])
@pytest.mark.parametrize("milliseconds", [True, False])
def test_the_chosen_windows_are_within_qemus_limits(duration, milliseconds):
    windows = choose_windows_s(milliseconds, duration)
    assert windows == sorted(set(windows))
    assert min(windows) >= (0.05 if milliseconds else 1)
    assert max(windows) <= 60


@pytest.mark.parametrize("ram", [1 << 20, 1 << 30, 1 << 37, 1 << 44])
@pytest.mark.parametrize("window_s", [0.05, 60])
def test_sample_pages_stay_within_qemus_limits(ram, window_s):
    assert 128 <= choose_sample_pages(ram, window_s) <= 16384
