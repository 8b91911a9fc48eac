"""Record the validation's data: host profiles, traces, and live migrations of every scenario.

`python -m validation.record_all`, as root on a machine with KVM, QEMU 7.2, and MIGSIM_QEMU_10 for 10.0. Existing files
are kept, so a campaign that was ended goes on where it stopped. Each recording is one `migsim` command, which is
printed. The repeats are the outer loop, so that a drift of the machine affects all scenarios alike. `--steps edge`
records the runs near the critical rate: profiles, and before each guest's migrations a trace of it, all of one day and
with source and destination on cores of their own. Run nothing else on the machine.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from migsim.profiles import HostProfile
from migsim.profiles.terms import MULTIFD_TERMS
from validation.places import EDGE, RECORDINGS, RECORDS, ROOT, SCENARIOS, TRACES

STEPS = ("hosts", "traces", "records")
EDGE_QEMUS = {"7.2": "qemu-system-x86_64", "10.0": "$MIGSIM_QEMU_10"}
EDGE_TRACE = ("--method", "stream", "--duration", "40s")


def main(arguments: list[str] | None = None) -> int:
    """Record the missing files; return the number of recordings that failed, at most 99."""
    parser = argparse.ArgumentParser(prog="validation.record_all", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="repeats of each scenario")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names of files to record, as *128g*")
    parser.add_argument(
        "--steps", default=",".join(STEPS), help=f"steps to run, of {','.join(STEPS)}, and edge"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show the commands")
    options = parser.parse_args(arguments)
    failed = 0
    for target, command in missing(options.repeats, options.steps.split(",")):
        if target.exists() or not fnmatch.fnmatch(target.name, options.only):
            continue
        print(f"{time.strftime('%H:%M:%S')} {shlex.join(['migsim', *command])}", flush=True)
        if options.dry_run:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "migsim", *command], check=False).returncode
        print(f"         exit code {code} after {time.monotonic() - begin:.0f} s", flush=True)
        failed += code != 0
    return min(failed, 99)


def plan() -> dict[str, list[dict[str, Any]]]:
    """Read the entries of `recordings.toml`: ``host``, ``multifd``, ``trace``."""
    return tomllib.loads(RECORDINGS.read_text(encoding="utf-8"))


def missing(repeats: int, steps: list[str]) -> Iterator[tuple[Path, list[str]]]:
    """Give the missing files in the order in which they are recorded, each with the migsim command that makes it."""
    planned = plan()
    if "hosts" in steps:
        yield from _hosts(planned["host"])
        yield from _multifd(planned["multifd"])
    if "traces" in steps:
        yield from _traces(planned["trace"])
    if "records" in steps:
        yield from _records(repeats)
    if "edge" in steps:
        yield from _edge(repeats)


def _edge(repeats: int) -> Iterator[tuple[Path, list[str]]]:
    """Give the profiles, then for each repeat every guest's trace and, right after it, its migrations."""
    for version, command in EDGE_QEMUS.items():
        target = EDGE / "hosts" / f"kvm-{version}.json"
        keep = target.with_name(f"probes-{version}.zip")
        options = [
            "--qemu",
            command,
            "--repeats",
            "3",
            "--pin",
            "auto",
            "--keep",
            _shown(keep),
            "-o",
            _shown(target),
        ]
        yield target, ["calibrate", "host", *options]
    scenarios = sorted((EDGE / "scenarios").glob("*.toml"), key=_traced_as)
    for repeat in range(1, repeats + 1):
        for traced, group in itertools.groupby(scenarios, key=_traced_as):
            of_guest = list(group)
            target = EDGE / "traces" / f"{traced}-{repeat}.trace"
            yield target, ["lab", "trace", _shown(of_guest[0]), "-o", _shown(target), *EDGE_TRACE]
            for scenario in of_guest:
                target = EDGE / "records" / f"{scenario.stem}-{repeat}.json"
                yield target, ["lab", "migrate", _shown(scenario), "-o", _shown(target), "--pin", "auto"]


def _traced_as(scenario: Path) -> str:
    """Name a scenario's guest and release, which one trace is of: ``zipf-8g-q72``."""
    parts = scenario.stem.removeprefix("kvm-").split("-")
    return "-".join([*parts[:2], parts[-1]])


def _hosts(planned: list[dict[str, Any]]) -> Iterator[tuple[Path, list[str]]]:
    for host in planned:
        target = ROOT / host["file"]
        if not target.exists():
            accel = ["--accel", host["accel"]] if "accel" in host else []
            pin = ["--pin", host["pin"]] if "pin" in host else []
            options = ["--qemu", host["command"], *accel, "--repeats", str(host["repeats"]), *pin]
            keep = ["--keep", _shown(ROOT / host["keep"]), "-o", _shown(target)]
            yield target, ["calibrate", "host", *options, *keep]


def _multifd(planned: list[dict[str, Any]]) -> Iterator[tuple[Path, list[str]]]:
    """Give the profiles that have no multifd terms yet; these terms are added to an existing profile."""
    for multifd in planned:
        profile, kept = ROOT / multifd["file"], ROOT / multifd["keep"]
        if not profile.exists() or not set(MULTIFD_TERMS) <= HostProfile.load(profile).terms.keys():
            options = ["--qemu", multifd["command"], "--repeats", str(multifd["repeats"])]
            yield kept, ["calibrate", "multifd", _shown(profile), *options, "--keep", _shown(kept)]


def _traces(planned: list[dict[str, Any]]) -> Iterator[tuple[Path, list[str]]]:
    for trace in planned:
        target = TRACES / trace["file"]
        if not target.exists():
            scenario = SCENARIOS / f"{trace['scenario']}.toml"
            ring = ["--dirty-ring-size", str(trace["dirty-ring-size"])] if "dirty-ring-size" in trace else []
            options = ["--method", trace["method"], "--duration", trace["duration"], *ring]
            yield target, ["lab", "trace", _shown(scenario), "-o", _shown(target), *options]


def _records(repeats: int) -> Iterator[tuple[Path, list[str]]]:
    for repeat in range(1, repeats + 1):
        for scenario in sorted(SCENARIOS.glob("*.toml")):
            target = RECORDS / f"{scenario.stem}-{repeat}.json"
            if not target.exists():
                linux = "linux" in tomllib.loads(scenario.read_text(encoding="utf-8"))["guest"]
                seed = ["--users-seed", str(repeat)] if linux else []
                yield target, ["lab", "migrate", _shown(scenario), "-o", _shown(target), *seed]


def _shown(path: Path) -> str:
    """Make a path relative to the current folder, so that records name no folders of this machine."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


if __name__ == "__main__":
    raise SystemExit(main())
