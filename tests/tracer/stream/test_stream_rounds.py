"""Cutting a migration stream into rounds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.tracer.stream.rounds import SectionLog
from migsim.tracer.stream.sink import StreamBlock

CONTENTS = np.zeros((4096, 4096), np.uint8)


def send(section_log, when_s, pages):
    """Let one section with `pages` arrive at `when_s`."""
    section_log.now_s = when_s
    if len(pages):
        section_log.normal_pages(np.array(pages, np.int64), CONTENTS[: len(pages)])
    section_log.section_end(len(pages))


def log_after_first_round(total=10):
    section_log = SectionLog()
    section_log.ram_blocks([StreamBlock("pc.ram", total * 4096, 0)])
    send(section_log, 1.0, range(total))
    return section_log


def test_sections_go_to_the_round_whose_sync_came_before_them():
    section_log = log_after_first_round()
    send(section_log, 2.1, [1, 2])
    send(section_log, 2.2, [3])
    send(section_log, 3.1, [1])
    first, second = section_log.cut_round(0.5, 2.0, first=True), section_log.cut_round(2.0, 3.0)
    assert (first.normal, len(first.pages)) == (10, 0)
    assert second.pages.tolist() == [1, 2, 3]
    assert (second.repeated, second.sent_s) == (0, 2.2)
    assert section_log.cut_round(3.0, 4.0).pages.tolist() == [1]


def test_the_first_round_ends_with_the_last_page_though_it_arrives_late():
    section_log = SectionLog()
    section_log.ram_blocks([StreamBlock("pc.ram", 10 * 4096, 0)])
    send(section_log, 1.0, range(6))
    send(section_log, 2.3, range(6, 10))  # read late: the sync was at 2.0
    send(section_log, 2.4, [5])
    assert section_log.cut_round(0.5, 2.0, first=True).normal == 10
    assert section_log.cut_round(2.0, 3.0).pages.tolist() == [5]


def test_a_late_section_that_repeats_in_the_next_one_belongs_to_the_round_before():
    section_log = log_after_first_round()
    section_log.cut_round(0.5, 2.0, first=True)
    send(section_log, 2.1, [1, 2])
    send(section_log, 3.01, [3, 4])  # sent just before the sync at 3.0, read after it
    send(section_log, 3.02, [3, 1])
    assert section_log.cut_round(2.0, 3.0).pages.tolist() == [1, 2, 3, 4]
    assert section_log.cut_round(3.0, 4.0).pages.tolist() == [3, 1]


def test_an_empty_section_shows_that_all_pages_are_sent():
    section_log = log_after_first_round()
    assert not section_log.idle_since_s
    send(section_log, 2.5, [])
    assert section_log.idle_since_s == 2.5
    assert section_log.is_complete_until(2.4)
    assert not section_log.is_complete_until(2.6)
    send(section_log, 2.7, [4])
    assert not section_log.idle_since_s


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), unique=True, max_size=5), min_size=1, max_size=6))
def test_no_page_is_lost_or_counted_twice(rounds):
    section_log = log_after_first_round()
    section_log.cut_round(0.5, 1.5, first=True)
    for number, pages in enumerate(rounds, 2):
        for offset, page in enumerate(pages):
            send(section_log, number + 0.1 * offset, [page])
    got = [
        section_log.cut_round(number - 0.5, number + 0.5, next_s=number + 1.5).pages.tolist()
        for number in range(2, 2 + len(rounds))
    ]
    assert got == rounds


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=30), st.sampled_from([1, 1 << 10, 1 << 40]))
def test_repeated_pages_are_counted_near_and_far(pages, apart):
    section_log = log_after_first_round()
    section_log.cut_round(0.5, 1.5, first=True)
    send(section_log, 2.0, [page * apart for page in pages])
    assert section_log.cut_round(1.5, 2.5).repeated == len(pages) - len(set(pages))


def test_a_round_whose_end_is_known_is_cut_there_whenever_its_sections_arrive():
    section_log = log_after_first_round()
    for pages in ([1, 2], [], [3], [1], [4, 5]):
        send(section_log, 9.0, pages)  # all are read late
    assert section_log.cut_at(10, 0.5, 2.0).normal == 10
    cut = section_log.cut_at(13, 2.0, 3.0)  # one page more is a section's end too
    assert (cut.pages.tolist(), cut.begin_s, cut.end_s) == ([1, 2, 3], 2.0, 3.0)
    assert section_log.cut_at(15, 3.0, 4.0).pages.tolist() == [
        1,
        4,
        5,
    ]  # QEMU had yet to count the sixteenth page


def test_rounds_that_are_cut_together_hold_a_page_twice_without_being_uncertain():
    section_log = log_after_first_round()
    section_log.cut_at(10, 0.5, 2.0)
    send(section_log, 2.1, [1, 2])
    send(section_log, 3.1, [2])
    cut = section_log.cut_at(13, 2.0, 4.0)
    assert (cut.pages.tolist(), cut.normal, cut.repeated) == ([1, 2, 2], 3, 0)
