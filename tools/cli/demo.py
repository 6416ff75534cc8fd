"""``fraud-worker demo``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.process.exits import ExitCode

_EXAMPLE = Path(__file__).parents[2] / "examples" / "handbook"


def demo(
    events: Annotated[
        int | None,
        typer.Option(
            min=1, help="Live events to play; default: 20,000 simulated, or all of the file."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Events a second; default: as fast as it goes, so that events wait in a backlog.",
        ),
    ] = None,
    events_file: Annotated[
        Path | None,
        typer.Option(help="Play this file, through the aliases of the pipeline, and train on it."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one line of JSON on stdout.")
    ] = False,
    pipeline: Annotated[
        Path,
        typer.Option(
            "--pipeline",
            "-p",
            envvar="FRAUD_WORKER_PIPELINE",
            metavar="DIR",
            help="Pipeline folder.",
            show_default="examples/handbook",
        ),
    ] = _EXAMPLE,
) -> None:
    """Show the worker at work on embedded Kafka and Valkey, and read back what it did.

    Without --rate there is no latency to see, but how long events waited for
    one another. The average precision is that of events the model was not trained on.
    """
    from rich.console import Console

    from tools.demo.run import Play, run_demo
    from tools.demo.screen import summary

    if events is None and events_file is None:
        events = 20_000
    verdict = run_demo(pipeline, Play(events, rate, events_file))
    Console(stderr=as_json).print(summary(verdict, backlog=rate is None))
    if as_json:
        print(json.dumps({**verdict.as_json(), "backlog": rate is None}))
    if not verdict.clean:
        sys.exit(ExitCode.FAILED)
