"""Parsing the lines of a Linux guest, whole or cut off."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migsim.results.linux_lines import (
    LinuxBoot,
    LinuxFault,
    LinuxReady,
    LinuxWork,
    OperationTotal,
    parse_linux_line,
    parse_linux_lines,
)

LOG = """\r
migsim-linux boot version=1 kernel=6.1.0-41-cloud-amd64\r
migsim-linux ready clock_us=41000000 workload=order-entry users=75 shared_buffers_bytes=4 data_bytes=9 think_us=7
migsim-linux work clock_us=42000000 browse-products=31:420000 order-products=9:180000 busy_us=310000
migsim-linux work clock_us=43000000 browse-products=60:820000 order-products=19:380000 busy_us=610000
migsim-linux error the database does not answer
"""


def test_whole_log():
    boot, ready, first, second, fault = parse_linux_lines(LOG)
    assert boot == LinuxBoot(1, "6.1.0-41-cloud-amd64")
    assert ready == LinuxReady(41000000, "order-entry", 75, 4, 9, 7)
    assert first.operations == {
        "browse-products": OperationTotal(31, 420000),
        "order-products": OperationTotal(9, 180000),
    }
    assert second == LinuxWork(43000000, second.operations, 610000)
    assert fault == LinuxFault("the database does not answer")


@pytest.mark.parametrize("cut", range(len(LOG) + 1))
def test_cut_anywhere_gives_the_whole_lines_before(cut):
    full, part = parse_linux_lines(LOG), parse_linux_lines(LOG[:cut])
    assert part == full[: len(part)]
    assert len(part) == max(LOG[:cut].count("\n") - 1, 0)  # the first line is empty


@pytest.mark.parametrize(
    "line",
    [
        "migsim-linux work busy_us=5",
        "migsim-linux work clock_us=-5",
        "migsim-linux work clock_us=" + "9" * 30,
        "migsim-linux ready clock_us=5",
        "migsim-linux",
        "x migsim-linux error y",
    ],
)
def test_incomplete_lines_are_none(line):
    assert parse_linux_line(line) is None


def test_unknown_or_damaged_fields_are_ignored():
    parsed = parse_linux_line("migsim-linux work clock_us=5 a=1:2 b=1: c=x:1 D=1:1 e=1:2:3 f=7 busy_us=x =")
    assert parsed == LinuxWork(5, {"a": OperationTotal(1, 2)}, None)


words = st.lists(
    st.one_of(st.sampled_from(["clock_us=1", "a=1:2", "busy_us=", "=", "a==1:2"]), st.text(max_size=8))
)


@given(st.sampled_from(["work", "ready", "boot", "error", ""]), words, st.text(max_size=40))
@example("work", ["clock_us=٣"], "")
@example("work", ["clock_us=" + "1" * 5000], "")
def test_any_text_is_parsed_without_an_exception(kind, fields, text):
    line = f"migsim-linux {kind} {' '.join(fields)}"
    parse_linux_line(line)
    parse_linux_line(text)
    parsed = parse_linux_lines(text.replace("\n", " ") + "\n" + LOG)
    assert parsed[-5:] == parse_linux_lines(LOG)
