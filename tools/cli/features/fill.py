"""``fraud-worker features fill``."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from base.file_path import FilePath, file_path
from base.times import utc
from tools.cli.features.load import StoredFeatures, read_labels, stored_features
from tools.cli.input_reports import SORT_THEM, note, tell_refused, tell_times
from tools.cli.options import (
    EVENTS,
    HERE,
    MoreEvents,
    PipelineOption,
    RecordTimeOption,
    SortOption,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from features.tables import EventTable
    from features.windows.order import InputTimes
    from schemas.batch import Refusal
    from tools.file_fill import FileFill
    from worker.consume.topics import InputTopic

_SHOWN = 5


@dataclass(slots=True)
class _Read:
    """Counts of the rows of files.

    Attributes:
        rows: Number of rows.
        refused: Number of rows that are not valid events.
        examples: The first of these.
        times: Counts of the event times; None before the first row.
    """

    rows: int
    refused: int
    examples: list[Refusal]
    times: InputTimes


def fill(
    *,
    events: Annotated[list[FilePath] | None, EVENTS] = None,
    more_events: MoreEvents = None,
    from_topic: Annotated[
        bool,
        typer.Option(
            "--from-topic",
            help="Fill from the input topic in place of files, after its number of partitions has "
            "changed, or to have new histories filled before workers start.",
        ),
    ] = False,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time (ISO 8601, UTC) from which on the input topic has all events; default: that "
            "of its first ones. Later rows are skipped.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        FilePath | None,
        typer.Option(
            parser=file_path,
            metavar="FILE",
            help="Labels to load as well, as by `features load-labels`.",
            show_default=False,
        ),
    ] = None,
    record_time: RecordTimeOption = None,
    sort: SortOption = False,
    pipeline: PipelineOption = HERE,
) -> None:
    """Fill the histories in the online store, before workers start.

    The worker fills histories from its input topic by itself, except after the
    number of partitions has changed: then stop all workers and give --from-topic.
    Events from before the topic began come from files (--events): without them,
    windows are short at first and events are flagged history_short. Rows that no
    window reaches back to are skipped. A row that is in the topic as well counts
    once.

    The histories begin anew, and a worker takes them over when it starts: a
    running one goes on with the old ones until then. So the command may be
    repeated, and an interrupted one changes nothing. The last line on stdout is
    JSON.
    """
    started = time.perf_counter()
    if from_topic == bool(events) or (more_events and not events):
        raise _configuration_error("--events: give event files, or --from-topic without any")
    if not from_topic:
        files = [*(events or []), *(more_events or [])]
        begin = None if until is None else _time(until)
        summary = _from_files(pipeline, files, begin, labels, record_time, sort=sort)
    elif until or record_time or sort:
        raise _configuration_error(
            "--from-topic: leave out --until, --record-time and --sort, which are about files"
        )
    else:
        summary = _from_topic(pipeline, labels)
    summary["seconds"] = round(time.perf_counter() - started, 3)
    print(json.dumps(summary))


def _from_files(
    pipeline: Path,
    files: list[FilePath],
    begin: int | None,
    labels: FilePath | None,
    record_time: str | None,
    *,
    sort: bool,
) -> dict[str, Any]:
    """Fill from event files, and return the summary."""
    from features.tables import EventTableReader, SortedEvents

    with stored_features(pipeline) as stored:
        _require_windows(stored, pipeline)
        stored.store.require_no_eviction()
        topic = _describe(stored)
        begin = _first_event(stored) if begin is None else begin
        reader = EventTableReader(stored.feature_set, files, record_time=record_time)
        if labels is not None:
            read_labels(stored, labels)
        source = SortedEvents(reader) if sort else reader
        filling, read, reached = _fill(stored, topic, source, reader.count(), begin)
    tell_refused("events", read.refused, read.examples)
    tell_times(stored.feature_set, read.times, record_time, SORT_THEM)
    _tell_end(filling, begin)
    return {
        "rows": read.rows,
        "filled": filling.filled,
        "skipped": filling.skipped,
        "refused": read.refused,
        "until": None if begin is None else utc(begin).isoformat(),
        "reaches_back_to": None if reached is None else utc(reached).isoformat(),
    }


def _from_topic(pipeline: Path, labels: FilePath | None) -> dict[str, Any]:
    """Fill from the input topic, and return the summary."""
    from tools.progress import progress
    from tools.topic_fill import fill_from_topic
    from tools.topics.topic_log import brokers_answer
    from worker.kafka import captured_errors

    with stored_features(pipeline) as stored:
        settings, feature_set, store = stored
        _require_windows(stored, pipeline)
        store.require_no_eviction()
        topic = _describe(stored)
        if labels is not None:
            read_labels(stored, labels)
        with (
            progress("filling") as advance,
            captured_errors() as lines,
            brokers_answer(settings.kafka, lines),
        ):
            filled = fill_from_topic(settings, feature_set, store, topic, advance)
    return {
        "partitions": topic.partitions,
        "filled": filled.events,
        "offsets": {str(p): offset for p, offset in sorted(filled.state.offsets.items())},
    }


def _configuration_error(message: str) -> Exception:
    from base.errors import ConfigurationError

    return ConfigurationError(message)


def _fill(
    stored: StoredFeatures,
    topic: InputTopic,
    source: Iterable[EventTable],
    rows: int,
    until: int | None,
) -> tuple[FileFill, _Read, int | None]:
    """Fill histories that begin anew, then let the next start take them over."""
    from features.windows.order import InputTimes
    from tools.file_fill import FileFill, NewHistories
    from tools.progress import progress

    settings, feature_set, store = stored
    new = NewHistories(settings, feature_set, store, topic)
    read = _Read(0, 0, [], InputTimes(feature_set.histories.rules))
    with progress("filling") as advance:
        passes = 1 if until is not None else 2
        end = until if until is not None else _end(stored, source, rows, advance)
        filling = FileFill(feature_set, new.target, end - feature_set.histories.span, until)
        for table in source:
            filling.add(table.batch)
            read.times.add(table.batch)
            read.rows += table.rows
            read.refused += len(table.refused)
            read.examples += table.refused[: _SHOWN - len(read.examples)]
            advance((passes - 1) * rows + read.rows, passes * rows)
    _require_order(read)
    reached = filling.finish()
    new.adopt()
    return filling, read, reached


def _end(stored: StoredFeatures, source: Iterable[EventTable], rows: int, advance: Any) -> int:
    """Time at which the rows end, up to a few with wrong times."""
    from base.errors import ConfigurationError
    from features.history.watermarks import advance as next_watermark

    support, done = stored.feature_set.histories.rules.watermark_support, 0
    highest: tuple[int, ...] = ()
    for table in source:
        if len(table.batch):
            _, _, highest = next_watermark(table.batch.event_time, highest, support)
        done += table.rows
        advance(done, 2 * rows)
    if not highest:
        raise ConfigurationError("--events: no row is a valid event; give files with events")
    return int(highest[-1])


def _time(text: str) -> int:
    from base.errors import ConfigurationError
    from base.times import SECOND

    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"--until: {text!r} is not a time; write it like 2026-11-30T08:00:00Z"
        ) from error
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * SECOND)


def _require_windows(stored: StoredFeatures, pipeline: Path) -> None:
    from base.errors import ConfigurationError

    if not stored.feature_set.histories.windows:
        raise ConfigurationError(
            f"{pipeline}: no feature is a window, so there are no histories to fill; add one first"
        )


def _require_order(read: _Read) -> None:
    """Raise ConfigurationError if over 1 % of all rows are out of order."""
    from base.errors import ConfigurationError

    if read.times.out_of_order * 100 > read.rows:
        raise ConfigurationError(
            f"--events: the rows are not in order of time: {read.times.out_of_order:,} of "
            f"{read.rows:,} are older than a row before them; give --sort"
        )


def _describe(stored: StoredFeatures) -> InputTopic:
    from tools.topics.topic_log import brokers_answer
    from worker.consume.topics import describe_input
    from worker.kafka import captured_errors

    settings = stored.settings
    with captured_errors() as lines, brokers_answer(settings.kafka, lines):
        return describe_input(settings.kafka, settings.delivery.broker_timeout_s)


def _first_event(stored: StoredFeatures) -> int | None:
    from tools.topics.first_event import first_event_time
    from tools.topics.topic_log import TopicLog

    kafka, timeout_s = stored.settings.kafka, stored.settings.delivery.broker_timeout_s
    with TopicLog(kafka, "kafka.input_topic", kafka.input_topic, timeout_s) as log:
        return first_event_time(stored.feature_set, stored.settings, log)


def _tell_end(filling: FileFill, until: int | None) -> None:
    """Report on stderr a gap between the files and the topic."""
    from worker.histories.marks import MAX_GAP

    end = filling.end
    if end is None:
        note("the files have too few events before the topic's first one to count")
    elif until is None:
        note(
            f"the topic has no events yet: windows miss what happens between {utc(end)}, the last "
            "event of the files, and its first one"
        )
    elif until - end > MAX_GAP:
        note(
            f"the files end at {utc(end)}, and the topic begins at {utc(until)}: windows miss the "
            "events between, and events are flagged history_short; fill again with files that hold "
            "them"
        )
