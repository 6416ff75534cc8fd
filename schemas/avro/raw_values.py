"""Decode records to Python values one at a time, for topics with few records."""

from __future__ import annotations

import io
from typing import Any, cast

import fastavro

from base.errors import ErrorCode, RecordError
from schemas.avro.paths import MICROS
from schemas.avro.types import Type
from schemas.batch import Headers
from schemas.fastavro_schema import FastavroSchema
from schemas.registry.framing import EMPTY, SchemaId, unframe
from schemas.registry.source import SchemaSource


class ValueReader:
    """Decode records by the writer schema of each record.

    Args:
        source: Source of the writer schemas.
        max_record_bytes: Maximum size of a value; a longer one is an error.
    """

    def __init__(self, source: SchemaSource, max_record_bytes: int) -> None:
        self._source = source
        self._max_record_bytes = max_record_bytes
        self._schemas: dict[SchemaId, Any] = {}

    def read(self, value: bytes | None, headers: Headers | None) -> dict[str, Any] | RecordError:
        """Decode the fields of a record.

        Returns:
            The fields by name, or the error of the record.

        Raises:
            DependencyUnavailableError: The schema cannot be fetched now.
        """
        frame = unframe(
            value, headers, framed=self._source.framed, max_bytes=self._max_record_bytes
        )
        if isinstance(frame, RecordError):
            return frame
        schema = self._schema(frame.schema_id)
        if isinstance(schema, RecordError):
            return schema
        body = io.BytesIO(value or b"")
        body.seek(frame.start)
        try:
            found = fastavro.schemaless_reader(body, schema, None)
        except Exception as error:  # noqa: BLE001 - whatever bytes that are not Avro make of it
            if not value:
                return EMPTY
            message = f"the body is no record of schema {frame.schema_id}: {type(error).__name__}"
            return RecordError(ErrorCode.BODY_INVALID, message)
        if body.tell() < len(value or b""):
            return RecordError(ErrorCode.TRAILING_BYTES, "bytes are left behind the body")
        if not isinstance(found, dict):  # another branch of a union at the top
            return RecordError(ErrorCode.BODY_INVALID, "the body is no record")
        return cast("dict[str, Any]", found)

    def _schema(self, schema_id: SchemaId) -> Any:
        """The parsed schema for fastavro, or a RecordError."""
        if schema_id not in self._schemas:
            writer = self._source.get_all([schema_id])[schema_id]
            if isinstance(writer, RecordError):
                return writer
            if _unbounded(writer):
                # A few bytes can announce more items than there is memory, and a body can contain
                # itself until the stack ends.
                return RecordError(
                    ErrorCode.SCHEMA_REFUSED,
                    f"schema {schema_id} has arrays or records that contain themselves, which are "
                    "not read",
                )
            self._schemas[schema_id] = _parsed(writer)
        return self._schemas[schema_id]


def _unbounded(schema: Type) -> bool:
    inner = [*schema.branches, *(field.type for field in schema.fields)]
    inner += [schema.item] if schema.item else []
    return schema.base in ("array", "recursive") or any(map(_unbounded, inner))


def _parsed(writer: Type) -> Any:
    """The schema parsed by fastavro."""
    schema = FastavroSchema(writer, _time)
    parsed = fastavro.parse_schema(schema.json)
    schema.restore(parsed)
    return parsed


def _time(declared: Type) -> dict[str, Any]:
    """The attributes of the logical type of a point in time; empty for another type."""
    return {"logicalType": declared.logical} if declared.logical in MICROS else {}
