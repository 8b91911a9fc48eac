r"""The cost of a bitmap sync on a host, fitted to the syncs of recorded migrations.

Law
---
.. math:: t_{sync} = c_0 + c_{GiB} M + c_{dirty} D

with the pages `D` that the sync found newly dirty. Non-negative least squares on relative errors; a Huber loss keeps
the syncs that the host interrupted from counting, and every guest size counts alike, however many syncs it had.
Intervals come from drawing whole migrations with replacement. Guests differ in more than `D`, so whether it matters is
asked inside each migration, where nothing else changes: the median of the slopes between pairs of its syncs (Theil and
Sen), for migrations in which `D` varies.

Source: `sync_s` of the records is between QEMU's own trace events `migration_bitmap_sync_start` and `_end`.
Leaves out: the first sync of a migration, which also touches bitmaps that are new, and lies in the setup.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ProfileError
from migsim.intervals import HIGH_PERCENT, LOW_PERCENT
from migsim.models.dirty.bitmap import GIB
from migsim.profiles import Term
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SYNC_TERMS", "SyncFit", "collect_syncs", "dirty_slopes", "fit_sync_cost"]

Floats = NDArray[np.float64]
Kind = Literal["first", "running", "final"]

SYNC_TERMS = {"sync_base_s": "s", "sync_s_per_gib": "s/GiB", "sync_s_per_dirty_page": "s/page"}
"""Terms of the fit, and their units."""

HUBER = 1.345
"""Residual, in deviations, from which on the loss is linear; 95 % efficient for normal errors."""

ROUNDS = 40
LEAST_SYNCS = 4
"""Fewest syncs of a migration whose slope is taken."""

LEAST_SPAN_PAGES = 2000
"""Smallest range of dirty pages over such a migration's syncs."""


@dataclass(frozen=True)
class SyncFit:
    """The fitted terms of a sync's cost, and the fit's quality.

    Attributes
    ----------
    terms : dict of str to Term
        Those of `SYNC_TERMS`; `spread` is the robust deviation of one sync from the fit, the same for all three.
    intervals : dict of str to (float, float)
        Middle 90 % of each term.
    residuals : pandas.DataFrame
        The syncs with ``fitted_s`` and ``log_residual``, ln(measured / fitted).
    slopes : pandas.DataFrame
        Cost of a dirty page inside each migration: see `dirty_slopes`.
    kind : {"first", "running", "final"}
    """

    terms: dict[str, Term]
    intervals: dict[str, tuple[float, float]]
    residuals: pd.DataFrame
    slopes: pd.DataFrame
    kind: Kind

    def seconds(self, ram_bytes: float, dirty_pages: float = 0.0) -> float:
        """Return the duration of a sync by the fit."""
        base, per_gib, per_page = (self.terms[name].median for name in SYNC_TERMS)
        return base + per_gib * ram_bytes / GIB + per_page * dirty_pages

    @property
    def dirty_pages_matter(self) -> bool:
        """Whether syncs take longer with more dirty pages in most migrations: three of four slopes are above 0."""
        slopes = self.slopes["s_per_page"].to_numpy(float)
        return len(slopes) > 0 and float(np.quantile(slopes, 0.25)) > 0

    def by_size(self) -> pd.DataFrame:
        """Return the residuals by guest size.

        Returns
        -------
        pandas.DataFrame
            Index ``ram_gib``; ``n``, ``measured_us`` and ``fitted_us`` (medians), ``residual`` (median of measured /
            fitted - 1), ``low`` and ``high`` (its middle 80 %).
        """
        import pandas as pd

        r = self.residuals.assign(off=np.expm1(self.residuals["log_residual"]))
        groups = r.groupby(r["ram_gib"].round().astype(int))
        return pd.DataFrame(
            {
                "n": groups.size(),
                "measured_us": groups["sync_s"].median() * 1e6,
                "fitted_us": groups["fitted_s"].median() * 1e6,
                "residual": groups["off"].median(),
                "low": groups["off"].quantile(LOW_PERCENT / 100),
                "high": groups["off"].quantile(HIGH_PERCENT / 100),
            }
        )


def collect_syncs(runs: Iterable[MigrationResult], *, dirty_ring: bool = False) -> pd.DataFrame:
    """Collect the syncs of records.

    Parameters
    ----------
    runs : iterable of MigrationResult
    dirty_ring : bool
        Whether the syncs of guests with KVM's dirty ring are collected instead of those with its bitmap. They wait for
        every vCPU, which takes long where dirty-limit throttles one.

    Returns
    -------
    pandas.DataFrame
        A row a sync: ``run``, ``qemu_version`` (release), ``ram_gib`` (`ram.total`), ``kind`` (the first lies in the
        setup, the final one in the downtime), ``dirty_pages``, ``sync_s``.
    """
    import pandas as pd

    rows = []
    for number, run in enumerate(runs):
        if bool(run.scenario.get("qemu", {}).get("dirty-ring-size")) != dirty_ring:
            continue
        ended = run.outcome.status == "completed"
        last = len(run.iterations) - 1
        for i, row in enumerate(run.iterations.to_dict("records")):
            if not np.isfinite(row["sync_s"]) or row["sync_s"] <= 0:
                continue
            rows.append(
                {
                    "run": number,
                    "qemu_version": str(QemuVersion.parse(run.qemu_version).release),
                    "ram_gib": run.info["ram"]["total"] / GIB,
                    "kind": "first" if i == 0 else "final" if ended and i == last else "running",
                    "dirty_pages": float(np.nan_to_num(row["dirty_pages"])),
                    "sync_s": row["sync_s"],
                }
            )
    columns = ("run", "qemu_version", "ram_gib", "kind", "dirty_pages", "sync_s")
    return pd.DataFrame(rows, columns=list(columns))


