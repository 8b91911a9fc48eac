"""The kinds of input: a good one of each, its mutators, what reading and using it means, what no reader may accept."""

import json
import math
import random
import shutil
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from migsim.cli.console import stdout_console
from migsim.errors import MigsimError
from migsim.lab.rounds import round_rows
from migsim.lab.trace_events import enable_trace_events, parse_trace_log
from migsim.profiles import HostProfile
from migsim.profiles.terms import TERMS
from migsim.qmp import QmpSession
from migsim.report.tables import prediction_table
from migsim.results import MigrationResult, Outcome, compare, iterations_frame, timeline_frame
from migsim.scenario import LabScenario
from migsim.study.predict import predict
from migsim.study.question import Question
from migsim.study.sweep.piece import Piece, column_names
from migsim.study.sweep.store import Store
from migsim.trace import Trace, TraceMeta, TraceWriter
from migsim.trace.data_map import DataMap
from migsim.trace.render import summary, to_html
from migsim.tracer.auto import choose_collector
from migsim.tracer.guest_settings import GuestSettings
from migsim.tracer.record import record_trace
from migsim.tracer.stream.format import StreamParser
from migsim.tracer.stream.rounds import SectionLog
from migsim.workload import Workload
from tests.factories import host_profile, small_guest
from tests.fuzz import mutators
from tests.fuzz.monitors import MONITOR, good_script, playing
from tests.tracer.stream.stream_bytes import bitmap_section, section, stream_head

PAGES = (64 << 20) // 4096
SETTINGS = {"max-bandwidth": "1Gbps", "xbzrle": "on"}
SCENARIO = """name = "small"
[qemu]
version = "10.0"
accel = "tcg"
[guest]
ram-bytes = "64MiB"
[guest.workload]
touched-pages = 100
[[guest.workload.classes]]
base-page = 0
pages = 50
share = 0.9
[migration.parameters]
max-bandwidth = "1Gbps"
downtime-limit = "300ms"
"""


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes
    ----------
    name : str
    good : callable
        Returns the bytes of a good input; it may use the given folder.
    use : callable
        Reads and uses the input at a path; yields each impossible value that was accepted. Raises MigsimError for
        what it refuses.
    mutate : tuple of mutators
    """

    name: str
    good: Callable[[Path], bytes]
    use: Callable[[Path], Iterator[str]]
    mutate: tuple[mutators.Mutator, ...]


def write_trace(path: Path) -> TraceWriter:
    """Write a trace with every member but dirty-rate windows' odd modes; return its writer, not yet closed."""
    data_map = DataMap(256, (256,) * 28 + (216,) + (0,) * 35)
    meta = TraceMeta(
        "stream", "10.0.8", 64 << 20, accel="kvm", zero_pages=9_000, data_map=data_map, note="a note"
    )
    writer = TraceWriter(path, meta)
    for second in range(6):
        pages = np.arange(second, 3000, 3)
        writer.add_content(pages[:9], [8] * 9, [1] * 9, [11] * 9, 1.0, 0.1)
        writer.add_events([second * 1_000_000 + 5, second * 1_000_000 + 9], [5, 6], [0, 0])
        writer.add_interval(second, second + 1, pages=pages, sent_pages=1000)
    window = dict(mode="dirty-bitmap", window_s=0.1, start_s=0.0, measured_s=0.1, dirty_bytes=1 << 20)
    writer.add_windows([window | {"resolution_bytes": 1000, "sampled_pages": 0}])
    return writer


def good_trace(folder: Path) -> bytes:
    """Return a packed trace."""
    write_trace(folder / "good.trace").close()
    with zipfile.ZipFile(folder / "good.trace") as archive:
        return mutators.pack([(name, archive.read(name)) for name in archive.namelist()])


