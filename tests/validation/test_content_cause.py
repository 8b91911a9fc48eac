"""Why encoded bytes are missed where XBZRLE's cache is small: the traced classes, not the cache's law."""

import numpy as np
import pytest

from migsim.profiles.bundled import bundled_profile
from migsim.scenario import LabScenario
from migsim.study.predict import predict
from migsim.study.question import Question
from validation.places import RECORDS, SCENARIOS, TRACES
from validation.scores import load_records

NAME = "kvm-xbzrle-mixed-4g-64mib-q100"


def test_with_the_guests_own_class_of_whole_pages_the_bytes_are_met(monkeypatch):
    monkeypatch.setenv("MIGSIM_QEMU_10", "qemu-system-x86_64")
    scenario = LabScenario.load(SCENARIOS / f"{NAME}.toml")
    told = scenario.guest.workload.classes
    host = bundled_profile("10.0")
    fitted = Question(TRACES / "mixed-4g.trace", host=host).workload(contents=True)
    hot, whole, *others = fitted.classes
    base = 4096  # where the guest's own pages begin
    rate = hot.writes_per_page_per_s * (told[1].share / told[1].pages) / (told[0].share / told[0].pages)
    own = whole.replace(
        pages=told[1].pages,
        writes_per_page_per_s=rate,
        extents=((base + told[1].base_page, told[1].pages),),
        content=whole.content.replace(bytes_a_write=4096, places=1, whole_fraction=1.0),
    )
    runs = load_records(RECORDS)[NAME]
    measured = np.median([run.info["xbzrle-cache"]["bytes"] for run in runs])

    def encoded(classes):
        made = predict(
            fitted.replace(classes=classes),
            host=host,
            settings=scenario.migration,
            draws=1,
            deadline_s=60,
        )
        return made.result.info["xbzrle-cache"]["bytes"]

    assert encoded((hot, own, *others)) == pytest.approx(measured, rel=0.02)
    assert encoded(fitted.classes) < 0.95 * measured
