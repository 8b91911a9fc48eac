"""Parts of the experiments: the cores of each side, the scenario, the work of a slice."""

from migsim.results import MigrationResult, Outcome
from migsim.scenario import QemuSpec
from validation.experiments import flush_on_cores, return_path, sleeping_slices


def test_only_the_sides_that_are_apart_share_no_core():
    apart, same = (flush_on_cores.cores_of(place, 0, 1) for place in ("apart", "same"))
    assert (apart.source, apart.destination) == ((0,), (1,))
    assert same.source == same.destination == (0,)
    assert flush_on_cores.cores_of("free", 0, 1) is None


def test_the_guest_fits_under_its_limit_at_every_rate():
    for rate in flush_on_cores.RATES_BYTES_PER_S:
        scenario = flush_on_cores.scenario(QemuSpec(command="qemu", version="10.0"), rate)
        parameters = scenario.migration.parameters
        assert parameters["max-bandwidth"] == rate
        room = rate * parameters["downtime-limit"] / 1000 / 4104
        assert 1.1 < room / scenario.guest.workload.classes[0].pages < 1.3


def test_a_slice_works_and_a_larger_array_takes_longer():
    small, large = (sleeping_slices.work_per_s(kib, 0.0, 0.3) for kib in (1, 65536))
    assert small > 2 * large > 0
    assert sleeping_slices.work_per_s(1, 0.01, 0.3) > large


def test_the_table_has_a_line_for_each_array(capsys, monkeypatch):
    monkeypatch.setattr(sleeping_slices, "work_per_s", lambda kib, sleep, seconds: 1.0 - kib * sleep / 1e5)
    sleeping_slices.main(["--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == list(sleeping_slices.ARRAY_KIB)
    assert "80 %: 0.998" in lines[2]  # 4096 KiB, and 40 ms for a throttle of 80 %


def test_runs_with_and_without_a_return_path_differ_in_nothing_else():
    on, off = (return_path.scenario(return_path.QEMUS["7.2"], choice) for choice in (True, False))
    assert on.migration.capabilities == {"return-path": True}
    assert on.replace(name=off.name, migration=off.migration) == off


def test_what_downtime_misses_is_told_for_each_choice(capsys, monkeypatch):
    def run(scenario):
        waits = scenario.migration.capabilities["return-path"]
        return MigrationResult(
            kind="measured",
            name=scenario.name,
            qemu_version=scenario.qemu.version,
            accel="kvm",
            outcome=Outcome("completed", ""),
            info={"downtime": 14 if waits else 10, "total-time": 200},
            downtime_parts_ms={"stop": 2.0, "rest": 4.0 if waits else 0.0},
            blackout_ms=12.0,
        )

    monkeypatch.setattr(return_path, "run_migration", run)
    return_path.main(["--repeats", "2"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [
        [q, choice] for q in ("7.2", "10.0") for choice in ("off", "on")
    ]
    assert "  4.0 (4.0 .. 4.0)" in lines[0] and "  0.0 (0.0 .. 0.0)" in lines[1]
