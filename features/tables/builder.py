"""Build a training table: the online computation over an input, in large batches."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, cast

import pyarrow as pa

from base.errors import ConfigurationError
from base.file_path import FilePath
from features.compute.enrich import Enriching, StoreRead
from features.definition import FeatureSet
from features.loading import NO_PAST_LOOKUPS, KnownLabels, PastLookup
from features.tables.event_table import EventTable
from features.tables.history_run import HistoryRun
from features.tables.training_table import Table
from schemas.batch import Refusal

T = TypeVar("T")

_AHEAD = 1
_BEHIND = 0
_SHOWN = 5
_END = object()


@dataclass(slots=True)
class Built:
    """Counts of a build.

    Attributes:
        rows: Number of rows of the table.
        labelled: Number of rows with a label.
        refused: Number of invalid rows of the input, by error code.
        examples: The first invalid rows.
        flagged: Number of rows with each flag.
        out_of_order: As in ``InputTimes``.
        without_timestamp: As in ``InputTimes``.
    """

    rows: int = 0
    labelled: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[Refusal] = field(default_factory=list)
    flagged: Mapping[str, int] = field(default_factory=dict)
    out_of_order: int = 0
    without_timestamp: int = 0

    def note(self, events: EventTable, labels: Mapping[str, pa.Array]) -> None:
        self.rows += len(events.batch)
        self.labelled += len(labels["label"]) - labels["label"].null_count
        self.refused.update(refusal.code for refusal in events.refused)
        self.examples += events.refused[: _SHOWN - len(self.examples)]


def build(  # noqa: PLR0913  inputs of a table
    feature_set: FeatureSet,
    source: Iterable[EventTable],
    out: FilePath,
    labels: KnownLabels | None = None,
    *,
    lookups: Mapping[str, PastLookup] = NO_PAST_LOOKUPS,
    partitions: int = 1,
    by_partition: bool = False,
    advance: Callable[[int, HistoryRun], None] = lambda _rows, _run: None,
) -> Built:
    """Write the table of all events of ``source``, in their order, to ``out``.

    If it raises, ``out`` is as it was; it also raises what ``advance`` raises.

    Args:
        feature_set: The feature set.
        source: Events in order.
        out: Path of the table.
        labels: Labels that replace those of the events.
        lookups: Past values of lookups, by name; the other lookups have their defaults.
        partitions: Number of partitions of the input.
        by_partition: See ``Table``.
        advance: Called with the number of input rows done and the run, which has their counts.

    Returns:
        The counts of the build.

    Raises:
        ConfigurationError: The input or a label is invalid, or there are no events.
    """
    built, done = Built(), 0
    with ThreadPoolExecutor(os.cpu_count(), "windows") as pool:
        run = HistoryRun(feature_set, labels, partitions, pool.map, lookups)
        with (
            Table(out, feature_set, lookups, by_partition=by_partition) as table,
            Behind(_BEHIND) as behind,
            closing(ahead(_begun(run, source), _AHEAD)) as chunks,
        ):
            for events, enriching in chunks:
                known = run.label(events)
                answered = run.read(enriching)
                behind.call(_write, table, events, answered, known)
                run.keep(events.batch, answered)
                built.note(events, known)
                done += events.rows
                advance(done, run)
            behind.finish()
            if not built.rows:
                raise ConfigurationError(_nothing(built, done))
            table.finish()
            built.flagged = table.flagged
            built.out_of_order = run.times.out_of_order
            built.without_timestamp = run.times.without_timestamp
    return built


def _nothing(built: Built, rows: int) -> str:
    if not rows:
        return "nothing is built: the input has no rows; give files or a topic with events"
    codes = ", ".join(f"{count:,} {code}" for code, count in built.refused.items())
    first = built.examples[0]
    return (
        f"nothing is built: of {rows:,} rows none is an event ({codes}); the first is "
        f"{first.where}: {first.code}: {first.message}. Correct the input, or name its columns "
        "under events of features.yaml"
    )


def _begun(run: HistoryRun, source: Iterable[EventTable]) -> Iterator[tuple[EventTable, Enriching]]:
    log = run.log
    for events in source:
        enriching = run.begin(events.batch, log)
        log = enriching.after
        yield events, enriching


def _write(
    table: Table, events: EventTable, answered: StoreRead, labels: Mapping[str, pa.Array]
) -> None:
    table.write(events, answered.finish(), labels)


def ahead(items: Iterable[T], count: int) -> Generator[T]:
    """Generate the items in another thread, at most ``count`` of them ahead.

    An exception of ``items`` is raised in its place.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "ahead") as pool:
        made = deque(pool.submit(next, iterator, _END) for _ in range(count))
        while (item := made.popleft().result()) is not _END:
            made.append(pool.submit(next, iterator, _END))
            yield cast("T", item)


class Behind:
    """Calls that run one after the other in another thread; at most ``max_calls`` wait."""

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        self._pool = ThreadPoolExecutor(1, "behind")
        self._calls: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Queue a call. Raises the exception of an earlier call."""
        while len(self._calls) > self._max_calls:
            self._calls.popleft().result()
        self._calls.append(self._pool.submit(function, *arguments))

    def finish(self) -> None:
        """Wait for all calls. Raises the exception of one of them."""
        while self._calls:
            self._calls.popleft().result()
