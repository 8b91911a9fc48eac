r"""Service demands of a guest's transactions, from its own report before the migration.

Law
---
The utilisation law: in an interval `j` in which the processors work :math:`b_j` s and :math:`n_{jc}` transactions of
each kind end,

.. math:: b_j = u_{idle} \Delta_j + \sum_c D_c n_{jc}

solved for :math:`D_c \ge 0` by least squares over the intervals. Kinds that always come in the same proportion cannot
be told apart so; then their mean is :math:`D = \sum (b_j - u_{idle} \Delta_j)/\sum n_j`, and it is split by the
response times, to which demands are proportional under processor sharing. Where the guest does not tell how busy it is,
the demand is the one whose response time (`migsim.models.users.closed_loop`) is the measured one.

Leaves out: transactions that begin in one interval and end in the next; work that goes on in the background (it counts
as the transactions').
Source: Denning and Buzen, 1978 (utilisation law); Lawson and Hanson, 1974 (non-negative least squares).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError
from migsim.models.users.closed_loop import TransactionClass, UserLoop, demand_from_response

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LoopFit", "fit_loop"]

Floats = NDArray[np.float64]

LARGEST_ERROR = 0.25
"""With a larger relative standard error of one kind's demand, the kinds count as not told apart."""

COLUMNS = ("t_s", "operation", "completed", "interval_s")


@dataclass(frozen=True)
class LoopFit:
    """A closed loop fitted to a guest's reports.

    Attributes
    ----------
    loop : UserLoop
    method : str
        How the demands were found, in words.
    error_s : dict of str to float
        Standard error of each kind's demand; NaN where the demand was not solved for.
    residuals : pandas.DataFrame
        ``t_s``, ``busy_s`` and ``fitted_s`` of each interval; empty where the guest does not report its busy time.
    measured_per_s, measured_response_s : float
        Transactions a second and their mean response time, to compare with `loop.steady()`.
    assumptions : tuple of str
    """

    loop: UserLoop
    method: str
    error_s: dict[str, float]
    residuals: pd.DataFrame
    measured_per_s: float
    measured_response_s: float
    assumptions: tuple[str, ...]

    @property
    def relative_error(self) -> float:
        """Typical relative error of an interval's busy time; NaN where the guest does not report it."""
        if self.residuals.empty:
            return math.nan
        busy, fitted = self.residuals["busy_s"], self.residuals["fitted_s"]
        return float(np.sqrt(np.mean((fitted - busy) ** 2)) / busy.mean())

    def __repr__(self) -> str:
        steady = self.loop.steady()
        return (
            f"<LoopFit {self.loop.users} users, {self.loop.demand_s * 1000:.3g} ms a transaction: "
            f"{steady.throughput_per_s:.1f}/s (measured {self.measured_per_s:.1f}/s), "
            f"{steady.response_s * 1000:.3g} ms (measured {self.measured_response_s * 1000:.3g} ms)>"
        )


def fit_loop(
    reports: pd.DataFrame,
    *,
    users: int,
    think_s: float,
    vcpus: int = 1,
    inside: bool = True,
    idle_fraction: float = 0.0,
    until_s: float = 0.0,
) -> LoopFit:
    """Fit the demands of a guest's transactions to its reports before a migration.

    Parameters
    ----------
    reports : pandas.DataFrame
        A row for each interval and operation, as `migsim.results.transactions` makes them: ``t_s`` (the interval's
        end), ``operation``, ``completed``, ``interval_s``, and where known ``mean_latency_s`` and ``busy_fraction``
        (sum over the processors).
    users : int
    think_s : float
        Mean think time; it is given, not fitted.
    vcpus : int
    inside : bool
        Whether the users are programs in the guest.
    idle_fraction : float
        Processors that the guest keeps busy without users.
    until_s : float
        Later rows are left out; the migration begins at 0.

    Raises
    ------
    ParameterError
        Where a column is missing, or no transaction was completed before `until_s`.

    Examples
    --------
    >>> import pandas as pd
    >>> reports = pd.DataFrame({"t_s": [-2.0, -1.0], "operation": "buy", "completed": [70, 74], "interval_s": 1.0,
    ...                      "busy_fraction": [0.35, 0.37]})
    >>> round(fit_loop(reports, users=75, think_s=1.0).loop.demand_s, 6)
    0.005
    """
    before = _before(reports, until_s)
    counts = before.pivot_table(
        index="t_s", columns="operation", values="completed", aggfunc="sum", fill_value=0
    )
    names = [str(name) for name in counts.columns]
    n = counts.to_numpy(float)
    shares = n.sum(axis=0) / n.sum()
    length_s = before.groupby("t_s")["interval_s"].first().to_numpy(float)
    response_s, of_kind_s = _responses(before, names)
    busy_s = _busy_s(before, length_s)
    error_s = dict.fromkeys(names, math.nan)
    if busy_s is None:
        if not response_s > 0:
            raise ParameterError(
                "The guest's report has neither busy_fraction nor mean_latency_s.",
                "Demands are found from the processors' busy time, or from the response times.",
                "Give one of the two columns.",
            )
        demand_s = demand_from_response(users, think_s, response_s, vcpus)
        demands, method = _split(demand_s, shares, of_kind_s), "response times"
    else:
        demands, method, errors = _from_busy(n, busy_s - idle_fraction * length_s, shares, of_kind_s)
        error_s = dict(zip(names, errors.tolist(), strict=True))
    classes = tuple(
        TransactionClass(name, float(share), float(demand))
        for name, share, demand in zip(names, shares, demands, strict=True)
    )
    return LoopFit(
        loop=UserLoop(users, think_s, classes, vcpus, inside),
        method=method,
        error_s=error_s,
        residuals=_residuals(counts.index.to_numpy(float), busy_s, n @ demands + idle_fraction * length_s),
        measured_per_s=float(n.sum() / length_s.sum()),
        measured_response_s=response_s,
        assumptions=_assumptions(method, inside, users, think_s),
    )


