"""From a trace to a workload: page classes with their rates and places, and the uncertainty of the rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.calibrate.workload.activity import activities, fit_activity
from migsim.calibrate.workload.parsimony import fewest_classes
from migsim.calibrate.workload.placement import Extents, by_data_map, extents_of, lay_out, place_by_hits
from migsim.calibrate.workload.rates import rate_factors
from migsim.calibrate.workload.rounds import RoundHistory, read_rounds
from migsim.calibrate.workload.spectrum import Spectrum, fit_spectrum
from migsim.errors import TraceError
from migsim.html import html_table
from migsim.models.dirty.page_writes import guest_seconds
from migsim.trace.curve import single_windows
from migsim.units import format_two_figures
from migsim.workload import Workload, WorkloadClass

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace import Trace

__all__ = ["WorkloadFit", "fit_workload"]

Floats = NDArray[np.float64]

MODES = ("dirty-ring", "stream", "dirty-bitmap", "page-sampling")
"""Modes of measurement, the exact ones first; points are taken from the first mode that the trace holds."""

LEAST_SPREAD = 0.01
"""Spread of the steadiest guest's mean activity from one migration to the next."""

FEW_WINDOWS = 8
"""Fewer windows than these say little of how a guest's activity moves."""

LOGGED_MODES = ("dirty-ring", "stream", "dirty-bitmap")
"""Modes that slow the guest down: the first write to each page faults."""


