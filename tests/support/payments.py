"""Small pipeline with a field for each possible fault of a record, and records with each fault."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from base.errors import ErrorCode
from features.definition import load_feature_set
from models.bundle import write_bundle
from models.training.fit import fit
from schemas.batch import Records

SCHEMA_ID = 1
INCOMPATIBLE_ID = 7
MAX_RECORD_BYTES = 20_000
MAX_OUTPUT_BYTES = 10_000
MAX_ITEMS = 100
TIME_MS = 1_700_000_000_000

_NULLABLE_STRING = ["null", "string"]
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": _NULLABLE_STRING},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "customer", "type": _NULLABLE_STRING},
        {"name": "card", "type": _NULLABLE_STRING},
        {"name": "amount", "type": ["null", "double"]},
        {"name": "present", "type": "boolean"},
        {"name": "channel", "type": {"type": "enum", "name": "Channel", "symbols": ["a", "b"]}},
        {
            "name": "fee",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2},
        },
        {"name": "note", "type": "string"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}
_FEATURES = {
    "name": "payments",
    "events": {
        "schema": "payment.avsc",
        "id": "id",
        "time": "at",
        "amount": {"field": "amount", "scale": 2, "min": -1000},
        "partition_key": "customer",
    },
    "entities": {"card": "card"},
    "features": [
        {"name": "AMOUNT", "field": "amount"},
        {"name": "HOUR", "expr": "hour(at)"},
        {"name": "PRESENT", "field": "present"},
        {"name": "CHANNEL", "category": {"field": "channel", "values": ["a", "b"]}},
        {"name": "FEE", "field": "fee"},
    ],
}
_POLICY = {"version": "1", "bands": {"decline": 0.9, "review": 0.5}}


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that must become a dead letter with ``code``."""

    name: str
    code: ErrorCode
    value: bytes | None


