"""Events of files in the order of their times, in bounded memory."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.tables.event_files import CHUNK_ROWS, FileEvents, Places
from features.tables.events import EventTable, cast_like
from features.tables.merge import concat

Rows = npt.NDArray[np.intp]

_LEAST = 1000
"""Rows of a block: smaller ones cost more to look at than they save."""


class SortedEvents:
    """Events of files by event time; those of one time as they stand in the files.

    The places of rows are those of sorted files: a row's offset is how many of its partition come
    before it. Rows that are no events come first. Sorts runs of ``chunk_rows`` into a temporary
    file, a copy of what is read, and merges them.
    """

    def __init__(self, source: FileEvents, chunk_rows: int = CHUNK_ROWS) -> None:
        self._source = source
        self._chunk_rows = chunk_rows

    @property
    def partitions(self) -> int:
        return self._source.partitions

    def count(self) -> int:
        """Rows of all files. Raises ConfigurationError for one that cannot be read."""
        return self._source.count()

    def __iter__(self) -> Iterator[EventTable]:
        """Raises ConfigurationError as `FileEvents` does."""
        runs = self.count() // self._chunk_rows + 1
        block = max(self._chunk_rows // runs, _LEAST)
        first: EventTable | None = None
        places = Places(self.partitions)
        with tempfile.TemporaryFile(prefix="fraud-worker-sort-") as file:
            sorted_runs = []
            for events in self._source:
                first = first or events
                if events.refused:
                    nothing = take(events, np.arange(0))
                    yield replace(nothing, refused=events.refused, rows=len(events.refused))
                if len(events.batch):
                    sorted_runs.append(_Run.write(file, _like(first, events), block))
            for events in _chunks(_merged(sorted_runs), self._chunk_rows):
                yield _placed(events, places)


@dataclass(slots=True)
class _Run:
    """A sorted run in a file. blocks: where those to be read begin; held: rows of the one before."""

    file: IO[bytes]
    blocks: list[int]
    held: EventTable | None = field(default=None)

    @classmethod
    def write(cls, file: IO[bytes], events: EventTable, rows: int) -> _Run:
        order = np.argsort(events.batch.event_time, kind="stable")
        blocks = []
        for begin in range(0, len(order), rows):
            blocks.append(file.tell())
            pickle.dump(take(events, order[begin : begin + rows]), file, pickle.HIGHEST_PROTOCOL)
        return cls(file, blocks)

    def hold(self) -> bool:
        """Have rows at hand; False where none are left."""
        if self.held is None and self.blocks:
            self.file.seek(self.blocks.pop(0))
            # Of this process: a temporary file without a name.
            self.held = cast("EventTable", pickle.load(self.file))  # noqa: S301
        return self.held is not None

    def cut(self, time: int, number: int) -> EventTable | None:
        """Take the rows up to an event time, and of that time up to a row's number."""
        held = self.held
        if held is None:
            return None
        times = held.batch.event_time
        begin, end = np.searchsorted(times, [time, time + 1])
        end = begin + np.searchsorted(held.numbers[begin:end], number, "right")
        self.held = take(held, np.arange(end, len(times))) if end < len(times) else None
        return take(held, np.arange(end)) if end else None


def _merged(runs: Sequence[_Run]) -> Iterator[EventTable]:
    """The rows of all runs in order, some at a time."""
    while runs := [run for run in runs if run.hold()]:
        # What is not at hand yet comes behind the last row that is, of each run.
        unread = [_last(run.held) for run in runs if run.held and run.blocks]
        time, number = min(unread) if unread else max(_last(run.held) for run in runs if run.held)
        parts = [part for run in runs if (part := run.cut(time, number)) is not None]
        merged = _join(parts)
        yield take(merged, np.lexsort((merged.numbers, merged.batch.event_time)))


def _last(events: EventTable) -> tuple[int, int]:
    return int(events.batch.event_time[-1]), int(events.numbers[-1])


def _chunks(parts: Iterator[EventTable], rows: int) -> Iterator[EventTable]:
    """The same rows, at least ``rows`` at a time."""
    waiting: list[EventTable] = []
    for part in parts:
        waiting.append(part)
        if sum(len(one.batch) for one in waiting) >= rows:
            yield _join(waiting)
            waiting = []
    if waiting:
        yield _join(waiting)


def _join(parts: Sequence[EventTable]) -> EventTable:
    """Events that are alike, one after the other."""
    fraud = [part.fraud for part in parts]
    return EventTable(
        concat([part.batch for part in parts]),
        {
            name: pa.concat_arrays([part.identity[name] for part in parts])
            for name in parts[0].identity
        },
        np.concatenate([part.numbers for part in parts]),
        pa.concat_arrays(fraud),
        [],
        sum(len(part.batch) for part in parts),
    )


def _like(first: EventTable, events: EventTable) -> EventTable:
    """The events with the identity columns of the first ones."""
    columns = zip(first.identity.items(), events.identity.values(), strict=True)
    identity = {name: cast_like(name, array, began.type) for (name, began), array in columns}
    fraud = events.fraud
    if fraud is None:
        fraud = pa.nulls(len(events.batch), pa.bool_())
    return replace(events, identity=identity, fraud=fraud)


def take(events: EventTable, rows: Rows) -> EventTable:
    """The events at ``rows``, in their order; without what is no event."""
    places = pa.array(rows)
    return EventTable(
        events.batch.take(rows),
        {name: array.take(places) for name, array in events.identity.items()},
        events.numbers[rows],
        None if events.fraud is None else events.fraud.take(places),
        [],
        len(rows),
    )


def _placed(events: EventTable, places: Places) -> EventTable:
    """The events where they stand in the sorted log."""
    batch, first = events.batch, places.count
    own = batch.records
    records = places.take(len(batch), own.partitions, own.timestamps)
    return replace(
        events,
        batch=replace(batch, records=records),
        numbers=first + np.arange(len(batch)),
    )
