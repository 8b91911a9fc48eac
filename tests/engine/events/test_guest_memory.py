"""The engine's picture of guest RAM: what a page costs, and from when on it counts again."""

import numpy as np
import pytest

from migsim.engine.events.memory import GuestMemory
from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.engine.sending import SendCosts
from migsim.models.loop.switchover import PagesLeft
from migsim.profiles.terms import HOST_TERMS
from migsim.qapi import QemuVersion
from migsim.workload import Workload, WorkloadClass

CHUNK = 262_144
COSTS = SendCosts(normal_page_s=1e-6, cold_page_s=2e-6, fresh_page_s=3e-6, zero_page_s=1e-7)
FREE = SendCosts(0.0, 0.0, 0.0, 0.0)
NO_LIMIT = float("inf")


def two_chunks(rate=0.1):
    """A class of 1000 pages at the end of one chunk and 1000 at the start of the next."""
    hot = WorkloadClass(pages=2000, writes_per_page_per_s=rate, extents=((CHUNK - 1000, 1000), (CHUNK, 1000)))
    return Workload(ram_bytes=2 << 30, ram_total_bytes=2 << 30, zero_pages=0, classes=(hot,))


def one_class(rate=0.0, pages=5000, zero=3000):
    return Workload(
        ram_bytes=1 << 30,
        ram_total_bytes=1 << 30,
        zero_pages=zero,
        classes=(WorkloadClass(pages=pages, writes_per_page_per_s=rate, extents=((0, pages),)),),
    )


def written(rate, seconds):
    return -np.expm1(-rate * seconds)


@pytest.mark.parametrize("costs", [COSTS, FREE])
def test_a_chunk_is_cleared_when_a_page_of_it_really_goes(costs):
    """The quota ends with the first chunk: the second is not cleared before its first page goes, at 5 s."""
    memory = GuestMemory(two_chunks())
    memory.start(0.0)
    first = memory.send(0.0, 10.0, 1000 * 4104, costs)
    assert first.normal == pytest.approx(1000)
    assert memory.send(2.0, 10.0, 0.0, costs).normal == 0  # nothing may go: nothing is cleared
    assert memory.send(3.0, 0.0, NO_LIMIT, costs).normal == 0
    assert memory.send(5.0, 10.0, NO_LIMIT, costs).normal == pytest.approx(1000)
    new = memory.sync(10.0)
    assert new == pytest.approx(1000 * (written(0.1, 10) + written(0.1, 5)), rel=1e-3)


def test_without_chunks_the_sync_protects():
    memory = GuestMemory(two_chunks(), chunked=False)
    memory.start(0.0)
    memory.send(5.0, 10.0, NO_LIMIT, COSTS)
    assert memory.sync(10.0) == pytest.approx(2000 * written(0.1, 10))


def test_pages_that_cost_nothing_go_at_once():
    memory = GuestMemory(one_class())
    memory.start(0.0)
    sent = memory.send(0.0, 0.051, NO_LIMIT, FREE)
    assert (sent.seconds, sent.normal, sent.zero) == (0.0, pytest.approx(5000), pytest.approx(3000))
    assert memory.remaining_pages == 0


@pytest.mark.parametrize("rate", [0.0, 50.0])
def test_a_migration_that_costs_nothing_ends(rate):
    terms = dict.fromkeys(HOST_TERMS, 0.0)
    given = {"max-bandwidth": 0, "downtime-limit": 300}
    migration = SimulationInput(one_class(rate), terms, QemuVersion.parse("10.0"), given)
    made = simulate(migration)
    assert made.outcome.status == "completed"
    assert made.info["total-time"] == made.info["downtime"] == 0


def test_a_budget_of_time_buys_pages_at_their_cost():
    memory = GuestMemory(one_class())
    memory.start(0.0)
    sent = memory.send(0.0, 0.003, NO_LIMIT, COSTS)
    assert (sent.normal, sent.zero) == (pytest.approx(1000), 0)
    assert sent.seconds == pytest.approx(0.003)
    assert memory.remaining_pages == pytest.approx(7000)


def test_kinds_of_pages_left():
    memory = GuestMemory(one_class(rate=1.0), fresh_pages=2000)
    memory.start(0.0)
    assert memory.remaining_by_kind() == PagesLeft(0.0, 3000.0, 2000.0, pytest.approx(3000))
    sent = memory.send(0.0, NO_LIMIT, NO_LIMIT, COSTS)
    # 2000 need memory, 3000 are in no cache, 3000 are zero.
    assert sent.seconds == pytest.approx(2000 * 3e-6 + 3000 * 2e-6 + 3000 * 1e-7)
    memory.sync(1.0)
    left = memory.remaining_by_kind()
    assert (left.first, left.fresh, left.zero) == (0, 0, 0)
    assert left.again == pytest.approx(5000 * written(1.0, 1.0), rel=1e-6)
    assert memory.send(1.0, NO_LIMIT, NO_LIMIT, COSTS).seconds == pytest.approx(left.again * 1e-6)


def test_by_default_the_destination_has_no_page_yet():
    memory = GuestMemory(one_class())
    assert memory.remaining_by_kind() == PagesLeft(0.0, 0.0, 5000.0, pytest.approx(3000))
