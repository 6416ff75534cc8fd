"""Read the frame of a record: the id of its writer schema, and the start of its body.

Confluent's wire format has three forms: magic 0 and a 4-byte id before the body, magic 1 and a
16-byte GUID before the body, or one of these two prefixes in the header VALUE_SCHEMA_HEADER. If a
default schema is configured for records without a schema id, the whole value of a record without
that header is the body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, cast
from uuid import UUID

import numpy as np

from base.arrays import Bytes, Longs
from base.errors import ErrorCode, RecordError
from schemas.avro.kernel.frames import OTHER, read_ids
from schemas.batch import Headers

VALUE_SCHEMA_HEADER: Final = "__value_schema_id"

# None is the default schema, for records without framing.
SchemaId = int | UUID | None

_ID_BYTES: Final = 5
_GUID_BYTES: Final = 17

_JSON: Final = re.compile(rb"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]])")
_FOREIGN: Final = (
    (_JSON, "it looks like JSON; only Avro is supported"),
    # Version 3, then no compression or zlib, then the schema's UUID.
    (re.compile(rb"\x03[\x00\x05]", re.DOTALL), "AWS Glue framing is not supported"),
    (re.compile(rb"\xc3\x01"), "Avro's single-object encoding is not supported"),
    (re.compile(rb"Obj\x01"), "it looks like an Avro file; a record must be a single Avro body"),
)


# Also the error of an empty body, unless a value of the schema takes no bytes.
EMPTY: Final = RecordError(ErrorCode.EMPTY_VALUE, "the value is empty")


class RecordFrame(NamedTuple):
    """Frame of one record.

    Attributes:
        schema_id: Id of the writer schema.
        start: Index in the record's value at which the body begins.
    """

    schema_id: SchemaId
    start: int


class Frames(NamedTuple):
    """Frames of the N records of a micro-batch, whose values are end to end in one buffer.

    Attributes:
        schema_ids: Ids of the writer schemas, each once.
        data: uint8[K], the buffer.
        schemas: int64[N], index of the writer schema in ``schema_ids``; -1 for a row with an error.
        starts: int64[N], index in the buffer at which each body begins.
        ends: int64[N], index in the buffer at which each value ends.
        errors: Error of each row whose frame cannot be read.
    """

    schema_ids: Sequence[SchemaId]
    data: Bytes
    schemas: Longs
    starts: Longs
    ends: Longs
    errors: dict[int, RecordError]


def unframe(
    value: bytes | None, headers: Headers | None, *, framed: bool, max_bytes: int
) -> RecordFrame | RecordError:
    """Read the frame of one record.

    Args:
        value: Value of the record.
        headers: Headers of the record.
        framed: True if a record without a schema header has its schema id before its body.
        max_bytes: Maximum size of a value in bytes.
    """
    if value is None:
        return RecordError(ErrorCode.NULL_VALUE, "the record has no value")
    if len(value) > max_bytes:
        return RecordError(
            ErrorCode.RECORD_TOO_LARGE,
            f"the value has {len(value)} bytes; {max_bytes} are allowed",
        )
    named = None if not headers else _schema_header(headers)
    if named is not None:
        return _from_header(named)
    if not framed:
        return RecordFrame(None, 0)
    return _schema_id(value) if value else EMPTY


def _schema_header(headers: Headers) -> bytes | None:
    """Value of the last VALUE_SCHEMA_HEADER; b"" if it is null, None if there is none."""
    schema_header = None
    for name, value in headers:
        if name == VALUE_SCHEMA_HEADER:
            schema_header = value or b""
    return schema_header


def _from_header(named: bytes) -> RecordFrame | RecordError:
    frame = _schema_id(named)
    where = f"header {VALUE_SCHEMA_HEADER}"
    if isinstance(frame, RecordError):
        return RecordError(frame.code, f"{where}: {frame.message}")
    if frame.start != len(named):
        return RecordError(
            ErrorCode.TRAILING_BYTES,
            f"{where} has {len(named)} bytes; its form takes {frame.start}",
        )
    return RecordFrame(frame.schema_id, 0)


def looks_like_json(value: bytes | None) -> bool:
    """Return True if a value begins like a JSON object or array."""
    return value is not None and _JSON.match(value) is not None


def _foreign_format(value: bytes) -> str:
    """Hint for a value that begins like another format; "" for an unknown format."""
    return next((hint for begin, hint in _FOREIGN if begin.match(value)), "")


def _schema_id(prefix: bytes) -> RecordFrame | RecordError:
    """Read the schema id at the beginning of ``prefix``; the frame starts at the end of the id."""
    magic = prefix[0] if prefix else 0
    if magic > 1:
        hint = _foreign_format(prefix)
        return RecordError(
            ErrorCode.MAGIC_UNKNOWN,
            f"the first byte is {magic}; 0 (id) and 1 (GUID) are known{hint and f'; {hint}'}",
        )
    size = _GUID_BYTES if magic else _ID_BYTES
    if len(prefix) < size:
        return RecordError(
            ErrorCode.FRAME_TRUNCATED,
            f"the schema id is cut off: {len(prefix)} bytes, and magic {magic} takes {size}",
        )
    if magic:
        return RecordFrame(UUID(bytes=prefix[1:size]), size)
    return RecordFrame(int.from_bytes(prefix[1:size], "big"), size)


def read_frames(
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
    *,
    framed: bool,
    max_bytes: int,
) -> Frames:
    """Read the frames of a micro-batch.

    Args:
        values: Value of each record.
        headers: Headers of each record; None if no record has any.
        framed: True if a record without a schema header has its schema id before its body.
        max_bytes: Maximum size of a value in bytes.
    """
    given = values if all(values) else [value or b"" for value in values]
    data = np.frombuffer(b"".join(cast("Sequence[bytes]", given)), np.uint8)
    lengths = np.fromiter(map(len, cast("Sequence[bytes]", given)), np.int64, len(given))
    starts, ends, ids = np.empty((3, len(values)), np.int64)
    alike = read_ids(data, lengths, _ID_BYTES if framed else 0, max_bytes, starts, ends, ids)
    if _any_schema_header(headers):
        ids[:] = OTHER
    elif 0 < alike == len(values):
        schema_id = int(ids[0]) if framed else None
        ids[:] = 0
        return Frames([schema_id], data, ids, starts, ends, {})
    known, schemas = np.unique(ids, return_inverse=True)
    if OTHER in known:
        known, schemas = known[1:], schemas - 1
    numbers: dict[SchemaId, int] = {
        schema_id if framed else None: number for number, schema_id in enumerate(known.tolist())
    }
    errors: dict[int, RecordError] = {}
    for row in np.flatnonzero(schemas < 0).tolist():
        own = None if headers is None else headers[row]
        frame = unframe(values[row], own, framed=framed, max_bytes=max_bytes)
        if isinstance(frame, RecordError):
            errors[row] = frame
        else:
            schemas[row] = numbers.setdefault(frame.schema_id, len(numbers))
            starts[row] = ends[row] - lengths[row] + frame.start
    return Frames(list(numbers), data, schemas, starts, ends, errors)


def _any_schema_header(headers: Sequence[Headers | None] | None) -> bool:
    return headers is not None and any(
        name == VALUE_SCHEMA_HEADER for own in headers if own for name, _ in own
    )
