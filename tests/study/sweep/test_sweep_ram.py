"""Sweeps over the guest's memory: the stated rule's own predictions, what is said of them, and refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from migsim.errors import ParameterError, UnitError
from migsim.models.guest.scaling import RULE
from migsim.scenario import MigrationSettings
from migsim.study.predict import predict
from migsim.study.scaling import GuestSize, predict_scaled, scale_workload
from migsim.study.sweep.run import sweep
from tests.factories import host_profile, small_guest

SMALL = small_guest()

MIB = 1 << 20
GUEST = SMALL.replace(zero_pages=132 * MIB // 4096 - 17_000)  # every page is accounted for
TRACED = GuestSize(
    128 * MIB, vcpus=1, users=10, transactions_per_s=1000.0
)  # 3 writes a second: the buffer pool
SIZES = [128 * MIB, 256 * MIB, 1024 * MIB]
SETTINGS = {"max-bandwidth": 200_000_000}


def larger(ram_bytes: int) -> GuestSize:
    return GuestSize(ram_bytes, vcpus=1, users=10, transactions_per_s=1000.0)


def run(ram: Any, traced: GuestSize | None = TRACED, **more: Any):
    return sweep(
        GUEST, host=host_profile(), vary={"guest-ram": ram}, settings=SETTINGS, traced=traced, **more
    )


def test_each_size_is_the_scaled_guest():
    made = run(SIZES)
    assert made["guest-ram"].attrs["units"] == "bytes"
    for size in SIZES:
        alone = predict(
            scale_workload(GUEST, TRACED, larger(size)),
            host=host_profile(),
            settings=MigrationSettings(parameters=SETTINGS),
            draws=1,
        )
        at = made.dataset.sel({"guest-ram": size})
        assert float(at["total-time"]) == pytest.approx(alone.medians["total-time"], rel=1e-3)
        assert float(at["transferred"]) == pytest.approx(alone.medians["transferred"], rel=1e-3)
    sent = made["transferred"].values
    # All that grows does so with the memory, but for the writes: as many over more pages.
    assert sent[1] > 1.5 * sent[0] and sent[2] > 3 * sent[1]


def test_the_traced_size_is_the_traced_guest():
    as_it_was = sweep(GUEST, host=host_profile(), vary={"max-bandwidth": [200_000_000]})
    made = run([TRACED.ram_bytes])
    for name in ("total-time", "downtime", "transferred", "rounds"):
        assert made[name].values.tolist() == as_it_was[name].values.tolist()


def test_every_draw_has_its_own_exponents():
    size = 1024 * MIB
    made = run([size, 2 * size], draws=12, engine="events")
    alone = predict_scaled(
        GUEST,
        TRACED,
        larger(size),
        host=host_profile(),
        settings=MigrationSettings(parameters=SETTINGS),
        draws=12,
    )
    at = made.dataset.sel({"guest-ram": size})
    low, high = alone.intervals["transferred"]
    assert float(at["transferred"]) == pytest.approx(alone.medians["transferred"])
    assert (float(at["transferred-low"]), float(at["transferred-high"])) == pytest.approx((low, high))
    fixed = sweep(
        scale_workload(GUEST, TRACED, larger(size)),
        host=host_profile(),
        vary={"deadline": [1800]},
        settings=SETTINGS,
        draws=12,
    )
    width = float(at["transferred-high"] - at["transferred-low"])
    assert width > 1.5 * float((fixed["transferred-high"] - fixed["transferred-low"]).item())


def test_more_memory_and_more_writes_go_together():
    made = sweep(
        GUEST,
        host=host_profile(),
        vary={"guest-ram": [SIZES[1]], "writes-scale": [1, 3]},
        settings=SETTINGS,
        traced=TRACED,
    )
    workload = scale_workload(GUEST, TRACED, larger(SIZES[1])).scaled(3)
    alone = predict(workload, host=host_profile(), settings=MigrationSettings(parameters=SETTINGS), draws=1)
    tripled = made["transferred"].sel({"writes-scale": 3}).item()
    assert tripled == pytest.approx(alone.medians["transferred"], rel=1e-3)
    assert tripled > made["transferred"].sel({"writes-scale": 1}).item()


def test_it_says_that_it_is_scaled_and_by_which_rule():
    made = run("128MiB:1GiB:3:log")
    assert made["guest-ram"].values.tolist()[-1] == 1024 * MIB
    first, second = made.assumptions[:2]
    assert "never measured" in first and "models.guest.scaling" in first and "10 users" in first
    assert f"exponent {RULE['pool'].pages.median:g} ± " in second and "zero pages keep their shares" in second
    without = sweep(GUEST, host=host_profile(), vary={"load": [1]}, settings=SETTINGS, traced=TRACED)
    assert not any("measured" in note for note in without.assumptions)


def test_what_is_known_of_the_traced_guest_names_the_cells(tmp_path: Path):
    run(SIZES[:2], folder=tmp_path)
    assert any("2 of 2 cells" in note for note in run(SIZES[:2], folder=tmp_path).notes)
    other = GuestSize(
        128 * MIB, vcpus=1, users=1, transactions_per_s=20.0
    )  # all of its pages are of a transaction
    made = run(SIZES[:2], traced=other, folder=tmp_path)
    assert made.notes == ()
    assert (made["transferred"].values <= run(SIZES[:2])["transferred"].values).all()


@pytest.mark.parametrize(
    ("ram", "traced", "said"),
    [
        (SIZES, None, "users and transactions"),
        (SIZES, GuestSize(128 * MIB, vcpus=1, users=10), "users and transactions"),
        ("64MiB:256MiB:3", TRACED, "goes down to 64 MiB"),
        ([256 * MIB, 64 * MIB], TRACED, "goes down to 64 MiB"),
        (SIZES[1:], GuestSize(256 * MIB, vcpus=1, users=10, transactions_per_s=9.0), "Correct the sizes"),
        ([0], TRACED, "above 0"),
    ],
)
def test_where_there_is_no_rule_nothing_is_made_up(ram: Any, traced: GuestSize | None, said: str):
    with pytest.raises(ParameterError, match=re.escape(said)):
        run(ram, traced=traced)


def test_sizes_have_one_reading():
    with pytest.raises(UnitError):
        run("128G,256G")
    assert np.isfinite(run("256MiB,0.5GiB")["total-time"].values).all()
