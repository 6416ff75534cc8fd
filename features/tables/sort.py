"""Sort events of files by event time, in bounded memory."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, cast

import numpy as np
import pyarrow as pa

from base.arrays import Rows
from features.tables.event_files import CHUNK_ROWS, EventTableReader, Places
from features.tables.event_table import EventTable, cast_like
from features.tables.merge import concat

_MIN_BLOCK_ROWS = 1000
"""Minimum rows of a block: the overhead of smaller blocks exceeds their benefit."""


class SortedEvents:
    """Events of files by event time; those of one time are in file order.

    Rows have the positions of sorted files: a row's offset is the number of rows of its partition
    before it. Invalid rows come first. Runs of ``chunk_rows`` rows are sorted into a temporary
    file, a copy of what is read, and merged.
    """

    def __init__(self, source: EventTableReader, chunk_rows: int = CHUNK_ROWS) -> None:
        self._source = source
        self._chunk_rows = chunk_rows

    @property
    def partitions(self) -> int:
        return self._source.partitions

    def count(self) -> int:
        """Number of rows in all files. Raises ConfigurationError for a file that cannot be read."""
        return self._source.count()

    def __iter__(self) -> Iterator[EventTable]:
        """Iterate over the events in chunks. Raises ConfigurationError as `EventTableReader`."""
        runs = self.count() // self._chunk_rows + 1
        block = max(self._chunk_rows // runs, _MIN_BLOCK_ROWS)
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
                    sorted_runs.append(_SortedRun.write(file, _like(first, events), block))
            for events in _chunks(_merged(sorted_runs), self._chunk_rows):
                yield _placed(events, places)


@dataclass(slots=True)
class _SortedRun:
    """A sorted run in a file.

    Attributes:
        file: The file.
        blocks: Start positions of the blocks that are still to be read.
        held: Rows of the block that was read last.
    """

    file: IO[bytes]
    blocks: list[int]
    held: EventTable | None = field(default=None)

    @classmethod
    def write(cls, file: IO[bytes], events: EventTable, rows: int) -> _SortedRun:
        order = np.argsort(events.batch.event_time, kind="stable")
        blocks = []
        for begin in range(0, len(order), rows):
            blocks.append(file.tell())
            pickle.dump(take(events, order[begin : begin + rows]), file, pickle.HIGHEST_PROTOCOL)
        return cls(file, blocks)

    def hold(self) -> bool:
        """Make sure that rows are held; return False if none are left."""
        if self.held is None and self.blocks:
            self.file.seek(self.blocks.pop(0))
            # Written by this process, to a temporary file without a name.
            self.held = cast("EventTable", pickle.load(self.file))  # noqa: S301
        return self.held is not None

    def cut(self, time: int, number: int) -> EventTable | None:
        """Take the rows up to an event time; of rows with that time, those up to a row number."""
        held = self.held
        if held is None:
            return None
        times = held.batch.event_time
        begin, end = np.searchsorted(times, [time, time + 1])
        end = begin + np.searchsorted(held.numbers[begin:end], number, "right")
        self.held = take(held, np.arange(end, len(times))) if end < len(times) else None
        return take(held, np.arange(end)) if end else None


def _merged(runs: Sequence[_SortedRun]) -> Iterator[EventTable]:
    """Rows of all runs in order, in chunks."""
    while runs := [run for run in runs if run.hold()]:
        # In each run, rows that are not held yet come after the last one held.
        unread = [_last(run.held) for run in runs if run.held and run.blocks]
        time, number = min(unread) if unread else max(_last(run.held) for run in runs if run.held)
        parts = [part for run in runs if (part := run.cut(time, number)) is not None]
        merged = _join(parts)
        yield take(merged, np.lexsort((merged.numbers, merged.batch.event_time)))


def _last(events: EventTable) -> tuple[int, int]:
    return int(events.batch.event_time[-1]), int(events.numbers[-1])


def _chunks(parts: Iterator[EventTable], rows: int) -> Iterator[EventTable]:
    """The same rows in chunks of at least ``rows``."""
    waiting: list[EventTable] = []
    for part in parts:
        waiting.append(part)
        if sum(len(one.batch) for one in waiting) >= rows:
            yield _join(waiting)
            waiting = []
    if waiting:
        yield _join(waiting)


def _join(parts: Sequence[EventTable]) -> EventTable:
    """Concatenate events with the same columns."""
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
    """Events with the column types of the first events' identity columns."""
    columns = zip(first.identity.items(), events.identity.values(), strict=True)
    identity = {name: cast_like(name, array, began.type) for (name, began), array in columns}
    fraud = events.fraud
    if fraud is None:
        fraud = pa.nulls(len(events.batch), pa.bool_())
    return replace(events, identity=identity, fraud=fraud)


def take(events: EventTable, rows: Rows) -> EventTable:
    """Take the events at ``rows``, in their order; invalid rows are dropped."""
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
    """Events with their positions in the sorted log."""
    batch, first = events.batch, places.count
    own = batch.records
    records = places.take(len(batch), own.partitions, own.timestamps)
    return replace(
        events,
        batch=replace(batch, records=records),
        numbers=first + np.arange(len(batch)),
    )
