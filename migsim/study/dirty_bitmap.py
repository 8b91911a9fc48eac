"""Tables of the final sync's share in the downtime, and of the freeze at the start, by guest size and bitmap layout.

All numbers come from the laws in `migsim.models.dirty`; none is measured here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from migsim.models.dirty.bitmap import GIB, PAGES_PER_GIB
from migsim.models.dirty.log_start import start_freeze
from migsim.models.dirty.sync import LAYOUTS, sync_parts, sync_share
from migsim.profiles.published import cost_preset

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SIZES_GIB", "freeze_table", "preset_of", "sync_share_table"]

SIZES_GIB = tuple(1 << k for k in range(15))
"""1 GiB to 16 TiB."""

COST_BOUNDS: tuple[Literal["low", "value", "high"], ...] = ("low", "value", "high")
"""The published value of a cost, and the ends of its range."""


def preset_of(layout: str) -> str:
    """Return the name of the published costs of a layout: those measured when that layout was in use.

    Examples
    --------
    >>> preset_of("1.3"), preset_of("5.1")
    ('era-2012', 'era-2020-x86')
    """
    return "era-2012" if LAYOUTS[layout].qemu_bits_per_page == 8 else "era-2020-x86"


def sync_share_table(
    gib: Iterable[int] = SIZES_GIB,
    *,
    rest_s: float = 0.3,
    dirty_fraction: float = 0.0,
    layouts: Iterable[str] = tuple(LAYOUTS),
) -> pd.DataFrame:
    """Tabulate how long the final sync takes, and its share in the downtime.

    Parameters
    ----------
    gib : iterable of int
    rest_s : float
        The rest of the downtime: at most the downtime limit under which the migration converged.
    dirty_fraction : float
        Share of the guest's pages that the sync finds dirty.
    layouts : iterable of str
        Keys of `migsim.models.dirty.sync.LAYOUTS`.

    Returns
    -------
    pandas.DataFrame
        ``layout``, ``preset``, ``ram_gib``; ``sync_s`` and ``share`` with ``_low`` and ``_high``, the ends of the
        costs' ranges.

    Examples
    --------
    >>> table = sync_share_table([512], layouts=["1.3", "5.1"]).set_index("layout")
    >>> table["share"].round(3).to_dict()
    {'1.3': 0.856, '5.1': 0.026}
    """
    import pandas as pd

    rows = []
    sizes = list(gib)
    for name in layouts:
        preset = cost_preset(preset_of(name))
        for size in sizes:
            row: dict[str, float | str] = {"layout": name, "preset": preset.name, "ram_gib": size}
            for bound in COST_BOUNDS:
                dirty = dirty_fraction * size * PAGES_PER_GIB
                seconds = sync_parts(LAYOUTS[name], size * GIB, dirty, preset.at(bound)).total_s
                ending = "" if bound == "value" else f"_{bound}"
                row[f"sync_s{ending}"] = seconds
                row[f"share{ending}"] = sync_share(seconds, rest_s)
            rows.append(row)
    return pd.DataFrame(rows)


def freeze_table(gib: Iterable[int] = SIZES_GIB) -> pd.DataFrame:
    """Tabulate how long vCPUs wait while dirty logging starts, for a guest whose memory is all mapped.

    Returns
    -------
    pandas.DataFrame
        ``case`` (``"QEMU 1.3, 4k"``, ...), ``preset``, ``ram_gib``; ``io_exit_s`` and ``page_fault_s``, the longest
        wait of a vCPU that exits for I/O and of one that faults on a page, each with ``_low`` and ``_high``.

    Examples
    --------
    >>> table = freeze_table([128]).set_index("case")["io_exit_s"]
    >>> bool(table["QEMU 2.0, 4k"] > 20 * table["QEMU 5.1, all-set"])
    True
    """
    import pandas as pd

    cases: dict[str, tuple[str, Literal["4k", "2m", "1g"]]] = {
        "QEMU 1.3, 4k": ("1.3", "4k"),
        "QEMU 2.0, 4k": ("2.0", "4k"),
        "QEMU 5.1, all-set": ("5.1", "4k"),
        "QEMU 1.3, 2m": ("1.3", "2m"),
    }
    rows = []
    sizes = list(gib)
    for case, (layout, mapping) in cases.items():
        preset = cost_preset(preset_of(layout))
        for size in sizes:
            row: dict[str, float | str] = {"case": case, "preset": preset.name, "ram_gib": size}
            for bound in COST_BOUNDS:
                freeze = start_freeze(LAYOUTS[layout], size * GIB, preset.at(bound), mapping=mapping)
                ending = "" if bound == "value" else f"_{bound}"
                row[f"io_exit_s{ending}"] = freeze.total_s
                row[f"page_fault_s{ending}"] = freeze.fault_stall_s
            rows.append(row)
    return pd.DataFrame(rows)
