"""The laws of throttling against live migrations, without engine, host terms or fits."""

import json
from functools import cache
from itertools import pairwise
from statistics import median

import pytest

from migsim.models.dirty.ring import ring_fill_pages, ring_run_fraction
from migsim.models.throttle.auto_converge import ThrottleState, close_period
from migsim.models.throttle.cpu_throttle import run_fraction
from migsim.models.throttle.dirty_limit import LimitState, full_time_us, step
from migsim.models.throttle.trigger import throttle_rules
from validation.places import RECORDS

THROTTLED = sorted(RECORDS.glob("kvm-throttle-*.json"))
LIMITED = sorted(RECORDS.glob("kvm-dirty-limit-*.json"))
STEPS = {
    "initial": "cpu-throttle-initial",
    "increment": "cpu-throttle-increment",
    "maximum": "max-cpu-throttle",
    "tailslow": "cpu-throttle-tailslow",
}


def name_of(path):
    return path.stem


@cache
def record(path):
    return json.loads(path.read_text(encoding="utf-8"))


def changes(timeline, name):
    """Each new value of a counter, with the time and `dirty-sync-count` of the sample that shows it first."""
    found = []
    for at, value, syncs in zip(
        timeline["t_s"], timeline[name], timeline["ram.dirty-sync-count"], strict=True
    ):
        if value and (not found or found[-1][2] != value):
            found.append((at, int(syncs), int(value)))
    return found


def progress(data):
    """Reports of the source guest, each with the time of its arrival."""
    return [
        (
            line["t_s"],
            {k: int(v) for k, v in (word.split("=") for word in line["line"].split() if "=" in word)},
        )
        for line in data["guest_log"]
        if line["side"] == "source" and " progress " in line["line"] and line.get("t_s") is not None
    ]


def climb_by_law(data):
    """Percentages that the law sets from the rounds' dirty pages and bytes, each with its sync."""
    rounds, settings = data["iterations"], data["scenario"]["migration"]["parameters"]
    steps = {ours: settings[qemu] for ours, qemu in STEPS.items() if qemu in settings}
    rules = throttle_rules(data["scenario"]["qemu"]["version"])
    state, levels = ThrottleState(), []
    begin, dirty, sent = rounds["start_s"][0], 0.0, rounds["transferred_bytes"][0]
    for i in range(1, len(rounds["start_s"])):
        dirty += rounds["dirty_pages"][i] * 4096
        end = rounds["start_s"][i] + rounds["sync_s"][i]
        if end - begin > 1.0:
            previous = state.percentage
            state = close_period(
                state, dirty_bytes=int(dirty), transferred_bytes=int(sent), rules=rules, **steps
            )
            if state.percentage != previous:
                levels.append((rounds["dirty_sync_count"][i], state.percentage))
            begin, dirty, sent = end, 0.0, 0.0
        sent += rounds["transferred_bytes"][i]
    return levels


def test_there_are_records():
    assert len(THROTTLED) >= 14 and len(LIMITED) >= 8


@pytest.mark.parametrize("path", THROTTLED, ids=name_of)
def test_the_first_six_levels_come_at_the_syncs_of_the_law(path):
    """Later rounds are shorter than the second that a period lasts: a few ms decide which of them closes it."""
    data = record(path)
    measured = [(syncs, level) for _, syncs, level in changes(data["timeline"], "cpu-throttle-percentage")]
    assert measured
    assert climb_by_law(data)[:6] == measured[:6]


def test_nine_of_ten_levels_come_at_the_syncs_of_the_law():
    hits = levels = 0
    for path in THROTTLED:
        data = record(path)
        by_law = set(climb_by_law(data))
        for _, syncs, level in changes(data["timeline"], "cpu-throttle-percentage"):
            hits += (syncs, level) in by_law
            levels += 1
    assert levels >= 80 and hits / levels > 0.9


