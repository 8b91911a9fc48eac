"""Runs cases of a kind in a process of their own, which bounds their processor time and measures their memory.

``python -m tests.fuzz --seconds 3600 --seed 7`` runs all kinds in turn; ``--kind trace --case 123`` replays one case.
A case that fails is kept in ``build/fuzz/KIND-CASE``, beside a line of JSON that says what is wrong with it.
"""

import argparse
import contextlib
import io
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas  # noqa: F401 - what only some answers import is not the memory of the case that does it
import pyarrow.parquet  # noqa: F401 - likewise

from tests.fuzz.kinds import KINDS, Kind, as_json, judge, mutated

LONGEST_S = 20
"""Processor time of a case."""
FREE_BYTES = 64 << 20
"""A case may take this much memory, and twice its file's size."""
KEPT = Path("build") / "fuzz"
_BATCH = 50


@dataclass(frozen=True)
class Finding:
    """A case that failed."""

    kind: str
    case: int
    what: str


def run_cases(kind: Kind, cases: range | list[int]) -> list[Finding]:
    """Run cases in a child process; after one that ends the process, go on in another."""
    findings: list[Finding] = []
    waiting = list(cases)
    while waiting:
        reports = _run_batch(kind, waiting)
        done = len([line for line in reports if not line.startswith("?")])
        findings += [Finding(kind.name, waiting[i], line) for i, line in enumerate(reports[:done]) if line]
        if done < len(waiting):  # the process ended in this case
            findings.append(Finding(kind.name, waiting[done], reports[-1].lstrip("?") if reports else "died"))
            done += 1
        waiting = waiting[done:]
    return findings


def _run_batch(kind: Kind, cases: list[int]) -> list[str]:
    """Return a line for each case: "" where all is well; a line that starts with ? says how the process ended."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(kind, cases, writing)
    os.close(writing)
    with os.fdopen(reading, "r", encoding="utf-8") as stream:
        lines = [line.rstrip("\n").removeprefix("=") for line in stream]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if len(lines) < len(cases):
        hung = status == -signal.SIGXCPU
        lines.append(f"?{f'more than {LONGEST_S} s of a processor' if hung else f'died with {status}'}")
    return lines


def _child(kind: Kind, cases: list[int], writing: int) -> None:
    code = 1
    try:
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
            folder = Path(name)
            good = kind.good(folder)
            path = folder / f"case{'.trace' if kind.name == 'trace' else '.json'}"
            path.write_bytes(good)
            judge(kind, path)  # imports and caches are not the first case's
            for case in cases:
                path.write_bytes(mutated(kind, good, case))
                spent = resource.getrusage(resource.RUSAGE_SELF)
                used_s = int(spent.ru_utime + spent.ru_stime)
                resource.setrlimit(resource.RLIMIT_CPU, (used_s + LONGEST_S + 1, resource.RLIM_INFINITY))
                before = _reset_peak()
                what = judge(kind, path)
                more = _peak() - before
                if more > FREE_BYTES + 2 * path.stat().st_size:
                    what = f"{what} {more >> 20} MiB of memory for {path.stat().st_size} bytes".strip()
                os.write(writing, f"={' '.join(what.split())[:500]}\n".encode("utf-8", "backslashreplace"))
        code = 0
    finally:
        os._exit(code)


def _reset_peak() -> int:
    """Set the peak of the resident memory to what is resident now; return that, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


def keep(finding: Finding, folder: Path = KEPT) -> Path:
    """Keep a finding's input, and what is wrong with it."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = KINDS[finding.kind]
    with tempfile.TemporaryDirectory() as name:
        data = mutated(kind, kind.good(Path(name)), finding.case)
    path = folder / f"{finding.kind}-{finding.case}"
    path.write_bytes(data)
    path.with_suffix(".said").write_text(as_json({"case": finding.case, "what": finding.what}) + "\n")
    return path


def main() -> int:
    """Run for as long as asked; print each finding, and counts by kind at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=sorted(KINDS), help="only this kind")
    parser.add_argument("--case", type=int, help="replay one case of --kind")
    asked = parser.parse_args()
    kinds = [KINDS[asked.kind]] if asked.kind else list(KINDS.values())
    ran: Counter[str] = Counter()
    found: list[Finding] = []
    rng = random.Random(asked.seed)
    end = time.monotonic() + asked.seconds
    while time.monotonic() < end:
        for kind in kinds:
            cases = [rng.getrandbits(48) for _ in range(_BATCH)] if asked.case is None else [asked.case]
            for finding in run_cases(kind, cases):
                found.append(finding)
                print(
                    f"{kind.name} --case {finding.case}: {finding.what} (kept as {keep(finding)})", flush=True
                )
            ran[kind.name] += len(cases)
        if asked.case is not None:
            break
    for name, count in ran.items():
        print(f"{name:12} {count:8} cases, {sum(f.kind == name for f in found)} findings")
    print(f"SEED={asked.seed}: {ran.total()} cases, {len(found)} findings")
    return int(bool(found))
