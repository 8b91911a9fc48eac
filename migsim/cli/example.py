"""``migsim example``: a trace and a record to try migsim with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["example"]

_NEXT = (
    ("what the trace holds", "trace info {trace}"),
    ("its migration at 2 Gbps", "predict {trace} --set max-bandwidth=2Gbps --set downtime-limit=300ms"),
    ("the same beside the real one", "compare {record} --trace {trace}"),
    (
        "many bandwidths at once",
        "sweep {trace} --vary max-bandwidth=500Mbps:10Gbps:20:log --draws 20 -o {folder}/sweep.parquet",
    ),
    (
        "the least bandwidth that does",
        'size {trace} --require "downtime<100ms" --minimise max-bandwidth --set downtime-limit=100ms',
    ),
)


def example(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Folder for the files.")] = Path(
        "migsim-example"
    ),
) -> None:
    """Copy a trace and a record of a real guest into a folder, and print what to try with them.

    Example: migsim example
    """
    from importlib import resources

    from migsim.cli.console import write
    from migsim.example import FILES
    from migsim.files import atomic_path

    packed = resources.files("migsim.example")
    contents = {folder / name: packed.joinpath(name).read_bytes() for name in FILES}
    for path, content in contents.items():
        _refuse_another(path, content)
    _make(folder)
    for path, content in contents.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    names = {"folder": folder, "trace": folder / FILES[0], "record": folder / FILES[1]}
    quoted = {name: shlex.quote(str(path)) for name, path in names.items()}
    write(f"{folder} holds a trace of a guest and the record of its real migration. To try:")
    for meaning, line in _NEXT:
        write(f"\n  # {meaning}\n  migsim {line.format(**quoted)}")


def _refuse_another(path: Path, content: bytes) -> None:
    from migsim.errors import HostError

    try:
        there = path.read_bytes() if path.is_file() else None
    except OSError:
        there = b""
    if there is not None and there != content:
        raise HostError(
            f"{path} exists and is another file.",
            "migsim example overwrites nothing of yours.",
            "Name another folder.",
        )


def _make(folder: Path) -> None:
    from migsim.errors import HostError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"Cannot make the folder {folder}: {error.strerror}.",
            "migsim example copies files into it.",
            "Name a folder that can be made.",
        ) from error
