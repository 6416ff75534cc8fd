"""Decode the records of a micro-batch to columns: framing, schemas and bodies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np

from base.arrays import Longs
from base.errors import (
    ConfigurationError,
    ErrorCode,
    IncompatibleError,
    RecordError,
    SchemaRefusedError,
)
from schemas.avro.buffers import ColumnBuffers, columns_of_rows
from schemas.avro.column_decoder import FEW, ColumnReader
from schemas.avro.cursor import PADDING, Bodies
from schemas.avro.paths import PathType, targets
from schemas.avro.resolution import project
from schemas.avro.row_decoder import RowReader
from schemas.avro.steps import Step
from schemas.avro.types import Type, parse_record_schema
from schemas.batch import Decoded, Headers
from schemas.registry.framing import (
    EMPTY,
    RecordFrame,
    SchemaGroup,
    SchemaId,
    ValueLayout,
    group,
    unframe,
)
from schemas.registry.source import SchemaSource

Plan = tuple[Step, ...]

# Enough above any batch that a worker is configured for; Arrow's strings count in 32 bits.
MAX_BATCH_BYTES: Final = 2**31 - 1 - PADDING


class Decoder:
    """Decode the paths in use of Avro records, by the writer schema of each record."""

    def __init__(
        self,
        source: SchemaSource,
        reader_schema: Mapping[str, Any],
        paths: Iterable[str],
        max_record_bytes: int,
        max_collection_items: int,
    ) -> None:
        """Prepare decoding of the paths.

        Args:
            source: Source of the writer schemas.
            reader_schema: Record schema, as JSON values.
            paths: Dotted paths into ``reader_schema``.
            max_record_bytes: Maximum size of a value; a longer one is an error of its record.
            max_collection_items: Maximum items of an array or map; more are an error of their
                record.

        Raises:
            ConfigurationError: The schema is invalid; a path does not exist or has no column kind.
        """
        try:
            self._reader = parse_record_schema(reader_schema)
        except SchemaRefusedError as error:
            raise ConfigurationError(f"reader schema: {error}. Correct the schema file.") from error
        self._reader_schema = reader_schema
        self._source = source
        self._targets = targets(self._reader, paths)
        self._max_record_bytes = max_record_bytes
        self._max_items = max_collection_items
        self._plans: dict[SchemaId, Plan | RecordError] = {}

    def for_paths(self, paths: Iterable[str]) -> Decoder:
        """Return a decoder of other paths of the same records.

        It has the same source of schemas and the same bounds.

        Raises:
            ConfigurationError: A path does not exist, has no column kind, or cannot be decoded with
                a writer schema met so far.
        """
        other = Decoder(
            self._source, self._reader_schema, paths, self._max_record_bytes, self._max_items
        )
        plans = dict(self._plans)
        for schema_id, found in other._plans_of(plans).items():
            if isinstance(found, RecordError) and not isinstance(plans[schema_id], RecordError):
                raise ConfigurationError(
                    f"records could no longer be read: {found.message}; give the field a default "
                    "in the reader schema, or do without it"
                )
        return other

    @property
    def kinds(self) -> Mapping[str, PathType]:
        """Column type of each path."""
        return {item.path: item.type for item in self._targets}

    @property
    def writer_schemas(self) -> Mapping[str, RecordError | None]:
        """Writer schema ids met so far, each with the error of all its records, or None."""
        return {
            str(schema_id): plan if isinstance(plan, RecordError) else None
            for schema_id, plan in self._plans.items()
        }

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None] | None = None,
    ) -> Decoded:
        """Decode N values to columns; a value that cannot be decoded becomes an error of its row.

        Raises:
            DependencyUnavailableError: A schema is needed that cannot be fetched now.
            ValueError: The values have more than MAX_BATCH_BYTES together.
        """
        if len(values) <= FEW:
            return self._decode_few(values, headers)
        return self._decode_many(values, headers)

    def _plans_of(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, Plan | RecordError]:
        """Return the plan of each id; schemas that were not met before are fetched together."""
        new = [schema_id for schema_id in schema_ids if schema_id not in self._plans]
        # Not kept here: the source knows for how long an id stays unknown.
        errors: dict[SchemaId, Plan | RecordError] = {}
        for schema_id, writer in (self._source.get_all(new) if new else {}).items():
            if isinstance(writer, RecordError):
                errors[schema_id] = writer
            else:
                self._plans[schema_id] = self._plan(schema_id, writer)
        return errors | {key: self._plans[key] for key in schema_ids if key not in errors}

    def _plan(self, schema_id: SchemaId, writer: Type) -> Plan | RecordError:
        try:
            return project(writer, self._reader, self._targets)
        except IncompatibleError as error:
            return RecordError(
                ErrorCode.SCHEMA_INCOMPATIBLE,
                f"schema {schema_id} does not resolve to the reader's: {error}",
            )

    def _decode_few(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None] | None
    ) -> Decoded:
        frames = [
            unframe(
                value,
                None if headers is None else headers[row],
                framed=self._source.framed,
                max_bytes=self._max_record_bytes,
            )
            for row, value in enumerate(values)
        ]
        named = [None if isinstance(frame, RecordError) else frame for frame in frames]
        plans = self._plans_of({frame.schema_id for frame in named if frame is not None})
        rows: list[list[Any]] = []
        errors: dict[int, RecordError] = {}
        for row, (frame, value) in enumerate(zip(frames, values, strict=True)):
            slots: list[Any] = [None] * len(self._targets)
            if isinstance(frame, RecordError):
                error: RecordError | None = frame
            else:
                error = self._read_row(plans[frame.schema_id], frame, value or b"", slots)
            if error is not None:
                errors[row] = EMPTY if value == b"" else error
                slots = [None] * len(self._targets)
            rows.append(slots)
        ids = [None if frame is None else str(frame.schema_id) for frame in named]
        return Decoded(columns_of_rows(self._targets, rows), errors, ids)

    def _read_row(
        self, plan: Plan | RecordError, frame: RecordFrame, value: bytes, slots: list[Any]
    ) -> RecordError | None:
        if isinstance(plan, RecordError):
            return plan
        fault = RowReader(value, self._max_items, slots).read(plan, frame.start, len(value))
        return None if fault is None else fault.as_record_error()

    def _decode_many(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None] | None
    ) -> Decoded:
        bodies, begins, ends = _lay_out(values)
        groups, errors = group(
            values,
            headers,
            ValueLayout(bodies.words, begins, ends),
            framed=self._source.framed,
            max_bytes=self._max_record_bytes,
        )
        starts = begins.copy()
        for item in groups:
            starts[item.rows] = item.starts
        buffers = ColumnBuffers(self._targets, bodies.data, starts)
        reader = ColumnReader(bodies, buffers, self._max_items)
        plans = self._plans_of([item.schema_id for item in groups])
        for item in groups:
            plan = plans[item.schema_id]
            if isinstance(plan, RecordError):
                errors.update(dict.fromkeys(item.rows.tolist(), plan))
            else:
                reader.read(plan, item.rows, item.starts, ends[item.rows])
        columns = buffers.columns()
        errors.update((row, fault.as_record_error()) for row, fault in buffers.faults.items())
        errors.update((row, EMPTY) for row in errors if values[row] == b"")
        return Decoded(columns, errors, _ids(groups, len(values)))


def _lay_out(values: Sequence[bytes | None]) -> tuple[Bodies, Longs, Longs]:
    """Concatenate the values to one buffer; return it with the begin and end of each value."""
    given = values if None not in values else [value or b"" for value in values]
    present = cast("Sequence[bytes]", given)
    lengths = np.fromiter(map(len, present), np.int64, len(present))
    ends = np.cumsum(lengths)
    if ends[-1] > MAX_BATCH_BYTES:
        raise ValueError(f"{ends[-1]} bytes in one batch; at most {MAX_BATCH_BYTES} are decoded")
    return Bodies(b"".join([*present, bytes(PADDING)])), ends - lengths, ends


def _ids(groups: Sequence[SchemaGroup], size: int) -> list[str | None]:
    """Schema id of each row, as text; None for rows in no group."""
    if len(groups) == 1 and len(groups[0].rows) == size:
        return [str(groups[0].schema_id)] * size
    ids: list[str | None] = [None] * size
    for item in groups:
        name = str(item.schema_id)
        for row in item.rows.tolist():
            ids[row] = name
    return ids
