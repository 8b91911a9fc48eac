"""The house rules that no linter knows: cheap imports, rooms that name what they hold, one door to each library."""

from __future__ import annotations

import ast
import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "migsim").rglob("*.py"))
ROOMS = sorted(path.parent for path in (ROOT / "migsim").glob("*/**/__init__.py"))
HEAVY = ["pandas", "matplotlib", "scipy", "pyarrow", "IPython", "jupyter_core", "qemu.qmp", "psutil"]
HEAVY += ["numba", "xarray", "joblib", "distributed"]
LONGEST_FUNCTION = 80
# the one place that may import it
DOORS = {
    "qemu": "migsim/qmp/session.py",
    "simpy": ("migsim/engine/", "migsim/history/"),
    "typer": "migsim/cli/",
    "matplotlib": ("migsim/plot/", "migsim/history/pictures.py"),
    "numba": "migsim/engine/batch/compile.py",
    "joblib": "migsim/study/sweep/jobs.py",
    "distributed": "migsim/study/sweep/jobs.py",
}


def fresh_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_importing_migsim_is_cheap() -> None:
    code = (
        f"import migsim, sys, json; print(json.dumps([m for m in {[*HEAVY, 'numpy']} if m in sys.modules]))"
    )
    assert json.loads(fresh_python(code)) == []

    def spent_s() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    def least_spent_s(code: str) -> float:
        """Seconds of a processor, of which a busy machine takes none."""
        times = []
        for _ in range(3):
            before = spent_s()
            fresh_python(code)
            times.append(spent_s() - before)
        return min(times)

    assert least_spent_s("import migsim") - least_spent_s("pass") < 0.3


def test_no_module_loads_a_heavy_library_before_it_needs_it() -> None:
    code = f"""
import importlib, pkgutil, sys, json, migsim
heavy, found = set({HEAVY}), {{}}
for module in pkgutil.walk_packages(migsim.__path__, "migsim."):
    if module.name.endswith("__main__"):
        continue
    importlib.import_module(module.name)
    new = heavy & set(sys.modules)
    heavy -= new
    if new:
        found[module.name] = sorted(new)
print(json.dumps(found))
"""
    assert json.loads(fresh_python(code)) == {}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_stay_small(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = (
                node.end_lineno - node.body[0].lineno
                if ast.get_docstring(node) is None
                else (node.end_lineno - node.body[0].end_lineno)
            )
            assert code <= LONGEST_FUNCTION, f"{name_of(path)}: {node.name} has {code} lines"


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_names_what_lives_in_it(room: Path) -> None:
    """Each module and sub-package stands in the docstring of the package, so that a stranger finds it there."""
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    held = {path.stem for path in room.glob("*.py")} | {
        path.parent.name for path in room.glob("*/__init__.py")
    }
    lacking = [name for name in sorted(held - {"__init__", "__main__"}) if f"`{name}`" not in said]
    assert not lacking, f"{name_of(room)} does not say what {', '.join(lacking)} is"


def test_no_name_stands_for_two_things() -> None:
    """Types and constants: a function may have its namesake in another room, a type or a table may not."""
    found: dict[str, list[tuple[str, object]]] = {}
    for path in MODULES:
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if dotted.endswith("__main__"):
            continue
        module = importlib.import_module(dotted)
        for name in getattr(module, "__all__", []):
            if not name[0].isupper():
                continue
            thing = getattr(module, name)
            if not any(thing is known for _, known in found.setdefault(name, [])):
                found[name].append((dotted, thing))
    twice = {name: [where for where, _ in things] for name, things in found.items() if len(things) > 1}
    assert not twice, twice


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_library_comes_in_by_its_own_door(path: Path) -> None:
    for module in imported(path):
        door = DOORS.get(module.split(".")[0])
        assert door is None or name_of(path).startswith(door), (
            f"{name_of(path)} imports {module}; only {door} may"
        )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_runs_or_unpickles_what_a_file_says(path: Path) -> None:
    banned = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib.numpy_pickle"}
    assert not banned & {name for module in imported(path) for name in (module, module.split(".")[0])}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        assert not (isinstance(node.func, ast.Name) and called in {"eval", "exec"}), ast.unparse(node)
        assert called not in {"read_pickle", "to_pickle"}, ast.unparse(node)
        assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}, ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_names_exist_and_are_documented(path: Path) -> None:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if dotted.endswith("__main__"):
        return
    module = importlib.import_module(dotted)
    assert (module.__doc__ or "").strip(), f"{dotted} does not say what it holds"
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    for name in names:
        thing = getattr(module, name)
        if callable(thing) and getattr(thing, "__module__", "").startswith("migsim"):
            assert (thing.__doc__ or "").strip(), f"{dotted}.{name} has no docstring"


def test_joblib_hands_out_work_and_reads_no_file() -> None:
    tree = ast.parse((ROOT / DOORS["joblib"]).read_text(encoding="utf-8"))
    taken = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("joblib")
        for name in node.names
    }
    assert taken == {"Parallel", "delayed", "parallel_config", "TerminatedWorkerError"}


def test_every_unit_test_file_has_a_name_of_its_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
