"""Which schemas are read, what paths decode to, and how a writer resolves to the reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from base.errors import ConfigurationError, ErrorCode, RecordError, SchemaRefusedError
from schemas.avro.decoder import Decoder
from schemas.avro.types import MAX_DEPTH, parse_record_schema
from schemas.batch import Kind
from schemas.registry.source import FixedSchemaSource
from tests.unit.schemas import avro_cases as avro

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
DATE = {"type": "int", "logicalType": "date"}
NAMES = iter(range(10**6))


def one_schema(schema: Any) -> FixedSchemaSource:
    return FixedSchemaSource(parse_record_schema(schema), framed=False)


def record(**fields: Any) -> dict[str, Any]:
    """A record schema; a field is its type, or a dict with more of its attributes."""
    return {
        "type": "record",
        "name": f"R{next(NAMES)}",
        "fields": [{"name": name, **_attributes(given)} for name, given in fields.items()],
    }


def _attributes(given: Any) -> dict[str, Any]:
    """A field's attributes; a dict without the ``type`` of a named type is already that."""
    if (
        isinstance(given, dict)
        and "symbols" not in given
        and ("default" in given or "aliases" in given)
    ):
        return given
    return {"type": given}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": f"E{next(NAMES)}", "symbols": list(symbols), **more}


def resolved(writer: Any, reader: Any, *values: Any, path: str = "f") -> list[Any]:
    """What ``path`` holds for records of ``writer``: values, or codes of errors.

    Asked of each body alone and of many, which must agree.
    """
    bodies = [avro.encode(writer, value) for value in values]
    decoder = Decoder(one_schema(writer), reader, [path], 1000, 100)
    alone = [_cell(decoder, [body], 0, path) for body in bodies]
    padded = bodies * (25)
    assert alone == [_cell(decoder, padded, row, path) for row in range(len(values))]
    return alone


def _cell(decoder: Decoder, bodies: list[bytes], row: int, path: str) -> Any:
    decoded = decoder.decode(bodies)
    error = decoded.errors.get(row)
    return error.code if error else avro.row(decoded, row)[path]


# Schemas that are not read


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("string", "top level is string"),
        (["null", "string"], "top level is union"),
        ({"type": "array", "items": "int"}, "top level is array"),
        ({"type": "record", "name": "A", "fields": [{"name": "f", "type": "B"}]}, "'B'"),
        ({"type": "record", "name": "A", "fields": [{"name": "f"}]}, "not valid Avro"),
        ({"name": "A"}, "not valid Avro"),
        (7, "not valid Avro"),
        (None, "not valid Avro"),
        (record(f=["null", ["int", "string"]]), "union"),
        (record(f=[]), "empty union"),
    ],
)
def test_a_schema_that_is_not_read_says_why(schema: Any, reason: str) -> None:
    with pytest.raises(SchemaRefusedError, match=reason):
        parse_record_schema(schema)


@pytest.mark.parametrize(
    "link",
    [
        "Node",
        ["null", "Node"],
        {"type": "array", "items": "Node"},
        {"type": "map", "values": "Node"},
    ],
)
def test_recursive_schemas_are_refused(link: Any) -> None:
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": link}]}
    for schema in (node, record(f=node)):
        with pytest.raises(SchemaRefusedError, match="Node contains itself"):
            parse_record_schema(schema)


def test_schemas_that_grow_when_expanded_are_refused() -> None:
    fields: list[Any] = [{"name": "f0", "type": record(x="int") | {"name": "T0"}}]
    for n in range(1, 30):
        pair = [{"name": "a", "type": f"T{n - 1}"}, {"name": "b", "type": f"T{n - 1}"}]
        doubled = {"type": "record", "name": f"T{n}", "fields": pair}
        fields.append({"name": f"f{n}", "type": doubled})
    with pytest.raises(SchemaRefusedError, match="more than"):
        parse_record_schema({"type": "record", "name": "Top", "fields": fields})


def test_deep_schemas_are_refused_before_they_can_exhaust_the_stack() -> None:
    nested: Any = "int"
    for _ in range(MAX_DEPTH + 1):
        nested = {"type": "array", "items": nested}
    with pytest.raises(SchemaRefusedError, match="levels"):
        parse_record_schema(record(f=nested))
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(SchemaRefusedError, match="levels"):
        parse_record_schema(nested)


# Paths