def impossible_in_trace(trace: Trace) -> Iterator[str]:
    """Yield what an opened trace claims and no guest can have."""
    meta, rounds, runs = trace.meta, trace.columns("intervals"), trace.columns("runs")
    total, count = meta.total_pages, len(rounds["interval"])
    if not 0 <= (meta.zero_pages or 0) <= total:
        yield f"zero_pages {meta.zero_pages} of {total} pages"
    if not 1024 <= meta.page_bytes <= 2 << 20 or not 0 < meta.ram_bytes <= 1 << 46:
        yield f"page_bytes {meta.page_bytes}, ram_bytes {meta.ram_bytes}"
    if rounds["interval"].tolist() != list(range(count)) or (rounds["dirty_pages"] > total).any():
        yield "intervals out of order, or with more dirty pages than the guest has"
    if not np.isfinite(rounds["end_s"]).all() or (rounds["end_s"] < rounds["start_s"]).any():
        yield "an interval without a length"
    ends = runs["first_page"].astype(np.int64) + runs["npages"]
    if (ends > total).any() or (runs["interval"] >= count).any() or (runs["interval"] < 0).any():
        yield "a run outside the guest or the trace"
    for number in range(count):
        pages = trace.pages(number)
        if (np.diff(pages) <= 0).any():
            yield f"pages of interval {number} do not ascend"
    if (trace.columns("content")["page"] >= total).any() or (trace.columns("events")["page"] >= total).any():
        yield "a page beyond RAM"


def use_trace(path: Path) -> Iterator[str]:
    """Open, describe, fit."""
    trace = Trace.open(path)
    yield from impossible_in_trace(trace)
    for label, text in summary(trace):
        assert isinstance(label, str) and isinstance(text, str)
    to_html(trace)
    question = Question(trace, host=_host(), settings=SETTINGS, draws=1)
    yield from impossible_in_workload(question.workload())
    yield from impossible_in_answer(question)


def use_part(path: Path) -> Iterator[str]:
    """Put the piece over one of a folder's, open the folder and use it."""
    folder = path.parent / "p.trace.part"
    if not folder.exists():
        write_trace(path.parent / "p.trace")
    name = path.read_bytes()[:4]
    target = folder / ("00000003-runs.parquet" if name == b"PAR1" else "meta.json")
    whole = target.read_bytes()
    target.write_bytes(path.read_bytes())
    try:
        yield from impossible_in_trace(Trace.open(folder))
    finally:
        target.write_bytes(whole)


def good_piece_of_part(folder: Path) -> bytes:
    """Return the runs of one interval of a recording."""
    write_trace(folder / "q.trace")
    return (folder / "q.trace.part" / "00000003-runs.parquet").read_bytes()


def good_profile(folder: Path) -> bytes:
    """Return a host profile."""
    host_profile(dict.fromkeys(TERMS, 1e-5)).save(folder / "good.json")
    return (folder / "good.json").read_bytes()


def use_profile(path: Path) -> Iterator[str]:
    """Load, show, draw; predict with it, where it has the terms."""
    profile = HostProfile.load(path)
    for name, term in profile.terms.items():
        if not (0 <= term.median <= 1e15 and 0 <= term.spread <= 5):
            yield f"term {name}: {term}"
        if not all(map(math.isfinite, (term.at(4.0, 4.0), *term.interval()))):
            yield f"term {name} has draws that are not finite: {term}"
    profile._repr_html_()
    profile.sample(np.random.default_rng(1))
    yield from impossible_in_answer(Question(small_guest(), host=profile, settings=SETTINGS, draws=2))


def good_record(folder: Path) -> bytes:
    """Return a record."""
    MigrationResult(
        kind="measured",
        name="small",
        qemu_version="10.0.8",
        accel="kvm",
        outcome=Outcome("completed", "it did"),
        info={"status": "completed", "total-time": 100, "downtime": 10, "setup-time": 3},
        events=[{"name": "STOP", "seconds": 1.0, "data": {}}],
        downtime_parts_ms={"stop": 10.0},
        costs={"guest-lost-s": 0.1},
        blackout_ms=12.0,
        scenario={"guest": {"ram-bytes": 1 << 30}},
        guest_log=[{"side": "source", "line": "ready"}],
    ).save(folder / "good.json")
    return (folder / "good.json").read_bytes()


