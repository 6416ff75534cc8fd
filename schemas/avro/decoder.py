"""Decode the records of a micro-batch to columns: framing, schemas and bodies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from base.arrays import Longs
from base.errors import (
    ConfigurationError,
    ErrorCode,
    IncompatibleError,
    RecordError,
    SchemaRefusedError,
)
from schemas.avro.body_reader import BodyReader
from schemas.avro.kernel.codes import NOT_DECODED
from schemas.avro.kernel.structs import Bodies
from schemas.avro.paths import PathType, targets
from schemas.avro.resolution import project
from schemas.avro.types import Type, parse_record_schema
from schemas.batch import Decoded, Headers
from schemas.registry.framing import EMPTY, Frames, SchemaId, read_frames
from schemas.registry.source import SchemaSource


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
        self._bodies = BodyReader(self._targets, max_collection_items)
        self._entries_by_id: dict[SchemaId, int | RecordError] = {}

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
        plans = dict(self._entries_by_id)
        for schema_id, found in other._programs_of(plans).items():
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
            for schema_id, plan in self._entries_by_id.items()
        }

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None] | None = None,
    ) -> Decoded:
        """Decode N values to columns; a value that cannot be decoded becomes an error of its row.

        Raises:
            DependencyUnavailableError: A schema is needed that cannot be fetched now.
            ValueError: The values have more than 2 GiB together.
        """
        frames = read_frames(
            values, headers, framed=self._source.framed, max_bytes=self._max_record_bytes
        )
        entries, errors = self._entries(frames)
        bodies = Bodies(frames.data, frames.starts, frames.ends, entries)
        columns, faults = self._bodies.read(bodies)
        errors |= {row: fault.as_record_error() for row, fault in faults.items()}
        errors |= {row: EMPTY for row in errors if values[row] == b""}
        return Decoded(columns, errors, _names(frames))

    def _entries(self, frames: Frames) -> tuple[Longs, dict[int, RecordError]]:
        """Entry of each row, and the error of each row that is not decoded."""
        errors = dict(frames.errors)
        plans = self._programs_of(frames.schema_ids)
        entries = [NOT_DECODED] * len(plans)
        for number, schema_id in enumerate(frames.schema_ids):
            plan = plans[schema_id]
            if isinstance(plan, RecordError):
                rows = np.flatnonzero(frames.schemas == number)
                errors.update(dict.fromkeys(rows.tolist(), plan))
            else:
                entries[number] = plan
        # The last one is that of rows without a schema.
        return np.array([*entries, NOT_DECODED], np.int64).take(frames.schemas), errors

    def _programs_of(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, int | RecordError]:
        """Return the entry of each id; schemas that were not met before are fetched together."""
        new = [schema_id for schema_id in schema_ids if schema_id not in self._entries_by_id]
        # Not kept here: the source knows for how long an id stays unknown.
        errors: dict[SchemaId, int | RecordError] = {}
        for schema_id, writer in (self._source.get_all(new) if new else {}).items():
            if isinstance(writer, RecordError):
                errors[schema_id] = writer
            else:
                self._entries_by_id[schema_id] = self._program(schema_id, writer)
        return errors | {key: self._entries_by_id[key] for key in schema_ids if key not in errors}

    def _program(self, schema_id: SchemaId, writer: Type) -> int | RecordError:
        try:
            return self._bodies.add(project(writer, self._reader, self._targets))
        except IncompatibleError as error:
            return RecordError(
                ErrorCode.SCHEMA_INCOMPATIBLE,
                f"schema {schema_id} does not resolve to the reader's: {error}",
            )


def _names(frames: Frames) -> list[str | None]:
    """Schema id of each row, as text; None for rows without a schema."""
    names = [*map(str, frames.schema_ids), None]
    if len(names) == 2 and not frames.errors:
        return names[:1] * len(frames.schemas)
    return [names[number] for number in frames.schemas.tolist()]
