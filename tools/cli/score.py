"""``fraud-worker score``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from base.file_path import FilePath, file_path
from tools.cli.input_reports import note, tell_flagged, tell_times
from tools.cli.options import HERE, PipelineOption, RecordTimeOption
from worker.process.exits import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from features.windows.order import InputTimes
    from worker.pipeline import Pipeline

_COLUMNS = ("event_id", "event_time", "decision", "score", "margin", "flags", "reasons", "vector")
_SHOWN = 50


@dataclass(slots=True)
class _Counts:
    """Counts of a scored file.

    Attributes:
        flagged: Number of scores by flag.
        times: Counts of the file's event times; None before the first chunk.
    """

    flagged: Counter[str] = field(default_factory=Counter)
    times: InputTimes | None = None


def score(
    events: Annotated[
        FilePath,
        typer.Option(
            parser=file_path,
            metavar="FILE",
            help="Event file: .parquet, .avro (container), .jsonl or .ndjson; a path or URL.",
        ),
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Number of rows to read.")] = None,
    record_time: RecordTimeOption = None,
    pipeline: PipelineOption = HERE,
) -> None:
    """Score a file of events with the worker's own code, without Kafka or Redis.

    Prints a table on a terminal, JSON lines in a pipe. Lookups have their
    default values. The field "vector" holds feature values; output.vector decides
    which.

    Without --limit, a terminal shows only the first 50 rows.

    Exit code 0: every row that was read has a score; 1: some rows were refused;
    2: the file has no rows.
    """
    from worker.pipeline import load_pipeline

    loaded = load_pipeline(pipeline)
    rows = _rows(events)
    counts = _Counts()
    if sys.stdout.isatty():
        lines = _lines(loaded, events, limit or _SHOWN, record_time, counts)
        scored, refused = _table(loaded, events, lines)
    else:
        scored, refused = _print(_lines(loaded, events, limit, record_time, counts))
    if counts.times is not None:
        remedy = "sort the file by event time, unless the worker reads them in this order too"
        tell_times(loaded.feature_set, counts.times, record_time, remedy)
    tell_flagged(counts.flagged)
    if limit is None and scored + refused < rows:
        note(
            f"only the first {scored + refused:,} of {rows:,} rows were read, and the exit code "
            f"is for these; to read all, give --limit {rows} or write to a pipe (| cat)"
        )
    if refused:
        note(f"{refused:,} rows were refused and have no score")
        raise typer.Exit(ExitCode.FAILED)


def _rows(events: FilePath) -> int:
    """The number of rows in the file. Raises ConfigurationError if there is none."""
    from base.errors import ConfigurationError
    from schemas.files.read import count_rows

    rows = count_rows(events)
    if not rows:
        raise ConfigurationError(f"--events: {events} has no rows; give a file with events")
    return rows


def _lines(
    pipeline: Pipeline,
    events: FilePath,
    limit: int | None,
    record_time: str | None,
    counts: _Counts,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("score", record) for each event and ("refused", why) for each row that is not scored.

    Args:
        pipeline: The pipeline.
        events: The file of events.
        limit: Number of rows to read; None for all.
        record_time: The column with the timestamps of the records.
        counts: Counts, which this function fills.
    """
    from tools.replay import replay_file

    for processed in replay_file(pipeline, events, limit, record_time):
        counts.flagged.update(processed.flags)
        counts.times = processed.times
        for record in processed.scores:
            yield "score", record
        for refused in processed.refused:
            yield "refused", {"refused": asdict(refused)}


def _print(lines: Iterator[tuple[str, dict[str, Any]]]) -> tuple[int, int]:
    """Print scores, and refused rows on stderr, as JSON lines; return the number of each."""
    kinds: Counter[str] = Counter()
    for kind, line in lines:
        print(json.dumps(line), file=sys.stdout if kind == "score" else sys.stderr)
        kinds[kind] += 1
    return kinds["score"], kinds["refused"]


def _table(
    pipeline: Pipeline, events: FilePath, lines: Iterator[tuple[str, dict[str, Any]]]
) -> tuple[int, int]:
    """Print scores as a table, and refused rows on stderr; return the number of each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{events.name}: model {pipeline.bundle.name} {pipeline.bundle.version}")
    for name in _COLUMNS:
        right = name in ("score", "margin")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    refused = []
    for kind, line in lines:
        if kind == "score":
            table.add_row(*map(Text, _cells(line)))
        else:
            refused.append(line["refused"])
    Console().print(table)
    for row in refused:
        note(f"row {row['row']}: {row['code']}: {row['message']}")
    return table.row_count, len(refused)


def _cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of a score's row in the table."""
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
