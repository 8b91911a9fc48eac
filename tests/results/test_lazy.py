"""Tables of a result that are made on first access."""

import dataclasses
import pickle

import pytest

from migsim.results import MigrationResult, Outcome, iterations_frame, lazy_table


def a_result(make):
    return MigrationResult(
        kind="simulated",
        name="",
        qemu_version="10.0",
        accel="kvm",
        outcome=Outcome("completed"),
        iterations=lazy_table(make),
    )


def one_row():
    return iterations_frame([{"dirty_sync_count": 1}])


def test_a_table_is_made_once_and_only_on_access():
    calls = []
    result = a_result(lambda: calls.append(1) or one_row())
    assert not calls
    assert len(result.iterations) == 1
    assert result.iterations is result.iterations
    assert calls == [1]


def test_a_copy_is_lazy_too_and_shares_the_table():
    calls = []
    result = a_result(lambda: calls.append(1) or one_row())
    copy = result.replace(name="other")
    assert not calls
    assert copy.iterations is result.iterations
    assert (copy.name, calls) == ("other", [1])


def test_pickled_and_replaced_copies_have_the_table():
    result = a_result(one_row)
    assert len(pickle.loads(pickle.dumps(result)).iterations) == 1
    assert len(dataclasses.replace(result, name="x").iterations) == 1


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'iteration'"):
        _ = a_result(one_row).iteration
