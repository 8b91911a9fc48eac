"""Text from files as a terminal may show it: control characters made visible."""

from __future__ import annotations

__all__ = ["visible", "visible_lines"]


def visible(text: str) -> str:
    r"""Return `text` with escapes in place of what is no printable character, line breaks included.

    A control character could move the cursor, clear the screen or set the window's title.

    Examples
    --------
    >>> visible("vm\x1b[2J\n\u202egnp")
    'vm\\x1b[2J\\n\\u202egnp'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


def visible_lines(text: str) -> str:
    """Return `text` with its line breaks as they are, and its other control characters made visible."""
    return "\n".join(map(visible, text.split("\n")))
