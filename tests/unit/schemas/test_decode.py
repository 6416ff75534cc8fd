"""Micro-batches of records of several schemas, framed or not, some of them bad."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

import schemas
from base.errors import ConfigurationError, DependencyUnavailableError, ErrorCode, RecordError
from schemas.avro.decoder import Decoder
from schemas.avro.types import Type, parse_record_schema
from schemas.registry.framing import VALUE_SCHEMA_HEADER, SchemaId
from tests.unit.schemas import avro_cases as avro

MANY = 25
GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
READER = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": ["null", "double"], "default": None},
    ],
}
OLD = {"type": "record", "name": "Event", "fields": [{"name": "id", "type": "string"}]}
WRONG = {"type": "record", "name": "Event", "fields": [{"name": "id", "type": "long"}]}
WIDE = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "amount", "type": "long"},
        {"name": "id", "type": "bytes"},
    ],
}
ROOT = Path(schemas.__file__).parent


def unknown(schema_id: SchemaId) -> RecordError:
    return RecordError(ErrorCode.SCHEMA_UNKNOWN, f"no schema {schema_id}")


class Source:
    framed = True

    def __init__(self, **unused: Any) -> None:
        self.asked: list[list[SchemaId]] = []
        self._schemas: dict[SchemaId, Type | RecordError] = {
            1: parse_record_schema(READER),
            2: parse_record_schema(OLD),
            GUID: parse_record_schema(WIDE),
            4: parse_record_schema(WRONG),
            5: RecordError(ErrorCode.SCHEMA_REFUSED, "schema 5: it contains itself"),
        }

    def get_all(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, Type | RecordError]:
        self.asked.append(list(schema_ids))
        if 99 in schema_ids:
            raise DependencyUnavailableError("the registry is away")
        return {key: self._schemas.get(key) or unknown(key) for key in schema_ids}


def of_id(number: int, body: bytes) -> bytes:
    return b"\0" + struct.pack(">I", number) + body


def decoder(source: Source | None = None) -> Decoder:
    return Decoder(source or Source(), READER, ["id", "amount"], 1000, 10)


NEW_BODY = avro.encode(READER, {"id": "new", "amount": 1.5})
OLD_BODY = avro.encode(OLD, {"id": "old"})
WIDE_BODY = avro.encode(WIDE, {"tags": ["x", "y"], "amount": 7, "id": b"wide"})

KINDS: list[tuple[bytes | None, list[tuple[str, bytes | None]] | None, Any, str | None]] = [
    (of_id(1, NEW_BODY), None, {"id": "new", "amount": 1.5}, "1"),
    (of_id(2, OLD_BODY), [("traceparent", b"00")], {"id": "old", "amount": None}, "2"),
    (b"\1" + GUID.bytes + WIDE_BODY, None, {"id": "wide", "amount": 7.0}, str(GUID)),
    (
        WIDE_BODY,
        [(VALUE_SCHEMA_HEADER, b"\1" + GUID.bytes)],
        {"id": "wide", "amount": 7.0},
        str(GUID),
    ),
    (None, None, ErrorCode.NULL_VALUE, None),
    (b"", None, ErrorCode.EMPTY_VALUE, None),
    (b"\0\0\0", None, ErrorCode.FRAME_TRUNCATED, None),
    (b"{}", None, ErrorCode.MAGIC_UNKNOWN, None),
    (of_id(1, bytes(1000)), None, ErrorCode.RECORD_TOO_LARGE, None),
    (of_id(3, NEW_BODY), None, ErrorCode.SCHEMA_UNKNOWN, "3"),
    (of_id(4, NEW_BODY), None, ErrorCode.SCHEMA_INCOMPATIBLE, "4"),
    (of_id(5, NEW_BODY), None, ErrorCode.SCHEMA_REFUSED, "5"),
    (of_id(1, b""), None, ErrorCode.BODY_TRUNCATED, "1"),
    (of_id(2, NEW_BODY), None, ErrorCode.TRAILING_BYTES, "2"),
    (of_id(2, b"\2\xff"), None, ErrorCode.UTF8_INVALID, "2"),
]


@pytest.mark.parametrize("times", [1, 7])
def test_a_micro_batch_with_every_kind_of_record_decodes(times: int) -> None:
    cases = KINDS * times
    values = [case[0] for case in cases]
    headers = [case[1] for case in cases]
    decoded = decoder().decode(values, headers)
    assert list(decoded.schema_ids) == [case[3] for case in cases]
    for row, (_, _, wanted, _) in enumerate(cases):
        error = decoded.errors.get(row)
        if isinstance(wanted, ErrorCode):
            assert error is not None
            assert error.code is wanted
            assert avro.row(decoded, row) == {"id": None, "amount": None}
        else:
            assert error is None
            assert avro.row(decoded, row) == wanted
    for column in decoded.columns.values():
        assert len(column) == len(column.values) == len(cases)


@pytest.mark.parametrize("size", [1, MANY])
def test_a_bad_row_is_null_in_the_columns_of_defaults_too(size: int) -> None:
    fields = [{"name": "id", "type": "string"}, {"name": "currency", "type": "string"}]
    reader = {"type": "record", "name": "E", "fields": fields}
    fields[1] |= {"default": "EUR"}
    decoded = Decoder(Source(), reader, ["id", "currency"], 1000, 10).decode(
        [*[of_id(2, OLD_BODY)] * size, of_id(2, b"\2\xff"), of_id(2, OLD_BODY + b"\0")]
    )
    assert avro.row(decoded, 0) == {"id": "old", "currency": "EUR"}
    for row in (size, size + 1):
        assert row in decoded.errors
        assert avro.row(decoded, row) == {"id": None, "currency": None}


def test_columns_have_the_declared_layout_at_any_size() -> None:
    for size in (0, 1, MANY):
        decoded = decoder().decode([of_id(1, NEW_BODY)] * size)
        text, number = decoded.columns["id"], decoded.columns["amount"]
        assert isinstance(text.values, pa.StringArray)
        assert text.values.type == pa.string()
        assert text.values.null_count == 0
        assert number.values.dtype == "float64"
        assert [len(text), len(number)] == [size, size]
        assert list(decoded.schema_ids) == ["1"] * size


def test_a_schema_is_asked_for_once() -> None:
    source = Source()
    reader = decoder(source)
    for size in (1, MANY, 1):
        reader.decode([of_id(1, NEW_BODY)] * size)
    assert source.asked == [[1]]
    assert reader.writer_schemas == {"1": None}


def test_an_unknown_id_is_left_to_the_source() -> None:
    source = Source()
    reader = decoder(source)
    for _ in range(2):
        assert reader.decode([of_id(3, b"x")]).errors[0].code is ErrorCode.SCHEMA_UNKNOWN
    assert source.asked == [[3], [3]]
    assert reader.writer_schemas == {}


@pytest.mark.parametrize("times", [1, MANY])
def test_the_schemas_of_a_micro_batch_are_asked_for_together(times: int) -> None:
    source = Source()
    reader = decoder(source)
    batch = [of_id(1, NEW_BODY), of_id(2, OLD_BODY), of_id(7, b"x"), of_id(8, b"x"), None, b""]
    reader.decode(batch * times)
    assert [sorted(map(str, asked)) for asked in source.asked] == [["1", "2", "7", "8"]]
    reader.decode(batch * times)
    assert [sorted(map(str, asked)) for asked in source.asked[1:]] == [["7", "8"]], "what is new"


def test_a_registry_that_is_away_is_the_callers_matter() -> None:
    for size in (1, MANY):
        with pytest.raises(DependencyUnavailableError):
            decoder().decode([of_id(99, NEW_BODY)] * size)


def test_a_reader_schema_that_is_not_read_is_refused() -> None:
    recursive = {"type": "record", "name": "A", "fields": [{"name": "a", "type": ["null", "A"]}]}
    with pytest.raises(ConfigurationError, match="A contains itself"):
        Decoder(Source(), recursive, ["a"], 1000, 10)


def test_decoding_without_paths_validates_bodies() -> None:
    reader = Decoder(Source(), READER, [], 1000, 10)
    for size in (1, MANY):
        decoded = reader.decode([*[of_id(1, NEW_BODY)] * size, of_id(1, b"\2")])
        assert decoded.columns == {}
        assert decoded.errors.keys() == {size}


def examples(folder: str) -> list[Path]:
    return sorted((ROOT / "examples" / folder).glob("transaction-*.json"))


def example(path: Path) -> tuple[bytes | None, dict[str, Any]]:
    given = json.loads(path.read_text())
    return None if given["value"] is None else bytes.fromhex(given["value"]), given


def transactions() -> Decoder:
    schema = json.loads((ROOT / "transaction.avsc").read_text())

    class Transactions:
        framed = True

        def get_all(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, Type | RecordError]:
            known = parse_record_schema(schema)
            return {key: known if key == 1 else unknown(key) for key in schema_ids}

    paths = [item["name"] for item in schema["fields"]]
    return Decoder(Transactions(), schema, paths, 1_000_000, 1_000)


@pytest.mark.parametrize("path", examples("valid"), ids=lambda path: path.stem)
def test_valid_examples(path: Path) -> None:
    value, given = example(path)
    for times in (1, MANY):
        decoded = transactions().decode([value] * times)
        assert not decoded.errors
        assert avro.row(decoded, 0) == given["columns"]


@pytest.mark.parametrize("path", examples("invalid"), ids=lambda path: path.stem)
def test_invalid_examples(path: Path) -> None:
    value, given = example(path)
    for times in (1, MANY):
        errors = transactions().decode([value] * times).errors
        assert len(errors) == times
        assert errors[0].code == given["code"]
        assert errors[0].message == given["message"]


def test_there_are_examples() -> None:
    assert len(examples("valid")) >= 3
    assert len(examples("invalid")) >= 10