def test_a_busy_guest_runs_for_the_share_that_the_percentage_leaves():
    """Writes a second under one percentage over those without: up to 2 points less than by law, as sleeps overrun."""
    shares = {}
    for path in THROTTLED:
        data = record(path)
        if data["scenario"]["guest"]["workload"].get("pace") == "clock" or "sparse" in path.stem:
            continue
        lines = progress(data)
        levels = changes(data["timeline"], "cpu-throttle-percentage")
        spans = [(0.0, levels[0][0], 0)]
        spans += [(a[0], b[0], a[2]) for a, b in pairwise(levels)]
        rates = {}
        for (begin, one), (end, other) in pairwise(lines):
            seconds = (other["t_us"] - one["t_us"]) / 1e6
            rate = (other["writes"] - one["writes"]) / seconds
            for first, last, level in spans:
                if first + 0.2 < begin and end < last - 0.2:
                    rates.setdefault(level, []).append(rate)
        for level, level_rates in rates.items():
            if level:
                shares.setdefault(level, []).append(median(level_rates) / median(rates[0]))
    often = {level: median(runs) for level, runs in shares.items() if len(runs) >= 3}
    assert {20, 30, 40, 50, 60, 70} <= set(often)
    for level, share in often.items():
        assert run_fraction(level) - 0.02 < share < run_fraction(level) + 0.005, level


@pytest.mark.parametrize("path", LIMITED, ids=name_of)
def test_the_first_sleep_follows_from_the_ring_full_time(path):
    """QEMU reports both: the ring's full time gives the measured rate, and the rate gives the sleep in microseconds."""
    data = record(path)
    entries = data["scenario"]["qemu"]["dirty-ring-size"]
    quota = data["scenario"]["migration"]["parameters"]["vcpu-dirty-limit"]
    sleep = changes(data["timeline"], "dirty-limit-throttle-time-per-round")[0][2]
    full = changes(data["timeline"], "dirty-limit-ring-full-time")[0][2]
    rates = [r for r in range(1, 4000) if full_time_us(entries, r) == full]
    assert rates
    sleeps = {
        step(
            LimitState.start(1), quota_mib_per_s=quota, measured_mib_per_s=[r], ring_entries=entries
        ).sleep_us[0]
        for r in rates
    }
    assert sleep in sleeps


@pytest.mark.parametrize("path", LIMITED, ids=name_of)
def test_a_limited_guest_runs_for_the_share_that_ring_and_sleep_leave(path):
    """The fill time is from the same report, the share from the guest's count of its writes before and under the limit.

    Syncs empty half-filled rings, which gives the guest more time the shorter its sleeps are.
    """
    data = record(path)
    entries = data["scenario"]["qemu"]["dirty-ring-size"]
    _, _, sleep = changes(data["timeline"], "dirty-limit-throttle-time-per-round")[0]
    set_at, _, full = changes(data["timeline"], "dirty-limit-ring-full-time")[0]
    fill_s = ring_fill_pages(entries) / entries * full / 1e6
    lines = progress(data)

    def speed(first, last):
        (_, one), (_, other) = first, last
        return (other["writes"] - one["writes"]) / (other["t_us"] - one["t_us"])

    before = [line for line in lines if line[0] < set_at - 1.5]
    under = [line for line in lines if line[0] > set_at]
    share = speed(under[0], under[-1]) / speed(before[0], before[-1])
    steady = ring_run_fraction(fill_s, sleep / 1e6)
    assert steady - 0.01 < share < steady + (0.01 if sleep > 300_000 else 0.06)


@pytest.mark.parametrize("path", LIMITED, ids=name_of)
def test_syncs_wait_for_the_sleeper_but_no_longer(path):
    """A sync takes almost no time without a limit, and up to the length of the sleep with one."""
    data = record(path)
    (set_at, _, sleep), *_ = changes(data["timeline"], "dirty-limit-throttle-time-per-round")
    before, after = [], []
    for at, took in zip(data["iterations"]["start_s"], data["iterations"]["sync_s"], strict=True):
        (after if at > set_at else before).append(took)
    assert median(before) < 0.01
    assert 0.5 * sleep / 1e6 < max(after) < sleep / 1e6 + 0.05
