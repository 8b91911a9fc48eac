"""A Linux guest in a scenario: read, refused, written; and the scenarios of before."""

import pytest

from migsim.errors import ScenarioError
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, LinuxWorkload

TEXT = """
name = "oltp"
[qemu]
version = "10.0"
accel = "tcg"
[guest]
ram-bytes = "1GiB"
[guest.linux]
workload = "order-entry"
users = 50
think-s = "500ms"
shared-buffers-percent = 30
report-s = 0.5
seed = 7
"""


def test_a_linux_guest_is_read_and_written():
    scenario = LabScenario.from_toml(TEXT)
    assert scenario.guest.linux == LinuxWorkload(
        workload="order-entry", users=50, think_s=0.5, shared_buffers_percent=30, report_s=0.5, seed=7
    )
    assert "workload" not in scenario.as_dict()["guest"]
    assert LabScenario.from_toml(scenario.to_toml()) == scenario
    assert LabScenario.from_dict(scenario.as_dict()) == scenario


def test_what_is_left_out_is_the_talks():
    linux = LinuxWorkload()
    assert (linux.workload, linux.users, linux.shared_buffers_percent) == ("order-entry", 75, 40)


def test_our_own_guest_is_written_as_it_was():
    told = GuestSpec(ram_bytes=1 << 30, workload=GuestWorkload(touched_pages=5)).as_dict()
    assert "linux" not in told
    assert told["workload"]["touched-pages"] == 5
    assert "workload" in GuestSpec(ram_bytes=1 << 30).as_dict()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"order-entry"', '"oltp"', "guest.linux.workload is 'oltp'.*order-entry"),
        ("users = 50", "users = 0", "guest.linux.users is 0"),
        ("users = 50", "user = 50", "guest.linux.user is unknown.*'users'"),
        ('"500ms"', '"500us"', "whole milliseconds"),
        ("= 30", "= 90", "shared-buffers-percent is 90"),
        ('"1GiB"', '"256MiB"', "512 MiB"),
        ('"1GiB"', '"1GiB"\nmemory = "aliased"\nalias-bytes = "512MiB"', "memory of its own"),
        ("[guest.linux]", "[guest.workload]\ntouched-pages = 1\n[guest.linux]", "not both"),
    ],
)
def test_errors_say_place_rule_and_what_to_do(old, new, says):
    assert old in TEXT
    with pytest.raises(ScenarioError, match=says) as caught:
        LabScenario.from_toml(TEXT.replace(old, new, 1))
    assert caught.value.rule and caught.value.todo
