"""The kernel's command line, which tells the Linux guest its workload."""

from __future__ import annotations

from migsim.errors import ParameterError, near_misses

__all__ = ["THINK_MS", "WORKLOADS", "kernel_command_line"]

WORKLOADS = ("order-entry", "store", "idle")

# Mean think time at which 75 users keep one emulated processor half to two thirds busy.
THINK_MS = {"order-entry": 700, "store": 50, "idle": 1000}

# The console is the first serial port. The time stamp counter is the clock, because QEMU stops and moves it with the
# machine; the kernel need not check it against other clocks. Options that slow the boot of a virtual machine are off.
KERNEL_ARGUMENTS = (
    "console=ttyS0 loglevel=7 panic=-1 tsc=reliable clocksource=tsc no_timer_check mitigations=off nokaslr "
    "random.trust_cpu=on rcupdate.rcu_expedited=1"
)


def kernel_command_line(
    *,
    workload: str = "order-entry",
    users: int = 75,
    think_ms: int | None = None,
    shared_buffers_percent: int = 40,
    report_ms: int = 1000,
    seed: int = 1,
) -> str:
    """Return the command line of a workload, for QEMU's ``-append``.

    Parameters
    ----------
    workload
        ``order-entry`` (PostgreSQL), ``store`` (redis) or ``idle``.
    users
        Number of users in the closed loop.
    think_ms
        Mean of the exponential think time, in milliseconds; None for the workload's default (`THINK_MS`).
    shared_buffers_percent
        Size of PostgreSQL's shared buffers, or of the store's data, in percent of the guest's RAM.
    report_ms
        Time between two ``work`` lines, in milliseconds.
    seed
        Seed of the users' random choices.

    Raises
    ------
    ParameterError
        For a value that the guest would refuse.

    Examples
    --------
    >>> kernel_command_line(workload="store", users=10).split()[-6:-4]
    ['migsim.workload=store', 'migsim.users=10']
    """
    if workload not in WORKLOADS:
        raise ParameterError(
            f"workload is {workload!r}.",
            f"The Linux guest knows {', '.join(WORKLOADS)}.",
            near_misses(workload, WORKLOADS) or "Name one of these.",
        )
    settings = {
        "users": (users, 1, 400),
        "think_ms": (THINK_MS[workload] if think_ms is None else think_ms, 0, 600_000),
        "shared_buffers_percent": (shared_buffers_percent, 5, 60),
        "report_ms": (report_ms, 50, 60_000),
        "seed": (seed, 0, 2**31 - 1),
    }
    for name, (value, least, most) in settings.items():
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ParameterError(
                f"{name} is {value!r}.",
                f"The Linux guest takes a whole number from {least} to {most}.",
                "Choose one in that range.",
            )
    words = [f"migsim.workload={workload}", *(f"migsim.{name}={v[0]}" for name, v in settings.items())]
    return f"{KERNEL_ARGUMENTS} {' '.join(words)}"
