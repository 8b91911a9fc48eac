import pytest

from migsim.models.dirty.tcg_log import misses_writes, tcg_notes


@pytest.mark.parametrize(
    ("version", "accel", "misses"),
    [
        ("1.7", "tcg", False),
        ("2.0", "tcg", True),
        ("7.2", "tcg", True),
        ("8.2", "tcg", True),
        ("9.0", "tcg", False),
        ("10.0", "tcg", False),
        ("7.2", "kvm", False),
    ],
)
def test_which_releases_miss_writes(version, accel, misses):
    assert misses_writes(version, accel) == misses
    assert bool(tcg_notes(version, accel)) == misses