def test_paths_decode_to_columns_of_their_kind() -> None:
    inner = record(amount=DECIMAL, at=["null", MILLIS])
    schema = record(
        flag="boolean", n=["null", "int"], x="float", s=["string", "null"], e=enum("A"), day=DATE,
        odd={"type": "string", "logicalType": "timestamp-millis"}, inner=["null", inner],
    )  # fmt: skip
    paths = ["flag", "n", "x", "s", "e", "day", "odd", "inner.amount", "inner.at"]
    kinds = Decoder(one_schema(schema), schema, paths, 1000, 100).kinds
    assert kinds == {
        "flag": (Kind.BOOL, 0, False),
        "n": (Kind.LONG, 0, True),
        "x": (Kind.DOUBLE, 0, False),
        "s": (Kind.STRING, 0, True),
        "e": (Kind.STRING, 0, False),
        "day": (Kind.TIME, 0, False),
        "odd": (Kind.STRING, 0, False),
        "inner.amount": (Kind.DECIMAL, 2, True),
        "inner.at": (Kind.TIME, 0, True),
    }


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nothing", "no field 'nothing'. It has: s, tags, inner, either, raw"),
        ("inner.nothing", "no field 'nothing'. It has: x"),
        ("s.x", "'s' is string, which has no fields"),
        ("inner", "record is not a value that a column holds"),
        ("tags", "array is not a value that a column holds"),
        ("either", "union is not a value that a column holds"),
        ("raw", "bytes is not a value that a column holds"),
        ("", "no field ''"),
    ],
)
def test_a_path_that_cannot_be_bound_says_why(path: str, reason: str) -> None:
    schema = record(
        s="string", tags={"type": "array", "items": "int"}, inner=record(x="int"),
        either=["null", "int", "string"], raw="bytes",
    )  # fmt: skip
    with pytest.raises(ConfigurationError) as caught:
        Decoder(one_schema(schema), schema, [path], 1000, 100)
    assert reason in str(caught.value)
    assert repr(path) in str(caught.value)


# Resolution


@pytest.mark.parametrize(
    ("writer", "reader", "value", "wanted"),
    [
        ("int", "long", 7, 7),
        ("int", "float", 7, 7.0),
        ("int", "double", -7, -7.0),
        ("long", "double", 2**53 + 1, float(2**53)),
        ("long", "float", 7, 7.0),
        ("float", "double", 0.5, 0.5),
        ("bytes", "string", "ä".encode(), "ä"),
        ("bytes", "string", b"\xff", ErrorCode.UTF8_INVALID),
        ("string", ["null", "string"], "x", "x"),
        ("int", ["double", "null"], 3, 3.0),
        (["null", "string"], "string", "x", "x"),
        (["null", "string"], "string", None, ErrorCode.SCHEMA_INCOMPATIBLE),
        (["null", "int", "string"], ["null", "string"], "x", "x"),
        (["null", "int", "string"], ["null", "string"], None, None),
        (["null", "int", "string"], ["null", "string"], 5, ErrorCode.SCHEMA_INCOMPATIBLE),
        (["int", "double"], "double", 5, 5.0),
        (MILLIS, MICROS, 1, 1000),
        (MICROS, MILLIS, -1, -1),
        ("long", MILLIS, 1, 1000),
        ("int", MILLIS, 1, 1000),
        (DATE, MICROS, -1, -86_400_000_000),
        (MILLIS, "long", 5, 5),
        (MILLIS, MILLIS, 2**62, ErrorCode.VALUE_OUT_OF_RANGE),
        (DATE, DATE, 2**31 - 1, ErrorCode.VALUE_OUT_OF_RANGE),
        (DECIMAL, DECIMAL, b"\xff\x85", -123),
        ("bytes", DECIMAL, b"", 0),
        (DECIMAL, DECIMAL, b"\0" * 9 + b"\1", 1),
        (DECIMAL, DECIMAL, b"\1" * 9, ErrorCode.VALUE_OUT_OF_RANGE),
    ],
)  # fmt: skip
def test_writers_resolve_to_the_reader(writer: Any, reader: Any, value: Any, wanted: Any) -> None:
    assert resolved(record(f=writer), record(f=reader), {"f": value}) == [wanted]


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ("long", "int"),
        ("double", "float"),
        ("string", "long"),
        ("boolean", "int"),
        ("null", "string"),
        (["null", "long"], "string"),
        ({"type": "int", "logicalType": "time-millis"}, MILLIS),
        (DECIMAL | {"scale": 3}, DECIMAL),
        (enum("A"), "string"),
        ({"type": "array", "items": "int"}, "int"),
        (record(x="int"), "int"),
    ],
)
def test_a_writer_that_cannot_resolve_names_the_field(writer: Any, reader: Any) -> None:
    decoder = Decoder(one_schema(record(f=writer)), record(f=reader), ["f"], 1000, 100)
    errors: Mapping[int, RecordError] = {}
    for values in ([b"\0"], [b"\0"] * (25)):
        errors = decoder.decode(values).errors
        assert len(errors) == len(values)
        assert {error.code for error in errors.values()} == {ErrorCode.SCHEMA_INCOMPATIBLE}
        assert "f is" in errors[0].message
    reasons = decoder.writer_schemas
    assert reasons["None"] == errors[0]


