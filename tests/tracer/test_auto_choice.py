"""Choosing a collector: the best one that works, and the reasons against the better ones."""

import pytest

from migsim.errors import HostError, UsageError
from migsim.tracer import METHODS, auto, choose_collector, make_collector
from migsim.tracer.base import Availability


class Fake:
    def __init__(self, name, ok):
        self.name = name
        self._ok = ok

    def check(self, session):
        return Availability(self._ok, "it works" if self._ok else f"no {self.name} here")


@pytest.fixture
def offered(monkeypatch):
    def offer(*names):
        monkeypatch.setattr(auto, "make_collector", lambda name: Fake(name, name in names))

    return offer


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (("dirty-ring", "stream", "dirty-rate"), "dirty-ring"),
        (("stream", "dirty-rate"), "stream"),
        (("dirty-rate",), "dirty-rate"),
    ],
)
def test_the_best_that_works_and_why(offered, names, best):
    offered(*names)
    chosen, why = choose_collector(None)
    assert chosen.name == best
    assert why.startswith(f"{best}: it works")
    if best != "dirty-ring":
        assert "not dirty-ring: no dirty-ring here" in why


def test_nothing_works(offered):
    offered()
    with pytest.raises(HostError, match="no dirty-rate here"):
        choose_collector(None)
    with pytest.raises(HostError, match=r"by stream: stream: no stream here.*--method auto"):
        choose_collector(None, "stream")


def test_every_method_has_a_collector_of_its_name():
    assert METHODS == ("auto", "dirty-ring", "stream", "dirty-rate")
    for name in METHODS[1:]:
        assert make_collector(name).name == name


def test_an_unknown_method():
    with pytest.raises(UsageError, match="Did you mean 'dirty-rate'"):
        make_collector("dirty-rat")
