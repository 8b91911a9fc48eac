"""The one place where text goes to the terminal: results on stdout; messages and progress on stderr.

Names and texts come from files that others wrote. Control characters in them are made visible, and what looks like
rich's markup is text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from migsim.text import visible, visible_lines

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["progress", "say", "stderr_console", "stdout_console", "write"]


def stderr_console() -> Console:
    """Return a rich console for messages; it uses colours only where stderr is a terminal."""
    return _console(stderr=True)


def stdout_console() -> Console:
    """Return a rich console for results; a pipe or file gets plain text, wide enough that nothing is cut off."""
    return _console(width=None if sys.stdout.isatty() else 160)


def write(text: str) -> None:
    """Print lines of a result, such as JSON or CSV, on stdout."""
    print(visible_lines(text))


def say(message: str) -> None:
    """Print a message on stderr, in one paragraph."""
    print(visible(message), file=sys.stderr, flush=True)


def _console(**options: Any) -> Console:
    from rich.console import Console
    from rich.segment import Segment

    class VisibleConsole(Console):
        """Shows strings as they are, without markup, and their control characters as escapes."""

        def render_str(self, text: str, **keywords: Any) -> Any:
            return super().render_str(visible(text), **keywords)

        def render(self, renderable: Any, options: Any = None) -> Any:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable():
                    yield segment  # control: rich's own, as of a progress bar
                else:
                    yield Segment(visible_lines(segment.text), segment.style)

    return VisibleConsole(highlight=False, markup=False, emoji=False, **options)


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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr_console(), transient=True) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda done, note="", total=None: bar.update(task, completed=done, note=note, total=total)
