"""Validation and JSON schema of answers to `query-migrate`."""

import copy
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import RecordError
from migsim.qapi import INFO_FIELDS, QemuVersion, migration_info_schema, validate_migration_info


def example(version):
    """Make an answer that has every field of `version`."""
    release = QemuVersion.parse(version)
    values = {"int": 5, "number": 1.5, "str": "x", "list": [], "enum": "completed"}
    ram = {
        n[4:]: values[f.type]
        for n, f in INFO_FIELDS.items()
        if n.startswith("ram.") and release in f.available
    }
    info: dict[str, Any] = {}
    for name, field in INFO_FIELDS.items():
        if release not in field.available:
            continue
        outer, _, inner = name.partition(".")
        if field.type.startswith("like "):
            info[name] = dict(ram)
        elif inner:
            info.setdefault(outer, {})[inner] = values[field.type]
        elif field.type != "object":
            info[name] = values[field.type]
    return info


@pytest.mark.parametrize("version", ["1.2", "2.1", "5.1", "7.2", "9.0", "10.0", "10.2"])
def test_a_full_answer_passes_and_matches_its_schema(version):
    info = example(version)
    validate_migration_info(info, version)
    validate_migration_info(info)
    schema = migration_info_schema(version)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(info, schema)


def test_fields_belong_to_versions():
    info = example("7.2")
    assert "skipped" in info["ram"]
    assert "disk" in info
    with pytest.raises(RecordError, match=r"disk|skipped"):
        validate_migration_info(info, "10.0")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(info, migration_info_schema("10.0"))


def test_a_newer_qemu_may_have_unknown_fields_and_values():
    validate_migration_info({"status": "transmogrified", "news": 1}, "11.0")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"total_time": 1}, "total-time"),
        ({"status": "done"}, "status"),
        ({"total-time": -1}, "negative"),
        ({"total-time": 1.5}, "integer"),
        ({"total-time": "1"}, "integer"),
        ({"total-time": True}, "integer"),
        ({"ram": 3}, "not an object"),
        ({"ram": {}}, "lacks"),
    ],
)
def test_objects_that_query_migrate_does_not_answer_are_refused(change, says):
    with pytest.raises(RecordError, match=says):
        validate_migration_info({"status": "active"} | change)
    with pytest.raises(RecordError):
        validate_migration_info([], "10.0")


@settings(deadline=None)
@given(st.data())
def test_the_check_and_the_schema_agree(data):
    """Break one thing in a good answer: both refuse it, or both take it."""
    info = copy.deepcopy(example("10.0"))
    place = data.draw(st.sampled_from([info, info["ram"], info["xbzrle-cache"]]))
    key = data.draw(st.sampled_from([*place, "foreign"]))
    if key in place and data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(st.sampled_from([0, 7, 2.5, -1, "x", "completed", None, True, [], {}]))
    validator = jsonschema.Draft202012Validator(migration_info_schema("10.0"))
    try:
        validate_migration_info(info, "10.0")
        ours = True
    except RecordError:
        ours = False
    assert ours == validator.is_valid(info), info


def test_predict_may_add_keys_to_the_schema():
    schema = migration_info_schema(extra=True)
    jsonschema.validate({"status": "completed", "outcome": "completed", "reason": "x"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"outcome": "completed"}, migration_info_schema())
