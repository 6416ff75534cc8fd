"""Events on their way into a training table."""

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
    """Some events of an input, in its order, and what of it is none.

    identity: by name, the columns[N] that tell which event is which, as the input has them.
    numbers: int64[N], the place of each event among all that the input holds.
    fraud: BooleanArray[N], null where unlabelled; None where the input knows no labels.
    rows: read for it, those that are no events included.
    """

    batch: EventBatch
    identity: Mapping[str, pa.Array]
    numbers: npt.NDArray[np.int64]
    fraud: pa.BooleanArray | None
    refused: list[Refusal]
    rows: int


def identity_paths(bindings: Bindings) -> tuple[str, ...]:
    """Id, time, entity keys and partition key, each once."""
    fields = [binding.path for binding in bindings.entities.values()]
    if bindings.partition_key is not None:
        fields.append(bindings.partition_key.path)
    return tuple(dict.fromkeys([bindings.event_id.path, bindings.event_time.path, *fields]))


def as_array(column: Column) -> pa.Array:
    """The column in Arrow's own type of its kind; of an identity column, or of a label."""
    if column.kind is not Kind.STRING:
        return pa.array(column.values, _TYPES[column.kind], mask=~column.valid)
    if column.valid.all():
        return column.values
    return pc.if_else(pa.array(column.valid), column.values, pa.scalar(None, pa.string()))


def cast_like(name: str, array: pa.Array, began: pa.DataType) -> pa.Array:
    """The array in the type that its column began with. Raises ConfigurationError."""
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
