"""Writers' schemas are read whatever is wrong in them that reading does not need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastavro
import pytest

from base.errors import ErrorCode, SchemaRefusedError
from schemas.avro.decoder import Decoder
from schemas.avro.definitions import Definitions
from schemas.avro.steps import MAX_NESTED
from schemas.avro.types import Type, parse_record_schema, parse_writer_schema
from schemas.registry.framing import VALUE_SCHEMA_HEADER
from schemas.registry.source import FixedSchemaSource
from tests.unit.schemas import avro_cases as avro

READER = {"type": "record", "name": "E", "fields": [{"name": "f", "type": "string"}]}
NODE = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "Node"]}],
}
X = b"\2x"


def one_schema(schema: Any, *, framed: bool = False) -> FixedSchemaSource:
    return FixedSchemaSource(parse_writer_schema(schema), framed=framed)


def event(*fields: Any, **more: Any) -> dict[str, Any]:
    """A record of the types ``fields``, named g0, g1, …, and behind them the string f."""
    named = [{"name": f"g{number}", "type": given} for number, given in enumerate(fields)]
    return {"type": "record", "name": "E", "fields": [*named, READER["fields"][0]], **more}


def read(writer: Any, *bodies: bytes, reader: Any = None, path: str = "f") -> list[Any]:
    """Values of ``path``, or codes; of each body alone and of all together, which must agree."""
    decoder = Decoder(one_schema(writer), reader or READER, [path], 10**6, 100)
    found = [_cell(decoder, [body], 0, path) for body in bodies]
    many = list(bodies) * 25
    assert [_cell(decoder, many, row, path) for row in range(len(bodies))] == found
    return found


def _cell(decoder: Decoder, bodies: list[bytes], row: int, path: str) -> Any:
    decoded = decoder.decode(bodies)
    error = decoded.errors.get(row)
    return error.code if error else avro.row(decoded, row)[path]


@pytest.mark.parametrize(
    ("declared", "body"),
    [
        # Defaults that do not fit, of the field and of the enum.
        ({"type": "enum", "name": "N", "symbols": ["A"], "default": "B"}, b"\0"),
        # Logical types that are none, or not of this type.
        ({"type": "bytes", "logicalType": "decimal", "precision": 0, "scale": 9}, b"\2\1"),
        ({"type": "bytes", "logicalType": "decimal", "precision": "x"}, b"\2\1"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": -1}, b"\2\1"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": "x"}, b"\2\1"),
        ({"type": "fixed", "name": "N", "size": 2, "logicalType": "decimal", "precision": 99}, X),
        ({"type": "string", "logicalType": "decimal", "precision": 9, "scale": 2}, X),
        ({"type": "int", "logicalType": "uuid"}, b"\2"),
        ({"type": "long", "logicalType": {"no": "name"}}, b"\2"),
        ({"type": {"type": "int", "logicalType": 7}}, b"\2"),
        # Symbols that are no names, or there twice.
        ({"type": "enum", "name": "N", "symbols": ["card-present", "2nd", "é", ""]}, b"\4"),
        ({"type": "enum", "name": "N", "symbols": ["A", "A"]}, b"\2"),
    ],
)
def test_writer_schema_faults_that_reading_does_not_need_are_accepted(
    declared: Any, body: bytes
) -> None:
    assert read(event(declared), body + X) == ["x"]


@pytest.mark.parametrize(
    ("declared", "default"),
    [("int", "none"), (["null", "int"], 0), ("string", None), (NODE, 1), ("boolean", "true")],
)
def test_a_writers_default_need_not_fit(declared: Any, default: Any) -> None:
    writer = event(declared)
    writer["fields"][0]["default"] = default
    assert parse_writer_schema(writer).fields[0].name == "g0"
    writer["fields"][0] = {"name": "g0", "type": "int", "default": default, "aliases": 7}
    assert read(writer, b"\2" + X) == ["x"]


def test_symbols_that_are_no_names_resolve_to_a_reader_that_has_them() -> None:
    kind = {"type": "enum", "name": "N", "symbols": ["card-present", "B"]}
    reader = {"type": "record", "name": "E", "fields": [
        {"name": "f", "type": {"type": "enum", "name": "N", "symbols": ["B", "OTHER"],
                               "default": "OTHER"}}]}  # fmt: skip
    writer = {"type": "record", "name": "E", "fields": [{"name": "f", "type": kind}]}
    assert read(writer, b"\0", b"\2", b"\4", reader=reader) == [
        "OTHER", "B", ErrorCode.ENUM_SYMBOL_INVALID,
    ]  # fmt: skip


def test_a_decimal_of_a_wrong_precision_keeps_its_scale() -> None:
    def amount(**more: Any) -> dict[str, Any]:
        declared = {"type": "bytes", "logicalType": "decimal", **more}
        return {"type": "record", "name": "E", "fields": [{"name": "f", "type": declared}]}

    reader = amount(precision=9, scale=2)
    body = b"\2\x7b"
    assert read(amount(precision=1, scale=2), body, reader=reader) == [123]
    # Not read as if it had the reader's scale.
    other = read(amount(precision=1, scale=4), body, reader=reader)
    assert other == [ErrorCode.SCHEMA_INCOMPATIBLE]
    assert read(amount(precision=9, scale="2"), body, reader=reader) == [123]


def test_a_name_may_be_defined_twice_alike() -> None:
    card = {"type": "record", "name": "Card", "fields": [{"name": "n", "type": "int"}]}
    again = {**card, "doc": "again", "fields": [{"name": "n", "type": "int", "default": "x"}]}
    assert read(event(card, again, "Card"), b"\2\4\6" + X) == ["x"]
    code = {"type": "enum", "name": "Code", "symbols": ["A"]}
    size = {"type": "fixed", "name": "Size", "size": 1}
    assert read(event(code, {**code, "default": "A"}, size, {**size}), b"\0\0ab" + X) == ["x"]
    assert read(event(NODE, NODE), b"\2\0\2\0" + X) == ["x"]


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}


@pytest.mark.parametrize(
    ("one", "other", "body"),
    [
        ("int", {"type": "int"}, b"\2"),
        ("string", {"type": "string", "avro.java.string": "String"}, b"\2x"),
        (["null", "string"], ["null", {"type": "string"}], b"\0"),
        ({"type": "array", "items": "int"}, {"type": "array", "items": {"type": "int"}}, b"\0"),
        ({"type": "map", "values": "int"}, {"type": "map", "values": {"type": "int"}}, b"\0"),
        ("long", {"type": "long", "logicalType": "date"}, b"\2"),
        ("long", {"type": "long", "logicalType": ["of", "no", "kind"]}, b"\2"),
        (MILLIS, {**MILLIS, "doc": "again"}, b"\2"),
    ],
)
def test_a_name_may_be_defined_twice_in_two_spellings(one: Any, other: Any, body: bytes) -> None:
    def named(declared: Any) -> dict[str, Any]:
        return {"type": "record", "name": "N", "fields": [{"name": "a", "type": declared}]}

    assert read(event(named(one), named(other)), body * 2 + X) == ["x"]


def test_an_invalid_logical_type_does_not_make_a_fixed_another() -> None:
    one = {"type": "fixed", "name": "N", "size": 1}
    assert read(event(one, {**one, "logicalType": "money"}), b"ab" + X) == ["x"]
    decimal = {**one, "logicalType": "decimal", "precision": 2, "scale": 2}
    assert read(event(decimal, {**decimal, "precision": 1}), b"ab" + X) == ["x"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"type": "record", "name": "N", "fields": [{"name": "a", "type": MILLIS}]},
         {"type": "record", "name": "N", "fields": [{"name": "a", "type": "long"}]}),
        ({"type": "fixed", "name": "N", "size": 1, "logicalType": "decimal", "precision": 2},
         {"type": "fixed", "name": "N", "size": 1}),
        ({"type": "record", "name": "N", "fields": [{"name": "a", "type": ["int", "null"]}]},
         {"type": "record", "name": "N", "fields": [{"name": "a", "type": ["null", "int"]}]}),
        ({"type": "fixed", "name": "N", "size": 1}, {"type": "fixed", "name": "N", "size": 2}),
        ({"type": "enum", "name": "N", "symbols": ["A"]},
         {"type": "enum", "name": "N", "symbols": ["B"]}),
        ({"type": "record", "name": "N", "fields": []}, {"type": "fixed", "name": "N", "size": 0}),
        ({"type": "record", "name": "N", "fields": [{"name": "a", "type": "int"}]},
         {"type": "record", "name": "N", "fields": [{"name": "a", "type": "string"}]}),
    ],
)  # fmt: skip
def test_a_name_defined_twice_differently_is_refused(one: Any, other: Any) -> None:
    with pytest.raises(SchemaRefusedError, match="N is defined twice, differently"):
        parse_writer_schema(event(one, other))
    definitions = Definitions()
    definitions.add(one)
    with pytest.raises(SchemaRefusedError, match="differently"):
        definitions.add(event(other))
    # A refused schema leaves nothing behind.
    assert definitions.add("N") == "N"
    with pytest.raises(SchemaRefusedError, match="'E', which is not defined"):
        definitions.add("E")


def test_names_are_found_in_their_namespace_and_in_none() -> None:
    card = {"type": "record", "name": "Card", "fields": [{"name": "n", "type": "int"}]}
    own = {**card, "namespace": "bank", "fields": [{"name": "n", "type": "string"}]}
    writer = event(card, {"type": "record", "name": "bank.Tx", "fields": [
        {"name": "a", "type": "Card"}, {"name": "b", "type": own}, {"name": "c", "type": "Card"},
    ]})  # fmt: skip
    assert read(writer, b"\2" + b"\4" + b"\2y" + b"\2z" + X) == ["x"]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("string", "top level is string"),
        (["null", "string"], "top level is union"),
        ({"type": "array", "items": READER}, "top level is array"),
        (event("B"), "'B', which is not defined"),
        (event({"type": "enum", "name": "N"}), "enum N without a list of symbols"),
        (event({"type": "enum", "name": "N", "symbols": [1]}), "enum N without a list"),
        (event({"type": "fixed", "name": "N", "size": -1}), "size -1"),
        (event({"type": "fixed", "name": "N", "size": True}), "size True"),
        (event({"type": "array"}), "array of nothing"),
        (event({"type": "record", "name": "N"}), "record N without fields"),
        (event({"type": "record", "fields": []}), "record without a name"),
        (event({"type": "record", "name": "N", "fields": [{"name": "a"}]}), "without a name or"),
        (event({"type": "record", "name": "N", "fields": [
            {"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}), "'a' twice"),
        (event(7), "a type is a name"),
        (event([]), "empty union"),
        (None, "a type is a name"),
    ],
)  # fmt: skip
def test_writer_schema_faults_that_reading_needs_are_refused_with_a_reason(
    schema: Any, reason: str
) -> None:
    with pytest.raises(SchemaRefusedError, match=reason):
        parse_writer_schema(schema)


@pytest.mark.parametrize("odd", [None, True, 5, "x", [], ["x"], [["x"]], [{}], {}, {"type": "int"}])
@pytest.mark.parametrize(
    "declared",
    [
        {"type": "int"},
        {"type": "enum", "name": "N", "symbols": ["A"]},
        {"type": "fixed", "name": "N", "size": 1},
        {"type": "record", "name": "N", "fields": [{"name": "a", "type": "int"}]},
    ],
)
@pytest.mark.parametrize(
    "attribute",
    ["items", "values", "fields", "symbols", "size", "default", "aliases", "scale", "doc"],
)
def test_attributes_that_a_type_has_no_use_for_may_be_anything(
    declared: dict[str, Any], attribute: str, odd: Any
) -> None:
    assert read(event({attribute: odd, **declared}), b"\0" + X) == ["x"]


@pytest.mark.parametrize("aliases", [[["f"]], [{}], [5], [None, "f"]])
def test_aliases_of_a_reader_that_are_no_text_are_passed_over(aliases: Any) -> None:
    """They were unhashable where the writer's fields were looked for, and ended the worker."""
    reader = {"type": "record", "name": "E", "fields": [
        {"name": "g", "type": "string", "default": "-", "aliases": aliases}]}  # fmt: skip
    assert read(event(), X, reader=reader, path="g") == ["x" if "f" in aliases else "-"]


