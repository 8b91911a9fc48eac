"""HTML tables and lists for notebooks: escaped, well-formed, without scripts, readable in dark themes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_list", "html_table"]


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a captioned table; every cell is escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>"
    return f"<table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def html_list(title: str, items: Iterable[str]) -> str:
    """Return a titled list, "" where there is no item; every item is escaped.

    Examples
    --------
    >>> html_list("Assumed", ["a < b"])
    '<p>Assumed:</p><ul><li>a &lt; b</li></ul>'
    """
    points = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<p>{escape(title)}:</p><ul>{points}</ul>" if points else ""
