"""Dead letters: the record as it came, and headers that say why it was not scored.

Header names after design section 4: ``__worker.errors.*``. No payload and no key in a message.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from schemas.batch import Headers, Position, Records
from schemas.errors import ErrorCode, RecordError

HEADER_PREFIX = "__worker.errors."
# What Kafka adds at most to the key, value and headers of a batch of one record; and to a header.
RECORD_OVERHEAD_BYTES = 128
_HEADER_OVERHEAD_BYTES = 10
_LONGEST_KEY_KEPT = 1024


class Stage(StrEnum):
    """The station that gave the record up."""

    DECODE = "decode"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record ready for the dead-letter topic."""

    position: Position
    code: ErrorCode
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int

    def size(self) -> int:
        """Upper bound of the bytes it takes in Kafka."""
        return record_size(self.key, self.value, self.headers)

    def oversize(self) -> DeadLetter:
        """The form that fits any topic: no value, no long key, no foreign headers; hash and size."""
        value = self.value or b""
        own = [item for item in self.headers if item[0].startswith(HEADER_PREFIX)]
        own += [
            (f"{HEADER_PREFIX}value.sha256", hashlib.sha256(value).hexdigest().encode()),
            (f"{HEADER_PREFIX}value.bytes", str(len(value)).encode()),
        ]
        key = self.key if len(self.key or b"") <= _LONGEST_KEY_KEPT else None
        return DeadLetter(self.position, self.code, key, None, own, self.timestamp)


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Upper bound of the bytes that a record takes in Kafka."""
    return (
        len(key or b"")
        + len(value or b"")
        + sum(len(n.encode()) + len(v or b"") + _HEADER_OVERHEAD_BYTES for n, v in headers)
        + RECORD_OVERHEAD_BYTES
    )


def dead_letter(
    records: Records, row: int, error: RecordError, stage: Stage, schema_id: str | None
) -> DeadLetter:
    """The dead letter of one record: key, value, headers and timestamp are its own."""
    position = records.position(row)
    foreign: Headers = (records.headers[row] if records.headers else None) or []
    why = {
        "topic": position.topic,
        "partition": str(position.partition),
        "offset": str(position.offset),
        "stage": stage.value,
        "code": error.code.value,
        "message": error.message,
    }
    if schema_id is not None:
        why["schema.id"] = schema_id
    headers = [*foreign, *((HEADER_PREFIX + name, text.encode()) for name, text in why.items())]
    return DeadLetter(
        position,
        error.code,
        records.keys[row],
        records.values[row],
        headers,
        int(records.timestamps[row]),
    )
