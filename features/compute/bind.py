"""Bind decoded columns to event fields; return an error for each invalid record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ErrorCode, RecordError
from features.definition.event_fields import AmountBinding, Bindings, FieldBinding
from features.values import column_values as columns
from schemas.batch import Decoded, EventBatch, Records

Mask = npt.NDArray[np.bool_]

MAX_KEY_BYTES = 1024
"""Maximum length of an event id or entity key, in UTF-8 bytes."""
EARLIEST = 946_684_800_000_000
"""2000-01-01 UTC in microseconds."""
LATEST = 4_102_444_800_000_000
"""2100-01-01 UTC in microseconds; exclusive bound."""


class _Errors:
    """The first error of each row."""

    def __init__(self, records: Records, decoded: Decoded) -> None:
        self.by_row: dict[int, RecordError] = {**decoded.errors, **records.faults}
        self.bad = np.zeros(len(records), dtype=np.bool_)
        if self.by_row:
            self.bad[list(self.by_row)] = True

    def add(self, wrong: Mask, code: ErrorCode, message: str) -> None:
        """Record this error for the rows in ``wrong`` that have no error yet."""
        if not wrong.any():
            return
        error = RecordError(code, message)
        for row in np.flatnonzero(wrong & ~self.bad).tolist():
            self.by_row[row] = error
        self.bad |= wrong


@dataclass(frozen=True, slots=True)
class Bounded:
    """Bound on the absolute value of fields that windows keep as whole numbers.

    Attributes:
        fields: Number of decimal digits that are kept of a DOUBLE, by path; None for other kinds.
        largest: Largest absolute value.
    """

    fields: Mapping[str, int | None]
    largest: int


def bind(
    bindings: Bindings, records: Records, decoded: Decoded, bounded: Bounded
) -> tuple[EventBatch, dict[int, RecordError]]:
    """Bind the decoded columns of N records to events.

    A row has one error: the fault of its record or its decoding error, else the first failed check
    in this order: event id, event time, amount, entity keys, partition key, values that windows
    keep.

    Args:
        bindings: Meaning of the fields of an event.
        records: N input records.
        decoded: Their decoded columns and decoding errors.
        bounded: Fields whose values windows keep, and the bound on these values.

    Returns:
        The valid events in the order of their records, and the error of each invalid row.

    Raises:
        ConfigurationError: A column has a kind that the bindings cannot read (a file whose columns
            are not those of the schema).
    """
    errors = _Errors(records, decoded)
    event_id = _key(bindings.event_id, "event id", ErrorCode.EVENT_ID_MISSING, decoded, errors)
    event_time = _time(bindings, decoded, errors)
    amount = _amount(bindings.amount, decoded, errors) if bindings.amount else None
    keys = {
        entity: _key(field, f"key of {entity}", ErrorCode.ENTITY_KEY_MISSING, decoded, errors)
        for entity, field in bindings.entities.items()
    }
    partition_key = bindings.partition_key
    if partition_key and partition_key not in bindings.entities.values():
        _key(partition_key, "partition key", ErrorCode.PARTITION_KEY_MISSING, decoded, errors)
    for path, digits in bounded.fields.items():
        is_amount = bindings.amount is not None and path == bindings.amount.source.path
        values = amount if is_amount else decoded.columns[path].values
        _bound(path, values, digits or 0, bounded.largest, errors, is_amount=is_amount)
    batch = EventBatch(records, decoded.columns, event_id, event_time, amount, keys)
    return (_without(batch, errors.bad) if errors.by_row else batch), errors.by_row


def _key(
    field: FieldBinding, what: str, missing: ErrorCode, decoded: Decoded, errors: _Errors
) -> pa.StringArray:
    column = decoded.columns[field.path]
    keys = columns.text(column, field.path)
    lengths = columns.byte_lengths(keys)
    if not len(lengths):
        return keys
    if lengths.min() == 0 or not column.valid.all():
        absent = (lengths == 0) | ~column.valid
        errors.add(absent, missing, f"the {what} ({field.path}) is null or empty")
    if lengths.max() > MAX_KEY_BYTES:
        errors.add(
            lengths > MAX_KEY_BYTES,
            ErrorCode.KEY_TOO_LONG,
            f"the {what} ({field.path}) is longer than {MAX_KEY_BYTES} bytes",
        )
    return keys


def _time(bindings: Bindings, decoded: Decoded, errors: _Errors) -> npt.NDArray[np.int64]:
    path, unit = bindings.event_time.path, bindings.event_time.unit
    column = decoded.columns[path]
    times = columns.event_times(column, path, unit)
    if not column.valid.all():
        errors.add(~column.valid, ErrorCode.EVENT_TIME_MISSING, f"the event time ({path}) is null")
    outside = (times < EARLIEST) | (times >= LATEST)
    errors.add(
        outside,
        ErrorCode.EVENT_TIME_OUT_OF_RANGE,
        f"the event time ({path}) is not between 2000 and 2100 (is its unit right?)",
    )
    return times


def _amount(binding: AmountBinding, decoded: Decoded, errors: _Errors) -> npt.NDArray[np.int64]:
    path = binding.source.path
    column = decoded.columns[path]
    minor, not_finite, overflow = columns.minor_units(column, path, binding.scale)
    if not column.valid.all():
        errors.add(~column.valid, ErrorCode.AMOUNT_MISSING, f"the amount ({path}) is null")
    errors.add(not_finite, ErrorCode.AMOUNT_NOT_FINITE, f"the amount ({path}) is not finite")
    errors.add(
        overflow, ErrorCode.AMOUNT_OVERFLOW, f"the amount ({path}) leaves 64 bits of minor units"
    )
    if binding.minimum is not None:
        errors.add(
            minor < binding.minimum,
            ErrorCode.AMOUNT_BELOW_MINIMUM,
            f"the amount ({path}) is below amount.min",
        )
    return minor


def _bound(
    path: str, values: Any, digits: int, largest: int, errors: _Errors, *, is_amount: bool
) -> None:
    if values.dtype == np.int64:
        beyond = (values > largest) | (values < -largest)
    else:
        # A value that is not finite is missing, in windows as in other features.
        with np.errstate(over="ignore"):
            beyond = np.isfinite(values) & (np.abs(values) * 10.0**digits > largest)
    code = ErrorCode.AMOUNT_OVERFLOW if is_amount else ErrorCode.VALUE_OUT_OF_RANGE
    errors.add(beyond, code, f"{path} is too large for a window to sum it exactly")


def _without(batch: EventBatch, bad: Mask) -> EventBatch:
    rows = np.flatnonzero(~bad)
    places = pa.array(rows)
    return EventBatch(
        batch.records.take(rows),
        {path: column.take(rows) for path, column in batch.columns.items()},
        batch.event_id.take(places),
        batch.event_time[rows],
        None if batch.amount_minor is None else batch.amount_minor[rows],
        {entity: keys.take(places) for entity, keys in batch.entity_keys.items()},
    )
