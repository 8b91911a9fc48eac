"""The `timeline` table of a result: answers to `query-migrate` over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["flatten_info", "timeline_frame"]


def flatten_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten an answer: names of nested fields are joined with dots, and lists are left out.

    Examples
    --------
    >>> flatten_info({"status": "active", "ram": {"transferred": 5}})
    {'status': 'active', 'ram.transferred': 5}
    """
    flat: dict[str, Any] = {}
    for name, value in info.items():
        if isinstance(
            value, int | float | str
        ):  # first, because nearly all values are, and this check is cheap
            flat[name] = value
        elif isinstance(value, Mapping):
            for inner, member in flatten_info(value).items():
                flat[f"{name}.{inner}"] = member
        elif not isinstance(value, list | tuple):
            flat[name] = value
    return flat


def timeline_frame(samples: Iterable[tuple[float, Mapping[str, Any]]] = ()) -> pd.DataFrame:
    """Make the `timeline` table of a result.

    Parameters
    ----------
    samples : iterable of (float, mapping)
        Seconds since QMP ``migrate``, and the answer to ``query-migrate`` at that time.

    Returns
    -------
    pandas.DataFrame
        ``t_s`` and one column per field, with QAPI's names and units (``status``, ``ram.transferred``); NaN, or None
        for text, where an answer lacks the field.

    Examples
    --------
    >>> timeline_frame([(0.1, {"status": "active", "ram": {"remaining": 7}})])["ram.remaining"].item()
    7
    """
    import pandas as pd

    rows = [{"t_s": float(t_s)} | flatten_info(info) for t_s, info in samples]
    return pd.DataFrame(rows) if rows else pd.DataFrame({"t_s": pd.Series(dtype="float64")})
