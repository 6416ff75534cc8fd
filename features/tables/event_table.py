"""Events for a training table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.errors import ConfigurationError
from features.definition.event_fields import Bindings
from features.tables.refusal import Refusal
from schemas.batch import Column, EventBatch, Kind
from schemas.files.values import to_column


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
    numbers: npt.NDArray[np.int64]
    fraud: pa.BooleanArray | None
    refused: list[Refusal]
    rows: int


def identity_paths(bindings: Bindings) -> tuple[str, ...]:
    """Paths of id, time, entity keys and partition key, each once."""
    fields = [binding.path for binding in bindings.entities.values()]
    if bindings.partition_key is not None:
        fields.append(bindings.partition_key.path)
    return tuple(dict.fromkeys([bindings.event_id.path, bindings.event_time.path, *fields]))


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


_TYPES = {
    Kind.STRING: pa.string(),
    Kind.LONG: pa.int64(),
    Kind.TIME: pa.timestamp("us", "UTC"),
    Kind.BOOL: pa.bool_(),
}
