"""``migsim predict``: what a migration of the traced guest would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migsim.cli.question import guest_command
from migsim.study.question import Question

__all__ = ["predict"]

NOT_CONVERGED = 4


@guest_command()
def predict(
    question: Question,
    users: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Users outside the guest who think, ask and wait: also say what they lose; needs --demand.",
        ),
    ] = None,
    think: Annotated[
        str, typer.Option(metavar="TIME", help="How long one thinks between two transactions, in the mean.")
    ] = "1s",
    demand: Annotated[
        str | None, typer.Option(metavar="TIME", help="vCPU time that a transaction needs, as 5ms.")
    ] = None,
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="table|json",
            help="json is QMP's query-migrate object plus outcome, reason and intervals.",
        ),
    ] = "table",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw it: png, svg, pdf, jpg or webp, by the name's ending."),
    ] = None,
) -> None:
    """Predict the migration of a traced guest.

    Says whether it converges, how long it takes, the downtime, the traffic, and why. The exit code is 4 when it
    does not converge.

    Example: migsim predict db.trace --set max-bandwidth=10Gbps --set downtime-limit=300ms
    """
    import json

    from migsim.cli.console import progress, stdout_console
    from migsim.cli.options import one_of
    from migsim.cli.users import print_users, user_loop
    from migsim.plot.picture import check_picture
    from migsim.study.predict import predict as run

    one_of(output_format, ("table", "json"), option="--format")
    if plot:
        check_picture(plot)
    loop = user_loop(users, think, demand, vcpus=question.vcpus)
    with progress("simulating", total=question.draws) as update:
        prediction = run(question.replace(users=loop), progress=lambda done, _of: update(done))
    if plot:
        from migsim.plot.prediction import save_prediction

        save_prediction(prediction, plot)
    performance = None
    if loop:
        from migsim.study.guest_performance import guest_performance

        performance = guest_performance(prediction)
    if output_format == "json":
        answer = prediction.to_json_object()
        if performance:
            answer["guest-performance"] = performance.to_json_object()
        print(json.dumps(answer, indent=2))
    else:
        from migsim.report.tables import prediction_table

        console = stdout_console()
        prediction_table(prediction, console)
        if performance:
            print_users(performance, console)
    if prediction.result.outcome.status != "completed":
        raise typer.Exit(NOT_CONVERGED)