@dataclass(frozen=True)
class WorkloadFit:
    """A fitted workload and how well it fits.

    Attributes
    ----------
    workload : Workload
    spectrum : Spectrum
        Classes, the points they were fitted to, and the fitted values.
    mode : str
        Mode of measurement of the points.
    placed : tuple of ndarray of int64
        Page numbers of each class of the workload, where the trace has page numbers.
    """

    workload: Workload
    spectrum: Spectrum
    mode: str
    placed: tuple[NDArray[np.int64], ...] = ()

    @property
    def residuals(self) -> pd.DataFrame:
        """The points as a table: `window_s`, `measured_pages`, `fitted_pages`, `relative_error`."""
        import pandas as pd

        s = self.spectrum
        return pd.DataFrame(
            {
                "window_s": s.window_s,
                "measured_pages": s.measured_pages,
                "fitted_pages": s.fitted_pages,
                "relative_error": s.fitted_pages / np.maximum(s.measured_pages, 1.0) - 1,
            }
        )

    def __repr__(self) -> str:
        n = len(self.workload.classes)
        return (
            f"<WorkloadFit from {len(self.spectrum.window_s)} {self.mode} points: {n} classes, "
            f"residual {self.spectrum.relative_error:.1%} in the median>"
        )

    def _repr_html_(self) -> str:
        points = [
            (f"{t:.3g} s", f"{m:,.0f}", f"{f:,.0f}", f"{e:+.1%}")
            for t, m, f, e in self.residuals.sort_values("window_s").itertuples(index=False)
        ]
        fitted = html_table(
            f"{self.mode} points, residual {self.spectrum.relative_error:.1%} in the median",
            ("window", "measured pages", "fitted pages", "error"),
            points[:: max(1, len(points) // 12)],
        )
        return f"<div>{self.workload._repr_html_()}{fitted}</div>"


def fit_workload(trace: Trace, *, dirty_fault_s: float = 0.0) -> WorkloadFit:
    """Fit page classes to a trace.

    Parameters
    ----------
    trace : Trace
    dirty_fault_s : float
        Guest time lost at each first write to a logged page (a host term). Windows of modes that log are shortened to
        the time that the guest ran.

    Returns
    -------
    WorkloadFit

    Raises
    ------
    TraceError
        Where the trace holds no usable point, or is damaged.
    """
    history = read_rounds(trace)
    mode, t, u, sd, faults = _points(trace, history)
    if mode in LOGGED_MODES and dirty_fault_s:
        t = np.array([guest_seconds(w, d, dirty_fault_s) for w, d in zip(t, faults, strict=True)])
    total = trace.meta.total_pages
    nonzero = total - (trace.meta.zero_pages or 0)
    most = float(nonzero if trace.meta.zero_pages is not None else total)
    spectrum = fit_spectrum(t, u, sd, most)
    if mode == "stream" and history is not None:
        spectrum = fewest_classes(spectrum, history, most)
    windows = single_windows(trace, "dirty-bitmap" if mode == "stream" else mode)
    seen = activities(windows, history, spectrum, dirty_fault_s if mode in LOGGED_MODES else 0.0)
    wandering = fit_activity(*seen)
    moves = wandering.deviations
    windows_s, counts, sharing = _windows(trace, history, mode, dirty_fault_s)
    drawn = rate_factors(spectrum, windows_s, counts, moves, sharing=sharing)
    assumptions = _assumptions(trace, mode, history, float(t.max()), len(seen[0]))
    classes, placed, used, kept = _classes(spectrum, history, nonzero, total)
    zero_extents: Extents = ()
    if trace.meta.data_map is not None:
        classes, zero_extents = by_data_map(classes, placed, trace.meta.data_map, total)
    workload = Workload(
        ram_bytes=trace.meta.ram_bytes,
        ram_total_bytes=total * trace.meta.page_bytes,
        zero_pages=max(total - used, 0),
        zero_extents=zero_extents,
        classes=classes,
        writes_spread=max(wandering.mean_deviation, LEAST_SPREAD),
        wandering=moves,
        rate_factors=_of_classes(drawn[:, kept], len(classes)),
        assumptions=assumptions,
        source=f"{trace.meta.collector} trace of {trace.meta.duration_s:.0f} s",
    )
    return WorkloadFit(workload, spectrum, mode, placed)


def _points(trace: Trace, history: RoundHistory | None) -> tuple[str, Floats, Floats, Floats, Floats]:
    """Return the points of the best mode: mode, windows, pages, deviations, and faults in each window."""
    curve = trace.unique_dirty_curve()
    if history is not None and trace.meta.collector == "stream":
        short = single_windows(trace, "dirty-bitmap")  # shorter than any round
        pooled = curve.only("dirty-bitmap")
        nearest = (
            np.abs(short.measured_s[:, None] - pooled.window_s).argmin(axis=1)
            if len(pooled)
            else np.zeros(0, int)
        )
        return (
            "stream",
            np.concatenate([history.window_s, short.measured_s]),
            np.concatenate([history.dirty_pages, short.dirty_pages]),
            np.concatenate([history.sd_pages, pooled.sd_pages[nearest]]),
            np.concatenate([history.faults, short.dirty_pages]),
        )
    for mode in MODES:
        points = curve.only(mode)
        if len(points):
            return mode, points.window_s, points.dirty_pages, points.sd_pages, points.dirty_pages
    raise TraceError(
        f"{trace.path} holds no window and no round with dirty pages.",
        "A workload is fitted to unique dirty pages over windows of known length.",
        "Record for longer, or with another --method.",
    )


def _windows(
    trace: Trace, history: RoundHistory | None, mode: str, dirty_fault_s: float
) -> tuple[Floats, Floats, Floats]:
    """Return windows, their dirty pages, and how many of them share the time of each.

    Of a stream these are single rounds and short windows, and beyond the longest round unions of rounds, which begin
    at a dozen places and overlap. All windows of a dirty ring are cut from the same events.
    """
    if mode == "stream" and history is not None:
        short = single_windows(trace, "dirty-bitmap")
        long = history.window_s > 1.5 * history.lengths_s.max()
        t = np.concatenate([history.lengths_s, short.measured_s, history.window_s[long]])
        u = np.concatenate([history.counts, short.dirty_pages, history.dirty_pages[long]])
        faults = np.concatenate([history.counts, short.dirty_pages, history.faults[long]])
        sharing = np.ones(len(t))
        apart = (
            history.lengths_s.sum() / max(float(np.median(history.window_s[long])), 1e-9)
            if long.any()
            else 1.0
        )
        sharing[len(t) - int(long.sum()) :] = max(float(long.sum()) / max(apart, 1.0), 1.0)
    else:
        points = trace.unique_dirty_curve().only(mode)
        t, u, faults = points.window_s, points.dirty_pages, points.dirty_pages
        sharing = np.full(len(t), float(len(t)) if mode == "dirty-ring" else 1.0)
    if mode in LOGGED_MODES and dirty_fault_s:
        t = np.array([guest_seconds(w, n, dirty_fault_s) for w, n in zip(t, faults, strict=True)])
    return t, u, sharing


def _of_classes(factors: Floats, count: int) -> tuple[tuple[float, ...], ...]:
    """Return a draw's factors for all classes; those that were never written keep their rate, none."""
    whole = np.ones((len(factors), count))
    whole[:, : factors.shape[1]] = factors
    return tuple(map(tuple, whole.tolist()))


def _classes(
    spectrum: Spectrum, history: RoundHistory | None, nonzero: int, total: int
) -> tuple[tuple[WorkloadClass, ...], tuple[NDArray[np.int64], ...], int, list[int]]:
    """Return the classes with their places, the page numbers of each, the pages of all, and which fitted they are."""
    places, class_pages = _places(spectrum, history, total)
    kept = [k for k, extents in enumerate(places) if extents]
    placed = [pages for pages, extents in zip(class_pages, places, strict=True) if extents]
    classes = [
        WorkloadClass(
            pages=sum(n for _, n in extents),
            writes_per_page_per_s=float(rate),
            pattern="sweep" if sweep else "random",
            extents=extents,
        )
        for extents, rate, sweep in zip(
            places, spectrum.writes_per_page_per_s, spectrum.is_sweep, strict=True
        )
        if extents
    ]
    used = sum(c.pages for c in classes)
    unwritten = nonzero - used
    if unwritten > 0:
        # The trace counts these pages, but does not say where they lie.
        end = max((f + n for c in classes for f, n in c.extents), default=0)
        classes.append(
            WorkloadClass(
                pages=unwritten,
                writes_per_page_per_s=0.0,
                pattern="random",
                extents=((end, unwritten),),
            )
        )
        placed.append(np.zeros(0, np.int64))
    return tuple(classes), tuple(placed), used + max(unwritten, 0), kept


def _places(
    spectrum: Spectrum, history: RoundHistory | None, total: int
) -> tuple[list[Extents], list[NDArray[np.int64]]]:
    if history is None:
        return lay_out(0, spectrum.pages), [np.zeros(0, np.int64) for _ in spectrum.pages]
    class_pages = place_by_hits(history.pages, history.hits, spectrum.pages)
    end = int(history.pages[-1]) + 1
    room = total - len(history.pages)  # sizes are fitted, and may come to more than there is
    places = []
    for pages, size in zip(class_pages, np.round(spectrum.pages).astype(int), strict=True):
        unseen = min(int(size) - len(pages), room)  # slow pages of the class that were dirty in no round
        extents = extents_of(pages)
        places.append((*extents, (end, unseen)) if unseen > 0 else extents)
        end, room = end + max(unseen, 0), room - max(unseen, 0)
    return places, list(class_pages)


def _assumptions(
    trace: Trace, mode: str, history: RoundHistory | None, longest_s: float, windows: int
) -> tuple[str, ...]:
    longest = format_two_figures(longest_s)
    notes = [f"What the guest dirties in more than {longest} s, the trace's longest window, is extrapolated."]
    if trace.meta.zero_pages is None:
        notes.append("The trace does not say how many pages are zero: all are taken to hold data.")
    if history is None:
        notes.append("The trace has no page numbers: classes are laid one after the other from page 0.")
    if mode == "page-sampling":
        notes.append("Rates are from page sampling: rewrites with equal contents are not seen.")
    if windows < FEW_WINDOWS:
        notes.append(
            f"{windows or 'No'} window{'s' if windows != 1 else ''} of the trace say{'s' if windows == 1 else ''} how "
            "the guest's activity moves: that it may move by a quarter is assumed, so the intervals are wide."
        )
    if not trace.meta.complete:
        notes.append("The trace was cut short.")
    if trace.meta.data_map is None:
        notes.append("Pages with data that were never written while traced lie behind the written ones.")
    else:
        notes.append("Pages with data that were never written while traced lie evenly among the others.")
    return tuple(notes)
