"""Fitted models kept as JSON: the workload and the host profile share `RecordedModel`."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import MigsimError, ProfileError, ScenarioError
from tests.profiles.test_host_profile import PROFILE
from tests.workload.test_workload_classes import WORKLOAD


@pytest.mark.parametrize("kept", [WORKLOAD, PROFILE], ids=["workload", "profile"])
def test_files_round_trip(tmp_path, kept):
    path = tmp_path / "kept.json"
    kept.save(path)
    assert type(kept).load(path) == kept
    assert json.loads(path.read_text())["version"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("kept", "kind"), [(WORKLOAD, ScenarioError), (PROFILE, ProfileError)])
def test_damaged_foreign_and_newer_files_are_refused(tmp_path, kept, kind):
    path = tmp_path / "kept.json"
    kept.save(path)
    text = path.read_text()
    for cut in range(0, len(text) - 3, 7):
        path.write_text(text[:cut])
        with pytest.raises(kind, match=r"kept\.json"):
            type(kept).load(path)
    other = PROFILE if kept is WORKLOAD else WORKLOAD
    other.save(path)
    with pytest.raises(kind, match="is no migsim"):
        type(kept).load(path)
    path.write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(kind, match="version 2"):
        type(kept).load(path)
    path.write_text(text.replace('"version": 1', '"version": 1, "extra": 0'))
    with pytest.raises(kind, match="extra is unknown"):
        type(kept).load(path)
    with pytest.raises(kind, match="No such file"):
        type(kept).load(tmp_path / "none")


@settings(deadline=None)
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5),
    st.data(),
)
def test_any_value_in_any_place_is_taken_or_refused_with_our_error(value, data):
    for kept in (WORKLOAD, PROFILE):
        broken = kept.as_dict()
        broken[data.draw(st.sampled_from([*broken, "foreign"]))] = value
        try:
            type(kept).from_dict(broken)
        except MigsimError as error:
            assert error.what
