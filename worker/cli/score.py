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
from worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.app import Pipeline

_COLUMNS = ("event_id", "event_time", "decision", "score", "margin", "flags", "reasons", "vector")


def score(
    events: Annotated[
        Path, typer.Option(help="Events: .parquet, .avro (container), .jsonl or .ndjson.")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Score only the first events.")] = None,
    pipeline: PipelineOption = HERE,
) -> None:
    """Score a file of events with the same stages as the worker, without Kafka or Redis.

    A table on a terminal, JSON lines in a pipe. Lookups take their declared
    defaults. The vector is what output.vector puts on a score.

    Exit code 0: every row has a score; 1: some were refused.
    """
    from worker.app import load_pipeline

    loaded = load_pipeline(pipeline)
    if sys.stdout.isatty():
        refused = _table(loaded, events, limit or 50)
    else:
        refused = 0
        for kind, line in _lines(loaded, events, limit):
            print(json.dumps(line), file=sys.stdout if kind == "score" else sys.stderr)
            refused += kind == "refused"
    if refused:
        print(f"{refused:,} rows were refused and have no score", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)


def _lines(
    pipeline: Pipeline, events: Path, limit: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """("score", record) for each event, ("refused", why) for each that cannot be scored.

    Tells at the end which windows were not full.
    """
    from worker.replay import replay_file

    flags: Counter[str] = Counter()
    scores = 0
    for processed in replay_file(pipeline, events, limit):
        for record in processed.scores:
            scores += 1
            flags.update(record["flags"])
            yield "score", record
        for refused in processed.refused:
            yield "refused", {"refused": asdict(refused)}
    _tell_short(flags, scores)


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


def _table(pipeline: Pipeline, events: Path, limit: int) -> int:
    """Print the scores, and each refused row on stderr; return how many were refused."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{events.name}: model {pipeline.bundle.name} {pipeline.bundle.version}")
    for name in _COLUMNS:
        right = name in ("score", "margin")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    refused = []
    for kind, line in _lines(pipeline, events, limit):
        if kind == "score":
            table.add_row(*map(Text, _cells(line)))
        else:
            refused.append(line["refused"])
    Console().print(table)
    for row in refused:
        print(f"row {row['row']}: {row['code']}: {row['message']}", file=sys.stderr)
    return len(refused)


def _cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    """A score as the cells of a row."""
    reasons = (f"{reason['code']} {reason['contribution']:+.2f}" for reason in record["reasons"])
    vector = (f"{name} {_number(value)}" for name, value in record["vector"].items())
    return (
        str(record["event_id"]),
        str(record["event_time"]),
        str(record["decision"]),
        f"{record['score']:.4f}",
        f"{record['margin']:.3f}",
        ", ".join(record["flags"]),
        "\n".join(reasons),
        "\n".join(vector),
    )


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.6g}"