def _before(reports: pd.DataFrame, until_s: float) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in reports]
    if missing:
        raise ParameterError(
            f"The guest's report lacks {', '.join(missing)}.",
            f"A report has the columns {', '.join(COLUMNS)}.",
            "Take it from migsim.results.transactions.",
        )
    before = reports[reports["t_s"] <= until_s]
    if before["completed"].sum() > 0:
        return before
    raise ParameterError(
        f"The guest completed nothing until {until_s} s ({len(before)} rows).",
        "Demands are fitted to the transactions before the migration.",
        "Let the guest work for some seconds first (settle-s), or give a later until_s.",
    )


def _responses(before: pd.DataFrame, names: Sequence[str]) -> tuple[float, Floats]:
    """Return the mean response time of all transactions, and of each kind; NaN where not reported."""
    if "mean_latency_s" not in before:
        return math.nan, np.full(len(names), np.nan)
    told = before[before["mean_latency_s"].notna()]
    spent = (told["mean_latency_s"] * told["completed"]).groupby(told["operation"]).sum()
    done = told.groupby("operation")["completed"].sum()
    means = (spent / done).reindex(list(names)).to_numpy(float)
    return float(spent.sum() / done.sum()) if len(done) else math.nan, means


def _busy_s(before: pd.DataFrame, length_s: Floats) -> Floats | None:
    if "busy_fraction" not in before:
        return None
    share = before.groupby("t_s")["busy_fraction"].first().to_numpy(float)
    return share * length_s if np.isfinite(share).all() else None


def _from_busy(n: Floats, busy_s: Floats, shares: Floats, of_kind_s: Floats) -> tuple[Floats, str, Floats]:
    """Return the demand of each kind, how it was found, and its standard error."""
    from scipy.optimize import nnls

    unknown = np.full(len(shares), np.nan)
    free = len(busy_s) - len(shares)
    if free > 0 and np.linalg.matrix_rank(n) == len(shares):
        demands, left = nnls(n, busy_s)
        errors = np.sqrt(np.diag(np.linalg.inv(n.T @ n)) * left**2 / free)
        if len(shares) == 1 or ((demands > 0).all() and (errors <= LARGEST_ERROR * demands).all()):
            return demands, "processor time, kind by kind", errors
    mean_s = float(max(busy_s.sum(), 0.0) / n.sum())
    if np.isfinite(of_kind_s).all():
        return _split(mean_s, shares, of_kind_s), "processor time, split by response times", unknown
    return np.full(len(shares), mean_s), "processor time, the same for all kinds", unknown


def _split(mean_s: float, shares: Floats, of_kind_s: Floats) -> Floats:
    """Return demands in proportion to the response times, with a given mean."""
    return np.asarray(mean_s * of_kind_s / float(shares @ of_kind_s))


def _residuals(t_s: Floats, busy_s: Floats | None, fitted_s: Floats) -> pd.DataFrame:
    import pandas as pd

    if busy_s is None:
        return pd.DataFrame({"t_s": [], "busy_s": [], "fitted_s": []})
    return pd.DataFrame({"t_s": t_s, "busy_s": busy_s, "fitted_s": fitted_s})


def _assumptions(method: str, inside: bool, users: int, think_s: float) -> tuple[str, ...]:
    where = (
        "in the guest: its clock and theirs stand still in the blackout" if inside else "outside the guest"
    )
    return (
        f"{users} users {where}; each thinks for {think_s:g} s in the mean.",
        f"Demands come from {method}.",
        "A transaction needs nothing but processor time; the vCPUs share it evenly among those under way.",
    )
