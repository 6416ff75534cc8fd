"""``fraud-worker demo``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.process.exits import ExitCode

if TYPE_CHECKING:
    from tools.demo.audit import Verdict

_EXAMPLE = Path(__file__).parents[2] / "examples" / "handbook"


def demo(
    events: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of live events; default: 20,000 simulated, or all of the file."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Events per second; default: as fast as possible, so that a backlog builds up.",
        ),
    ] = None,
    events_file: Annotated[
        Path | None,
        typer.Option(
            help="Event file to play and to train the model on, instead of simulated events."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as one line of JSON on stdout.")
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
    """Run the worker on embedded Kafka and Valkey, and verify its output.

    Without --rate, events are sent as fast as possible: the times shown then
    measure mostly queueing, not latency. With it, the first live events are then
    played to a bare transactional loop on the same broker, and its latency is
    printed too. The average precision is computed on events that the model was
    not trained on.
    """
    from rich.console import Console

    from tools.demo.run import Play, run_demo
    from tools.demo.screen import summary

    if events is None and events_file is None:
        events = 20_000

    def report(verdict: Verdict) -> None:
        Console(stderr=as_json).print(summary(verdict, backlog=rate is None))
        if as_json:
            print(json.dumps({**verdict.as_json(), "backlog": rate is None}), flush=True)

    if not run_demo(pipeline, Play(events, rate, events_file), report):
        sys.exit(ExitCode.FAILED)
