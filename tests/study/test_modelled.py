"""Every parameter and capability of QEMU: modelled, without effect, named in the answer, or refused."""

import pytest

from migsim.errors import ParameterError
from migsim.qapi import CAPABILITIES, PARAMETERS
from migsim.study.modelled import MODELLED, NAMED, REFUSED, WITHOUT_EFFECT, check_modelled, setting_notes
from migsim.study.predict import predict
from migsim.study.question import Question
from tests.study.test_question import GUEST

LISTS = {"modelled": MODELLED, "without effect": WITHOUT_EFFECT, "named": NAMED, "refused": REFUSED}
KNOWN = sorted({*PARAMETERS, *CAPABILITIES})


@pytest.mark.parametrize("name", KNOWN)
def test_each_setting_is_one_of_four(name):
    assert [which for which, names in LISTS.items() if name in names].__len__() == 1


def test_the_lists_hold_no_other_names():
    assert set().union(*LISTS.values()) == set(KNOWN)


def on(name):
    """The parameters and capabilities that switch a setting on."""
    if name in CAPABILITIES:
        return {}, {name: True}
    values = {"mode": "cpr-reboot", "multifd-compression": "zstd", "tls-creds": "tls0"}
    return {name: values.get(name, 1)}, ({"multifd": True} if name.startswith("multifd-") else {})


@pytest.mark.parametrize("name", sorted({*NAMED, *WITHOUT_EFFECT} - {"events"}))
def test_what_is_not_modelled_or_idle_is_said(name):
    assert any(note.startswith(name) for note in setting_notes(*on(name)))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_change_the_verdict_is_refused(name):
    with pytest.raises(ParameterError, match=name):
        check_modelled(*on(name))


@pytest.mark.parametrize("name", sorted(MODELLED))
def test_what_is_modelled_is_not_mentioned(name):
    check_modelled(*on(name))
    assert not setting_notes(*on(name))


def test_an_answer_names_what_it_leaves_out_and_postcopy_is_refused():
    answer = predict(GUEST, qemu_version="10.0", settings=["tls-creds=tls0", "direct-io=on"], draws=1)
    assert any("tls-creds is set and not modelled" in note for note in answer.assumptions)
    assert any("direct-io changes nothing here" in note for note in answer.assumptions)
    with pytest.raises(ParameterError, match="postcopy-ram is on"):
        Question(GUEST, qemu_version="10.0", settings=["postcopy-ram=on"]).migration()


def test_defaults_switch_nothing_on():
    from migsim.qapi import defaults

    for version in ("2.5", "7.2", "10.0"):
        check_modelled(defaults(version), {})
