"""What notebooks show: well-formed, escaped, with intervals and assumptions."""

import math
from xml.etree import ElementTree

import pytest

from migsim.calibrate.workload.fit import fit_workload
from migsim.html import html_list, html_table
from migsim.profiles import HostProfile, Term
from migsim.profiles.terms import HOST_TERMS
from migsim.results import MigrationResult, Outcome, ResultCollection
from migsim.scenario import MigrationSettings
from migsim.study.predict import predict
from migsim.trace import Trace, TraceMeta, TraceWriter
from migsim.workload import Workload, WorkloadClass

ODD = "<b>&'\""


def terms():
    return {
        name: Term(median=1e-5 if name != "guest_speed" else 1.0, spread=0.1, unit=ODD) for name in HOST_TERMS
    }


def text_of(thing):
    """All the text of the thing's HTML, which has to be well-formed."""
    html = thing._repr_html_()
    assert "<script" not in html
    return " ".join("".join(ElementTree.fromstring(html).itertext()).split())


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("html") / "a&b.trace"
    with TraceWriter(path, TraceMeta("stream", "10.0.8", 64 << 20, accel="kvm", note=ODD)) as writer:
        for second in range(6):
            writer.add_interval(second, second + 1, pages=range(5_000), sent_pages=5_000, zero_pages=0)
    return Trace.open(path)


def test_pieces_are_escaped():
    assert ElementTree.fromstring(html_table(ODD, [ODD], [[ODD]])).find(".//td").text == ODD
    assert ODD in "".join(ElementTree.fromstring(f"<div>{html_list(ODD, [ODD])}</div>").itertext())
    assert html_list("Assumed", []) == ""


def test_a_profile_shows_the_spread_of_each_term():
    shown = text_of(HostProfile(terms=terms(), qemu_version="10.0"))
    low, high = Term(median=1e-5, spread=0.1).interval()
    for words in ("QEMU 10.0 (kvm)", "80 %", "zero_page_s", f"{low:.3g}", f"{high:.3g}", ODD):
        assert words in shown


def test_a_workload_shows_its_classes_and_assumptions():
    classes = (WorkloadClass(pages=1234, writes_per_page_per_s=2.5),)
    workload = Workload(
        ram_bytes=2**30,
        ram_total_bytes=2**30,
        zero_pages=77,
        classes=classes,
        writes_spread=0.2,
        assumptions=(ODD,),
    )
    for words in ("1 GiB guest", "77 zero pages", "spread 20.0%", "1,234", "2.5", ODD):
        assert words in text_of(workload)


def test_a_fit_shows_residuals_and_assumptions(trace):
    fit = fit_workload(trace)
    shown = text_of(fit)
    for words in ("residual", "fitted pages", "writes per page per s", *fit.workload.assumptions):
        assert words in shown


def test_a_prediction_shows_intervals_and_assumptions(trace):
    host = HostProfile(terms=terms(), qemu_version="10.0")
    settings = MigrationSettings(parameters={"tls-creds": "tls0"})
    made = predict(trace, host=host, settings=settings, qemu_version="10.9", draws=5)
    shown = text_of(made)
    assert "80 % interval" in shown and "of the draws complete" in shown
    assert made.assumptions and all(note in shown for note in made.assumptions)
    assert "tls-creds is set and not modelled" in shown
    assert "taken to behave like" in shown


def test_a_trace_says_where_it_is_from(trace):
    shown = text_of(trace)
    assert "a&b.trace" in shown and ODD in shown


def test_results_show_their_intervals():
    result = MigrationResult(
        kind="simulated",
        name=ODD,
        qemu_version="10.0",
        accel="kvm",
        outcome=Outcome("completed", ODD),
        info={"status": "completed", "total-time": 1500, "downtime": 20},
        intervals={"total-time": (1400.0, 1600.0)},
        downtime_parts_ms={"stop": 20.0},
        blackout_ms=math.nan,
    )
    assert "1400 ms to 1600 ms" in text_of(result) and ODD in text_of(result)
    assert ODD in text_of(ResultCollection([result]))
