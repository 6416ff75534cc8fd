"""``fraud-worker labels send``."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from base.file_path import FilePath, file_path
from tools.cli.input_reports import refuse_nothing, require_fraud_windows, tell_refused
from tools.cli.options import HERE, Commands, PipelineOption
from worker.process.exits import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from features.definition import FeatureSet
    from schemas.batch import Refusal
    from tools.topics.label_records import LabelRecords
    from tools.topics.label_sender import LabelSender
    from worker.settings import WorkerSettings

_SHOWN = 5

app = Commands(help="Topic of labels.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@dataclass(slots=True)
class _LabelCounts:
    """Counts of rows.

    Attributes:
        read: Number of rows in the files.
        labels: Number of labels to send.
        sent: Number of acknowledged labels.
        refused: Number of refused rows.
        examples: The first refused rows.
    """

    read: int = 0
    labels: int = 0
    sent: int = 0
    refused: int = 0
    examples: list[Refusal] = field(default_factory=list)

    def add(self, records: LabelRecords, refused: Sequence[Refusal]) -> None:
        """Count the rows of one part of a file; ``refused`` are those that could not be read."""
        both = [*refused, *records.refused]
        self.read += len(records.values) + records.skipped + len(both)
        self.labels += len(records.values)
        self.refused += len(both)
        self.examples += both[: _SHOWN - len(self.examples)]

    @property
    def skipped(self) -> int:
        """Number of rows that say nothing: no fraud, and no label time."""
        return self.read - self.labels - self.refused


@app.command("send")
def send(
    files: Annotated[
        list[FilePath],
        typer.Argument(
            parser=file_path,
            metavar="FILE",
            help="Labels: .parquet, .avro (container), .jsonl or .ndjson.",
            show_default=False,
        ),
    ],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Read and check the files; connect to nothing."),
    ] = False,
    pipeline: PipelineOption = HERE,
) -> None:
    """Send labels of files to the topic kafka.labels_topic, as records of label.avsc.

    Reads what `features load-labels` reads, and refuses the same rows. A label
    without a label time gets the event time plus events.label.delay. A row that
    is no fraud and has no label time says nothing and is skipped.

    The key of a record is the event id, so the labels of an event are in one
    partition, in the order of the files. The same label sent twice counts once:
    after an error, send all files again. A correction needs a later label time.

    The last line on stdout is JSON. Exit code 0: every label was acknowledged by
    all in-sync replicas; 1: some rows were refused, or the brokers are away;
    2: no row is a label, or the topic refuses one.
    """
    from base.errors import ConfigurationError
    from features.definition import load_feature_set
    from worker.settings import load_settings

    settings = load_settings(pipeline)
    topic = settings.kafka.labels_topic
    if topic is None:
        raise ConfigurationError(
            f"{pipeline / 'worker.yaml'}: name the topic of labels: kafka.labels_topic"
        )
    feature_set = load_feature_set(settings.features)
    require_fraud_windows(feature_set, settings.features)
    counts = _send(feature_set, settings, topic, files, dry_run=dry_run)
    tell_refused("labels", counts.refused, counts.examples)
    refuse_nothing(", ".join(map(str, files)), counts.read - counts.refused, counts.refused)
    _print(counts, topic)
    if counts.refused:
        raise typer.Exit(ExitCode.FAILED)


def _send(
    feature_set: FeatureSet,
    settings: WorkerSettings,
    topic: str,
    paths: Sequence[FilePath],
    *,
    dry_run: bool,
) -> _LabelCounts:
    from features.loading import LabelFile
    from tools.progress import progress
    from tools.topics.label_records import LabelEncoder
    from worker.schema_sources import label_prefix

    files = [LabelFile(feature_set, path, source=True) for path in paths]
    total, counts = sum(file.count() for file in files), _LabelCounts()
    encode = LabelEncoder(feature_set, b"" if dry_run else label_prefix(settings, topic))
    with _sender(settings, topic, dry_run=dry_run) as sender, progress("labels") as advance:
        for file in files:
            for rows, refused in file:
                records = encode(rows, file.describe_row)
                counts.add(records, refused)
                if sender is not None:
                    sender.send(records, file.describe_row)
                advance(counts.read, total)
        if sender is not None:
            sender.finish()
            counts.sent = sender.acknowledged
    return counts


def _sender(
    settings: WorkerSettings, topic: str, *, dry_run: bool
) -> AbstractContextManager[LabelSender | None]:
    from tools.topics.label_sender import LabelSender

    if dry_run:
        return nullcontext()
    return LabelSender(settings.kafka, topic, settings.delivery.broker_timeout_s)


def _print(counts: _LabelCounts, topic: str) -> None:
    """Print the counts: a table on stderr, one line of JSON on stdout."""
    from rich.console import Console
    from rich.table import Table

    summary = {
        name: getattr(counts, name) for name in ("read", "labels", "sent", "skipped", "refused")
    }
    table = Table("rows", title=topic)
    table.add_column("number", justify="right")
    for name, number in summary.items():
        table.add_row(name, f"{number:,}")
    Console(file=sys.stderr).print(table)
    print(json.dumps(summary))
