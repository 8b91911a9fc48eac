"""What the guest is told, and where its pages are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError, ScenarioError
from migsim.lab.guest import guest_command_line, ram_page_to_guest_address, workload_page_to_ram_page
from migsim.lab.guest.command_line import schedule_weights
from migsim.scenario import GuestWorkload, PageClass

GIB = 1 << 30


def test_every_field_is_told():
    workload = GuestWorkload(
        touched_pages=1000,
        classes=(
            PageClass(base_page=0, pages=100, share=90, changed_bytes=4),
            PageClass(base_page=100, pages=50, share=5, pattern="zipf", zipf_exponent=1.1, content="page"),
            PageClass(base_page=150, pages=50, share=5, pattern="sweep", content="zero"),
        ),
        pace="clock",
        writes_per_s=2500.4,
        check=True,
        report_s=0.25,
        seed=7,
    )
    assert guest_command_line(workload) == (
        "-- touch=1000 check=1 class=0:100:18:random:bytes=4 class=100:50:1:zipf=1100:page "
        "class=150:50:1:sweep:zero pace=clock rate=2500 report=250 seed=7"
    )


def test_what_the_guest_cannot_do_is_refused():
    one = PageClass(base_page=0, pages=1, changed_bytes=4096)
    with pytest.raises(ScenarioError, match="4088"):
        guest_command_line(GuestWorkload(classes=(one,), check=True))
    assert "bytes=4096" in guest_command_line(GuestWorkload(classes=(one,)))
    with pytest.raises(MigsimError, match="16"):
        guest_command_line(GuestWorkload.model_construct(classes=(one,) * 17, check=False))


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=16))
def test_weights_keep_the_proportions(shares):
    weights = schedule_weights(shares)
    assert len(weights) == len(shares)
    assert min(weights) >= 1
    assert sum(weights) <= 1024
    for share, weight in zip(shares, weights, strict=True):
        assert abs(weight / sum(weights) - share / sum(shares)) <= 17 / 1024


@given(st.lists(st.integers(1, 8), min_size=1, max_size=16))
def test_small_whole_proportions_are_exact(shares):
    weights = schedule_weights([s / 10 for s in shares])
    assert [w * sum(shares) for w in weights] == [s * sum(weights) for s in shares]


@pytest.mark.parametrize(
    ("page", "ram", "machine", "address"),
    [
        (4096, GIB, "pc", 16 << 20),
        ((3 * GIB >> 12) - 1, 8 * GIB, "pc", 3 * GIB - 4096),
        (3 * GIB >> 12, 8 * GIB, "pc", 4 * GIB),
        (3 * GIB >> 12, 0xE0000000 - 4096, "pc", 3 * GIB),
        (2 * GIB >> 12, 8 * GIB, "q35", 4 * GIB),
        ((128 * GIB >> 12) - 1, 128 * GIB, "pc", 129 * GIB - 4096),
    ],
)
def test_guest_physical_addresses_skip_the_hole(page, ram, machine, address):
    assert ram_page_to_guest_address(page, ram, machine) == address


def test_pages_outside_are_refused():
    assert workload_page_to_ram_page(0) == 4096
    for page, machine in ((GIB >> 12, "pc"), (-1, "pc"), (0, "virt")):
        with pytest.raises(ScenarioError):
            ram_page_to_guest_address(page, GIB, machine)