@pytest.mark.parametrize("parse", [parse_record_schema, parse_writer_schema])
@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (
            {"subject": "tx", "version": 1, "id": 3, "schema": "{}"},
            r'registry; keep .* "schema" al',
        ),
        ({"protocol": "P", "types": [READER], "messages": {}}, 'protocol; keep .* "types", alone'),
    ],
)
def test_a_document_that_holds_a_schema_says_what_to_keep(
    parse: Callable[[object], Type], document: Any, reason: str
) -> None:
    with pytest.raises(SchemaRefusedError, match=reason):
        parse(document)


def test_a_reader_schema_that_the_parser_stumbles_over_is_refused_in_words() -> None:
    with pytest.raises(SchemaRefusedError, match="without a list of symbols"):
        parse_record_schema(event({"type": "enum", "name": "N", "symbols": None}))
    with pytest.raises(SchemaRefusedError, match="an attribute has a value that it cannot have"):
        parse_record_schema({"type": event()})


# A union at the top


def test_the_records_of_a_union_at_the_top() -> None:
    other = {"type": "record", "name": "Login", "fields": [{"name": "f", "type": "string"}]}
    writer = ["null", other, {**READER, "name": "ns.E"}]
    bodies = [b"\4" + X, b"\2" + X, b"\0", b"\6", b"\4" + X + b"\0"]
    assert read(writer, *bodies) == [
        "x",
        ErrorCode.SCHEMA_INCOMPATIBLE,
        ErrorCode.SCHEMA_INCOMPATIBLE,
        ErrorCode.UNION_BRANCH_INVALID,
        ErrorCode.TRAILING_BYTES,
    ]
    # One record needs no name to be told from the others.
    assert read(["null", other], b"\2" + X) == ["x"]
    error = Decoder(one_schema([other, {**other, "name": "B"}]), READER, ["f"], 99, 9)
    message = error.decode([b"\0" + X]).errors[0].message
    assert "the record is Login, and the reader has E" in message


