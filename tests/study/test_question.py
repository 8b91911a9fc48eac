"""One question: what it takes, what it refuses with which words, here and on the command line alike."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import migsim
from migsim.cli import main
from migsim.cli.question import SHARED_OPTIONS
from migsim.errors import MigsimError, ParameterError, TraceError
from migsim.models.users.closed_loop import UserLoop
from migsim.profiles.bundled import bundled_profile
from migsim.scenario import MigrationSettings
from migsim.study.modelled import LEFT_OUT
from migsim.study.quantities import QUANTITIES
from migsim.study.question import Question
from migsim.study.sweep.axis import QUESTION_AXES
from migsim.workload import Workload, WorkloadClass

TRACE = Path(__file__).parents[2] / "traces" / "idle-1g.trace"
GUEST = Workload(
    ram_bytes=2**30,
    ram_total_bytes=2**30,
    zero_pages=200_000,
    classes=(WorkloadClass(pages=1000, writes_per_page_per_s=2.0, extents=((0, 1000),)),),
    assumptions=("As traced.",),
)
ABSURD = {
    "load": ("0", "-1", "150%", "much", 0.0, 1.5, float("nan")),
    "writes_scale": ("-1", "many", float("inf"), -0.5, True),
    "writes_spread": ("-10%", "wide", float("nan"), 1.5),
    "link_bytes_per_s": ("0", "10G", "fast", 0, float("inf")),
    "deadline_s": ("0", "5m", "soon", 0.0, -1.0),
    "fresh_pages": ("-1", "some", 1.5, 2**63),
    "dirty_ring_size": ("-1", "3", "1000", 2**20),
    "draws": (0, -1),
    "seed": (-1,),
    "vcpus": (0, -1, True, 1.5),
    "host_cpus": ("0", "-2", "two", 0, 1.5),
    "machine_type": ("pc-q35-jammy", "8.2", "isapc"),
    "sides": ("two hosts", "both", ""),
    "users": (75, [75]),
    "name": (3, None),
}
"""Values that make no migration, by keyword."""


def refusal(field: str, value: object) -> str:
    with pytest.raises(MigsimError) as caught:
        Question(GUEST, qemu_version="10.0", **{field: value})
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in ABSURD.items() for value in values]
)
def test_an_absurd_value_is_refused_and_named(field, value):
    name = next((name for name, q in QUANTITIES.items() if q.field == field), field.replace("_", "-"))
    assert refusal(field, value).startswith(f"{name} is ")


@pytest.mark.parametrize(
    ("field", "value"),
    [(f, v) for f, values in ABSURD.items() for v in values if isinstance(v, str) or f in ("draws", "seed")],
)
def test_the_command_line_refuses_it_with_the_same_words(capsys, field, value):
    decls = SHARED_OPTIONS[field][0].__metadata__[0].param_decls or ()
    default = SHARED_OPTIONS[field][0].__metadata__[0].default
    named = [d for d in (default, *decls) if isinstance(d, str) and d.startswith("--")]
    option = named[0] if named else "--" + field.replace("_", "-")
    with pytest.raises(SystemExit) as end:
        main.run(["predict", str(TRACE), option, str(value)])
    assert end.value.code == 3
    assert capsys.readouterr().err == f"migsim: {refusal(field, value)}\n"


def test_every_keyword_has_an_option_but_those_that_commands_read_themselves():
    keywords = set(inspect.signature(Question).parameters) - {"guest"}
    assert keywords - SHARED_OPTIONS.keys() == {"users", "name"}


@pytest.mark.parametrize("study", ["predict", "replay", "sweep", "size", "sensitivity"])
def test_every_study_shows_the_keywords_of_a_question(study):
    shown = inspect.signature(getattr(migsim, study)).parameters
    keywords = set(inspect.signature(Question).parameters) - {"guest"}
    assert keywords <= shown.keys()
    assert not [p for p in shown.values() if p.kind is inspect.Parameter.VAR_KEYWORD]


def test_what_varies_is_what_a_question_takes():
    assert {*QUANTITIES, "guest-ram"} == QUESTION_AXES.keys()
    fields = set(inspect.signature(Question).parameters)
    assert all(quantity.field in fields for quantity in QUANTITIES.values())


def test_settings_come_as_a_mapping_as_words_or_read():
    words = Question(GUEST, qemu_version="10.0", settings=["max-bandwidth=1Gbps", "xbzrle=on"])
    assert words.settings.parameters == {"max-bandwidth": 125_000_000}
    for same in (
        {"max-bandwidth": "1Gbps", "xbzrle": True},
        MigrationSettings(parameters={"max-bandwidth": "1Gbps"}, capabilities={"xbzrle": "on"}),
        words.settings,
    ):
        assert Question(GUEST, qemu_version="10.0", settings=same).settings == words.settings


def test_a_path_opens_itself_and_the_host_has_a_default(tmp_path):
    of_trace = Question(TRACE)
    assert of_trace.trace is not None
    assert str(of_trace.qemu_version) == migsim.Trace.open(TRACE).meta.qemu_version
    assert of_trace.host == bundled_profile(of_trace.qemu_version)
    GUEST.save(tmp_path / "guest.json")
    of_workload = Question(str(tmp_path / "guest.json"), qemu_version="7.2")
    assert of_workload.guest == GUEST and of_workload.trace is None
    bundled_profile("10.0").save(tmp_path / "host.json")
    assert Question(GUEST, host=tmp_path / "host.json").qemu_version == migsim.Question(
        GUEST, host=bundled_profile("10.0")
    ).qemu_version  # fmt: skip
    with pytest.raises(TraceError):
        Question(tmp_path / "missing.trace")
    with pytest.raises(ParameterError, match="Neither a QEMU version nor a host profile"):
        Question(GUEST)


def test_the_traced_release_comes_before_the_profiles():
    other = bundled_profile("7.2")
    assert Question(TRACE, host=other).qemu_version.release == Question(TRACE).qemu_version.release
    assert any("measured with QEMU 7.2" in note for note in Question(TRACE, host=other).basis.warnings)


def test_a_question_can_be_changed_and_asked_again():
    question = Question(TRACE, settings=["max-bandwidth=1Gbps"], seed=3)
    again = question.replace(draws=2)
    assert (again.draws, again.seed, again.settings) == (2, 3, question.settings)
    assert Question.of(question).seed == 3 and Question.of(question, seed=5).seed == 5
    fit = question.fit
    assert question.replace(seed=9).fit is fit  # the same guest and host: read once
    assert question.about(GUEST).fit is None and question.about(GUEST).workload() == GUEST


def test_an_answer_says_what_it_takes_for_granted():
    question = Question(
        GUEST,
        host=bundled_profile("7.2"),
        qemu_version="10.0",
        load="40%",
        settings={"switchover-ack": True, "return-path": True},
    )
    first, pace, left_out, always = question.assumptions
    assert first == "As traced."
    assert "needs 40%" in pace and "switchover-ack is set and not modelled" in left_out
    assert "measured with QEMU 7.2" in question.basis.warnings[0] and always == LEFT_OUT


def test_rules_between_settings_are_checked_when_the_migration_is_made():
    question = Question(GUEST, qemu_version="10.0", settings=["dirty-limit=on"])
    for made in (question.check, question.migration):
        with pytest.raises(ParameterError, match="no dirty ring"):
            made()
    assert question.replace(dirty_ring_size=4096).migration().dirty_ring_size == 4096


def test_every_study_says_the_same_of_what_it_assumes():
    question = Question(TRACE, settings=["max-bandwidth=1Gbps", "tls-creds=tls0"], draws=2)
    said = migsim.predict(question).assumptions
    assert any("tls-creds is set and not modelled" in note for note in said)
    assert migsim.sweep(question, vary={"downtime-limit": [300]}).assumptions == said
    assert migsim.size(question, require="downtime<1s", minimise="downtime-limit=10:1000").assumptions == said
    assert migsim.sensitivity(question, samples=2).assumptions == said
    assert set(question.notes(1.0)) <= set(migsim.replay(question).scenario["assumptions"])


def test_a_replay_takes_a_trace_as_it_was():
    with pytest.raises(TraceError, match="is a workload"):
        migsim.replay(GUEST, qemu_version="10.0")
    with pytest.raises(ParameterError, match="writes-scale is 2"):
        migsim.replay(TRACE, writes_scale=2)
    with pytest.raises(ParameterError, match=r"writes-spread is 0\.1"):
        migsim.replay(TRACE, writes_spread="10%")


@pytest.mark.parametrize("study", ["replay", "sweep", "size", "sensitivity"])
def test_an_answer_without_the_users_says_so(study):
    users = UserLoop.of_one_class(10, think_s=1.0, demand_s=0.001)
    more = {
        "sweep": {"vary": {"max-bandwidth": "8Gbps,10Gbps"}},
        "size": {"minimise": "max-bandwidth=1Gbps:10Gbps", "require": ["total-time<60s"]},
        "sensitivity": {"samples": 2},
    }.get(study, {})
    answer = getattr(migsim, study)(TRACE, users=users, **more)
    assumptions = answer.scenario["assumptions"] if study == "replay" else answer.assumptions
    assert any(note.startswith("What the users lose is not in this answer") for note in assumptions)


def test_processors_are_shared_by_guest_and_channels():
    """More processors than the profile's machine has: what many vCPUs lose to the channels becomes less."""
    busy = GUEST.replace(zero_pages=0, classes=(WorkloadClass(pages=262_144, writes_per_page_per_s=0.01),))
    asked = Question(busy, qemu_version="10.0", vcpus=16, draws=1, settings=["multifd=on", "max-bandwidth=0"])
    own, many = migsim.predict(asked), migsim.predict(asked, host_cpus="64")
    assert many.medians["guest-lost"] < own.medians["guest-lost"] / 4
    assert many.medians["total-time"] < own.medians["total-time"]
    assert any("16 vCPUs and the channels share 2 processors" in note for note in own.basis.warnings)
    assert any("measured with 2 processors are taken to hold with 64" in note for note in many.basis.warnings)
    same = migsim.predict(asked, host_cpus=2)
    assert same.medians == own.medians
    assert not any("processors" in note for note in same.basis.warnings)
    [swept] = migsim.sweep(asked, vary={"host-cpus": [64]}).to_frame().to_dict("records")
    assert swept["total-time"] == pytest.approx(many.medians["total-time"], rel=1e-3)


