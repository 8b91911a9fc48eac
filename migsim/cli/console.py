"""Consoles for output: results on stdout; messages and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["progress", "stderr_console", "stdout_console"]


def stderr_console() -> Console:
    """Return a rich console for messages; it uses colours only where stderr is a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def stdout_console() -> Console:
    """Return a rich console for results; a pipe or file gets plain text, wide enough that nothing is cut off."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@contextmanager
def progress(label: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr while the block runs; nothing where stderr is not a terminal.

    Parameters
    ----------
    label : str
        Text before the bar.
    total : float, optional
        The value of `done` at the end; without it the bar only pulses.

    Yields
    ------
    callable
        ``update(done, note, total)``: the progress in the unit of `total`, a few words, and `total`, where it was not
        known before.

    Examples
    --------
    >>> with progress("probes", total=3) as update:
    ...     for probe in range(3):
    ...         update(probe + 1, "zero scan")
    """
    if not sys.stderr.isatty():
        yield lambda _done, _note="", _total=None: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr_console(), transient=True) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda done, note="", total=None: bar.update(task, completed=done, note=note, total=total)
