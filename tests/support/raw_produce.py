"""Send produce requests over a plain socket, with records that no client library accepts.

Record batches have magic 2, after Kafka's protocol guide. Header names are any bytes, timestamps
are any 64-bit number, and a batch may be compressed.
"""

from __future__ import annotations

import gzip
import socket
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

_PRODUCE, _VERSION = 0, 7
_CLIENT = b"raw"
_TIMEOUT_MS = 30_000
_RETRIABLE = (3, 5, 6)  # UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER: a new topic
_POLYNOMIAL = 0x82F63B78


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as the broker stores it.

    Attributes:
        timestamp: Milliseconds since 1970-01-01 UTC; -1 for none.
    """

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    timestamp: int = -1

    def size(self) -> int:
        """Approximate number of bytes."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class RefusedError(Exception):
    """The broker refused a batch.

    Attributes:
        code: Error code of the broker.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the broker refuses the batch with error code {code}")
        self.code = code


class RawProducer:
    """A connection to the single broker of a test.

    Args:
        bootstrap: Address of the broker, as host:port.
    """

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_TIMEOUT_MS / 1000)
        self._correlation = 0

    def produce(
        self, topic: str, partition: int, records: Sequence[RawRecord], codec: str = "none"
    ) -> int:
        """Append the records as one batch, and return the offset of the first.

        Raises:
            RefusedError: The broker refuses the batch.
        """
        batch = record_batch(records, codec)
        until = time.monotonic() + _TIMEOUT_MS / 1000
        while True:
            try:
                return self._request(topic, partition, batch)
            except RefusedError as error:
                if error.code not in _RETRIABLE or time.monotonic() > until:
                    raise

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, topic: str, partition: int, batch: bytes) -> int:
        self._correlation += 1
        name = topic.encode()
        request = b"".join(
            (
                struct.pack(">hhih", _PRODUCE, _VERSION, self._correlation, len(_CLIENT)),
                _CLIENT,
                # No transaction, all replicas; one topic with one partition.
                struct.pack(">hhiih", -1, -1, _TIMEOUT_MS, 1, len(name)),
                name,
                struct.pack(">iii", 1, partition, len(batch)),
                batch,
            )
        )
        self._socket.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", self._receive(4))
        answer = self._receive(size)
        # After the correlation id, the number of topics, the name and the number of partitions.
        _, code, offset = struct.unpack_from(">ihq", answer, 4 + 4 + 2 + len(name) + 4)
        if code:
            raise RefusedError(code)
        return int(offset)

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                raise ConnectionError("the broker has closed the connection")
            received += part
        return bytes(received)


def record_batch(records: Sequence[RawRecord], codec: str = "none") -> bytes:
    """Encode a batch of magic 2; ``codec`` is a key of CODECS."""
    base = records[0].timestamp
    number, compress = CODECS[codec]
    encoded = b"".join(_record(record, at, base) for at, record in enumerate(records))
    checked = b"".join(
        (
            struct.pack(">hi", number, len(records) - 1),
            struct.pack(">qq", base, max(record.timestamp for record in records)),
            # No producer id, epoch or sequence number.
            struct.pack(">qhi", -1, -1, -1),
            struct.pack(">i", len(records)),
            compress(encoded),
        )
    )
    # After the length: no leader epoch, magic 2, the checksum.
    tail = struct.pack(">ibI", -1, 2, crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(tail)) + tail


def crc32c(data: bytes) -> int:
    """Checksum of record batches: CRC-32C (Castagnoli)."""
    table, value = _TABLE, 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _record(record: RawRecord, at: int, base: int) -> bytes:
    body = b"".join(
        (
            b"\x00",
            _varint(record.timestamp - base),
            _varint(at),
            _sized(record.key),
            _sized(record.value),
            _varint(len(record.headers)),
            *(part for name, value in record.headers for part in (_sized(name), _sized(value))),
        )
    )
    return _varint(len(body)) + body


def _sized(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Encode a zigzag integer in 7 bits per byte; beyond 64 bits it wraps, as in Java."""
    left = ((number << 1) ^ (number >> 63)) & 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _checksums() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)  # noqa: PLW2901 - eight shifts
        table.append(value)
    return table


def _as_it_is(data: bytes) -> bytes:
    return data


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=zlib.Z_BEST_SPEED)


def _zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


_TABLE = _checksums()
CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, _as_it_is),
    "gzip": (1, _gzip),
    "zstd": (4, _zstd),
}
"""Compression codecs: the number in a batch's attributes, and the function."""
