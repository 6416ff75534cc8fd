"""``fraud-worker features build``."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from base.file_path import FilePath, file_path
from tools.cli.input_reports import (
    SORT_THEM,
    known_labels,
    past_lookups,
    require_order,
    tell_flagged,
    tell_lookups,
    tell_refused,
    tell_times,
    tell_unknown,
    tell_unmatched,
)
from tools.cli.options import (
    HERE,
    EventsOption,
    LabelsOption,
    MoreEvents,
    PipelineOption,
    RecordTimeOption,
    SetOption,
    SortOption,
    features_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from features.definition import FeatureSet
    from features.loading import KnownLabels, PastLookup
    from features.tables import Built, EventTableReader, HistoryRun, SortedEvents
    from tools.topics.topic_events import TopicEvents

    Source = EventTableReader | SortedEvents | TopicEvents


class _Columns(NamedTuple):
    """Options that turn rows of files into records.

    Attributes:
        partition_by: Path of the field that keys the records.
        partitions: Number of partitions.
        record_time: Column with the timestamps of the records.
    """

    partition_by: str | None = None
    partitions: int | None = None
    record_time: str | None = None


def build(
    *,
    out: Annotated[
        FilePath,
        typer.Option(
            "--out",
            parser=file_path,
            metavar="FILE.parquet",
            help="File to write the table to; a path or URL.",
        ),
    ],
    events: EventsOption = None,
    more_events: MoreEvents = None,
    feature_set: SetOption = None,
    labels: LabelsOption = None,
    lookup: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE.parquet",
            help="Past values of a lookup, with the columns of `features load`: each event has the "
            "value of its time; may be given for several lookups.",
            show_default=False,
        ),
    ] = None,
    partition_by: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Assign rows to partitions by this field, with Kafka's default partitioner; needs "
            "--partitions.",
            show_default=False,
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of partitions; needs --partition-by.",
            show_default=False,
        ),
    ] = None,
    record_time: RecordTimeOption = None,
    sort: SortOption = False,
    allow_late: Annotated[
        bool,
        typer.Option(
            "--allow-late",
            help="Write the table even if over 1 % of the rows are late or out of order.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing table.")] = False,
    pipeline: PipelineOption = HERE,
) -> None:
    """Build a training table with the code that computes features online.

    The table holds features, ids and keys, and labels. Reads event files; without
    --events, the pipeline's input topic up to its end at the time of the call.
    Lookups without --lookup have their default values. Rows from files keep the
    file order; rows from a topic are ordered by partition and offset. Files are
    refused if more than 1 % of the rows are out of order. The last line on stdout
    is JSON.
    """
    _require_free(out, force=force)
    from features.definition import load_feature_set

    files = [*(events or []), *(more_events or [])]
    made = load_feature_set(features_file(feature_set, pipeline))
    started = time.perf_counter()
    known = known_labels(made, labels)
    past = past_lookups(made, lookup or [])
    columns = _Columns(partition_by, partitions, record_time)
    with _source(made, files, pipeline, columns, sort=sort) as source:

        def judge(run: HistoryRun, rows: int) -> None:
            if files and not allow_late:
                require_order(made, run, rows, record_time)

        built = _build(made, source, out, known, past, judge, by_partition=not files)
    if files:
        tell_times(made, built, record_time, SORT_THEM)
    tell_flagged(built.flagged)
    tell_unmatched(known, built.labelled)
    tell_unknown(made, labelled=bool(built.labelled), past=past)
    tell_lookups(past, built.flagged)
    tell_refused("events", built.refused.total(), built.examples, built.refused)
    print(json.dumps(_summary(made, built, out, time.perf_counter() - started)))


def _require_free(out: FilePath, *, force: bool) -> None:
    """Raise ConfigurationError for a file that would be overwritten, before anything is read."""
    from base.errors import ConfigurationError
    from base.file_path import require_writable

    require_writable(out, "--out")
    if out.is_file() and not force:
        raise ConfigurationError(
            f"--out: {out} is there already; name another file, or overwrite it with --force"
        )


def _build(
    feature_set: FeatureSet,
    source: Source,
    out: FilePath,
    labels: KnownLabels | None,
    lookups: Mapping[str, PastLookup],
    judge: Callable[[HistoryRun, int], None],
    *,
    by_partition: bool,
) -> Built:
    """Build the table.

    Args:
        feature_set: The feature set.
        source: The events.
        out: File of the table.
        labels: Labels to use in place of the events' own; None for the events' own.
        lookups: Past values of lookups.
        judge: Function of the counts so far and the number of all rows; it may raise.
        by_partition: True if rows come by partition and offset.
    """
    from features.tables import build as build_table
    from tools.progress import progress

    total = source.count()

    def advanced(done: int, run: HistoryRun) -> None:
        advance(done, total)
        judge(run, total)

    with progress("building") as advance:
        return build_table(
            feature_set,
            source,
            out,
            labels,
            lookups=lookups,
            partitions=source.partitions,
            by_partition=by_partition,
            advance=advanced,
        )


@contextmanager
def _source(
    feature_set: FeatureSet,
    files: list[FilePath],
    pipeline: Path,
    columns: _Columns,
    *,
    sort: bool,
) -> Iterator[Source]:
    from base.errors import ConfigurationError
    from features.tables import SortedEvents

    if files:
        events = _file_events(feature_set, files, columns)
        yield SortedEvents(events) if sort else events
        return
    if sort or columns != _Columns():
        raise ConfigurationError(
            "--partition-by, --partitions, --record-time and --sort are for files, as a topic has "
            "partitions, timestamps and an order of its own; remove them, or give --events FILE..."
        )
    with _log_events(feature_set, pipeline) as log_events:
        yield log_events


@contextmanager
def _log_events(feature_set: FeatureSet, pipeline: Path) -> Iterator[TopicEvents]:
    from base.errors import ConfigurationError
    from models.policy import Rules, load_policy
    from tools.topics.topic_events import TopicEvents
    from tools.topics.topic_log import TopicLog
    from worker.settings import FILE_NAME, load_settings

    if not (pipeline / FILE_NAME).exists():
        raise ConfigurationError(
            f"give --events FILE..., or --pipeline DIR to read its input topic; there is no "
            f"{pipeline / FILE_NAME}"
        )
    settings = load_settings(pipeline)
    rules = Rules(load_policy(settings.policy), feature_set) if settings.policy.exists() else None
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    with TopicLog(kafka, "kafka.input_topic", kafka.input_topic, timeout_s) as log:
        yield TopicEvents(feature_set, settings, rules, log)


def _file_events(
    feature_set: FeatureSet, files: list[FilePath], columns: _Columns
) -> EventTableReader:
    from base.errors import ConfigurationError
    from features.tables import EventTableReader, Partitioning

    partition_by, partitions, record_time = columns
    if (partition_by is None) != (partitions is None):
        raise ConfigurationError("--partition-by and --partitions need each other; give both")
    partitioning = None
    if partition_by is not None and partitions is not None:
        partitioning = Partitioning.by(feature_set, partition_by, partitions)
    return EventTableReader(feature_set, files, partitioning, record_time=record_time)


def _summary(
    feature_set: FeatureSet, built: Built, out: FilePath, seconds: float
) -> dict[str, Any]:
    return {
        "out": str(out),
        "rows": built.rows,
        "labelled": built.labelled,
        "refused": built.refused.total(),
        "out_of_order": built.out_of_order,
        "late": built.flagged.get("late", 0),
        "ahead": built.flagged.get("ahead", 0),
        "without_timestamp": built.without_timestamp,
        "seconds": round(seconds, 3),
        "events_per_s": round(built.rows / seconds),
        "features": len(feature_set.names),
        "fingerprint": feature_set.fingerprint,
    }
