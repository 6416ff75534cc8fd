"""Values that the stages pass on: records, columns, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, chain, repeat
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.errors import RecordError

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Position:
    """Topic, partition and offset of a record."""

    topic: str
    partition: int
    offset: int


class Kind(StrEnum):
    """The logical type of a column, after the Avro specification's logical types."""

    BOOL = "bool"
    LONG = "long"
    DOUBLE = "double"
    STRING = "string"
    TIME = "time"
    DECIMAL = "decimal"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """N values of one field.

    Attributes:
        kind: Logical type of the values.
        values: bool[N] for BOOL, int64[N] for LONG, float64[N] for DOUBLE, int64[N] of microseconds
            since 1970-01-01 UTC for TIME, int64[N] of unscaled units for DECIMAL, and a
            ``pyarrow.StringArray`` of N non-null strings for STRING.
        valid: bool[N], False where the field is null; the value there is 0, False or "".
        scale: Decimal digits after the point, for DECIMAL.
    """

    kind: Kind
    values: npt.NDArray[Any] | pa.StringArray
    valid: npt.NDArray[np.bool_]
    scale: int = 0

    def __len__(self) -> int:
        return len(self.valid)

    def take(self, rows: npt.NDArray[np.intp]) -> Self:
        """Column of the values at ``rows``, in the order of ``rows``."""
        values = self.values.take(pa.array(rows)) if self.kind is Kind.STRING else self.values[rows]
        return type(self)(self.kind, values, self.valid[rows], self.scale)

    def where(self, kept: npt.NDArray[np.bool_]) -> Self:
        """Column with the same values, null where ``kept`` is False."""
        if self.kind is Kind.STRING:
            values = pc.if_else(pa.array(kept), self.values, "")
        else:
            values = np.where(kept, self.values, self.values.dtype.type(0))
        return type(self)(self.kind, values, self.valid & kept, self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """N consumed records of one topic, as parallel sequences.

    Attributes:
        topic: Name of the topic.
        keys: Key of each record, or None.
        values: Value of each record, or None.
        partitions: int32[N].
        offsets: int64[N].
        timestamps: int64[N], Kafka timestamp in milliseconds since 1970-01-01 UTC; -1 for a
            record without one.
        headers: Headers of each record; None if no record of the batch has any.
        faults: Error of each row that the client could not read in full; such a row becomes a dead
            letter.
        key_token: Function of a key that gives the token to write in its place. Of such records
            no value and no header is written either. None for records that may be written.
    """

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    partitions: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    headers: Sequence[Headers | None] | None = None
    faults: Mapping[int, RecordError] = field(default_factory=dict)
    key_token: Callable[[bytes], str] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def position(self, row: int) -> Position:
        return Position(self.topic, int(self.partitions[row]), int(self.offsets[row]))

    def take(self, rows: npt.NDArray[np.intp]) -> Self:
        """Records at ``rows``, in the order of ``rows``."""
        order = rows.tolist()
        return type(self)(
            self.topic,
            [self.keys[i] for i in order],
            [self.values[i] for i in order],
            self.partitions[rows],
            self.offsets[rows],
            self.timestamps[rows],
            None if self.headers is None else [self.headers[i] for i in order],
            {row: self.faults[i] for row, i in enumerate(order) if i in self.faults}
            if self.faults
            else {},
            self.key_token,
        )

    def __getitem__(self, some: slice) -> Self:
        """Records at consecutive rows."""
        begin, end, _ = some.indices(len(self))
        return type(self)(
            self.topic,
            self.keys[begin:end],
            self.values[begin:end],
            self.partitions[begin:end],
            self.offsets[begin:end],
            self.timestamps[begin:end],
            None if self.headers is None else self.headers[begin:end],
            {row - begin: fault for row, fault in self.faults.items() if begin <= row < end},
            self.key_token,
        )

    def behind(self, others: Sequence[Self]) -> Self:
        """The records of ``others``, which are of the same topic, and these behind them."""
        parts = [*others, self]
        begins = accumulate(map(len, parts), initial=0)
        has_headers = any(part.headers is not None for part in parts)
        headers = chain.from_iterable(part.headers or repeat(None, len(part)) for part in parts)
        return type(self)(
            self.topic,
            [*chain.from_iterable(part.keys for part in parts)],
            [*chain.from_iterable(part.values for part in parts)],
            np.concatenate([part.partitions for part in parts]),
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            [*headers] if has_headers else None,
            {
                begin + row: fault
                for part, begin in zip(parts, begins, strict=False)
                for row, fault in part.faults.items()
            },
            self.key_token,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """N decoded bodies.

    Attributes:
        columns: Column[N] of each path in use.
        errors: Error of each row that could not be decoded; such a row is null in every column.
        schema_ids: Writer schema id of each row, as text; None for a row whose frame cannot be
            read. Empty if the rows have no schema ids, such as those of a file.
    """

    columns: Mapping[str, Column]
    errors: Mapping[int, RecordError]
    schema_ids: Sequence[str | None] = ()


@dataclass(frozen=True, slots=True, eq=False)
class EventBatch:
    """A micro-batch: N events as columns, each with its record.

    Attributes:
        records: The N records that the events were decoded from.
        columns: Column[N] of each dotted path in use.
        event_id: StringArray[N].
        event_time: int64[N], microseconds since 1970-01-01 UTC.
        amount_minor: int64[N] of minor units; None if no amount is bound.
        entity_keys: StringArray[N] by name of the entity.
    """

    records: Records
    columns: Mapping[str, Column]
    event_id: pa.StringArray
    event_time: npt.NDArray[np.int64]
    amount_minor: npt.NDArray[np.int64] | None
    entity_keys: Mapping[str, pa.StringArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, rows: npt.NDArray[np.intp]) -> Self:
        """Events at ``rows``, in the order of ``rows``."""
        places = pa.array(rows)
        return type(self)(
            self.records.take(rows),
            {path: column.take(rows) for path, column in self.columns.items()},
            self.event_id.take(places),
            self.event_time[rows],
            None if self.amount_minor is None else self.amount_minor[rows],
            {entity: keys.take(places) for entity, keys in self.entity_keys.items()},
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """An invalid row or record: not an event, or not a label.

    Attributes:
        where: Place of the row or record, in words of its reader.
        code: Error code.
        message: Error message.
    """

    where: str
    code: str
    message: str


def refusals(
    errors: Mapping[int, RecordError], describe_row: Callable[[int], str]
) -> list[Refusal]:
    """The invalid rows of a chunk, in order.

    Args:
        errors: Error of each invalid row.
        describe_row: Gives the place of a row, as in ``Refusal.where``.
    """
    return [
        Refusal(describe_row(row), error.code.value, error.message)
        for row, error in sorted(errors.items())
    ]
