"""Where the validation's data lie, apart from the code that reads them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DATA", "HOSTS", "PAGES", "PUBLISHED", "RECORDINGS", "RECORDS", "ROOT", "SCENARIOS", "TRACES"]

PAGES = Path(__file__).parent
"""Where `validation.report` and `validation.published_predictions` write their pages."""

ROOT = PAGES.parent
TRACES = ROOT / "traces"
DATA = PAGES / "data"

HOSTS = DATA / "hosts"
"""Profiles of this machine that do not come with migsim, and the probes' records behind all of them."""

PUBLISHED = DATA / "published"
"""Figures that others published, a source a file."""

RECORDINGS = DATA / "recordings.toml"
RECORDS = DATA / "records"
SCENARIOS = DATA / "scenarios"
