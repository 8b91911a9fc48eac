"""Notebooks are kept as they are written: no outputs, the question first, the answer with its asserts last.

`make notebooks` runs them.
"""

import ast
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path, kind):
    return [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind
    ]


def source(cell):
    """Its text without what only a notebook understands."""
    return "".join(line for line in cell["source"] if not line.startswith(("%", "!")))


def test_there_are_some():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_nothing_of_a_run_is_kept(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert cell["metadata"] == {}
    for cell in cells(path, "markdown"):
        assert "attachments" not in cell


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_the_question_comes_first_and_asserts_last(path):
    first = "".join(cells(path, "markdown")[0]["source"])
    assert first.startswith("# ")
    assert "?" in first
    last = ast.parse(source(cells(path, "code")[-1]))
    assert any(isinstance(node, ast.Assert) for node in ast.walk(last))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_names_no_machines_folders(path):
    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"[/~]|[A-Za-z]:[\\\\/]", node.value), node.value


def test_make_check_runs_them():
    made = (FOLDER.parent / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", made, re.MULTILINE)
    assert recipe and "notebooks" in recipe[0]
    assert "--nbmake" in made
