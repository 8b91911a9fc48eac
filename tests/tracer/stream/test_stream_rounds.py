"""Cutting a stream into rounds, and the sample of contents."""

import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.tracer.content import ContentSampler
from migsim.tracer.stream.rounds import RoundBook
from migsim.tracer.stream.sink import RamBlock

CONTENTS = np.zeros((4096, 4096), np.uint8)


def send(book, when_s, pages):
    """One section arriving at `when_s`."""
    book.now_s = when_s
    if len(pages):
        book.normal_pages(np.array(pages, np.int64), CONTENTS[: len(pages)])
    book.section_end(len(pages))


def book_after_first_round(total=10):
    book = RoundBook()
    book.ram_blocks([RamBlock("pc.ram", total * 4096, 0)])
    send(book, 1.0, range(total))
    return book


def test_sections_go_to_the_round_whose_sync_came_before_them():
    book = book_after_first_round()
    send(book, 2.1, [1, 2])
    send(book, 2.2, [3])
    send(book, 3.1, [1])
    first, second = book.cut(0.5, 2.0, first=True), book.cut(2.0, 3.0)
    assert (first.normal, len(first.pages)) == (10, 0)
    assert second.pages.tolist() == [1, 2, 3]
    assert (second.repeated, second.sent_s) == (0, 2.2)
    assert book.cut(3.0, 4.0).pages.tolist() == [1]


def test_the_first_round_ends_with_the_last_page_though_it_arrives_late():
    book = RoundBook()
    book.ram_blocks([RamBlock("pc.ram", 10 * 4096, 0)])
    send(book, 1.0, range(6))
    send(book, 2.3, range(6, 10))  # read late: the sync was at 2.0
    send(book, 2.4, [5])
    assert book.cut(0.5, 2.0, first=True).normal == 10
    assert book.cut(2.0, 3.0).pages.tolist() == [5]


def test_a_late_section_that_repeats_in_the_next_one_belongs_to_the_round_before():
    book = book_after_first_round()
    book.cut(0.5, 2.0, first=True)
    send(book, 2.1, [1, 2])
    send(book, 3.01, [3, 4])  # sent just before the sync at 3.0, read after it
    send(book, 3.02, [3, 1])
    assert book.cut(2.0, 3.0).pages.tolist() == [1, 2, 3, 4]
    assert book.cut(3.0, 4.0).pages.tolist() == [3, 1]


def test_empty_sections_tell_that_all_is_sent():
    book = book_after_first_round()
    assert not book.quiet_s
    send(book, 2.5, [])
    assert book.quiet_s == 2.5
    assert book.settled(2.4)
    assert not book.settled(2.6)
    send(book, 2.7, [4])
    assert not book.quiet_s


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), unique=True, max_size=5), min_size=1, max_size=6))
def test_no_page_is_lost_or_counted_twice(rounds):
    book = book_after_first_round()
    book.cut(0.5, 1.5, first=True)
    for number, pages in enumerate(rounds, 2):
        for offset, page in enumerate(pages):
            send(book, number + 0.1 * offset, [page])
    got = [
        book.cut(number - 0.5, number + 0.5, next_s=number + 1.5).pages.tolist()
        for number in range(2, 2 + len(rounds))
    ]
    assert got == rounds


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=30), st.sampled_from([1, 1 << 10, 1 << 40]))
def test_repeated_pages_are_counted_near_and_far(pages, apart):
    book = book_after_first_round()
    book.cut(0.5, 1.5, first=True)
    send(book, 2.0, [page * apart for page in pages])
    assert book.cut(1.5, 2.5).repeated == len(pages) - len(set(pages))


def test_contents_are_compared_with_the_version_before():
    sampler = ContentSampler(8)
    pages, contents = np.array([5, 6]), np.zeros((2, 4096), np.uint8)
    sampler.look(pages, contents, 10.0)
    assert not len(sampler.take().page)
    contents[1, 100:108] = 1
    sampler.look(pages, contents, 10.5)
    found = sampler.take()
    assert found.page.tolist() == [5, 6]
    assert (found.between_s.tolist(), found.sent_s.tolist()) == ([0.5, 0.5], [10.5, 10.5])
    assert found.changed_bytes.tolist() == [0, 8]
    assert found.xbzrle_bytes.tolist() == [0, 10]
    sampler.forget(np.array([6]), 11.0)
    sampler.look(pages[1:], contents[1:], 11.25)
    found = sampler.take()
    assert (found.changed_bytes.tolist(), found.between_s.tolist()) == ([8], [0.25])


def test_many_comparisons_keep_their_pages():
    """They are put off and made together."""
    sampler = ContentSampler(200)
    pages, contents = np.arange(1000, 1100), np.zeros((100, 4096), np.uint8)
    for changed in (0, 1, 2):
        contents[np.arange(100), np.arange(100)] = changed
        contents[50:, 4000] = changed
        sampler.look(pages, contents)
    found = sampler.take()
    assert found.page.tolist() == [*range(1000, 1100)] * 2
    assert found.changed_bytes.tolist() == ([1] * 50 + [2] * 50) * 2


def test_one_thread_looks_while_another_takes():
    """Page p changes in p bytes each time: whatever is found has to fit."""
    sampler, done = ContentSampler(100), threading.Event()
    pages = np.arange(1, 91)
    contents = np.zeros((2, 90, 4096), np.uint8)
    contents[1][np.arange(4096) < pages[:, None]] = 1

    def look():
        for turn in range(300):
            sampler.look(pages, contents[turn % 2])
        done.set()

    reader = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader.start()
        found = []
        while not done.is_set():
            found.append(sampler.take())
    finally:
        sys.setswitchinterval(interval)
        reader.join()
    found.append(sampler.take())
    assert sum(len(part.page) for part in found) > 90
    for part in found:
        assert part.page.tolist() == part.changed_bytes.tolist()


def test_a_bar_lowered_halfway_favours_no_page_that_came_before():
    sampler = ContentSampler(64)
    few = np.arange(1000, dtype=np.int64)
    sampler.look(few, CONTENTS)
    sampler.take()
    sampler.look(few, CONTENTS)
    for begin in range(1000, 9000, 1000):  # new pages, for which the store has no room
        sampler.look(few + begin, CONTENTS)
    now = sampler.take().page
    sampler.look(few, CONTENTS)
    assert len(now)
    assert sorted(now) == sorted(sampler.take().page)


@pytest.mark.parametrize("capacity", [0, 1, 64])
def test_the_sample_stays_within_its_bound_and_is_fair(capacity):
    sampler = ContentSampler(capacity)
    pages = np.arange(4096, dtype=np.int64)
    for _ in range(3):
        sampler.look(pages, CONTENTS)
    found = sampler.take().page
    assert len(np.unique(found)) <= capacity
    if capacity == 64:
        assert len(found) > 10
        assert found.min() < 1000 and found.max() > 3000
