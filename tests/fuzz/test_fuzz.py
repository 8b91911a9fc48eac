"""Damaged and hostile inputs: some of each kind in every run, and those that once went wrong."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migsim.errors import MigsimError, RecordError
from migsim.reading import DEEPEST, parse_json
from migsim.text import visible, visible_lines
from tests.fuzz.campaign import Finding, keep, run_cases
from tests.fuzz.kinds import KINDS, MONITOR_USES, judge, mutated
from tests.fuzz.monitors import MONITOR, good_script, packed, playing, rows_of

CASES = {
    "trace": 150,
    "part": 200,
    "profile": 250,
    "record": 250,
    "workload": 250,
    "monitor": 120,
    "stream": 200,
}
"""Number of cases of a kind in every run; others have 300."""


@pytest.mark.parametrize("name", KINDS)
def test_the_good_input_is_accepted(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = tmp_path / ("case.trace" if name == "trace" else "case.json")
    path.write_bytes(kind.good(tmp_path))
    assert list(kind.use(path)) == []


@pytest.mark.parametrize("use", MONITOR_USES, ids=lambda use: use.__name__)
def test_each_use_of_a_monitor_takes_the_good_one(
    use: Callable[[Path], Iterator[str]], tmp_path: Path
) -> None:
    with playing(good_script(), tmp_path / "q"):
        assert list(use(tmp_path)) == []


@pytest.mark.parametrize("name", sorted({name for name, _ in rows_of(good_script())}))
def test_a_monitor_that_closes_at_a_command(name: str, tmp_path: Path) -> None:
    rows = [(each, b"" if each == name else reply) for each, reply in rows_of(good_script())]
    (tmp_path / "case").write_bytes(packed(rows))
    assert judge(KINDS["monitor"], tmp_path / "case") == ""


def test_the_mutators_of_a_monitor_change_one_reply() -> None:
    for number, change in enumerate(MONITOR * 5):
        before = rows_of(good_script())
        after = rows_of(change(random.Random(number), good_script()))
        assert [name for name, _ in after] == [name for name, _ in before]
        assert sum(one != other for one, other in zip(before, after, strict=True)) <= 1


@pytest.mark.parametrize("name", KINDS)
def test_damaged_inputs_are_refused_or_harmless(name: str) -> None:
    assert run_cases(KINDS[name], range(CASES.get(name, 300))) == []


KEPT = {
    "part": [
        121801805956862,
        247153445884079,
    ],  # a footer that contradicts itself ended the process; a list that is none
    "trace": [154863420354848],  # the same
    "profile": [179268816546702],  # a page of 31 million years: a guest lost -125 ms
    "workload": [193401009336463, 127625487579314],  # extents of more pages than their class: hours of work
}
"""Cases that once failed."""


@pytest.mark.parametrize("name", KEPT)
def test_cases_that_once_failed(name: str) -> None:
    assert run_cases(KINDS[name], KEPT[name]) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_case_is_the_same_each_time(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for case in range(20):
        assert mutated(kind, kind.good(tmp_path / "a"), case) == mutated(
            kind, kind.good(tmp_path / "b"), case
        )
        for folder in (tmp_path / "a", tmp_path / "b"):
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()


def dying(path: Path):
    """Fail in each way that the campaign has to notice, by the first byte of the input."""
    way = path.read_bytes()[0] % 4
    if way == 0:
        raise KeyError("not migsim's")
    if way == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if way == 2:
        yield "an impossible value"
    held = b"x" * (200 << 20)
    assert held


def test_the_campaign_notices_each_way_to_fail(tmp_path: Path) -> None:
    kind = type(KINDS["stream"])(
        "stream", lambda _folder: b"\0", dying, (lambda rng, _data: bytes([rng.randrange(256)]),)
    )
    findings = run_cases(kind, range(40))
    said = " ".join(finding.what for finding in findings)
    assert len(findings) == 40
    for what in ("KeyError", "died with -9", "accepted: an impossible value", "MiB of memory"):
        assert what in said


def test_a_kept_case_can_be_replayed(tmp_path: Path) -> None:
    path = keep(Finding("scenario", 12, "odd"), tmp_path)
    kind = KINDS["scenario"]
    assert path.read_bytes() == mutated(kind, kind.good(tmp_path), 12)
    assert judge(kind, path) == ""


@given(st.text())
@example("[" * 100_000)
@example('{"a":' * 2_000)
@example("1" + "0" * 400)
@example("1" + "0" * 5_000)
@example("1e999")
@example("NaN")
@example('"\\ud800"')
def test_any_text_is_json_or_the_kinds_own_error(text: str) -> None:
    try:
        parse_json(text, "a.json", RecordError)
    except MigsimError as error:
        assert isinstance(error, RecordError)


@pytest.mark.parametrize(("levels", "good"), [(DEEPEST - 1, True), (DEEPEST + 1, False), (500, False)])
def test_nesting_is_bounded(levels: int, good: bool) -> None:
    text = "[" * levels + "]" * levels
    if good:
        parse_json(text, "a.json", RecordError)
    else:
        with pytest.raises(RecordError, match="nests"):
            parse_json(text, "a.json", RecordError)


@given(st.text())
@example("\x1b]0;title\x07\x9b2J\u202e\u2028\ud800\x7f")
def test_what_is_shown_has_no_control_characters(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    assert visible_lines(text).count("\n") == text.count("\n")