# Records that contain themselves


def chain(levels: int) -> bytes:
    """A Node with ``levels - 1`` others in it."""
    return b"\2\2" * (levels - 1) + b"\2\0"


TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [
        {"name": "v", "type": "string"},
        {"name": "under", "type": {"type": "array", "items": "Tree"}},
        {"name": "named", "type": {"type": "map", "values": ["null", "Tree", NODE]}},
    ],
}


def test_recursive_records_are_passed_where_no_path_uses_them() -> None:
    assert read(event(NODE), chain(1) + X, chain(3) + X) == ["x", "x"]
    leaf = {"v": "l", "under": [], "named": {}}
    tree = {
        "v": "t",
        "under": [leaf, {**leaf, "under": [leaf] * 3}, leaf],
        "named": {"a": None, "b": leaf, "c": ("Node", {"v": 1, "next": {"v": 2, "next": None}})},
    }
    writer = event(TREE)
    body = avro.encode(writer, {"g0": tree, "f": "x"})
    short = body[: len(body) - 3]
    assert read(writer, body, body + b"\0", short) == [
        "x", ErrorCode.TRAILING_BYTES, ErrorCode.BODY_TRUNCATED,
    ]  # fmt: skip
    # The record itself, and paths through it.
    assert read(NODE, chain(3), reader=event() | {"name": "Node", "fields": NODE["fields"][:1]},
                path="v") == [1]  # fmt: skip
    inner = {"type": "record", "name": "Other", "fields": [{"name": "v", "type": "int"}]}
    reader = {"type": "record", "name": "Node", "fields": [
        {"name": "next", "type": ["null", inner]}]}  # fmt: skip
    assert read(NODE, b"\2\2\4\2\6\0", b"\2\0", reader=reader, path="next.v") == [2, None]


