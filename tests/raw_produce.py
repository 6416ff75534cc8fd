"""Produce requests written by hand: records that a well-behaved client cannot write.

The Python client takes names of headers as text, and turns bytes into their ``repr``.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

RawHeaders = Sequence[tuple[bytes, bytes | None]]

_PRODUCE, _VERSION = 0, 3
_ACKS_ALL = -1
_TIMEOUT_S = 10
_NO_PRODUCER = struct.pack(">qhi", -1, -1, -1)
# CRC-32C, Castagnoli's polynomial, reflected.
_POLYNOMIAL = 0x82F63B78


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as its bytes. timestamp: milliseconds since 1970-01-01 UTC."""

    value: bytes | None
    timestamp: int
    key: bytes | None = None
    headers: RawHeaders = ()


def produce(bootstrap: str, topic: str, records: Sequence[RawRecord], partition: int = 0) -> int:
    """Write the records as one batch to the broker at ``bootstrap``; return the broker's error code."""
    batch = record_batch(records)
    body = b"".join(
        [
            struct.pack(">hhi", _PRODUCE, _VERSION, 1),
            _text("raw"),
            struct.pack(">h", -1),
            struct.pack(">hi", _ACKS_ALL, _TIMEOUT_S * 1000),
            struct.pack(">i", 1) + _text(topic),
            struct.pack(">ii", 1, partition),
            struct.pack(">i", len(batch)) + batch,
        ]
    )
    host, port = bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        with connection.makefile("rb") as answers:
            (size,) = struct.unpack(">i", answers.read(4))
            answer = answers.read(size)
    # Correlation id, number of topics, name, number of partitions, partition.
    at = 4 + 4 + 2 + len(topic.encode()) + 4 + 4
    (code,) = struct.unpack_from(">h", answer, at)
    return int(code)


def record_batch(records: Sequence[RawRecord]) -> bytes:
    """A record batch of version 2, uncompressed, outside any transaction."""
    first = records[0].timestamp
    checked = b"".join(
        [
            struct.pack(">hi", 0, len(records) - 1),
            struct.pack(">qq", first, max(record.timestamp for record in records)),
            _NO_PRODUCER,
            struct.pack(">i", len(records)),
            *(_record(record, i, record.timestamp - first) for i, record in enumerate(records)),
        ]
    )
    after_length = struct.pack(">ibI", -1, 2, crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(after_length)) + after_length


def crc32c(data: bytes) -> int:
    """The checksum of a record batch."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE = [_table_entry(byte) for byte in range(256)]


def _record(record: RawRecord, offset: int, later: int) -> bytes:
    body = b"".join(
        [
            b"\x00",
            _varint(later),
            _varint(offset),
            _bytes(record.key),
            _bytes(record.value),
            _varint(len(record.headers)),
            *(_bytes(part) for header in record.headers for part in header),
        ]
    )
    return _varint(len(body)) + body


def _bytes(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _varint(number: int) -> bytes:
    """Zigzag, seven bits a byte, lowest first."""
    left = number * 2 if number >= 0 else -number * 2 - 1
    out = bytearray()
    while left >= 0x80:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)
