"""What more bandwidth, more memory, a larger limit and a faster link never do, over random guests.

Host and guest are taken at their medians and expected dirty counts, so that chance moves nothing. What QEMU itself
does against expectation is excepted: the switchover is tested once a window, so a time may move by a window; the
threshold grows with bandwidth, so with more of it more may be left at the switchover.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.study.predict import predict
from migsim.workload import Workload, WorkloadClass
from tests.factories import host_profile

HOST = host_profile(spread=0.0)
WINDOW_MS = 100
PAGES = 1 << 16


@st.composite
def guests(draw, more_pages=0):
    """A guest of 256 MiB: one to three classes of written pages, idle data, and zero pages."""
    classes, at = [], 0
    for _ in range(draw(st.integers(1, 3))):
        pages = draw(st.integers(50, 8000))
        rate = draw(st.floats(0.01, 30.0))
        classes.append(WorkloadClass(pages=pages, writes_per_page_per_s=rate, extents=((at, pages),)))
        at += pages
    idle = draw(st.integers(100, 20_000))
    return classes, at, idle


def workload(classes, at, idle):
    held = WorkloadClass(pages=idle, writes_per_page_per_s=0.0, extents=((at, idle),))
    ram = PAGES * 4096
    return Workload(
        ram_bytes=ram, ram_total_bytes=ram, zero_pages=PAGES - at - idle, classes=(*classes, held)
    )


def answer(parts, *, bandwidth=50_000_000, limit=100, **more):
    given_settings = {"max-bandwidth": int(bandwidth), "downtime-limit": int(limit)}
    return predict(workload(*parts), host=HOST, settings=given_settings, draws=1, deadline_s=300.0, **more)


bandwidths = st.floats(5e6, 4e8)
limits = st.integers(20, 1000)


@settings(max_examples=40)
@given(guests(), bandwidths, limits, st.floats(1.5, 8.0))
def test_more_bandwidth_never_makes_a_converging_guest_diverge(parts, bandwidth, limit, factor):
    slow = answer(parts, bandwidth=bandwidth, limit=limit)
    fast = answer(parts, bandwidth=bandwidth * factor, limit=limit)
    assert fast.outcome.status == "completed" or slow.outcome.status == "not-converged"


@settings(max_examples=40)
@given(guests(), bandwidths, limits, st.integers(1, 20_000))
def test_more_data_never_sends_less(parts, bandwidth, limit, more):
    """A round's end falls elsewhere in a window, so a window of bytes is allowed for each round."""
    classes, at, idle = parts
    small = answer(parts, bandwidth=bandwidth, limit=limit)
    large = answer((classes, at, idle + more), bandwidth=bandwidth, limit=limit)
    if "completed" == small.outcome.status == large.outcome.status:
        room = bandwidth * WINDOW_MS / 1000 * max(small.medians["rounds"], large.medians["rounds"])
        assert large.medians["transferred"] >= small.medians["transferred"] + 4096 * more - room


@settings(max_examples=40)
@given(guests(), bandwidths, limits, st.floats(1.1, 10.0))
def test_a_larger_limit_never_takes_longer(parts, bandwidth, limit, factor):
    """Precopy ends no later; the blackout may be longer, up to the larger limit."""
    tight, wide = (answer(parts, bandwidth=bandwidth, limit=x) for x in (limit, int(limit * factor)))
    if tight.outcome.status != "completed":
        return
    assert wide.outcome.status == "completed"
    before = [a.medians["total-time"] - a.medians["downtime"] for a in (tight, wide)]
    assert before[1] <= before[0] + WINDOW_MS


@settings(max_examples=40)
@given(guests(), bandwidths, limits, st.floats(1.1, 20.0))
def test_a_faster_link_never_has_a_longer_blackout(parts, bandwidth, limit, factor):
    """With max-bandwidth below both links it paces precopy; only near the edge may one converge and the other not."""
    slow, fast = (
        answer(parts, bandwidth=bandwidth, limit=limit, link_bytes_per_s=bandwidth * 1.2 * f)
        for f in (1.0, factor)
    )
    if "completed" == slow.outcome.status == fast.outcome.status:
        assert fast.medians["blackout"] <= slow.medians["blackout"] + 1
