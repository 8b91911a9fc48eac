"""Rounds, switchover parts and blackout out of logs whose truth is known."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.lab.rounds import round_rows, syncs
from migsim.lab.switchover import blackout_ms, downtime_parts_ms
from migsim.lab.trace_events import TraceEvent, parse_trace_log
from migsim.qmp import QmpEvent
from migsim.results import iterations_frame

PAGE = 4096


def play(rounds, total_pages=1000, sync_s=0.001):
    """A migration as QEMU would log it: `rounds` is a list of (seconds, pages sent, pages newly dirty after)."""
    trace, samples, now, pending, counted, period = [], [], 100.0, total_pages, 0, 100.0
    sent = 0

    def sync(dirty):
        nonlocal now, pending, counted, period
        trace.append(TraceEvent(now, "migration_bitmap_sync_start", ""))
        now += sync_s
        counted += dirty
        pending += dirty
        trace.append(TraceEvent(now, "migration_bitmap_sync_end", f"dirty_pages {counted}"))
        if now > period + 1.0:
            period, counted = now, 0

    def look():
        trace.append(
            TraceEvent(now, "migrate_pending_estimate", f"estimate pending size {pending * PAGE} (pre")
        )

    sync(0)
    look()
    for seconds, pages, dirty in rounds:
        samples.append({"seconds": now, "ram": {"transferred": sent * 4104, "normal": sent, "duplicate": 0}})
        now += seconds
        sent += pages
        pending -= pages
        sync(dirty)
        look()
    sync(0)
    sent += pending
    samples.append(
        {"seconds": now + 0.1, "ram": {"transferred": sent * 4104, "normal": sent, "duplicate": 0}}
    )
    return trace, samples, now + 0.05


ROUNDS = st.lists(
    st.tuples(st.floats(0.05, 3.0), st.integers(1, 900), st.integers(0, 500)), min_size=1, max_size=12
)


@settings(deadline=None)
@given(ROUNDS)
def test_dirty_and_sent_pages_come_out_as_played(played):
    total, left = 1000, 1000
    kept = []
    for seconds, pages, dirty in played:
        pages = min(pages, left)
        left += dirty - pages
        kept.append((seconds, pages, dirty))
    trace, samples, ended = play(kept, total)
    assert [sync.dirty_pages for sync in syncs(trace)] == [0, *(dirty for _, _, dirty in kept), 0]
    frame = iterations_frame(round_rows(trace, samples, 100.0, ended))
    assert frame["dirty_sync_count"].tolist() == list(range(1, len(kept) + 3))
    expected = [*(float(pages) for _, pages, _ in kept), 0.0, float(left)]
    assert frame["normal"].tolist() == pytest.approx(expected)
    assert frame["transferred_bytes"].tolist() == pytest.approx([pages * 4104 for pages in expected])
    assert frame["end_s"].iloc[:-1].tolist() == frame["start_s"].iloc[1:].tolist()
    assert frame["sync_s"].tolist() == pytest.approx([0.001] * len(frame), rel=1e-3)


def test_a_period_of_a_second_that_went_on_is_known_by_what_is_pending():
    """Rounds of 0.1 s: the log's microseconds say 1.0002 s, QEMU's whole milliseconds 1000, which closes nothing."""
    events, total = [], 0
    for k in range(13):
        at = 0.10002 * k
        total += 100 if k else 0
        events += [
            TraceEvent(at, "migration_bitmap_sync_start", ""),
            TraceEvent(at, "migration_bitmap_sync_end", f"dirty_pages {total}"),
            TraceEvent(at, "migrate_pending_exact", f"exact pending size {150 * 4096} (pre = 0 post=0)"),
        ]
        total = 0 if k == 11 else total  # QEMU closes the period one sync later than the log suggests
    assert [sync.dirty_pages for sync in syncs(events)] == [0] + [100] * 12


def test_an_empty_log_has_no_rounds():
    assert round_rows([], [], 0.0, 1.0) == []


@settings(deadline=None)
@given(st.text())
def test_any_text_can_stand_in_a_log(text):
    for event in parse_trace_log([text, f"1@2.000003:migrate_set_state {text}"]):
        assert event.number("dirty_pages") is None or isinstance(event.number("dirty_pages"), int)


SWITCHOVER = """\
5@10.000100:runstate_set current_run_state 9 (running) new_state 7 (finish-migrate)
5@10.001100:migration_completion_vm_stop ret 0
5@10.001600:migration_bitmap_sync_start
5@10.001700:migration_bitmap_sync_end dirty_pages 9
5@10.021700:savevm_section_end ram, section_id 2 -> 0
5@10.023700:savevm_section_end globalstate, section_id 41 -> 0
""".splitlines()


def test_the_downtime_in_parts():
    parts = downtime_parts_ms(parse_trace_log(SWITCHOVER), 25)
    assert parts == pytest.approx({"stop": 1.0, "sync": 0.1, "flush": 20.0, "device": 2.0, "rest": 1.9})


def test_newer_qemu_says_itself_when_it_begins():
    lines = ["5@10.000050:vmstate_downtime_checkpoint src-downtime-start", *SWITCHOVER[1:]]
    assert downtime_parts_ms(parse_trace_log(lines), 25)["stop"] == pytest.approx(1.05)


@settings(deadline=None)
@given(st.integers(0, len(SWITCHOVER)), st.integers(0, 100))
def test_parts_sum_to_the_downtime_whatever_is_missing(kept, downtime):
    parts = downtime_parts_ms(parse_trace_log(SWITCHOVER[:kept]), downtime)
    assert not parts or sum(parts.values()) == pytest.approx(downtime, abs=0.01)
    assert all(value >= 0 for value in parts.values())


def test_blackout_is_from_stop_to_resume():
    stop, resume = QmpEvent("STOP", {}, 5.0), QmpEvent("RESUME", {}, 5.0321)
    assert blackout_ms([QmpEvent("STOP", {}, 1.0), stop], [resume]) == pytest.approx(32.1)
    assert math.isnan(blackout_ms([stop], []))
    assert math.isnan(blackout_ms([], [resume]))
