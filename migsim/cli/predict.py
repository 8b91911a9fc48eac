"""``migsim predict``: the predicted migration of a traced guest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migsim.cli.question import guest_command
from migsim.study.question import Question

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.models.users.closed_loop import UserLoop
    from migsim.study.guest_performance import GuestPerformance

__all__ = ["predict"]

NOT_CONVERGED = 4
"""Exit code of a migration that does not converge."""


@guest_command()
def predict(
    question: Question,
    users: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Users outside the guest, who think, ask and wait: also print the transactions that they lose. "
            "Needs --demand.",
        ),
    ] = None,
    think: Annotated[
        str, typer.Option(metavar="TIME", help="Mean time that a user thinks between two transactions.")
    ] = "1s",
    demand: Annotated[
        str | None, typer.Option(metavar="TIME", help="vCPU time of a transaction, as 5ms.")
    ] = None,
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="table|json",
            help="json has medians, intervals, and one draw as query-migrate's object.",
        ),
    ] = "table",
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also draw a picture: png, svg, pdf, jpg or webp, by the name's ending."
        ),
    ] = None,
) -> None:
    """Predict the migration of a traced guest.

    Prints whether the migration converges and why, its total time, downtime and bytes sent. The exit code is 4 when it
    does not converge.

    Example: migsim predict db.trace --set max-bandwidth=10Gbps --set downtime-limit=300ms
    """
    import json

    from migsim.cli.console import progress, stdout_console, write
    from migsim.cli.options import one_of
    from migsim.plot.picture import check_picture
    from migsim.study.predict import predict as run

    one_of(output_format, ("table", "json"), option="--format")
    if plot:
        check_picture(plot)
    loop = _user_loop(users, think, demand, vcpus=question.vcpus)
    with progress("simulating", total=question.draws) as update:
        prediction = run(question.replace(users=loop), progress=lambda done, _of: update(done))
    if plot:
        from migsim.plot.prediction import save_prediction

        save_prediction(prediction, plot)
    performance = None
    if loop:
        from migsim.study.guest_performance import guest_performance

        performance = guest_performance(prediction)
    nearest = None
    if prediction.outcome.status != "completed":
        from migsim.study.size.nearest import nearest_settings

        with progress("looking for settings with which it converges"):
            nearest = nearest_settings(prediction)
    if output_format == "json":
        answer = prediction.to_json_object()
        if nearest:
            answer["nearest"] = nearest.to_json_object()
        if performance:
            answer["guest-performance"] = performance.to_json_object()
        write(json.dumps(answer, indent=2))
    else:
        from migsim.report.tables import prediction_table

        console = stdout_console()
        prediction_table(prediction, console, nearest=str(nearest or ""))
        if performance:
            _print_users(performance, console)
    if prediction.outcome.status != "completed":
        raise typer.Exit(NOT_CONVERGED)


def _user_loop(users: int | None, think: str, demand: str | None, *, vcpus: int) -> UserLoop | None:
    """Read ``--users``, ``--think`` and ``--demand``; None where there are no users."""
    from migsim.cli.options import positive_duration_s
    from migsim.errors import UsageError
    from migsim.models.users.closed_loop import UserLoop
    from migsim.units import parse_duration_s

    if users is None and demand is None:
        return None
    if users is None or demand is None:
        given, missing = ("--users", "--demand") if demand is None else ("--demand", "--users")
        raise UsageError(
            f"{given} is given without {missing}.",
            "Transactions follow from the number of users and the vCPU time that a transaction needs.",
            f"Add {missing}, as {'--demand 5ms' if demand is None else '--users 75'}.",
        )
    demand_s = positive_duration_s(demand, option="--demand")
    think_s = parse_duration_s(think, field="--think")
    return UserLoop.of_one_class(users, think_s=think_s, demand_s=demand_s, vcpus=vcpus)


def _print_users(performance: GuestPerformance, console: Console) -> None:
    """Print the transactions that a guest's users lose, with 80 % intervals."""
    from migsim.units import format_duration_s

    medians, steady = performance.medians, performance.loop.steady()
    low, high = performance.intervals["lost"]
    longest = [format_duration_s(performance.intervals["longest-response"][k]) for k in (0, 1)]
    console.print(
        f"users: {steady.throughput_per_s:.1f} transactions/s in {format_duration_s(steady.response_s)} each; "
        f"{medians['lost']:.0f} lost in {format_duration_s(performance.window_s)} ({low:.0f} .. {high:.0f}), "
        f"least {medians['least-per-s']:.1f} in a second, the longest takes "
        f"{format_duration_s(medians['longest-response'])} ({longest[0]} .. {longest[1]})"
    )
