"""Record everything again: host profiles, traces, and every scenario's live migrations.

`python -m validation.record_all` (as root on a machine with KVM, QEMU 7.2, and MIGSIM_QEMU_10 for 10.0). What is there
already is kept, so a killed campaign goes on where it was. Each recording is the `migsim` command that it shows;
repeats are the outer loop, so that what drifts on the machine spreads over all scenarios. Leave the machine alone
meanwhile.
"""

from __future__ import annotations

import argparse
import fnmatch
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from validation.places import RECORDINGS, RECORDS, ROOT, SCENARIOS, TRACES

STEPS = ("hosts", "traces", "records")


def main(arguments: list[str] | None = None) -> int:
    """Record what is missing; the exit code is the number of recordings that failed, at most 99."""
    parser = argparse.ArgumentParser(prog="validation.record_all", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each scenario")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names of files to record, as *128g*")
    parser.add_argument("--steps", default=",".join(STEPS), help="some of " + ",".join(STEPS))
    parser.add_argument("--dry-run", action="store_true", help="only show the commands")
    options = parser.parse_args(arguments)
    failed = 0
    for target, command in commands(options.repeats, options.steps.split(",")):
        if target.exists() or not fnmatch.fnmatch(target.name, options.only):
            continue
        print(f"{time.strftime('%H:%M:%S')} {shlex.join(['migsim', *command])}", flush=True)
        if options.dry_run:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "migsim", *command], check=False).returncode
        print(f"         exit code {code} after {time.monotonic() - begun:.0f} s", flush=True)
        failed += code != 0
    return min(failed, 99)


def commands(repeats: int, steps: list[str]) -> Iterator[tuple[Path, list[str]]]:
    """What to record, in order: the file, and the migsim command that makes it."""
    plan = tomllib.loads(RECORDINGS.read_text(encoding="utf-8"))
    if "hosts" in steps:
        for host in plan["host"]:
            target = ROOT / host["file"]
            keep = ["--keep", str(_shown(ROOT / host["keep"])), "-o", str(_shown(target))]
            accel = ["--accel", host["accel"]] if "accel" in host else []
            repeats_of = ["--repeats", str(host["repeats"])]
            yield target, ["calibrate", "host", "--qemu", host["command"], *accel, *repeats_of, *keep]
        for multifd in plan["multifd"]:
            profile, folder = _shown(ROOT / multifd["file"]), ROOT / multifd["keep"]
            options = ["--qemu", multifd["command"], "--repeats", str(multifd["repeats"])]
            # The profile is there before; the last of the probes says whether it was added to.
            last = folder / f"probe-multifd-empty-{multifd['repeats']}.json"
            yield last, ["calibrate", "multifd", str(profile), *options, "--keep", str(_shown(folder))]
    if "traces" in steps:
        for trace in plan["trace"]:
            target = TRACES / trace["file"]
            scenario = SCENARIOS / f"{trace['scenario']}.toml"
            ring = ["--dirty-ring-size", str(trace["dirty-ring-size"])] if "dirty-ring-size" in trace else []
            options = ["--method", trace["method"], "--duration", trace["duration"], *ring]
            yield target, ["lab", "trace", str(_shown(scenario)), "-o", str(_shown(target)), *options]
    if "records" in steps:
        for repeat in range(1, repeats + 1):
            for scenario in sorted(SCENARIOS.glob("*.toml")):
                target = RECORDS / f"{scenario.stem}-{repeat}.json"
                linux = "linux" in tomllib.loads(scenario.read_text(encoding="utf-8"))["guest"]
                seed = ["--users-seed", str(repeat)] if linux else []
                yield target, ["lab", "migrate", str(_shown(scenario)), "-o", str(_shown(target)), *seed]


def _shown(path: Path) -> Path:
    """Shorten a path to what it is below the current folder, so that records name no machine's folders."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    raise SystemExit(main())
