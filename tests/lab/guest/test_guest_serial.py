"""Reading the guest's serial line, whole or cut off."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migsim.errors import GuestError
from migsim.lab.guest.serial import (
    CheckFailed,
    CheckPass,
    GuestFault,
    ProgressLine,
    Ready,
    parse_line,
    parse_serial,
)

LOG = """SeaBIOS (version 1.16.2)\r
migsim-guest boot version=1
migsim-guest ready t_us=0 boot_us=281843 tsc=40 tsc_khz=2596134 ram_bytes=268435456 touched=9 workload_base=16777216
migsim-guest progress t_us=500095 tsc=42 writes=65728 checked=0
migsim-guest progress t_us=1500095 tsc=43 writes=165728 checked=12 failed=0
migsim-guest check ok kind=stamps passes=1 pages=9
migsim-guest check FAILED page=7 expected=0x00000000000000a1 got=0x0000000000000000
"""


def test_whole_log():
    log = parse_serial(LOG)
    assert log.booted
    assert log.ready == Ready(281843, 40, 2596134, 268435456, 9, 16777216)
    assert log.progress == [ProgressLine(500095, 42, 65728, 0), ProgressLine(1500095, 43, 165728, 12)]
    assert log.passes == [CheckPass("stamps", 1, 9)]
    assert log.failures == [CheckFailed(7, 0xA1, 0)]
    assert log.failed == 1
    assert log.writes_per_s() == pytest.approx(100_000)
    with pytest.raises(GuestError, match="workload page 7"):
        log.raise_for_fault()


def test_fault_carries_the_guests_words():
    log = parse_serial("migsim-guest error unknown setting: foo=3\n")
    assert log.fault == GuestFault("unknown setting: foo=3")
    with pytest.raises(GuestError, match="foo=3"):
        log.raise_for_fault()


def test_failures_that_were_only_counted_are_failures():
    log = parse_serial("migsim-guest progress t_us=1 tsc=2 writes=3 checked=4 failed=5\n")
    assert log.failed == 5
    with pytest.raises(GuestError, match="5 damaged"):
        log.raise_for_fault()


@pytest.mark.parametrize("cut", range(len(LOG) + 1))
def test_cut_anywhere_gives_the_whole_lines_before(cut):
    full, part = parse_serial(LOG), parse_serial(LOG[:cut])
    assert part.progress == full.progress[: len(part.progress)]
    assert part.ready in (None, full.ready)
    assert part.failures in ([], full.failures)
    whole = LOG[:cut].count("\n")
    assert len(part.progress) == sum("progress" in line for line in LOG.split("\n")[:whole])


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
@example("progress t_us=1")
@example("check ok kind=")
@example("ready boot_us=x tsc=0x")
@example("progress t_us=1 tsc=1 writes=1 checked=1 failed=zz")
def test_anything_is_read_without_a_traceback(text):
    parse_line("migsim-guest " + text)
    parse_serial("migsim-guest " + text + "\n" + LOG)
