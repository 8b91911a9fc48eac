"""The demo uses the options of the records' scenario, and draws the given results."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from migsim.results import MigrationResult, Outcome
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, MigrationSettings, PageClass, QemuSpec
from validation import demo


def result(total: float, **other: object) -> MigrationResult:
    info = {
        "status": "completed",
        "total-time": total,
        "downtime": 30,
        "ram": {"transferred": 5 << 20, "dirty-sync-count": 7},
    }
    fields = {
        "kind": "measured",
        "name": "barely",
        "qemu_version": "10.0.2",
        "accel": "kvm",
        "outcome": Outcome("completed", ""),
        "info": info,
        "scenario": SCENARIO.as_dict(),
    }
    return MigrationResult(**(fields | other))


SCENARIO = LabScenario(
    name="barely",
    qemu=QemuSpec(version="10.0"),
    guest=GuestSpec(
        ram_bytes=1 << 30,
        workload=GuestWorkload(touched_pages=1000, classes=(PageClass(base_page=0, pages=1000, share=1.0),)),
    ),
    migration=MigrationSettings(
        parameters={"max-bandwidth": 125_000_000, "downtime-limit": 300}, capabilities={"xbzrle": False}
    ),
    deadline_s=90,
)


def test_the_options_are_the_scenarios() -> None:
    words = demo.settings_of(result(9000))
    assert words[:2] == ["--qemu-version", "10.0"]
    assert {words[i + 1] for i, word in enumerate(words) if word == "--set"} == {
        "max-bandwidth=125000000",
        "downtime-limit=300",
        "xbzrle=off",
    }
    assert words[-2:] == ["--deadline", "90s"]


def test_the_options_parse_to_the_scenarios_settings() -> None:
    words = demo.settings_of(result(9000))
    settings = MigrationSettings.parse([words[i + 1] for i, w in enumerate(words) if w == "--set"], "10.0")
    assert settings == SCENARIO.migration


def test_a_panel_shows_measurements_prediction_and_interval_in_its_unit() -> None:
    predicted = result(9000, kind="simulated", intervals={"total-time": (8000.0, 10000.0)})
    axes = demo.plot_metric("total time", predicted, [result(9456), result(9590)], ax=Figure().subplots())
    points, line = axes.lines
    assert list(points.get_ydata()) == pytest.approx([9.456, 9.590])
    assert next(iter(line.get_ydata())) == pytest.approx(9.0)
    (band,) = axes.patches
    assert isinstance(band, Rectangle)
    assert band.get_y() == pytest.approx(8) and band.get_height() == pytest.approx(2)


def test_the_picture_is_written_to_the_given_path(tmp_path: Path) -> None:
    target = tmp_path / "new" / "demo.png"
    demo.draw(result(9000, kind="simulated"), [result(9456), result(9590)], target)
    assert target.read_bytes().startswith(b"\x89PNG")
