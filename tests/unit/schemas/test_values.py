"""Records of any shape as Python values: what fastavro reads, and what is no record."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest

from base.errors import ErrorCode, RecordError
from schemas.avro.raw_values import ValueReader
from schemas.avro.types import Type, parse_writer_schema
from schemas.registry.framing import SchemaId

LABEL = json.loads((Path(__file__).parents[3] / "schemas" / "label.avsc").read_text())
RECORD = {
    "event_id": "7",
    "event_time": datetime(2018, 5, 1, tzinfo=UTC),
    "entity_keys": {"customer": "c", "terminal": "t"},
    "fraud": True,
    "label_time": datetime(2018, 5, 3, tzinfo=UTC),
    "source": "chargeback",
}
EVERYTHING: dict[str, Any] = {
    "type": "record",
    "name": "E",
    "fields": [
        {"name": "a", "type": ["null", "int"]},
        {"name": "b", "type": {"type": "fixed", "name": "F", "size": 2}},
        {"name": "c", "type": "F"},
        {"name": "d", "type": {"type": "enum", "name": "G", "symbols": ["x", "y"]}},
        {
            "name": "e",
            "type": {"type": "record", "name": "R", "fields": [{"name": "f", "type": "double"}]},
        },
        {"name": "g", "type": {"type": "map", "values": ["null", "R"]}},
        {"name": "h", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}


@dataclass
class Schemas:
    """One schema for all ids. asked: for which it was asked."""

    schema: Any
    framed: bool = True
    asked: int = 0

    def get_all(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, Type | RecordError]:
        self.asked += 1
        unknown = RecordError(ErrorCode.SCHEMA_UNKNOWN, "nobody knows 9")
        schema = parse_writer_schema(self.schema)
        return {schema_id: unknown if schema_id == 9 else schema for schema_id in schema_ids}


def body(schema: Any, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def framed(schema_id: int, data: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + data


def test_a_label_framed_or_bare() -> None:
    source = Schemas(LABEL)
    reader = ValueReader(source, 1_000)
    for _ in range(3):
        assert reader.read(framed(5, body(LABEL, RECORD)), None) == RECORD
    assert source.asked == 1
    assert (
        ValueReader(Schemas(LABEL, framed=False), 1_000).read(body(LABEL, RECORD), None) == RECORD
    )


def test_named_types_are_used_again() -> None:
    record = {
        "a": None,
        "b": b"12",
        "c": b"34",
        "d": "y",
        "e": {"f": 0.5},
        "g": {"k": None, "l": {"f": 1.0}},
        "h": datetime(2018, 5, 1, tzinfo=UTC),
    }
    assert ValueReader(Schemas(EVERYTHING), 1_000).read(
        framed(1, body(EVERYTHING, record)), None
    ) == (record)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, ErrorCode.NULL_VALUE),
        (b"", ErrorCode.EMPTY_VALUE),
        (b"\x07", ErrorCode.MAGIC_UNKNOWN),
        (framed(9, b"x"), ErrorCode.SCHEMA_UNKNOWN),
        (framed(1, body(LABEL, RECORD)[:-1]), ErrorCode.BODY_INVALID),
        (framed(1, body(LABEL, RECORD) + b"\x00"), ErrorCode.TRAILING_BYTES),
        (framed(1, b"\xff" * 12), ErrorCode.BODY_INVALID),
        (framed(1, bytes(2_000)), ErrorCode.RECORD_TOO_LARGE),
    ],
)
def test_values_that_are_no_record_have_an_error_code(value: bytes | None, code: ErrorCode) -> None:
    found = ValueReader(Schemas(LABEL), 1_000).read(value, None)
    assert isinstance(found, RecordError)
    assert found.code is code


def test_schemas_with_arrays_are_refused() -> None:
    """A body of ten bytes may announce more empty items than there is memory."""
    schema = {
        "type": "record",
        "name": "A",
        "fields": [
            {"name": "a", "type": {"type": "map", "values": {"type": "array", "items": "null"}}}
        ],
    }
    found = ValueReader(Schemas(schema), 1_000).read(framed(1, b"\x00"), None)
    assert isinstance(found, RecordError)
    assert found.code is ErrorCode.SCHEMA_REFUSED


def test_schemas_with_records_that_contain_themselves_are_refused() -> None:
    """A body could be followed until the stack ends."""
    link = {"name": "a", "type": ["null", "A"]}
    schema = {"type": "record", "name": "A", "fields": [link]}
    for refused in (schema, {"type": "record", "name": "B", "fields": [{**link, "type": schema}]}):
        found = ValueReader(Schemas(refused), 1_000).read(framed(1, b"\x00"), None)
        assert isinstance(found, RecordError)
        assert found.code is ErrorCode.SCHEMA_REFUSED


def test_symbols_need_not_be_names() -> None:
    kind = {"type": "enum", "name": "K", "symbols": ["card-present", "2nd"]}
    fields = [{"name": "k", "type": ["null", kind]}, {"name": "l", "type": "K", "default": 1}]
    schema = {"type": "record", "name": "A", "fields": fields}
    found = ValueReader(Schemas(schema), 1_000).read(framed(1, b"\x02\x00\x02"), None)
    assert found == {"k": "card-present", "l": "2nd"}


def test_a_union_at_the_top_gives_its_records() -> None:
    reader = ValueReader(Schemas(["null", "string", LABEL]), 1_000)
    assert reader.read(framed(1, b"\x04" + body(LABEL, RECORD)), None) == RECORD
    for other in (b"\x00", b"\x02\x02x"):
        found = reader.read(framed(1, other), None)
        assert isinstance(found, RecordError)
        assert found.code is ErrorCode.BODY_INVALID