def use_record(path: Path) -> Iterator[str]:
    """Load, show, compare with itself, save again."""
    record = MigrationResult.load(path)
    for name, value in record.metrics().items():
        if value < 0 or math.isinf(value) or value > 2**64:
            yield f"{name} is {value}"
    repr(record)
    record._repr_html_()
    if record.kind == "measured":
        compare(record.replace(kind="simulated"), record)
    record.save(path.parent / "again.json")


def use_scenario(path: Path) -> Iterator[str]:
    """Load and write anew."""
    scenario = LabScenario.load(path)
    if not 0 < scenario.guest.ram_bytes <= 1 << 46 or not 0 < scenario.deadline_s < 1e10:
        yield f"ram-bytes {scenario.guest.ram_bytes}, deadline {scenario.deadline_s}"
    LabScenario.from_toml(scenario.to_toml())


def good_workload(folder: Path) -> bytes:
    """Return a workload."""
    small_guest(zero_extents=((0, 1000), (20_000, 11_000))).save(folder / "good.json")
    return (folder / "good.json").read_bytes()


def impossible_in_workload(workload: Workload) -> Iterator[str]:
    """Yield what no guest can have."""
    pages = workload.ram_total_bytes // 4096
    if not 0 <= workload.zero_pages <= pages or sum(c.pages for c in workload.classes) > pages:
        yield f"{workload.zero_pages} zero pages of {pages}"
    if not math.isfinite(workload.writes_per_s) or workload.ram_total_bytes > 1 << 47:
        yield f"{workload.writes_per_s} writes per s"
    if any(first + n > 2 * pages for c in workload.classes for first, n in c.extents):
        yield "an extent far beyond RAM"
    if workload.zero_extents and sum(n for _, n in workload.zero_extents) != workload.zero_pages:
        yield "zero pages that lie nowhere"


def use_workload(path: Path) -> Iterator[str]:
    """Load, show, ask."""
    workload = Workload.load(path)
    yield from impossible_in_workload(workload)
    workload._repr_html_()
    yield from impossible_in_answer(Question(workload, host=_host(), settings=SETTINGS, draws=2))


def good_sweep_piece(folder: Path) -> bytes:
    """Return a sweep's piece named ``ab``, of four cells."""
    columns = {name: np.arange(4.0) for name in column_names(intervals=True)}
    columns |= {"outcome": np.array([0, 0, 1, 2], np.int8), "reason": np.array([-1, -1, -1, 0], np.int32)}
    store = Store(folder)
    store.write("ab", Piece(columns, ("QEMU refuses",), "laws"))
    return store.path("ab").read_bytes()


def use_sweep_piece(path: Path) -> Iterator[str]:
    """Read it as the piece ``ab``: nothing but the very bytes that were written is one."""
    folder = path.parent / "pieces"
    store = Store(folder)
    good = good_sweep_piece(folder)
    store.path("ab").write_bytes(path.read_bytes())
    piece = store.read("ab", 4, intervals=True)
    if piece is not None and path.read_bytes() != good:
        yield "a changed piece"
    if piece is None and not store.damaged:
        yield "a damaged piece of which nothing is said"


def good_stream(_folder: Path) -> bytes:
    """Return a migration stream."""
    records = [("normal", "pc.ram", 5), ("zero", "pc.ram", 6), ("normal", "vga.vram", 3)]
    return stream_head() + bitmap_section() + section(records) + section(records, kind=3)


def use_stream(path: Path) -> Iterator[str]:
    """Parse it as the collector does."""
    log = SectionLog()
    parser = StreamParser(log)
    data = path.read_bytes()
    for at in range(0, len(data), 3000):
        parser.feed(data[at : at + 3000])
    if log.pages_received > len(data):
        yield f"{log.pages_received} pages in {len(data)} bytes"


def use_monitor(path: Path) -> Iterator[str]:
    """Talk to a monitor that is played from the script: record, keep and put back settings, watch a migration.

    Which of these, the script's bytes say.
    """
    data = path.read_bytes()
    use = MONITOR_USES[zlib.crc32(data) % len(MONITOR_USES)]
    died: list[str] = []
    hook, threading.excepthook = (
        threading.excepthook,
        lambda found: died.append(f"{found.exc_type}: {found.exc_value}"),
    )
    try:
        with playing(data, path.parent / "q"):
            yield from use(path.parent)
    finally:
        threading.excepthook = hook
    yield from died