def test_fields_are_found_by_name_before_alias() -> None:
    reader = record(
        f={"type": "string", "aliases": ["g", "old"]}, g={"type": "string", "default": "-"}
    )
    assert resolved(record(old="string"), reader, {"old": "x"}) == ["x"]
    assert resolved(record(old="string", f="string"), reader, {"old": "x", "f": "y"}) == ["y"]
    # The writer's g is the reader's g; it is not f by alias as well.
    assert resolved(record(g="string", old="string"), reader, {"g": "1", "old": "2"}) == ["2"]
    assert resolved(record(g="string", old="string"), reader, {"g": "1", "old": "2"}, path="g") == [
        "1"
    ]


@pytest.mark.parametrize(
    ("declared", "default", "wanted"),
    [
        ("string", "EUR", "EUR"),
        ("string", "", ""),
        (["null", "string"], None, None),
        ("boolean", True, True),
        ("int", 3, 3),
        ("double", 3, 3.0),
        (MILLIS, 5, 5000),
        (DATE, 1, 86_400_000_000),
        (DECIMAL, "\u00ff\u0085", -123),
        (enum("A", "B"), "B", "B"),
    ],
)
def test_a_field_that_the_writer_lacks_takes_its_default(
    declared: Any, default: Any, wanted: Any
) -> None:
    reader = record(f={"type": declared, "default": default})
    assert resolved(record(g="string"), reader, {"g": "x"}) == [wanted]


def test_a_field_that_the_writer_lacks_needs_a_default() -> None:
    wanted = [ErrorCode.SCHEMA_INCOMPATIBLE]
    assert resolved(record(g="string"), record(f="string"), {"g": "x"}) == wanted


def test_defaults_reach_into_records_and_only_where_the_record_is() -> None:
    inner = record(x={"type": "string", "default": "inner"}, y={"type": "int", "default": 1})
    reader = record(f={"type": inner, "default": {"x": "outer"}})
    assert resolved(record(g="int"), reader, {"g": 1}, path="f.x") == ["outer"]
    assert resolved(record(g="int"), reader, {"g": 1}, path="f.y") == [1]
    optional = record(f=["null", inner])
    writer = record(f=["null", record(y="int")])
    found = resolved(writer, optional, {"f": None}, {"f": {"y": 2}}, path="f.x")
    assert found == [None, "inner"]
    assert resolved(writer, optional, {"f": None}, {"f": {"y": 2}}, path="f.y") == [None, 2]


def test_enums_resolve_by_symbol() -> None:
    writer = record(f=enum("ATM", "POS", "NEW"))
    values = [{"f": "ATM"}, {"f": "POS"}, {"f": "NEW"}]
    strict = record(f=enum("POS", "ATM"))
    assert resolved(writer, strict, *values) == ["ATM", "POS", ErrorCode.ENUM_SYMBOL_INVALID]
    lenient = record(f=enum("POS", "ATM", "OTHER", default="OTHER"))
    assert resolved(writer, lenient, *values) == ["ATM", "POS", "OTHER"]


def test_the_records_of_a_union_are_told_apart_by_name() -> None:
    card = record(x="string") | {"name": "ns.Card"}
    bank = record(x="string") | {"name": "ns.Bank"}
    writer = record(f=["null", card, bank])
    reader = record(f=["null", record(x="string") | {"name": "other.Bank"}])
    values = [{"f": ("ns.Card", {"x": "a"})}, {"f": ("ns.Bank", {"x": "b"})}, {"f": None}]
    found = resolved(writer, reader, *values, path="f.x")
    assert found == [ErrorCode.SCHEMA_INCOMPATIBLE, "b", None]


def test_names_of_types_need_not_agree() -> None:
    writer = record(f=record(e=enum("A"))) | {"name": "bank.payments.Tx"}
    reader = record(f=record(e=enum("A")))
    assert resolved(writer, reader, {"f": {"e": "A"}}, path="f.e") == ["A"]


def test_a_writer_that_always_writes_null_resolves_to_a_nullable_reader() -> None:
    assert resolved(record(f="null", g="int"), record(f=["null", "int"]), {"g": 1}) == [None]


def test_fields_that_no_path_uses_need_not_resolve() -> None:
    writer = record(f="string", g="string", tags={"type": "array", "items": "int"})
    reader = record(f="string", g="long", h="string")
    assert resolved(writer, reader, {"f": "x", "g": "y", "tags": [1, 2]}) == ["x"]
