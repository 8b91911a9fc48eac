"""A guest whose activity wanders, in the event engine's memory."""

import numpy as np
import pytest

from migsim.engine.events.memory import GuestMemory
from migsim.workload import Workload, WorkloadClass

PAGES = 1 << 16


def dirty_after(seconds, wandering, seeds, *, rate=0.2, syncs=1):
    """Pages that the last of some syncs finds dirty in each run; all pages were sent before each of them."""
    guest = Workload(
        ram_bytes=PAGES * 4096,
        ram_total_bytes=PAGES * 4096,
        zero_pages=0,
        classes=(WorkloadClass(pages=PAGES, writes_per_page_per_s=rate, extents=((0, PAGES),)),),
        wandering=wandering,
    )
    found = []
    for seed in seeds:
        memory = GuestMemory(guest, chunked=False, rng=np.random.default_rng(seed))
        memory.start(0.0)
        counts = []
        for k in range(syncs):
            memory._sent, memory._unsent, memory._remaining = (
                memory.pages.tolist(),
                [0.0] * len(memory.pages),
                None,
            )
            counts.append(memory.sync((k + 1) * seconds))
        found.append(counts)
    return np.array(found)


@pytest.mark.parametrize("seconds", [0.05, 0.5, 4.0])
def test_in_the_mean_it_dirties_what_a_steady_guest_does(seconds):
    steady = dirty_after(seconds, (0.0, 0.0, 0.0), range(3), rate=0.01).mean()
    wandering = dirty_after(seconds, (0.2, 0.1, 0.05), range(400), rate=0.01).mean()
    assert wandering == pytest.approx(steady, rel=0.05)


def test_short_rounds_move_more_than_long_ones():
    def spread(seconds):
        counts = dirty_after(seconds, (0.3, 0.0, 0.0), range(60), rate=0.01)
        return counts.std() / counts.mean()

    assert spread(0.05) > 1.8 * spread(1.0)


def test_slow_activity_lasts_from_round_to_round():
    rounds = dirty_after(0.5, (0.0, 0.0, 0.3), range(40), syncs=12)
    of_guests = rounds.mean(axis=1).std()
    of_rounds = (rounds - rounds.mean(axis=1, keepdims=True)).std()
    assert of_guests > 1.2 * of_rounds


def test_a_run_without_chance_does_not_wander():
    guest = Workload(
        ram_bytes=PAGES * 4096,
        ram_total_bytes=PAGES * 4096,
        zero_pages=0,
        classes=(WorkloadClass(pages=PAGES, writes_per_page_per_s=0.2, extents=((0, PAGES),)),),
        wandering=(0.3, 0.3, 0.3),
    )
    memory = GuestMemory(guest, chunked=False)
    memory.start(0.0)
    memory._sent, memory._unsent, memory._remaining = memory.pages.tolist(), [0.0] * len(memory.pages), None
    assert memory.sync(1.0) == pytest.approx(PAGES * -np.expm1(-0.2))
    assert memory.writing_s == memory.guest_s == 1.0
