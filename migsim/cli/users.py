"""The options of `migsim predict` that declare a guest's users, and what is printed of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.cli.options import positive_duration_s
from migsim.errors import UsageError
from migsim.units import format_duration_s, parse_duration_s

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.models.users.closed_loop import UserLoop
    from migsim.study.guest_performance import GuestPerformance

__all__ = ["print_users", "user_loop"]


def user_loop(users: int | None, think: str, demand: str | None, *, vcpus: int) -> UserLoop | None:
    """Read ``--users``, ``--think`` and ``--demand``; None where there are no users.

    Raises
    ------
    UsageError
        When one is given without the other.
    UnitError
        For a time that has no single reading.

    Examples
    --------
    >>> user_loop(75, "1s", "5ms", vcpus=1).demand_s
    0.005
    >>> user_loop(None, "1s", None, vcpus=1) is None
    True
    """
    from migsim.models.users.closed_loop import UserLoop

    if users is None and demand is None:
        return None
    if users is None or demand is None:
        given, missing = ("--users", "--demand") if demand is None else ("--demand", "--users")
        raise UsageError(
            f"{given} is given without {missing}.",
            "What users get done follows from how many they are and what a transaction needs.",
            f"Add {missing}, as {'--demand 5ms' if demand is None else '--users 75'}.",
        )
    demand_s = positive_duration_s(demand, option="--demand")
    think_s = parse_duration_s(think, field="--think")
    return UserLoop.of_one_class(users, think_s=think_s, demand_s=demand_s, vcpus=vcpus)


def print_users(seen: GuestPerformance, console: Console) -> None:
    """Print what a guest's users lose, with 80 % intervals."""
    medians, steady = seen.medians, seen.loop.steady()
    low, high = seen.intervals["lost"]
    longest = [format_duration_s(seen.intervals["longest-response"][k]) for k in (0, 1)]
    console.print(
        f"users: {steady.throughput_per_s:.1f} transactions/s in {format_duration_s(steady.response_s)} each; "
        f"{medians['lost']:.0f} lost in {format_duration_s(seen.window_s)} ({low:.0f} .. {high:.0f}), "
        f"least {medians['least-per-s']:.1f} in a second, the longest takes "
        f"{format_duration_s(medians['longest-response'])} ({longest[0]} .. {longest[1]})"
    )