def test_blocks_with_their_sizes_are_passed_in_recursive_records() -> None:
    leaf = b"\2l" + b"\0" + b"\0"
    block = b"\3" + bytes([2 * 2 * len(leaf)]) + leaf * 2
    assert read(event(TREE), b"\2t" + block + b"\2" + leaf + b"\0" + b"\0" + X) == ["x"]


@pytest.mark.parametrize(
    ("writer", "body", "code"),
    [
        (NODE, chain(MAX_NESTED + 1), ErrorCode.NESTED_TOO_DEEP),
        (NODE, b"\2\2" * 100_000, ErrorCode.NESTED_TOO_DEEP),
        (TREE, b"\2t" + b"\2" + b"\x7e", ErrorCode.BODY_TRUNCATED),
        (NODE, b"\2\4", ErrorCode.UNION_BRANCH_INVALID),
        (TREE, (b"\2t" + b"\2") * 100_000, ErrorCode.NESTED_TOO_DEEP),
        (TREE, b"\2t" + b"\xca\1", ErrorCode.COLLECTION_TOO_LONG),
        (TREE, b"\2t" + b"\1" + b"\x80" * 11, ErrorCode.VARINT_TOO_LONG),
        # Records that no body can hold, and which take no bytes.
        ({"type": "record", "name": "A", "fields": [{"name": "a", "type": "A"}]}, b"",
         ErrorCode.NESTED_TOO_DEEP),
        ({"type": "record", "name": "A", "fields": [
            {"name": "a", "type": "A"}, {"name": "b", "type": "A"}]}, b"",
         ErrorCode.NESTED_TOO_DEEP),
        ({"type": "record", "name": "A", "fields": [
            {"name": "a", "type": {"type": "array", "items": {
                "type": "record", "name": "B", "fields": [
                    {"name": "n", "type": "null"}, {"name": "b", "type": "B"}]}}}]},
         b"\xc8\1", ErrorCode.NESTED_TOO_DEEP),
    ],
)  # fmt: skip
def test_a_hostile_body_is_a_dead_letter(writer: Any, body: bytes, code: ErrorCode) -> None:
    assert read(event(writer), body + X) == [code]