def _record_from(folder: Path) -> Iterator[str]:
    target, end = folder / "m.trace", time.monotonic() + 0.2
    target.unlink(missing_ok=True)
    shutil.rmtree(f"{target}.part", ignore_errors=True)
    record_trace(
        folder / "q",
        target,
        method="dirty-rate",
        duration_s=0.001,
        stop=lambda: time.monotonic() > end,
    )
    yield from impossible_in_trace(Trace.open(target))


def _change_settings_of(folder: Path) -> Iterator[str]:
    with QmpSession(folder / "q") as session:
        choose_collector(session, "auto")
        kept = GuestSettings.of(session)
        words = replace(kept, parameters=kept.parameters | {"downtime-limit": 20}).put_back(session)
        if len(words) > 10_000:
            yield f"{len(words)} settings changed"


def _watch(folder: Path) -> Iterator[str]:
    with QmpSession(folder / "q") as session:
        enable_trace_events(session)
        session.execute("query-status")
        session.execute("migrate", {"uri": "unix:/dev/null"})
        session.wait_event("MIGRATION_PASS", timeout_s=5.0)
        samples = [{"seconds": 10.0 + n, **session.execute("query-migrate")} for n in range(5)]
        session.execute("migrate_cancel")
    rows = round_rows(parse_trace_log(SYNCS), samples, 10.0, 15.0)
    record = MigrationResult(
        kind="measured",
        name="played",
        qemu_version=str(session.version),
        accel="kvm",
        outcome=Outcome("failed", str(samples[-1].get("error-desc", "none"))),
        info={name: value for name, value in samples[-1].items() if name != "seconds"},
        iterations=iterations_frame(rows),
        timeline=timeline_frame((sample["seconds"] - 10.0, sample) for sample in samples),
    )
    record.save(folder / "watched.json")
    for name, value in record.metrics().items():
        if math.isinf(value):
            yield f"{name} is {value}"


MONITOR_USES = (_record_from, _change_settings_of, _watch)
SYNCS = [
    f"1@{second}.5:migration_bitmap_sync_{what}"
    for second in (10, 12, 14)
    for what in ("start", "end dirty_pages 4")
]


def impossible_in_answer(question: Question) -> Iterator[str]:
    """Predict, and yield figures that no migration can have."""
    prediction = predict(question)
    for name, value in prediction.medians.items():
        if value < 0 or math.isinf(value):
            yield f"predicted {name}: {value}"
    prediction_table(prediction, stdout_console())


def _host() -> HostProfile:
    return host_profile(dict.fromkeys(TERMS, 1e-5), spread=0.0)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("trace", good_trace, use_trace, mutators.TRACE),
        Kind("part", good_piece_of_part, use_part, (*mutators.PARQUET, *mutators.TEXT)),
        Kind("profile", good_profile, use_profile, mutators.JSON),
        Kind("record", good_record, use_record, mutators.JSON),
        Kind("scenario", lambda _folder: SCENARIO.encode(), use_scenario, mutators.TEXT),
        Kind("workload", good_workload, use_workload, mutators.JSON),
        Kind("sweep-piece", good_sweep_piece, use_sweep_piece, mutators.PARQUET),
        Kind("stream", good_stream, use_stream, mutators.BYTES),
        Kind("monitor", lambda _folder: good_script(), use_monitor, MONITOR),
    )
}


def mutated(kind: Kind, good: bytes, seed: int) -> bytes:
    """Return the bytes of case `seed`: one to three mutations of a good input."""
    rng = random.Random(seed)
    data = good
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(kind.mutate)(rng, data)
    return data


def judge(kind: Kind, path: Path) -> str:
    """Use an input; return "" where it was refused in the proper way or accepted, else what is wrong."""
    try:
        accepted = list(kind.use(path))
    except MigsimError as error:
        return "" if error.exit_code == 3 else f"exit code {error.exit_code}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"accepted: {'; '.join(accepted)}" if accepted else ""


def as_json(found: object) -> str:
    """Return a finding as a line of JSON."""
    return json.dumps(found, ensure_ascii=True)