def test_processors_change_nothing_without_multifd_and_that_is_said():
    asked = Question(GUEST, qemu_version="10.0", draws=1)
    assert migsim.predict(asked, host_cpus=64).medians == migsim.predict(asked).medians
    assert any("host-cpus changes nothing" in note for note in asked.replace(host_cpus=64).assumptions)


def test_a_machine_type_keeps_its_releases_rules_and_is_no_newer_than_qemu():
    asked = Question(GUEST, qemu_version="10.0", settings=["multifd=on"], draws=1)
    old = asked.replace(machine_type="pc-q35-8.2").migration()
    assert (asked.migration().zero_pages, old.zero_pages) == ("multifd", "legacy")
    assert asked.replace(machine_type="q35").migration().machine is None
    # A page in 9 bytes on the main channel in place of 10.5 in a packet; the rest is the same.
    sent = [
        migsim.predict(q).example_run.info["ram"] for q in (asked, asked.replace(machine_type="pc-q35-8.2"))
    ]
    assert sent[0]["precopy-bytes"] < 10_000 < 9 * 199_000 < sent[1]["precopy-bytes"]
    with pytest.raises(ParameterError, match=r"machine-type is pc-q35-10\.1, and QEMU is 10\.0"):
        asked.replace(machine_type="pc-q35-10.1").check()


def test_a_guest_of_another_day_is_known_less_well():
    """The spread joins what the trace shows, in every draw, and the answer says so."""
    question = Question(GUEST, qemu_version="10.0", settings={"max-bandwidth": "1Gbps"}, draws=20)
    other = question.replace(writes_spread="30%")
    assert other.workload().writes_spread == pytest.approx(0.3)
    assert other.about(other.workload()).replace(writes_spread=0.4).workload().writes_spread == pytest.approx(
        0.5
    )
    assert any("within 30% of the traced one" in note for note in other.assumptions)
    assert not any("of the traced one" in note for note in question.assumptions)
    widths = [
        high - low for low, high in (migsim.predict(q).intervals["transferred"] for q in (question, other))
    ]
    assert widths[1] > 2 * widths[0]
