"""Which writer schema a record names, and where its body begins.

Three forms, after Confluent's wire format: magic 0 and a 4-byte id before the body; magic 1 and a
16-byte GUID before the body; or the same two, without a body, in the header VALUE_SCHEMA_HEADER.
Where a schema is configured for records that name none, a record without that header is all body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt

from base.errors import ErrorCode, RecordError
from schemas.batch import Headers

VALUE_SCHEMA_HEADER: Final = "__value_schema_id"

# None names the schema that is configured for records without framing.
SchemaId = int | UUID | None

_ID_BYTES: Final = 5
_GUID_BYTES: Final = 17
_PREFIX: Final = np.uint64(0xFF_FFFF_FFFF)
_MAGIC: Final = np.uint64(0xFF)

_JSON: Final = re.compile(rb"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]])")
_FOREIGN: Final = (
    (_JSON, "it looks like JSON; Avro is read"),
    # Version 3, then no compression or zlib, then the schema's UUID.
    (re.compile(rb"\x03[\x00\x05]", re.DOTALL), "AWS Glue framing is not read"),
    (re.compile(rb"\xc3\x01"), "Avro's single-object encoding is not read"),
    (re.compile(rb"Obj\x01"), "it looks like an Avro file; a record is one body"),
)


# Also of an empty body, unless its schema has nothing that takes bytes.
EMPTY: Final = RecordError(ErrorCode.EMPTY_VALUE, "the value is empty")


class RecordFrame(NamedTuple):
    """schema_id: the writer schema. start: where the body begins in the record's value."""

    schema_id: SchemaId
    start: int


@dataclass(frozen=True, slots=True, eq=False)
class ValueLayout:
    """How N values lie in one buffer: words are little-endian, one at every byte of it.

    begins, ends: int64[N], where each value begins and ends.
    """

    words: npt.NDArray[np.uint64]
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SchemaGroup:
    """Records of one writer schema. rows: intp[M], rising; starts: int64[M], of their bodies."""

    schema_id: SchemaId
    rows: npt.NDArray[np.intp]
    starts: npt.NDArray[np.int64]


def unframe(
    value: bytes | None, headers: Headers | None, *, framed: bool, max_bytes: int
) -> RecordFrame | RecordError:
    """The frame of one record.

    framed: whether a record without the header names its schema in front of its body.
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
    """The value of the last header that names the schema; b"" where that header is null."""
    found = None
    for name, value in headers:
        if name == VALUE_SCHEMA_HEADER:
            found = value or b""
    return found


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
    """Whether a value begins as a JSON object or array does."""
    return value is not None and _JSON.match(value) is not None


def _foreign_format(value: bytes) -> str:
    """Another format that a record's value begins like, "" where it is none of those known."""
    return next((said for begin, said in _FOREIGN if begin.match(value)), "")


def _schema_id(prefix: bytes) -> RecordFrame | RecordError:
    """The schema id at the beginning of ``prefix``; start is where it ends."""
    magic = prefix[0] if prefix else 0
    if magic > 1:
        guess = _foreign_format(prefix)
        return RecordError(
            ErrorCode.MAGIC_UNKNOWN,
            f"the first byte is {magic}; 0 (id) and 1 (GUID) are known{guess and f'; {guess}'}",
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


def group(
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
    layout: ValueLayout,
    *,
    framed: bool,
    max_bytes: int,
) -> tuple[list[SchemaGroup], dict[int, RecordError]]:
    """The records of a micro-batch by their schema, and those that name none that is readable."""
    lengths = layout.ends - layout.begins
    ordinary = (lengths > 0) & (lengths <= max_bytes)
    groups: list[SchemaGroup] = []
    rest: Sequence[int] = range(len(values))
    if not _any_schema_header(headers):
        if framed:
            groups, rest = _by_id(layout, ordinary & (lengths >= _ID_BYTES))
        elif ordinary.all():
            return [SchemaGroup(None, np.arange(len(values)), layout.begins)], {}
    errors: dict[int, RecordError] = {}
    rows_of: dict[SchemaId, list[tuple[int, int]]] = {}
    for row in rest:
        own = None if headers is None else headers[row]
        frame = unframe(values[row], own, framed=framed, max_bytes=max_bytes)
        if isinstance(frame, RecordError):
            errors[row] = frame
        else:
            rows_of.setdefault(frame.schema_id, []).append((row, frame.start))
    for schema_id, members in rows_of.items():
        rows, starts = np.array(members, np.int64).T
        groups.append(SchemaGroup(schema_id, rows, layout.begins[rows] + starts))
    return groups, errors


def _any_schema_header(headers: Sequence[Headers | None] | None) -> bool:
    return headers is not None and any(
        name == VALUE_SCHEMA_HEADER for own in headers if own for name, _ in own
    )


def _by_id(
    layout: ValueLayout, whole: npt.NDArray[np.bool_]
) -> tuple[list[SchemaGroup], Sequence[int]]:
    """The records with magic 0 by their ids, and the rows of all others.

    whole: bool[N], which values are of a size that can hold an id.
    """
    prefixes = layout.words[layout.begins] & _PREFIX
    plain = whole & (prefixes & _MAGIC == 0)
    if plain.all() and (prefixes == prefixes[0]).all():
        named = [(prefixes[0], np.arange(len(prefixes)))]
    else:
        shared = np.unique(prefixes[plain])
        named = [(prefix, np.flatnonzero(plain & (prefixes == prefix))) for prefix in shared]
    groups = []
    for prefix, rows in named:
        schema_id = int.from_bytes(int(prefix).to_bytes(_ID_BYTES, "little")[1:], "big")
        groups.append(SchemaGroup(schema_id, rows, layout.begins[rows] + _ID_BYTES))
    return groups, np.flatnonzero(~plain).tolist()
