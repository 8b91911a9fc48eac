import pytest

from migsim.errors import ScenarioError
from migsim.workload import Workload, WorkloadClass

HOT = WorkloadClass(pages=40, writes_per_page_per_s=2.5, extents=((100, 10), (200, 30)))
WORKLOAD = Workload(
    ram_bytes=1 << 30,
    ram_total_bytes=(1 << 30) + (16 << 20),
    zero_pages=1000,
    classes=(HOT, WorkloadClass(pages=5, writes_per_page_per_s=0, pattern="sweep")),
    writes_spread=0.1,
    assumptions=("Writes are independent.",),
    source="a.trace",
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"zero_pages": -1}, r"zero.pages"),
        ({"zero_pages": 10**9}, r"zero.pages"),
        ({"ram_total_bytes": 4096}, r"ram.total.bytes"),
        ({"writes_spread": float("nan")}, r"writes.spread"),
        ({"classes": (WorkloadClass(pages=10**9, writes_per_page_per_s=1),)}, "more than the"),
    ],
)
def test_a_workload_that_cannot_be_is_refused(change, says):
    with pytest.raises(ScenarioError, match=says):
        WORKLOAD.replace(**change)


@pytest.mark.parametrize(
    "extents",
    [((0, 5),), ((0, 30),), ((5, 20), (0, 20)), ((0, 20), (10, 20)), ((-1, 30),), ((0, 0), (1, 30))],
)
def test_extents_that_cannot_be_are_refused(extents):
    with pytest.raises(ScenarioError, match=r"[Ee]xtents"):
        WorkloadClass(pages=20, writes_per_page_per_s=1, extents=extents)


def test_rates_add_up_and_scale():
    assert HOT.writes_per_s == 100
    assert WORKLOAD.writes_per_s == 100
    assert WORKLOAD.scaled(0.5).writes_per_s == 50
    with pytest.raises(ScenarioError):
        WORKLOAD.scaled(-1)
