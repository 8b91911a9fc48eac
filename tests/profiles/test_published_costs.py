import pytest

from migsim.errors import MigsimError
from migsim.profiles.published import Cost, cost_preset, cost_presets


def test_every_cost_has_a_range_an_evidence_and_a_source():
    for preset in cost_presets():
        assert preset.costs
        for name, cost in preset.costs.items():
            assert 0 < cost.low <= cost.value <= cost.high, (preset.name, name)
            assert cost.evidence in "SCTDE"
            assert len(cost.source) > 15, (preset.name, name)


def test_the_ends_of_a_preset_lie_about_its_values():
    preset = cost_preset("era-2012")
    low, value, high = (preset.at(b) for b in ("low", "value", "high"))
    assert low.keys() == value.keys() == high.keys()
    assert all(low[k] <= value[k] <= high[k] for k in value)
    assert "mark_s_per_page" in preset.estimates()
    assert "log_stop_s_per_gib" not in preset.estimates()


def test_an_unknown_preset_names_its_neighbours():
    with pytest.raises(MigsimError, match=r"era-2013.*The presets are.*Did you mean 'era-2012'"):
        cost_preset("era-2013")


def test_a_cost_that_no_preset_has():
    with pytest.raises(MigsimError, match="Did you mean 'stop_s'"):
        cost_preset("era-2012").at()["stops_s"]


@pytest.mark.parametrize(
    "bad",
    [
        {"evidence": "E", "source": "x"},
        {"low": 2.0, "high": 1.0, "evidence": "E", "source": "x"},
        {"value": 1.0, "evidence": "Z", "source": "x"},
    ],
)
def test_a_cost_that_is_none_is_refused(bad):
    with pytest.raises(MigsimError, match="low <= high"):
        Cost.read(bad)


def test_a_preset_shows_itself():
    assert "cloud-hypervisor issue 8899" in cost_preset("era-2020-x86")._repr_html_()


def test_replacing_a_cost_keeps_the_others():
    costs = cost_preset("era-2012").at()
    changed = costs.replace(stop_s=1.0)
    assert changed["stop_s"] == 1.0 != costs["stop_s"]
    assert {k: v for k, v in changed.items() if k != "stop_s"} == {
        k: v for k, v in costs.items() if k != "stop_s"
    }
