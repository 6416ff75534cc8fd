"""Records in, columns out: framing, schemas and bodies of one micro-batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np

from schemas.batch import Decoded, Headers
from schemas.columns import FEW, ColumnReader
from schemas.cursor import PADDING, Bodies, Longs
from schemas.errors import ConfigurationError, ErrorCode, RecordError
from schemas.framing import Frame, Group, Layout, SchemaId, group, unframe
from schemas.plan import Step
from schemas.projection import IncompatibleError, project
from schemas.rows import RowReader
from schemas.sheet import Sheet, columns_of_rows
from schemas.source import SchemaSource
from schemas.targets import PathType, targets
from schemas.types import SchemaRefusedError, parse_record_schema

Plan = tuple[Step, ...]

# Enough above any batch that a worker is configured for; Arrow's strings count in 32 bits.
MAX_BATCH_BYTES: Final = 2**31 - 1 - PADDING


class Decoder:
    """Decodes the paths in use of Avro records, by the writer schema that each record names."""

    def __init__(
        self,
        source: SchemaSource,
        reader_schema: Mapping[str, Any],
        paths: Iterable[str],
        max_record_bytes: int,
        max_collection_items: int,
    ) -> None:
        """paths: dotted, into ``reader_schema``.

        max_record_bytes: of a value; a longer one is an error of its record.
        max_collection_items: of one array or map; more are an error of their record.
        Raises ConfigurationError for a path that does not exist or has no column kind.
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
        """One that reads other paths of the records that this one reads.

        It has the same source of schemas and the same bounds. Raises ConfigurationError for a path
        that does not exist, has no column kind, or that a writer schema met so far cannot give.
        """
        other = Decoder(
            self._source, self._reader_schema, paths, self._max_record_bytes, self._max_items
        )
        for schema_id, plan in list(self._plans.items()):
            found = other._plan(schema_id)
            if isinstance(found, RecordError) and not isinstance(plan, RecordError):
                raise ConfigurationError(
                    f"records could no longer be read: {found.message}; give the field a default "
                    "in the reader schema, or do without it"
                )
        return other

    @property
    def kinds(self) -> Mapping[str, PathType]:
        """What each path decodes to."""
        return {item.path: item.type for item in self._targets}

    @property
    def writer_schemas(self) -> Mapping[str, RecordError | None]:
        """The writer schemas met so far, by id; why its records are refused, or None."""
        return {
            str(schema_id): plan if isinstance(plan, RecordError) else None
            for schema_id, plan in self._plans.items()
        }

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None] | None = None,
    ) -> Decoded:
        """Columns of N values; what cannot be decoded becomes an error of its row.

        Raises DependencyUnavailableError where a schema is needed that cannot be fetched now, and
        ValueError for more than MAX_BATCH_BYTES at once.
        """
        if len(values) <= FEW:
            return self._decode_few(values, headers)
        return self._decode_many(values, headers)

    def _plan(self, schema_id: SchemaId) -> Plan | RecordError:
        plan = self._plans.get(schema_id)
        if plan is not None:
            return plan
        writer = self._source.get(schema_id)
        if isinstance(writer, RecordError):
            # Not kept here: the source knows for how long an id stays unknown.
            return writer
        try:
            plan = project(writer, self._reader, self._targets)
        except IncompatibleError as error:
            plan = RecordError(
                ErrorCode.SCHEMA_INCOMPATIBLE,
                f"schema {schema_id} does not resolve to the reader's: {error}",
            )
        self._plans[schema_id] = plan
        return plan

    def _decode_few(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None] | None
    ) -> Decoded:
        rows: list[list[Any]] = []
        errors: dict[int, RecordError] = {}
        ids: list[str | None] = []
        for row, value in enumerate(values):
            slots: list[Any] = [None] * len(self._targets)
            own = None if headers is None else headers[row]
            frame = unframe(
                value, own, framed=self._source.framed, max_bytes=self._max_record_bytes
            )
            if isinstance(frame, RecordError):
                ids.append(None)
                error: RecordError | None = frame
            else:
                ids.append(str(frame.schema_id))
                error = self._read_row(frame, value or b"", slots)
            if error is not None:
                errors[row] = error
                slots = [None] * len(self._targets)
            rows.append(slots)
        return Decoded(columns_of_rows(self._targets, rows), errors, ids)

    def _read_row(self, frame: Frame, value: bytes, slots: list[Any]) -> RecordError | None:
        plan = self._plan(frame.schema_id)
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
            Layout(bodies.words, begins, ends),
            framed=self._source.framed,
            max_bytes=self._max_record_bytes,
        )
        starts = begins.copy()
        for item in groups:
            starts[item.rows] = item.starts
        sheet = Sheet(self._targets, bodies.data, starts)
        reader = ColumnReader(bodies, sheet, self._max_items)
        for item in groups:
            plan = self._plan(item.schema_id)
            if isinstance(plan, RecordError):
                errors.update(dict.fromkeys(item.rows.tolist(), plan))
            else:
                reader.read(plan, item.rows, item.starts, ends[item.rows])
        columns = sheet.columns()
        errors.update((row, fault.as_record_error()) for row, fault in sheet.faults.items())
        return Decoded(columns, errors, _ids(groups, len(values)))


def _lay_out(values: Sequence[bytes | None]) -> tuple[Bodies, Longs, Longs]:
    """The values end to end in one buffer, and where each begins and ends in it."""
    given = values if None not in values else [value or b"" for value in values]
    present = cast("Sequence[bytes]", given)
    lengths = np.fromiter(map(len, present), np.int64, len(present))
    ends = np.cumsum(lengths)
    if ends[-1] > MAX_BATCH_BYTES:
        raise ValueError(f"{ends[-1]} bytes in one batch; at most {MAX_BATCH_BYTES} are decoded")
    return Bodies(b"".join([*present, bytes(PADDING)])), ends - lengths, ends


def _ids(groups: Sequence[Group], size: int) -> list[str | None]:
    """The schema id of each row, as text; None for the rows of no group."""
    if len(groups) == 1 and len(groups[0].rows) == size:
        return [str(groups[0].schema_id)] * size
    ids: list[str | None] = [None] * size
    for item in groups:
        name = str(item.schema_id)
        for row in item.rows.tolist():
            ids[row] = name
    return ids
