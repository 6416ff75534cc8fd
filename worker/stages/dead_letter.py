"""Dead letters: the original record, with headers that say why it was not scored.

The headers are named ``__worker.errors.*``. Messages hold no payload and no key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

from base.errors import ErrorCode, RecordError
from schemas.batch import Headers, Position, Records

HEADER_PREFIX = "__worker.errors."
"""Prefix of the headers that the worker adds; no other header of a dead letter has it."""
FORMER_PREFIX = "__worker.former."
"""Prefix that such headers of the record itself get; of equal length, so that no record grows."""
REDRIVEN_PREFIX = "__worker.redriven."
"""Prefix of the headers of a record that `dead-letters redrive` has sent to the input again. In a
dead letter they are headers of the record."""
SHA256_HEADER, BYTES_HEADER = f"{HEADER_PREFIX}value.sha256", f"{HEADER_PREFIX}value.bytes"
"""Headers of the oversize form: hash and size of the value."""
# Most bytes that Kafka adds to a batch of one record, and to each of its headers.
RECORD_OVERHEAD_BYTES = 128
_HEADER_OVERHEAD_BYTES = 10
_LONGEST_KEY_KEPT = 1024
_OF_UNKNOWN_SCHEMAS = (ErrorCode.SCHEMA_UNKNOWN, ErrorCode.SCHEMA_UNANSWERED)
_LONGEST_REASON_BYTES = 500
LARGEST_OVERSIZE_BYTES = 2560
"""Upper bound of any dead letter in its oversize form, in bytes: every topic must take it."""


class Stage(StrEnum):
    """The stage in which the record failed."""

    DECODE = "decode"
    SCORE = "score"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record ready for the dead-letter topic.

    Attributes:
        position: Topic, partition and offset of the record in the input.
        code: Error code of the reason.
        stage: Stage in which the record failed.
        key: Key of the record.
        value: Value of the record; None in the oversize form.
        own: Headers of the record.
        reasons: Headers of the worker, which follow those of the record.
        is_oversize: True for the form that `oversize` returns.
    """

    position: Position
    code: ErrorCode
    stage: Stage
    key: bytes | None
    value: bytes | None
    own: tuple[tuple[str, bytes | None], ...]
    reasons: tuple[tuple[str, bytes | None], ...]
    is_oversize: bool = False

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """All headers, in the order in which they are written."""
        return [*self.own, *self.reasons]

    def size(self) -> int:
        """Upper bound of its size in Kafka, in bytes."""
        return record_size(self.key, self.value, self.headers)

    def oversize(self) -> DeadLetter:
        """The form that fits any topic: hash and size in place of the value, and no own headers.

        A long key is left out as well.
        """
        if self.is_oversize:
            return self
        value = self.value or b""
        measures = (
            (SHA256_HEADER, hashlib.sha256(value).hexdigest().encode()),
            (BYTES_HEADER, str(len(value)).encode()),
        )
        return replace(
            self,
            key=self.key if len(self.key or b"") <= _LONGEST_KEY_KEPT else None,
            value=None,
            own=(),
            reasons=(*self.reasons, *measures),
            is_oversize=True,
        )


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Upper bound of a record's size in Kafka, in bytes."""
    return (
        len(key or b"")
        + len(value or b"")
        + sum(len(n.encode()) + len(v or b"") + _HEADER_OVERHEAD_BYTES for n, v in headers)
        + RECORD_OVERHEAD_BYTES
    )


def dead_letter(
    records: Records, row: int, error: RecordError, stage: Stage, schema_id: str | None
) -> DeadLetter:
    """Make the dead letter of one record, with the record's own key, value and headers.

    Of a record whose key has a token it is the oversize form, with this token as its key.

    Its timestamp in Kafka is the time of its writing. With the record's own timestamp, which is one
    of the reasons, the topic's retention would delete the dead letters of old records at once.
    """
    position = records.position(row)
    if records.key_token is not None and error.code in _OF_UNKNOWN_SCHEMAS:
        # Of a record without framing, the id is a part of the body, and so perhaps of a key.
        error, schema_id = RecordError(error.code, error.code.meaning), None
    why = {
        "topic": position.topic,
        "partition": str(position.partition),
        "offset": str(position.offset),
        "timestamp": str(records.timestamps[row]),
        "stage": stage.value,
        "code": error.code.value,
        "message": error.message,
    }
    if schema_id is not None:
        why["schema.id"] = schema_id
    key = records.keys[row]
    letter = DeadLetter(
        position,
        error.code,
        stage,
        key,
        records.values[row],
        _own_headers((records.headers[row] if records.headers else None) or ()),
        tuple((HEADER_PREFIX + name, _bounded(text)) for name, text in why.items()),
    )
    if records.key_token is None:
        return letter
    token = None if key is None else records.key_token(key).encode()
    return replace(letter.oversize(), key=token)


def _own_headers(headers: Headers) -> tuple[tuple[str, bytes | None], ...]:
    """The record's own headers; those with the worker's prefix are renamed.

    If a dead letter is sent to the input again, its last reasons are kept under another prefix.
    Older reasons are dropped: otherwise each round would add some.
    """
    if not any(name.startswith(HEADER_PREFIX) for name, _ in headers):
        return tuple(headers)
    return tuple(
        (FORMER_PREFIX + name.removeprefix(HEADER_PREFIX), value)
        if name.startswith(HEADER_PREFIX)
        else (name, value)
        for name, value in headers
        if not name.startswith(FORMER_PREFIX)
    )


def _bounded(text: str) -> bytes:
    whole = text.encode(errors="backslashreplace")
    return whole[:_LONGEST_REASON_BYTES].decode(errors="ignore").encode()