def write_pipeline(folder: Path, kafka: dict[str, Any], seed: int = 0) -> Path:
    """Write the pipeline folder, with a model that depends on the seed.

    Args:
        folder: Folder to create.
        kafka: Settings of the section ``kafka``.
        seed: Seed of the model.
    """
    folder.mkdir(parents=True)
    (folder / "payment.avsc").write_text(json.dumps(SCHEMA))
    (folder / "writer-schemas").mkdir()
    other = json.loads(json.dumps(SCHEMA))
    other["fields"][4]["type"] = "string"
    (folder / "writer-schemas" / f"{INCOMPATIBLE_ID}.avsc").write_text(json.dumps(other))
    (folder / "features.yaml").write_text(yaml.safe_dump(_FEATURES))
    (folder / "policy.yaml").write_text(yaml.safe_dump(_POLICY))
    settings = {
        "kafka": {
            "bootstrap_servers": "127.0.0.1:1",
            "group": "payments",
            "input_topic": "payments",
            "output_topic": "payment-scores",
            "dead_letter_topic": "payment-dead-letters",
            "start_from": "earliest",
            **kafka,
        },
        "model": {"bundle": "model", "device": "cpu"},
        "wire": {"max_record_bytes": MAX_RECORD_BYTES, "max_collection_items": MAX_ITEMS},
        "output": {"carry": ["note"], "vector": "all"},
        # Tests send as many bad records as they like.
        "dead_letters": {"max_share": 1},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    (folder / "worker.yaml").write_text(yaml.safe_dump(settings))
    write_model(folder / "model", folder / "features.yaml", seed=seed)
    return folder


def framed(body: bytes, schema_id: int = SCHEMA_ID) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def body(**changes: bytes) -> bytes:
    """Valid body; ``changes`` replace encoded fields."""
    good = {
        "id": some(text("p-1")),
        "at": some(varint(TIME_MS)),
        "customer": some(text("c-1")),
        "card": some(text("k-1")),
        "amount": some(struct.pack("<d", 12.5)),
        "present": b"\x01",
        "channel": varint(1),
        "fee": varint(1) + b"\x05",
        "note": text("fine"),
        "tags": varint(1) + text("x") + b"\x00",
    }
    assert changes.keys() <= good.keys()
    return b"".join((good | changes).values())


def good_record(number: int) -> bytes:
    """Framed record that is scored."""
    return framed(
        body(
            id=some(text(f"p-{number}")),
            at=some(varint(TIME_MS + number * 60_000)),
            customer=some(text(f"c-{number % 7}")),
            amount=some(struct.pack("<d", number % 300 + 0.25)),
            present=bytes([number % 2]),
        )
    )


def bad_records() -> list[BadRecord]:
    """One invalid record of each kind."""
    return [BadRecord(name, code, value) for name, code, value in _bad()]


def _bad() -> Iterator[tuple[str, ErrorCode, bytes | None]]:
    code = ErrorCode
    good = framed(body())
    yield "tombstone", code.NULL_VALUE, None
    yield "no byte", code.EMPTY_VALUE, b""
    yield "half a schema id", code.FRAME_TRUNCATED, good[:3]
    yield "another magic byte", code.MAGIC_UNKNOWN, b"\x05" + good[1:]
    yield "too large", code.RECORD_TOO_LARGE, framed(body(note=text("x" * MAX_RECORD_BYTES)))
    yield "unknown schema id", code.SCHEMA_UNKNOWN, framed(body(), 999)
    yield "schema with another type", code.SCHEMA_INCOMPATIBLE, framed(body(), INCOMPATIBLE_ID)
    yield "cut in the middle", code.BODY_TRUNCATED, good[:-12]
    yield "nothing after the id", code.BODY_TRUNCATED, good[:5]
    yield "a byte too many", code.TRAILING_BYTES, good + b"\x00"
    yield "endless varint", code.VARINT_TOO_LONG, framed(body(at=varint(1) + b"\xff" * 11))
    yield "negative length", code.LENGTH_NEGATIVE, framed(body(note=varint(-5) + b"abcde"))
    yield "length beyond the end", code.BODY_TRUNCATED, framed(body(note=varint(2**40)))
    yield "third branch of two", code.UNION_BRANCH_INVALID, framed(body(id=varint(2) + text("x")))
    yield "unknown enum symbol", code.ENUM_SYMBOL_INVALID, framed(body(channel=varint(9)))
    yield "boolean 7", code.BOOLEAN_INVALID, framed(body(present=b"\x07"))
    yield "broken UTF-8", code.UTF8_INVALID, framed(body(card=some(varint(2) + b"\xc3\x28")))
    yield "array bomb", code.COLLECTION_TOO_LONG, framed(body(tags=varint(2**50) + text("x")))
    yield (
        "decimal beyond 64 bits",
        code.VALUE_OUT_OF_RANGE,
        framed(body(fee=varint(12) + b"\x7f" * 12)),
    )
    yield "no id", code.EVENT_ID_MISSING, framed(body(id=b"\x00"))
    yield "empty id", code.EVENT_ID_MISSING, framed(body(id=some(text(""))))
    yield "no time", code.EVENT_TIME_MISSING, framed(body(at=b"\x00"))
    yield (
        "seconds for milliseconds",
        code.EVENT_TIME_OUT_OF_RANGE,
        framed(body(at=some(varint(TIME_MS // 1000)))),
    )
    yield (
        "year 2150",
        code.EVENT_TIME_OUT_OF_RANGE,
        framed(body(at=some(varint(5_680_281_600_000)))),
    )
    yield "no amount", code.AMOUNT_MISSING, framed(body(amount=b"\x00"))
    for number in ("nan", "inf", "-inf"):
        yield (
            number,
            code.AMOUNT_NOT_FINITE,
            framed(body(amount=some(struct.pack("<d", float(number))))),
        )
    yield (
        "amount beyond 64 bits",
        code.AMOUNT_OVERFLOW,
        framed(body(amount=some(struct.pack("<d", 1e300)))),
    )
    yield (
        "amount below the minimum",
        code.AMOUNT_BELOW_MINIMUM,
        framed(body(amount=some(struct.pack("<d", -5000.0)))),
    )
    yield "no card", code.ENTITY_KEY_MISSING, framed(body(card=b"\x00"))
    yield "no customer", code.PARTITION_KEY_MISSING, framed(body(customer=b"\x00"))
    yield "endless card", code.KEY_TOO_LONG, framed(body(card=some(text("k" * 5000))))


def output_too_large() -> BadRecord:
    """Record whose carried note exceeds MAX_OUTPUT_BYTES."""
    value = framed(body(note=text("n" * (MAX_OUTPUT_BYTES + 1000))))
    return BadRecord("carries too much", ErrorCode.OUTPUT_TOO_LARGE, value)


def varint(number: int) -> bytes:
    """Encode a zigzag variable-length integer, after the Avro specification."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def text(value: str) -> bytes:
    return varint(len(value.encode())) + value.encode()


def some(encoded: bytes) -> bytes:
    """Encode the second branch of a union."""
    return b"\x02" + encoded


def write_model(path: Path, features_yaml: Path, *, version: str = "1", seed: int = 0) -> Path:
    """Write a bundle at ``path``, with a model that depends on the seed."""
    features = load_feature_set(features_yaml).features
    random = np.random.default_rng(seed)
    matrix = random.normal(10, 30, (500, len(features))).astype(np.float32)
    labels = (matrix[:, 0] > 30).astype(np.int64)
    booster = fit(matrix, labels, threads=1, rounds=10, seed=seed)
    return write_bundle(path, booster, name="payments", version=version, features=features)


def records(values: Sequence[bytes | None]) -> Records:
    """Records of one partition with these values, from offset 0 on."""
    n = len(values)
    return Records(
        "payments",
        [b"key"] * n,
        values,
        np.zeros(n, np.int32),
        np.arange(n, dtype=np.int64),
        np.full(n, 1_700_000_000_000, np.int64),
    )