def test_a_fault_in_a_recursive_record_names_the_field() -> None:
    decoder = Decoder(one_schema(event(NODE)), READER, ["f"], 10**6, 100)
    error = decoder.decode([chain(MAX_NESTED + 1) + X]).errors[0]
    assert error.message == (
        f"field g0, byte {2 * MAX_NESTED} of the body: a record contains itself on more levels "
        "than are allowed"
    )


def test_many_records_in_a_circle_take_no_more_room_than_they_are() -> None:
    names = [f"R{number}" for number in range(40)]
    inner: Any = []
    for number in reversed(range(40)):
        up = [{"name": name, "type": ["null", name]} for name in names[: number + 1]]
        inner = [{"type": "record", "name": names[number], "fields": [
            *up, *({"name": "down", "type": record} for record in inner)]}]  # fmt: skip
    assert read(event(*inner), bytes(sum(range(41))) + X) == ["x"]


def test_a_reader_schema_stays_as_strict_as_it_was() -> None:
    for faulty in (event(NODE), event({"type": "enum", "name": "N", "symbols": ["a-b"]})):
        with pytest.raises(SchemaRefusedError):
            parse_record_schema(faulty)


# Empty bodies

NOTHING = {"type": "record", "name": "E", "fields": [
    {"name": "n", "type": "null"}, {"name": "z", "type": {"type": "fixed", "name": "Z", "size": 0}},
]}  # fmt: skip
DEFAULTED = {"type": "record", "name": "E", "fields": [
    {"name": "f", "type": "string", "default": "-"}]}  # fmt: skip


@pytest.mark.parametrize("many", [1, 48])
def test_an_empty_body_is_a_record_where_its_schema_takes_no_bytes(many: int) -> None:
    bare = Decoder(one_schema(NOTHING), DEFAULTED, ["f"], 99, 9).decode([b""] * many)
    assert avro.row(bare, many - 1) == {"f": "-"}
    framed = Decoder(one_schema(NOTHING, framed=True), DEFAULTED, ["f"], 99, 9)
    header = [(VALUE_SCHEMA_HEADER, b"\0\0\0\0\1")]
    values, headers = [b"", b"", b"\0\0\0\0\1", None], [header, None, None, header]
    decoded = framed.decode(values * many, headers * many)
    assert [decoded.errors[row].code if row in decoded.errors else avro.row(decoded, row)["f"]
            for row in range(4)] == ["-", ErrorCode.EMPTY_VALUE, "-", ErrorCode.NULL_VALUE]  # fmt: skip


@pytest.mark.parametrize("many", [1, 48])
def test_another_empty_value_keeps_its_code(many: int) -> None:
    decoder = Decoder(one_schema(READER), READER, ["f"], 99, 9)
    decoded = decoder.decode([b""] * many)
    assert {error.code for error in decoded.errors.values()} == {ErrorCode.EMPTY_VALUE}
    assert len(decoded.errors) == many


def test_fastavro_reads_the_same_recursive_bodies() -> None:
    for levels in (1, 2, 50):
        body = chain(levels) + X
        assert fastavro.parse_schema(event(NODE))
        assert avro.fastavro_reads(event(NODE), body)["f"] == read(event(NODE), body)[0]
