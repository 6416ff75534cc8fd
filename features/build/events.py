"""Events on their way into a training table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.definition.binding import Bindings
from schemas.batch import Column, EventBatch, Kind


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row or record that is no event. where: as its reader finds it."""

    where: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Events:
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
    """The column in Arrow's own type of its kind."""
    missing = None if column.valid.all() else pa.array(~column.valid)
    if column.kind is Kind.STRING:
        if missing is None:
            return column.values
        return pa.compute.if_else(missing, pa.scalar(None, pa.string()), column.values)
    kind = pa.timestamp("us", "UTC") if column.kind is Kind.TIME else None
    return pa.array(column.values, kind, mask=None if missing is None else ~column.valid)
