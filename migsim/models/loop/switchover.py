r"""The blackout, in parts.

Law
---
.. math:: t_{down} = t_{stop} + t_{sync} + \frac{R_{final}}{B_{burst}} + t_{device} \;(+\; t_{load})

The limiter is off, so the last pages go at the uncapped speed :math:`B_{burst}`, whatever `max-bandwidth` says. With
both sides on one machine it also hangs on whether they share a core, where a page costs what the two need together.
:math:`R_{final}` is what the exact sync found plus what the guest wrote until its vCPUs stood still. Without a return
path QEMU's `downtime` and `total-time` end when the kernel took the last byte; the guest runs again :math:`t_{load}`
later. With `return-path` the source first waits for the destination's last message, which comes after the guest was
started there: :math:`t_{load}` is then part of both. The blackout is the same either way,

.. math:: t_{blackout} = t_{sync} + \frac{R_{final}}{B_{burst}} + t_{device} + t_{load}

from STOP on the source (which comes :math:`t_{stop}` after the downtime clock started) to RESUME on the destination.

Mirrors: `migration/migration.c` migration_completion, migration_calculate_complete (10.0: migration_completion_end),
process_incoming_migration_bh, migration_incoming_state_destroy; `migration/savevm.c` complete_precopy.
Leaves out: block device flush (our lab guests have none), VFIO, network reconvergence; the way of the last message.
Source: QEMU's tree, 7.2 and 10.0: the thread of the return path is joined before either clock is read.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Blackout", "PagesLeft", "blackout", "blackout_s", "downtime_s", "flush_s", "waited_s"]


@dataclass(frozen=True, slots=True)
class PagesLeft:
    """Pages that remain to be sent in the blackout, by kind.

    Attributes
    ----------
    again : float
        Pages that were sent before.
    first : float
        Pages sent for the first time, to memory that the destination has.
    fresh : float
        Pages sent for the first time, for which the destination allocates memory.
    zero : float
        Zero pages.
    """

    again: float
    first: float
    fresh: float
    zero: float


@dataclass(frozen=True, slots=True)
class Blackout:
    """Parts of the time in which the guest is stopped, in seconds."""

    stop_s: float
    sync_s: float
    flush_s: float
    device_s: float
    load_s: float
    return_path: bool = False

    @property
    def waited_s(self) -> float:
        """Time for which the source waits for the destination's last message."""
        return waited_s(self.load_s, self.return_path)

    @property
    def downtime_s(self) -> float:
        """`downtime` as QMP reports it."""
        return downtime_s(self.stop_s, self.sync_s, self.flush_s, self.device_s, self.waited_s)

    @property
    def blackout_s(self) -> float:
        """Time from STOP on the source to RESUME on the destination."""
        return blackout_s(self.sync_s, self.flush_s, self.device_s, self.load_s)

    def parts_ms(self) -> dict[str, float]:
        """Return the parts of `downtime` in ms; they sum to it. What a return path adds is the rest."""
        parts = {
            "stop": self.stop_s * 1000,
            "sync": self.sync_s * 1000,
            "flush": self.flush_s * 1000,
            "device": self.device_s * 1000,
        }
        return parts | {"rest": self.waited_s * 1000} if self.return_path else parts


def flush_s(
    again: float,
    first: float,
    fresh: float,
    zero: float,
    normal_page_s: float,
    cold_page_s: float,
    fresh_page_s: float,
    zero_page_s: float,
    encoding_s: float = 0.0,
) -> float:
    """Return the time that the remaining pages take; numbers of pages as in `PagesLeft`, `encoding_s` for XBZRLE.

    Examples
    --------
    >>> flush_s(1000, 0, 0, 0, 4e-6, 6e-6, 9e-6, 1e-6)
    0.004
    """
    pages = again * normal_page_s + first * cold_page_s + fresh * fresh_page_s + zero * zero_page_s
    return pages + encoding_s


def waited_s(load_s: float, return_path: bool) -> float:
    """Return the part of `downtime` and `total-time` in which the source waits for the destination's last message.

    Examples
    --------
    >>> waited_s(0.004, False), waited_s(0.004, True)
    (0.0, 0.004)
    """
    return load_s if return_path else 0.0


def downtime_s(stop_s: float, sync_s: float, flush_s: float, device_s: float, waited_s: float) -> float:
    """Return `downtime` as QMP reports it."""
    return stop_s + sync_s + flush_s + device_s + waited_s


def blackout_s(sync_s: float, flush_s: float, device_s: float, load_s: float) -> float:
    """Return the time from STOP on the source to RESUME on the destination."""
    return sync_s + flush_s + device_s + load_s


def blackout(
    left: PagesLeft,
    *,
    sync_s: float,
    stop_s: float,
    normal_page_s: float,
    cold_page_s: float,
    fresh_page_s: float,
    zero_page_s: float,
    device_state_s: float,
    load_s: float,
    encoding_s: float = 0.0,
    return_path: bool = False,
) -> Blackout:
    """Compute the parts of the blackout for the remaining pages; `encoding_s` is the time of pages encoded by XBZRLE.

    Examples
    --------
    >>> b = blackout(PagesLeft(1000, 0, 0, 0), sync_s=.001, stop_s=.001, normal_page_s=4e-6, cold_page_s=6e-6,
    ...              fresh_page_s=9e-6, zero_page_s=1e-6, device_state_s=.005, load_s=.004)
    >>> round(b.downtime_s, 6), round(b.blackout_s, 6), round(sum(b.parts_ms().values()), 6)
    (0.011, 0.014, 11.0)
    """
    flush = flush_s(
        left.again,
        left.first,
        left.fresh,
        left.zero,
        normal_page_s,
        cold_page_s,
        fresh_page_s,
        zero_page_s,
        encoding_s,
    )
    return Blackout(
        stop_s=stop_s,
        sync_s=sync_s,
        flush_s=flush,
        device_s=device_state_s,
        load_s=load_s,
        return_path=return_path,
    )
