import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.loop.switchover import PagesLeft, blackout

seconds = st.floats(0, 2)
counts = st.floats(0, 1e6)


@given(counts, counts, counts, counts, seconds, seconds, seconds, seconds, st.booleans())
def test_parts_sum_to_the_downtime(again, first, fresh, zero, sync, stop, device, load, return_path):
    parts = blackout(
        PagesLeft(again, first, fresh, zero),
        sync_s=sync,
        stop_s=stop,
        normal_page_s=4e-6,
        cold_page_s=5e-6,
        fresh_page_s=6e-6,
        zero_page_s=5e-7,
        device_state_s=device,
        load_s=load,
        return_path=return_path,
    )
    flush = again * 4e-6 + first * 5e-6 + fresh * 6e-6 + zero * 5e-7
    assert parts.flush_s == pytest.approx(flush)
    # With a return path the source waits until the guest runs on the destination.
    assert parts.downtime_s == pytest.approx(stop + sync + flush + device + load * return_path)
    assert sum(parts.parts_ms().values()) == pytest.approx(parts.downtime_s * 1000)
    # STOP comes after the downtime clock started; RESUME comes after it ended, or with a return path as it ends.
    assert parts.blackout_s == pytest.approx(sync + flush + device + load)


def test_nothing_left_costs_only_the_rest():
    parts = blackout(
        PagesLeft(0, 0, 0, 0),
        sync_s=1e-3,
        stop_s=2e-3,
        normal_page_s=1,
        cold_page_s=1,
        fresh_page_s=1,
        zero_page_s=1,
        device_state_s=4e-3,
        load_s=8e-3,
    )
    assert parts.downtime_s == pytest.approx(7e-3)
    assert parts.blackout_s == pytest.approx(13e-3)