def fit_sync_cost(syncs: pd.DataFrame, *, kind: Kind = "running", draws: int = 200, seed: int = 0) -> SyncFit:
    """Fit the terms of the sync's cost.

    Parameters
    ----------
    syncs : pandas.DataFrame
        As `collect_syncs` returns them, of one QEMU release.
    kind : {"first", "running", "final"}
        Kind of syncs that the terms are fitted to.
    draws, seed : int
        Draws behind the intervals, and their seed.

    Raises
    ------
    ProfileError
        For syncs of fewer than two guest sizes.
    """
    rows = syncs[syncs["kind"] == kind].reset_index(drop=True)
    sizes = rows["ram_gib"].round(1)
    if sizes.nunique() < 2:
        raise ProfileError(
            f"There are {len(rows)} {kind} syncs of {sizes.nunique()} guest sizes.",
            "The fit needs guests of at least two sizes.",
            "Give records of a small and a large guest.",
        )
    design = np.stack([np.ones(len(rows)), rows["ram_gib"], rows["dirty_pages"]], axis=1)
    y = rows["sync_s"].to_numpy(float)
    weight = 1 / sizes.map(sizes.value_counts()).to_numpy(float)  # every guest size counts the same
    terms, spread = _robust(design, y, weight)
    rng = np.random.default_rng(seed)
    members = [group.index.to_numpy() for _, group in rows.groupby("run")]
    drawn = np.array([_redrawn(design, y, sizes.to_numpy(float), members, rng) for _ in range(draws)])
    low, high = np.nanquantile(drawn, [0.05, 0.95], axis=0) if draws else (terms, terms)
    fitted = design @ terms
    return SyncFit(
        terms={
            name: Term(median=float(value), spread=spread, n=len(rows), unit=unit)
            for (name, unit), value in zip(SYNC_TERMS.items(), terms, strict=True)
        },
        intervals={name: (float(a), float(b)) for name, a, b in zip(SYNC_TERMS, low, high, strict=True)},
        residuals=rows.assign(fitted_s=fitted, log_residual=np.log(y / np.maximum(fitted, 1e-9))),
        slopes=dirty_slopes(rows, kind=kind),
        kind=kind,
    )


def _redrawn(
    design: Floats, y: Floats, sizes: Floats, members: list[NDArray[np.int64]], rng: np.random.Generator
) -> Floats:
    """Return the terms of migrations drawn with replacement; NaN where all drawn guests have one size."""
    picked = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
    values, place, count = np.unique(sizes[picked], return_inverse=True, return_counts=True)
    if len(values) < 2:
        return np.full(design.shape[1], np.nan)
    return _robust(design[picked], y[picked], 1 / count[place])[0]


def _robust(design: Floats, y: Floats, weight: Floats) -> tuple[Floats, float]:
    """Return non-negative terms, fitted to relative errors with Huber's loss, and the spread about them."""
    from scipy.optimize import nnls

    scale = design.max(axis=0)  # nnls depends on units
    scale[scale == 0] = 1.0
    fitted, loss = y, np.ones_like(y)
    terms, deviation = np.zeros(design.shape[1]), 0.0
    for _ in range(ROUNDS):
        root = np.sqrt(weight * loss) / fitted
        terms = nnls(design / scale * root[:, None], y * root)[0] / scale
        fitted = np.maximum(design @ terms, 1e-3 * y)
        off = np.log(y / fitted)
        deviation = 1.4826 * float(np.median(np.abs(off - np.median(off))))
        relative = np.maximum(np.abs(y / fitted - 1), 1e-12)  # the fit minimises the squares of these
        loss = np.minimum(1.0, HUBER * deviation / relative) if deviation else loss
    return terms, deviation


def dirty_slopes(syncs: pd.DataFrame, *, kind: Kind = "running") -> pd.DataFrame:
    """Return the cost of a dirty page inside each migration, where guest, memory and machine are the same.

    Returns
    -------
    pandas.DataFrame
        Index ``run``; ``ram_gib``, ``n`` (syncs), ``most_dirty_pages``, ``s_per_page`` (median slope between pairs of
        syncs). Migrations with fewer than 4 such syncs, or whose dirty counts span less than 2000 pages, are left out.
    """
    import pandas as pd

    found = {}
    for run, group in syncs[syncs["kind"] == kind].groupby("run"):
        dirty = group["dirty_pages"]
        if len(group) < LEAST_SYNCS or dirty.max() - dirty.min() < LEAST_SPAN_PAGES:
            continue
        found[run] = {
            "ram_gib": group["ram_gib"].iloc[0],
            "n": len(group),
            "most_dirty_pages": dirty.max(),
            "s_per_page": _median_slope(dirty.to_numpy(float), group["sync_s"].to_numpy(float)),
        }
    columns = ["ram_gib", "n", "most_dirty_pages", "s_per_page"]
    return pd.DataFrame.from_dict(found, orient="index", columns=columns).rename_axis("run")


def _median_slope(x: Floats, y: Floats) -> float:
    """Return the median of the slopes between all pairs of points that differ in x."""
    i, j = np.triu_indices(len(x), 1)
    apart = x[i] != x[j]
    return float(np.median((y[j] - y[i])[apart] / (x[j] - x[i])[apart]))
