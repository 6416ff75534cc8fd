"""Read event files as records: the input that a producer would have sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa

from base.arrays import Longs, RowErrors
from base.errors import ConfigurationError, RecordError
from base.file_path import FilePath
from features.definition import FeatureSet
from features.tables.event_table import record_times
from schemas.avro.encode.encoder import RecordEncoder
from schemas.avro.paths import PathType, targets
from schemas.avro.round_trip import RoundTrip
from schemas.avro.text import as_text
from schemas.avro.types import Missing, Type, parse_record_schema
from schemas.batch import Column, Records
from schemas.files.read import CHUNK_ROWS, FileChunk, read_chunks


@dataclass(frozen=True, slots=True, eq=False)
class EventRecords:
    """A chunk of a file as input records, and its invalid rows.

    Attributes:
        records: Records as a producer would have sent them, keyed by the partition key; offsets are
            row numbers.
        columns: Values of the file, rows as in ``records``.
        errors: Error of each row that no record can hold, by row number in the file.
    """

    records: Records
    columns: Mapping[str, Column]
    errors: Mapping[int, RecordError]


class EventRecordReader:
    """Reader of event files by the bindings of a feature set, as Avro records of its schema.

    Fields that a file lacks get the schema's default. Rows that no record can hold are refused.
    """

    def __init__(
        self, feature_set: FeatureSet, topic: str, prefix: bytes, record_time: str | None = None
    ) -> None:
        """Take ``record_time`` as the column that holds the timestamps of the records."""
        self._topic = topic
        self._record_time = record_time
        self._feature_set = feature_set
        self._encoder = RecordEncoder(feature_set.reader_schema, prefix)
        tree = parse_record_schema(feature_set.reader_schema)
        self._required, self._optional = _leaves(tree, feature_set.paths)

    def read(
        self, path: FilePath, extra: Mapping[str, PathType] | None = None, chunk: int = CHUNK_ROWS
    ) -> Iterator[EventRecords]:
        """Read the file in its order. Raises ConfigurationError if it lacks a column in use."""
        row = 0
        optional = {**self._optional, **(extra or {})}
        aliases = self._feature_set.aliases
        units = self._feature_set.bindings.event_time.units
        raw = [] if self._record_time is None else [self._record_time]
        for part in read_chunks(path, self._required, aliases, chunk, optional, raw, units):
            where = f"event file {path}"
            times = record_times(self._record_time, part.arrays, part.rows, where, row)
            yield self._records(part, times, row, frozenset(extra or ()))
            row += part.rows

    def _records(
        self, chunk: FileChunk, times: Longs, first: int, extra: frozenset[str]
    ) -> EventRecords:
        n, decoded = chunk.rows, chunk.decoded
        own = {path: column for path, column in decoded.columns.items() if path not in extra}
        held = RoundTrip(self._feature_set.reader_schema, own)(n, own)
        errors = RowErrors(held.errors, decoded.errors)
        valid = errors.valid_rows(n)
        columns = {
            path: column.take(valid) for path, column in {**decoded.columns, **held.columns}.items()
        }
        values = self._encoder.encode(len(valid), {path: columns[path] for path in own})
        records = Records(
            self._topic,
            self._keys(columns, len(valid)),
            values,
            np.zeros(len(valid), np.int32),
            valid.astype(np.int64) + first,
            times[valid],
        )
        by_row = {first + row: error for row, error in sorted(errors.by_row.items())}
        return EventRecords(records, columns, by_row)

    def _keys(self, columns: Mapping[str, Column], rows: int) -> list[bytes | None]:
        """Record keys: the partition key as text, as a producer of the topic sends it."""
        binding = self._feature_set.bindings.partition_key
        if binding is None:
            return [None] * rows
        text = cast("pa.StringArray", as_text(columns[binding.path]).values)
        return [key.encode() for key in text.to_pylist()]


def _leaves(tree: Type, in_use: frozenset[str]) -> tuple[dict[str, PathType], dict[str, PathType]]:
    """Readable paths of a schema: those that a file must have, and those with a default."""
    required: dict[str, PathType] = {}
    optional: dict[str, PathType] = {}
    for path, defaults in _paths(tree, "", ()):
        has_default = any(default is not Missing.DEFAULT for default in defaults)
        try:
            kind = targets(tree, [path])[0].type
        except ConfigurationError:
            if path in in_use or not has_default:
                raise
            continue
        (optional if has_default else required)[path] = kind
    return required, optional


def _paths(
    record: Type, prefix: str, outer: tuple[object, ...]
) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Every leaf path, with the defaults of its field and of the records around it."""
    for field in record.fields:
        defaults = (*outer, field.default)
        if field.type.base == "record":
            yield from _paths(field.type, f"{prefix}{field.name}.", defaults)
        else:
            yield prefix + field.name, defaults
