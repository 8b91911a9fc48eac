"""Paths of the validation's data and pages."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "DATA",
    "EDGE",
    "HOSTS",
    "PAGES",
    "PUBLISHED",
    "RECORDINGS",
    "RECORDS",
    "ROOT",
    "SCENARIOS",
    "TRACES",
]

PAGES = Path(__file__).parent
"""Folder to which `validation.report` and `validation.published_predictions` write their pages."""

ROOT = PAGES.parent
TRACES = ROOT / "traces"
DATA = PAGES / "data"

HOSTS = DATA / "hosts"
"""Profiles of this machine that are not bundled with migsim, and the probes' records of all profiles."""

EDGE = DATA / "edge"
"""Runs within 30 % of the critical rate: scenarios, and profiles, traces and records of one day."""

PUBLISHED = DATA / "published"
"""Figures that others published, one file for each source."""

RECORDINGS = DATA / "recordings.toml"
RECORDS = DATA / "records"
SCENARIOS = DATA / "scenarios"
