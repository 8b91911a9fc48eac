"""The Zipf law of our guest's writes, in floating point."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUCKETS = 1024


def bucket_edges(pages: int, exponent: float) -> NDArray[np.float64]:
    """Return the 1025 page positions (real numbers, 0 to `pages`) between which equal shares of the writes fall.

    Parameters
    ----------
    pages
        Number of pages of the class.
    exponent
        Zipf's s; the guest rounds it to thousandths.

    Examples
    --------
    >>> edges = bucket_edges(1023, 1.0)
    >>> round(float(edges[512]), 6)   # ln(1+x) = ln(1024) / 2
    31.0
    """
    import numpy as np

    u = np.arange(BUCKETS) / BUCKETS
    edges: NDArray[np.float64]
    power = 1.0 - round(exponent * 1000) / 1000
    if power == 0:
        edges = np.expm1(u * np.log1p(pages))
    else:
        edges = np.expm1(np.log1p(u * np.expm1(power * np.log1p(pages))) / power)
    return np.append(edges, float(pages))


def page_shares(pages: int, exponent: float) -> NDArray[np.float64]:
    """Return the share of a class's writes that each page gets; the sum is 1.

    Parameters
    ----------
    pages
        Number of pages of the class.
    exponent
        Zipf's s.

    Examples
    --------
    >>> shares = page_shares(1000, 1.0)
    >>> round(float(shares.sum()), 12), bool(shares[0] > 50 * shares[100])
    (1.0, True)
    """
    import numpy as np

    edges = bucket_edges(pages, exponent)
    below = np.interp(np.arange(pages + 1), edges, np.arange(BUCKETS + 1) / BUCKETS)
    shares: NDArray[np.float64] = np.diff(below)
    return shares
