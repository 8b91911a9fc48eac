import pytest

from migsim.models.loop.behaviour import behaviour_of
from migsim.qapi import QemuVersion


@pytest.mark.parametrize(
    ("flag", "before", "value_before", "since", "value_since"),
    [
        ("quota_charged_at", "8.1", "enqueue", "8.2", "flush"),
        ("expected_from_rate", "2.12", True, "3.0", False),
        ("transferred_counts", "8.1", "ram", "8.2", "stream"),
        ("avail_switchover_bandwidth", "8.1", False, "8.2", True),
        ("threshold_inclusive", "10.0", False, "10.1", True),
        ("byte_split", "6.2", False, "7.0", True),
        ("skipped_reported", "9.0", True, "9.1", False),
    ],
)
def test_each_change_is_in_the_release_that_brought_it(flag, before, value_before, since, value_since):
    assert getattr(behaviour_of(QemuVersion.parse(before)), flag) == value_before
    assert getattr(behaviour_of(QemuVersion.parse(since)), flag) == value_since


def test_a_stable_release_behaves_like_its_series():
    assert behaviour_of(QemuVersion.parse("7.2.22")) == behaviour_of(QemuVersion.parse("7.2"))
    assert behaviour_of(QemuVersion.parse("10.0.8")) == behaviour_of(QemuVersion.parse("10.0"))
