"""``fraud-worker score``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.features.inputs import note
from worker.cli.options import HERE, PipelineOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.app import Pipeline

_COLUMNS = ("event_id", "event_time", "decision", "score", "margin", "flags")


def score(
    events: Annotated[
        Path, typer.Option(help="Events: .parquet, .avro (container), .jsonl or .ndjson.")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Score only the first events.")] = None,
    pipeline: PipelineOption = HERE,
) -> None:
    """Score a file of events with the same stages as the worker, without Kafka or Redis.

    A table on a terminal, JSON lines in a pipe. Lookups take their declared defaults.
    """
    from worker.app import load_pipeline

    loaded = load_pipeline(pipeline)
    if sys.stdout.isatty():
        _table(loaded, events, limit or 50)
        return
    flags: Counter[str] = Counter()
    scores = 0
    for kind, line in _lines(loaded, events, limit):
        print(json.dumps(line), file=sys.stdout if kind == "score" else sys.stderr)
        if kind == "score":
            scores += 1
            flags.update(line["flags"])
    _tell_short(flags, scores)


def _lines(
    pipeline: Pipeline, events: Path, limit: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """("score", record) for each event, ("refused", why) for each that cannot be scored."""
    from worker.replay import replay_file

    for processed in replay_file(pipeline, events, limit):
        for record in processed.scores:
            yield "score", record
        for refused in processed.refused:
            yield "refused", {"refused": asdict(refused)}


def _table(pipeline: Pipeline, events: Path, limit: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{events.name}: model {pipeline.bundle.name} {pipeline.bundle.version}")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in ("score", "margin") else "left")
    refused, flags = 0, Counter[str]()
    for kind, line in _lines(pipeline, events, limit):
        if kind == "score":
            flags.update(line["flags"])
            line |= {"score": f"{line['score']:.4f}", "margin": f"{line['margin']:.3f}"}
            table.add_row(*(str(line[name]) for name in _COLUMNS))
        else:
            refused += 1
    Console().print(table)
    if refused:
        Console(stderr=True).print(f"{refused} rows cannot be scored; in a pipe they are listed")
    _tell_short(flags, table.row_count)


def _tell_short(flags: Mapping[str, int], scores: int) -> None:
    """Say of how many scores the windows look back beyond the beginning of the file."""
    from features.windows.plan import SHORT

    for flag, count in flags.items():
        kind, _, entity = flag.partition(":")
        if kind == SHORT:
            note(
                f"{flag}: for {count:,} of {scores:,} scores the windows by {entity} look back "
                "beyond the beginning of the file; put the events before it into the file as well"
            )
