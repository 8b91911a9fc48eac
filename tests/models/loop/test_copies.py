import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError
from migsim.models.loop.copies import CopyPath, copy_path, one_thread_ceiling
from migsim.profiles.published import cost_preset

OLD, NEW = cost_preset("era-2012"), cost_preset("era-2020-x86")


@pytest.mark.parametrize(
    ("version", "how", "copies"),
    [
        ("1.2", {}, (2, 2)),
        ("1.2", {"staged": True}, (3, 2)),
        ("1.3", {}, (3, 2)),
        ("1.4", {}, (3, 2)),
        ("1.5", {}, (1, 2)),
        ("10.0", {}, (1, 2)),
        ("2.0", {"xbzrle": True}, (3, 2)),
        ("4.0", {"transport": "multifd"}, (1, 1)),
        ("7.1", {"transport": "multifd", "zero_copy": True}, (0, 1)),
        ("1.6", {"transport": "rdma"}, (0, 0)),
        ("5.0", {"postcopy": True}, (1, 3)),
    ],
)
def test_the_law_books_table_of_copies(version, how, copies):
    assert copy_path(version, **how).copies == copies


@pytest.mark.parametrize(
    ("version", "how", "says"),
    [
        ("1.5", {"transport": "rdma"}, "1.6 on"),
        ("2.10", {"transport": "multifd"}, "2.11 on"),
        ("10.0", {"transport": "udp"}, "Transports are"),
        ("7.0", {"transport": "multifd", "zero_copy": True}, "7.1 on"),
        ("10.0", {"zero_copy": True}, "for multifd"),
        ("10.0", {"transport": "multifd", "xbzrle": True}, "main channel"),
    ],
)
def test_paths_that_are_not_there_are_refused(version, how, says):
    with pytest.raises(MigsimError, match=says):
        copy_path(version, **how)


def test_the_talks_three_gigabits_by_their_parts():
    """The law book: 0.6 to 1 GB/s staged, 0.7 to 1 GB/s sent, together 2.6 to 4 Gbit/s."""
    slow, middle, fast = (one_thread_ceiling(copy_path("1.4"), OLD.at(b)) for b in ("high", "value", "low"))
    assert slow.produce_bytes_per_s == pytest.approx(0.6e9, rel=0.01)
    assert fast.produce_bytes_per_s == pytest.approx(1e9, rel=0.1)
    assert slow.send_bytes_per_s == pytest.approx(0.7e9, rel=0.01)
    assert fast.send_bytes_per_s == pytest.approx(1e9, rel=0.01)
    assert slow.gbit_per_s == pytest.approx(2.6, abs=0.1)
    assert fast.gbit_per_s == pytest.approx(4.0, abs=0.3)
    assert 3.0 < middle.gbit_per_s < 3.5


times = st.floats(1e-8, 1e-4)


@given(times, times, times)
def test_produce_and_send_combine_harmonically(test, staging, send):
    costs = {
        "uniform_test_s_per_page": test,
        "staging_copy_s_per_page": staging,
        "kernel_send_s_per_page": send,
    }
    c = one_thread_ceiling(copy_path("1.3"), costs)
    assert c.bytes_per_s == pytest.approx(1 / (1 / c.produce_bytes_per_s + 1 / c.send_bytes_per_s))
    assert c.bytes_per_s == pytest.approx(4096 / (test + 2 * staging + send))
    assert one_thread_ceiling(copy_path("1.5"), costs).bytes_per_s > c.bytes_per_s


@pytest.mark.parametrize("preset", [OLD, NEW], ids=lambda p: p.name)
def test_writev_is_worth_its_two_copies(preset):
    for bound in ("low", "value", "high"):
        old, new = (one_thread_ceiling(copy_path(v), preset.at(bound)) for v in ("1.4", "1.5"))
        saved = old.page_s - new.page_s
        assert saved == pytest.approx(2 * preset.at(bound)["staging_copy_s_per_page"])
        assert new.gbit_per_s > old.gbit_per_s


def test_no_copy_costs_no_send():
    assert one_thread_ceiling(CopyPath((), ()), NEW.at()).send_bytes_per_s == float("inf")


def test_one_thread_of_2022():
    """Quintela's 16 GiB of data over one thread: 8.05 Gbit/s, which he calls odd, too slow, repeatable."""
    slowest = one_thread_ceiling(copy_path("7.0"), NEW.at("high")).gbit_per_s
    assert 8.05 < slowest < 12
