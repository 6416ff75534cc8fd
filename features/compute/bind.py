"""Bind decoded columns to event fields; return an error for each invalid record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from base.arrays import Ints32, Longs, RowErrors, byte_lengths
from base.errors import ErrorCode, RecordError
from features.definition.bindings import AmountBinding, Bindings, EntityBinding, FieldBinding
from features.definition.feature_set import FeatureSet
from features.values import column_values as columns
from features.values.key_texts import MAX_KEY_BYTES, encode
from schemas.batch import Column, Decoded, EventBatch, Kind, Records

EARLIEST = 946_684_800_000_000
"""2000-01-01 UTC in microseconds."""
LATEST = 4_102_444_800_000_000
"""2100-01-01 UTC in microseconds; exclusive bound."""


def bind(
    feature_set: FeatureSet, records: Records, decoded: Decoded
) -> tuple[EventBatch, dict[int, RecordError]]:
    """Bind the decoded columns of N records to events.

    Fields with tokens have them in place of their values from here on, in the columns too.

    A row has one error: the fault of its record or its decoding error, else the first failed check
    in this order: event id, event time, amount, entity keys, partition key, values that windows
    store.

    Args:
        feature_set: The feature set.
        records: N input records.
        decoded: Their decoded columns and decoding errors.

    Returns:
        The valid events in the order of their records, and the error of each invalid row.

    Raises:
        ConfigurationError: A column has a kind that the bindings cannot read (a file whose columns
            are not those of the schema).
    """
    bindings, bounds = feature_set.bindings, feature_set.bounds
    decoded = _with_tokens(bindings, decoded)
    errors = RowErrors(decoded.errors, records.faults)
    event_id = _key(bindings.event_id, "event id", ErrorCode.EVENT_ID_MISSING, decoded, errors)
    event_time = _time(bindings, decoded, errors)
    amount = _amount(bindings.amount, decoded, errors) if bindings.amount else None
    keys = {
        name: _entity_key(name, entity, decoded, errors)
        for name, entity in bindings.entities.items()
    }
    partition_key = bindings.partition_key
    if partition_key and not _is_required(partition_key, bindings.entities.values()):
        _key(partition_key, "partition key", ErrorCode.PARTITION_KEY_MISSING, decoded, errors)
    for path, digits in bounds.fields.items():
        is_amount = bindings.amount is not None and path == bindings.amount.source.path
        values = amount if is_amount else decoded.columns[path].values
        _bound(path, values, digits or 0, bounds.largest, errors, is_amount=is_amount)
    batch = EventBatch(records, decoded.columns, event_id, event_time, amount, keys)
    if errors.by_row:
        batch = batch.take(errors.valid_rows(len(records)))
    return batch, errors.by_row


def _key(
    field: FieldBinding, what: str, missing: ErrorCode, decoded: Decoded, errors: RowErrors
) -> pa.StringArray:
    keys, lengths = _required(field, what, missing, decoded, errors)
    if len(lengths) and lengths.max() > MAX_KEY_BYTES:
        errors.add(lengths > MAX_KEY_BYTES, *_too_long(what, (field.path,)))
    return keys


def _entity_key(
    name: str, entity: EntityBinding, decoded: Decoded, errors: RowErrors
) -> pa.StringArray:
    what, missing = f"key of {name}", ErrorCode.ENTITY_KEY_MISSING
    if not entity.is_composite:
        return _key(entity.parts[0].field, what, missing, decoded, errors)
    keys, too_long = encode(
        [
            columns.text(decoded.columns[field.path], field.path)
            if nullable
            else _required(field, what, missing, decoded, errors)[0]
            for field, nullable, _ in entity.parts
        ]
    )
    errors.add(too_long, *_too_long(what, entity.paths))
    return keys


def _required(
    field: FieldBinding, what: str, missing: ErrorCode, decoded: Decoded, errors: RowErrors
) -> tuple[pa.StringArray, Ints32]:
    """Text of a key or of a part of one, and its length; an error for each row without it."""
    column = decoded.columns[field.path]
    texts = columns.text(column, field.path)
    lengths = byte_lengths(texts)
    if len(lengths) and (lengths.min() == 0 or not column.valid.all()):
        absent = (lengths == 0) | ~column.valid
        errors.add(absent, missing, f"the {what} ({field.path}) is null or empty")
    return texts, lengths


def _too_long(what: str, paths: Sequence[str]) -> tuple[ErrorCode, str]:
    message = f"the {what} ({', '.join(paths)}) is longer than {MAX_KEY_BYTES} bytes"
    return ErrorCode.KEY_TOO_LONG, message


def _is_required(field: FieldBinding, entities: Iterable[EntityBinding]) -> bool:
    """True if the keys of an entity are checked for this field already."""
    return any(
        part.field == field and not part.nullable for entity in entities for part in entity.parts
    )


def _with_tokens(bindings: Bindings, decoded: Decoded) -> Decoded:
    key = bindings.token_key
    if key is None:
        return decoded
    columns_of = dict(decoded.columns)
    for path in bindings.tokens:
        column = columns_of[path]
        tokens = key.tokens(columns.text(column, path))
        columns_of[path] = Column(Kind.STRING, tokens, column.valid)
    return replace(decoded, columns=columns_of)


def _time(bindings: Bindings, decoded: Decoded, errors: RowErrors) -> Longs:
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


def _amount(binding: AmountBinding, decoded: Decoded, errors: RowErrors) -> Longs:
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
    path: str, values: Any, digits: int, largest: int, errors: RowErrors, *, is_amount: bool
) -> None:
    if values.dtype == np.int64:
        beyond = (values > largest) | (values < -largest)
    else:
        # A value that is not finite is missing, in windows as in other features.
        with np.errstate(over="ignore"):
            beyond = np.isfinite(values) & (np.abs(values) * 10.0**digits > largest)
    code = ErrorCode.AMOUNT_OVERFLOW if is_amount else ErrorCode.VALUE_OUT_OF_RANGE
    errors.add(beyond, code, f"{path} is too large for a window to sum it exactly")
