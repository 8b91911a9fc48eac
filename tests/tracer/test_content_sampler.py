"""The sample of page contents: right statistics, bounded, fair, and safe between two threads."""

import sys
import threading

import numpy as np
import pytest

from migsim.tracer.content import ContentSampler

CONTENTS = np.zeros((4096, 4096), np.uint8)


def test_contents_are_compared_with_the_version_before():
    sampler = ContentSampler(8)
    pages, contents = np.array([5, 6]), np.zeros((2, 4096), np.uint8)
    sampler.add_pages(pages, contents, 10.0)
    assert not len(sampler.take_statistics().page)
    contents[1, 100:108] = 1
    sampler.add_pages(pages, contents, 10.5)
    found = sampler.take_statistics()
    assert found.page.tolist() == [5, 6]
    assert (found.between_s.tolist(), found.sent_s.tolist()) == ([0.5, 0.5], [10.5, 10.5])
    assert found.changed_bytes.tolist() == [0, 8]
    assert found.xbzrle_bytes.tolist() == [0, 10]
    sampler.add_zero_pages(np.array([6]), 11.0)
    sampler.add_pages(pages[1:], contents[1:], 11.25)
    found = sampler.take_statistics()
    assert (found.changed_bytes.tolist(), found.between_s.tolist()) == ([8], [0.25])


def test_many_comparisons_keep_their_pages():
    """The sampler collects comparisons and makes many of them at once."""
    sampler = ContentSampler(200)
    pages, contents = np.arange(1000, 1100), np.zeros((100, 4096), np.uint8)
    for changed in (0, 1, 2):
        contents[np.arange(100), np.arange(100)] = changed
        contents[50:, 4000] = changed
        sampler.add_pages(pages, contents)
    found = sampler.take_statistics()
    assert found.page.tolist() == [*range(1000, 1100)] * 2
    assert found.changed_bytes.tolist() == ([1] * 50 + [2] * 50) * 2


def test_one_thread_adds_pages_while_another_takes_statistics():
    """Page p changes in p bytes each time, so the page number of each statistic must equal its changed bytes."""
    sampler, done = ContentSampler(100), threading.Event()
    pages = np.arange(1, 91)
    contents = np.zeros((2, 90, 4096), np.uint8)
    contents[1][np.arange(4096) < pages[:, None]] = 1

    def add_all():
        for turn in range(300):
            sampler.add_pages(pages, contents[turn % 2])
        done.set()

    reader = threading.Thread(target=add_all)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader.start()
        found = []
        while not done.is_set():
            found.append(sampler.take_statistics())
    finally:
        sys.setswitchinterval(interval)
        reader.join()
    found.append(sampler.take_statistics())
    assert sum(len(part.page) for part in found) > 90
    for part in found:
        assert part.page.tolist() == part.changed_bytes.tolist()


def test_lowering_the_threshold_halfway_favours_no_earlier_page():
    sampler = ContentSampler(64)
    few = np.arange(1000, dtype=np.int64)
    sampler.add_pages(few, CONTENTS)
    sampler.take_statistics()
    sampler.add_pages(few, CONTENTS)
    for begin in range(1000, 9000, 1000):  # new pages that the store has no room for
        sampler.add_pages(few + begin, CONTENTS)
    after_lowering = sampler.take_statistics().page
    sampler.add_pages(few, CONTENTS)
    assert len(after_lowering)
    assert sorted(after_lowering) == sorted(sampler.take_statistics().page)


@pytest.mark.parametrize("capacity", [0, 1, 64])
def test_the_sample_stays_within_its_bound_and_is_fair(capacity):
    sampler = ContentSampler(capacity)
    pages = np.arange(4096, dtype=np.int64)
    for _ in range(3):
        sampler.add_pages(pages, CONTENTS)
    found = sampler.take_statistics().page
    assert len(np.unique(found)) <= capacity
    if capacity == 64:
        assert len(found) > 10
        assert found.min() < 1000 and found.max() > 3000
