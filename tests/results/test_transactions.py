"""Completed and lost operations of a made-up guest whose counts are all known."""

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import RecordError
from migsim.results import MigrationResult, Outcome, lost_transactions, transactions

READY_US = 40_000_000


def work(clock_s, buys, browses):
    return (
        f"migsim-linux work clock_us={READY_US + round(clock_s * 1e6)} "
        f"buy={buys}:{buys * 20_000} browse={browses}:{browses * 5_000} busy_us={round(clock_s * 5e5)}"
    )


READY = f"migsim-linux ready clock_us={READY_US} workload=order-entry users=75"


def record(log, **other):
    return MigrationResult(
        kind="measured",
        name="made-up",
        qemu_version="10.0",
        accel="tcg",
        outcome=Outcome("completed"),
        guest_log=log,
        **other,
    )


def migrated(blackout_s=2.0, slow=4):
    """Make the log of a guest that is ready 10.2 s before `migrate`, and migrates for 5 s.

    It completes 10 buys and 30 browses a second; during the migration `slow` buys and 30 browses.
    """
    rows = [{"side": "source", "line": READY}]
    buys = 0
    for second in range(1, 16):
        buys += 10 if second <= 10 else slow
        late = 0.09 * (second % 3)  # a line is received late, never early
        rows.append(
            {
                "side": "source",
                "line": work(second, buys, 30 * second),
                "t_s": second - 10.2 + late,
            }
        )
    for second in range(16, 22):
        buys += 10
        at = second - 10.2 + blackout_s + 0.09 * (second % 2)
        rows.append({"side": "destination", "line": work(second, buys, 30 * second), "t_s": at})
    return rows


def test_counts_become_rates_by_the_hosts_clock():
    table = transactions(record(migrated()))
    assert list(table["side"].unique()) == ["source", "destination"]
    buys = table[table["operation"] == "buy"].reset_index(drop=True)
    assert buys["completed"].tolist() == [10] * 9 + [4] * 5 + [10] * 6
    # the guest's clock corrects the times of lines that were received late
    assert buys["t_s"].tolist() == pytest.approx(
        [s - 10.2 for s in range(2, 16)] + [s - 8.2 for s in range(16, 22)]
    )
    assert buys["clock_s"].tolist() == pytest.approx(list(range(2, 22)))
    assert buys["per_s"].tolist() == pytest.approx([10] * 9 + [4] * 5 + [10 / 3] + [10] * 5)
    assert buys["mean_latency_s"].tolist() == pytest.approx([0.02] * 20)
    assert buys["busy_fraction"].tolist() == pytest.approx([0.5] * 20)


def test_lost_operations_are_those_that_the_pace_before_would_have_completed():
    lost = lost_transactions(record(migrated())).set_index("operation")
    # the last line before migrate is 0.2 s old; then come 5 s at 4, a blackout of 2 s, 6 s at 10
    assert lost["window_s"].tolist() == pytest.approx([13.0] * 3)
    assert lost.loc["buy", "lost"] == pytest.approx(13 * 10 - (5 * 4 + 6 * 10))
    assert lost.loc["browse", "lost"] == pytest.approx(2 * 30)
    assert lost.loc["all", "lost"] == pytest.approx(50 + 60)
    assert lost.loc["all", "lost_sd"] == pytest.approx(0)
    late = lost_transactions(record(migrated()), before_s=3.0).set_index("operation")
    assert late.loc["all", "before_per_s"] == pytest.approx(40)
    early = lost_transactions(record(migrated()), until_s=5.0).set_index("operation")
    assert early.loc["buy", "lost"] == pytest.approx(5 * 6)


def test_the_deviation_of_lost_follows_from_that_of_the_pace_before():
    rows = [{"side": "source", "line": READY}]
    total = 0
    for second in range(1, 42):
        total += 10 + (2 if second % 2 else -2) * (second <= 21)
        rows.append({"side": "source", "line": work(second, total, 0), "t_s": second - 21.0})
    lost = lost_transactions(record(rows)).set_index("operation").loc["buy"]
    spread = math.sqrt(20 * 4 / 19)  # of 20 lines, 2 above and below 10
    assert lost["before_sd_per_s"] == pytest.approx(spread)
    # 20 lines before and 20 since: the variance of a sum of 20, twice
    assert lost["lost_sd"] == pytest.approx(spread * math.sqrt(20 + 20))
    assert lost["lost"] == pytest.approx(0)


def test_a_line_that_the_switchover_cut_in_two_is_joined():
    whole = migrated()
    index = next(i for i, row in enumerate(whole) if row["side"] == "destination")
    line = whole[index]["line"]
    for at in (5, 30, len(line) - 1):
        log = [
            *whole[:index],
            {"side": "source", "line": line[:at], "cut": True},
            {"side": "source", "line": "kernel said", "port": "console"},
            {**whole[index], "line": line[at:]},
            *whole[index + 1 :],
        ]
        assert transactions(record(log)).equals(transactions(record(whole)))
    # the end of the line is lost: the line is ignored
    log = [*whole[:index], {"side": "source", "line": line[:-3], "cut": True}, *whole[index + 1 :]]
    assert 10 + 10 in transactions(record(log))["completed"].tolist()


def test_a_text_has_only_the_guests_clock():
    text = "\r\n".join([READY, work(1, 5, 10), "noise", work(3, 9, 10), work(4, 9, 10)]) + "\nmigsim-linux wo"
    table = transactions(text)
    assert table["t_s"].tolist() == table["clock_s"].tolist() == [3, 3, 4, 4]
    assert table["per_s"].tolist() == [2, 0, 0, 0]
    assert table["mean_latency_s"].isna().tolist() == [False, True, True, True]


def test_logs_with_too_few_lines():
    for run in (
        "",
        "\n",
        READY + "\n",
        work(1, 1, 1),
        record([]),
        record([{"side": "source", "line": READY}]),
    ):
        assert transactions(run).empty
    with pytest.raises(RecordError, match=r"0 intervals .* before .* and 0 since"):
        lost_transactions(record([]))
    with pytest.raises(RecordError, match=r"9 intervals .* and 0 since"):
        lost_transactions(record([row for row in migrated() if row.get("t_s", -1) < 0]))


def test_a_guest_that_booted_anew_gives_no_negative_rates():
    table = transactions("\n".join([work(5, 50, 50), work(6, 60, 60), work(1, 1, 1), work(2, 3, 3)]) + "\n")
    assert table["completed"].tolist() == [10, 10, 2, 2]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_logs_are_parsed_without_an_exception(data):
    log = [dict(row) for row in migrated()]
    for _ in range(data.draw(st.integers(1, 6))):
        row = data.draw(st.sampled_from(log))
        change = data.draw(st.sampled_from(["cut", "drop", "side", "silent", "text"]))
        if change == "cut":
            row["line"] = row["line"][: data.draw(st.integers(0, len(row["line"])))]
        elif change == "drop":
            log.remove(row)
        elif change == "side":
            row["side"] = data.draw(st.sampled_from(["source", "destination", "elsewhere"]))
        elif change == "silent":
            row.pop("t_s", None)
        else:
            row["line"] = data.draw(st.text(max_size=30))
    table = transactions(record(log))
    assert (table["completed"] >= 0).all() and (table["interval_s"] > 0).all()
    with contextlib.suppress(RecordError):
        lost_transactions(record(log))
