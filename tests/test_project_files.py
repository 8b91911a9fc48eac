"""The project's own files agree: hooks with `make lint`, the release in each place that names it, the licence."""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import migsim

ROOT = Path(__file__).parents[1]
APACHE_2_0 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of the licence as the Apache Software Foundation hands it out."""

CHANGES = ["Added", "Changed", "Fixed", "Model changes"]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def yaml_of(name: str) -> dict[str, Any]:
    made = yaml.safe_load(text_of(name))
    assert isinstance(made, dict)
    return made


def pyproject() -> dict:
    return tomllib.loads(text_of("pyproject.toml"))


def recipe(target: str) -> list[str]:
    """The commands of a target in the Makefile, with its one variable filled in."""
    makefile = text_of("Makefile")
    where = re.search(r"^BIN := (.+)$", makefile, re.MULTILINE)
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert where and found
    return [line.strip().replace("$(BIN)", where[1]) for line in found[1].splitlines()]


def released() -> list[tuple[str, str]]:
    """Version and date of each release in the changelog, the newest first."""
    return re.findall(r"^## (\d+\.\d+\.\d+) \((.*)\)$", text_of("CHANGELOG.md"), re.MULTILINE)


def test_the_hooks_before_a_commit_are_make_lint():
    config = yaml_of(".pre-commit-config.yaml")
    (local,) = config["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == recipe("lint")
    for hook in local["hooks"]:
        # All files at every commit: what one file breaks may show in another one.
        assert hook["language"] == "system"
        assert hook["always_run"] is True and hook["pass_filenames"] is False


def test_the_version_stands_in_one_place():
    project = pyproject()["project"]
    assert "version" not in project and project["dynamic"] == ["version"]
    path = ROOT / pyproject()["tool"]["hatch"]["version"]["path"]
    assert path == ROOT / "migsim" / "version.py"
    assert f'__version__ = "{migsim.__version__}"' in path.read_text(encoding="utf-8").splitlines()


def test_the_citation_is_of_this_release():
    citation = yaml_of("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "abstract"} <= set(citation)
    assert str(citation["version"]) == migsim.__version__
    assert citation["license"] == pyproject()["project"]["license"]
    version, date = released()[0]
    assert version == migsim.__version__
    assert citation["date-released"] == datetime.date.fromisoformat(date)


def test_the_changelog_begins_with_what_is_not_released_and_then_this_release():
    headings = re.findall(r"^## (.+)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings == ["Unreleased", *(f"{version} ({date})" for version, date in released())]
    assert released()[0][0] == migsim.__version__


def test_each_heading_of_the_changelog_holds_changes():
    sections = re.split(r"^## .+$", text_of("CHANGELOG.md"), flags=re.MULTILINE)[1:]
    for section in sections:
        kinds = re.findall(r"^### (.+)$", section, re.MULTILINE)
        assert kinds == [kind for kind in CHANGES if kind in kinds]
        for body in re.split(r"^### .+$", section, flags=re.MULTILINE)[1:]:
            assert re.search(r"^- \S", body, re.MULTILINE)


def test_the_licence_is_apache_2_0():
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_0
    assert pyproject()["project"]["license"] == "Apache-2.0"
    assert pyproject()["project"]["license-files"] == ["LICENSE"]


def test_paths_that_contributing_names_exist():
    named = re.findall(r"`((?:migsim|tests|validation|docs)/[a-z0-9_./-]*)`", text_of("CONTRIBUTING.md"))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
