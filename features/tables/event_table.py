"""Chunks of events for a training table, and the columns that come from the input as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Longs
from base.errors import ConfigurationError
from features.definition.bindings import Bindings
from schemas.batch import Column, EventBatch, Kind, Refusal
from schemas.files.values import to_column

_TYPES = {
    Kind.STRING: pa.string(),
    Kind.LONG: pa.int64(),
    Kind.TIME: pa.timestamp("us", "UTC"),
    Kind.BOOL: pa.bool_(),
}


@dataclass(frozen=True, slots=True, eq=False)
class EventTable:
    """A chunk of events of an input in order, and its invalid rows.

    Attributes:
        batch: N events.
        identity: Columns [N] with ids and keys, by name, as the input has them.
        numbers: int64[N], the row number of each event in the whole input.
        fraud: BooleanArray[N], null where unlabelled; None if the input has no labels.
        refused: Invalid rows.
        rows: Number of rows read for the chunk, invalid rows included.
    """

    batch: EventBatch
    identity: Mapping[str, pa.Array]
    numbers: Longs
    fraud: pa.BooleanArray | None
    refused: list[Refusal]
    rows: int


def identity_paths(bindings: Bindings) -> tuple[str, ...]:
    """Paths of id, time, entity keys and partition key, each once."""
    paths = [bindings.event_id.path, bindings.event_time.path]
    paths += [path for entity in bindings.entities.values() for path in entity.paths]
    if bindings.partition_key is not None:
        paths.append(bindings.partition_key.path)
    return tuple(dict.fromkeys(paths))


def as_array(column: Column) -> pa.Array:
    """Column as an Arrow array in the type of its kind; for an identity column or a label."""
    if column.kind is not Kind.STRING:
        return pa.array(column.values, _TYPES[column.kind], mask=~column.valid)
    if column.valid.all():
        return column.values
    return pc.if_else(pa.array(column.valid), column.values, pa.scalar(None, pa.string()))


def cast_like(name: str, array: pa.Array, began: pa.DataType) -> pa.Array:
    """Array in the type of the column's first chunk. Raises ConfigurationError."""
    if array.type == began:
        return array
    try:
        if pa.types.is_string(began) and pa.types.is_floating(array.type):
            column, bad = to_column(array, Kind.STRING, 0, f"column {name}")
            if not bad.any():
                return as_array(column)
        return array.cast(began)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigurationError(
            f"column {name} is {began} in the first rows and {array.type} further on: give it one "
            "type in all files"
        ) from error


def record_times(
    name: str | None, arrays: Mapping[str, pa.Array], rows: int, where: str, first: int
) -> Longs:
    """Read the column of a file that holds the Kafka timestamp of each record.

    Args:
        name: Name of the column; None for no timestamps.
        arrays: Values of the file by column.
        rows: Number of rows.
        where: Name of the file in messages.
        first: Number of the first row.

    Returns:
        int64[N] in milliseconds; a timestamp that is missing is -1, 0 or less.

    Raises:
        ConfigurationError: The file lacks the column, or a value is not a time.
    """
    if name is None:
        return np.full(rows, -1, np.int64)
    if name not in arrays:
        raise ConfigurationError(
            f"--record-time: {where} has no column {name!r}: name the one that holds the "
            "timestamps of the records"
        )
    column, unread = to_column(arrays[name], Kind.TIME, 0, f"column {name!r} of {where}")
    bad = np.flatnonzero(unread)
    for row, value in zip(bad.tolist(), arrays[name].take(pa.array(bad)).to_pylist(), strict=True):
        if not _is_no_timestamp(value):
            raise ConfigurationError(
                f"--record-time: {where}, row {first + row}: {value!r} in column {name!r} is not a "
                "time; give a timestamp, ISO 8601 text or a number since 1970-01-01 UTC (s, ms, us "
                "or ns), and null where the record has none"
            )
    return np.where(column.valid, column.values // 1000, -1)


def _is_no_timestamp(value: object) -> bool:
    """True if the value stands for no timestamp: Kafka's clients give 0 or less."""
    if isinstance(value, bool):
        return False
    try:
        return float(value) <= 0  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
