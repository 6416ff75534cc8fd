"""Avro containers whose schema sets a record no bounds, and their names and logical types."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pytest

from base.errors import ConfigurationError, ErrorCode
from schemas.avro.steps import MAX_NESTED
from schemas.batch import Decoded, Kind
from schemas.files.read import count_rows, read_events

SYNC = b"0123456789abcdef"
NODE = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "Node"]}],
}
NULLS = {"type": "array", "items": "null"}
TEXT = (Kind.STRING, 0, True)
TIME = (Kind.TIME, 0, True)
AT = 1_522_540_831_250


def varint(number: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    return out.getvalue()


def sized(data: bytes) -> bytes:
    return varint(len(data)) + data


def container(path: Path, schema: Any, *blocks: list[bytes]) -> Path:
    """Write the bodies of each block under ``schema``, which is not looked at."""
    named = sized(b"avro.schema") + sized(json.dumps(schema).encode())
    data = [b"Obj\x01", varint(1), named, varint(0), SYNC]
    for bodies in blocks:
        data += [varint(len(bodies)), sized(b"".join(bodies)), SYNC]
    path.write_bytes(b"".join(data))
    return path


def event(declared: Any, kind: Any = "string") -> dict[str, Any]:
    """A record with ``declared`` before the text ``id``."""
    fields = [{"name": "z", "type": declared}, {"name": "id", "type": kind}]
    return {"type": "record", "name": "E", "fields": fields}


def chain(levels: int) -> bytes:
    return b"\2\2" * (levels - 1) + b"\2\0"


def read(path: Path, **types: tuple[Kind, int, bool]) -> Decoded:
    (decoded,) = read_events(path, types or {"id": TEXT}, {})
    assert count_rows(path) == len(next(iter(decoded.columns.values())).valid)
    return decoded


def texts(decoded: Decoded, name: str = "id") -> list[Any]:
    column = decoded.columns[name]
    return [v if ok else None for v, ok in zip(column.values.tolist(), column.valid, strict=True)]


@pytest.mark.parametrize(
    ("declared", "bad", "good", "code"),
    [
        (NODE, chain(20_000), chain(MAX_NESTED), ErrorCode.NESTED_TOO_DEEP),
        (NULLS, varint(2**40) + b"\0", varint(10_000) + b"\0", ErrorCode.COLLECTION_TOO_LONG),
        (
            {"type": "array", "items": {"type": "record", "name": "N", "fields": []}},
            varint(2**62) + varint(2**62) + b"\0",
            b"\0",
            ErrorCode.COLLECTION_TOO_LONG,
        ),
        (
            {"type": "map", "values": {"type": "array", "items": "null"}},
            b"\2" + sized(b"k") + varint(2**40) + b"\0\0",
            b"\0",
            ErrorCode.COLLECTION_TOO_LONG,
        ),
    ],
)
def test_a_record_out_of_bounds_is_an_error_of_its_row(
    declared: Any, bad: bytes, good: bytes, code: ErrorCode, tmp_path: Path
) -> None:
    rows = [good + sized(b"a"), bad + sized(b"b"), good + sized(b"c")]
    decoded = read(container(tmp_path / "e.avro", event(declared), rows, rows[:1]))
    assert texts(decoded) == ["a", None, "c", "a"]
    assert {row: error.code for row, error in decoded.errors.items()} == {1: code}
    assert "field z" in decoded.errors[1].message


@pytest.mark.parametrize(
    ("declared", "row", "bad", "reason"),
    [
        # No end is known of records that hold themselves, of more levels, and of cut ones.
        ({"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}, 0, b"", "itself"),
        (NODE, 1, chain(200_000), "itself on more levels"),
        (NODE, 1, b"\2\4", "no branch of this number"),
        (NULLS, 1, b"\x80" * 11, "more than 64 bits"),
    ],
)
def test_a_record_whose_end_is_not_known_refuses_the_file(
    declared: Any, row: int, bad: bytes, reason: str, tmp_path: Path
) -> None:
    good = (b"\0" if declared is NULLS else chain(1)) + sized(b"a")
    path = container(tmp_path / "e.avro", event(declared), [good] * row + [bad + sized(b"b")])
    with pytest.raises(ConfigurationError, match=rf"row {row}: field z, .*{reason}.* again"):
        read(path)


def doubled(levels: int) -> list[dict[str, Any]]:
    """Records that each hold the one before twice."""
    below: Any = {"type": "record", "name": "R0", "fields": []}
    for level in range(1, levels):
        inner = [{"name": "l", "type": below}, {"name": "r", "type": f"R{level - 1}"}]
        below = {"type": "record", "name": f"R{level}", "fields": inner}
    return [{"name": "z", "type": below}]


def test_a_schema_that_expands_without_end_is_refused_at_once(tmp_path: Path) -> None:
    fields = [*doubled(40), {"name": "id", "type": "string"}]
    schema = {"type": "record", "name": "E", "fields": fields}
    path = container(tmp_path / "e.avro", schema, [sized(b"a")])
    for use in (read, count_rows):
        with pytest.raises(ConfigurationError, match=r"e\.avro .* more than 5000 types; write"):
            use(path)


def test_names_in_many_records_that_hold_one_another_are_found(tmp_path: Path) -> None:
    """The ways through forty records that name each other are more than can be listed."""
    names = [f"R{number}" for number in range(40)]
    inner: Any = []
    for number in reversed(range(40)):
        up = [{"name": name, "type": ["null", name]} for name in names[: number + 1]]
        inner = [{"type": "record", "name": names[number], "fields": [
            *up, {"name": "n", "type": "int"},
            *({"name": "down", "type": record} for record in inner)]}]  # fmt: skip
    schema = event(inner[0])
    blank = b"".join(bytes(number + 1) + varint(number) for number in range(40))
    path = container(tmp_path / "e.avro", schema, [blank + sized(b"a")])
    (decoded,) = read_events(path, {"id": TEXT, "n": TEXT}, {"n": "z.down.n"})
    assert not decoded.errors
    assert [texts(decoded), texts(decoded, "n")] == [["a"], ["1"]]


EVERY: dict[str, Any] = {
    "type": "record",
    "name": "E",
    "fields": [
        {"name": "self", "type": ["null", "E"]},
        {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["a-b", "c"]}},
        {"name": "mixed", "type": ["null", "string", "long", {
            "type": "record", "name": "M", "fields": [{"name": "in", "type": "string"}]}]},
        {"name": "more", "type": {"type": "map", "values": ["null", "string"]}},
        {"name": "deep", "type": {"type": "map", "values": ["null", "E"]}},
        {"name": "none", "type": {"type": "fixed", "name": "Z", "size": 0}},
        {"name": "cost", "type": {
            "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "id", "type": "string"},
    ],
}  # fmt: skip


def every(mixed: bytes, more: bytes, own: bytes = b"\0") -> bytes:
    return own + b"\0" + mixed + more + b"\0" + sized(b"\1\0") + sized(b"x")


def test_values_of_every_kind_beside_what_is_passed(tmp_path: Path) -> None:
    plain = every(b"\0", b"\0")
    rows = [
        every(b"\2" + sized(b"t"), b"\2" + sized(b"k") + b"\2" + sized(b"v") + b"\0"),
        every(b"\4" + varint(7), b"\2" + sized(b"k") + b"\0\0", own=b"\2" + plain),
        plain,
    ]
    path = container(tmp_path / "e.avro", EVERY, rows)
    aliases = {"k": "more.k", "other": "more.other", "id": "id"}
    types = dict.fromkeys(("kind", "mixed", "k", "other", "id"), TEXT)
    (decoded,) = read_events(path, {**types, "cost": (Kind.DECIMAL, 2, True)}, aliases)
    assert not decoded.errors
    assert {name: texts(decoded, name) for name in types} == {
        "kind": ["a-b"] * 3,
        "mixed": ["t", "7", None],
        "k": ["v", None, None],
        "other": [None] * 3,
        "id": ["x"] * 3,
    }
    assert texts(decoded, "cost") == [256] * 3


def test_a_column_of_a_nested_value_is_an_error_of_its_row(tmp_path: Path) -> None:
    record = every(b"\6" + sized(b"i"), b"\0")
    path = container(tmp_path / "e.avro", EVERY, [record, every(b"\2" + sized(b"t"), b"\0")])
    (decoded,) = read_events(path, {"mixed": TEXT, "in": TEXT}, {"in": "mixed.in"})
    assert texts(decoded, "mixed") == [None, "t"]
    assert decoded.errors.keys() == {0}
    (decoded,) = read_events(path, {"in": TEXT}, {"in": "mixed.in"})
    assert texts(decoded, "in") == ["i", None]
    own = container(tmp_path / "own.avro", EVERY, [every(b"\0", b"\0", own=b"\2" + record)])
    (decoded,) = read_events(own, {"self": TEXT}, {})
    assert decoded.errors[0].message == "self is a list or an object, not a single value"
    with pytest.raises(ConfigurationError, match=r"no column for 'deep\.k'"):
        list(read_events(path, {"deep.k": (Kind.STRING, 0, False)}, {}))


# Names and logical types


def test_a_name_of_no_namespace_is_found_within_another(tmp_path: Path) -> None:
    tag = {"type": "fixed", "name": "F", "namespace": "", "size": 1}
    inner = {"type": "record", "name": "y.R", "fields": [{"name": "f", "type": "F"}]}
    schema = {"type": "record", "name": "o.E", "fields": [
        {"name": "p", "type": tag}, {"name": "q", "type": inner},
        {"name": "id", "type": "string"}]}  # fmt: skip
    path = container(tmp_path / "e.avro", schema, [b"ab" + sized(b"x")])
    assert texts(read(path)) == ["x"]


@pytest.mark.parametrize(
    ("declared", "number", "micros"),
    [
        ({"type": "long", "logicalType": "date"}, AT, AT * 1_000),
        ({"type": "long", "logicalType": "date"}, AT // 1_000, AT // 1_000 * 10**6),
        ({"type": "int", "logicalType": "timestamp-millis"}, AT // 1_000, AT // 1_000 * 10**6),
        ({"type": "long", "logicalType": "timestamp-nanos"}, AT * 10**6, AT * 1_000),
        ({"type": "long", "logicalType": "timestamp-nanos"}, AT * 10**6 + 1, AT * 1_000),
        ({"type": "long", "logicalType": "local-timestamp-nanos"}, AT * 10**6, AT * 1_000),
        ({"type": "long", "logicalType": "timestamp-nanos"}, 5_000, 5),
    ],
)
def test_times_by_their_logical_type_where_it_is_valid(
    declared: Any, number: int, micros: int, tmp_path: Path
) -> None:
    schema = event(declared)
    path = container(tmp_path / "e.avro", schema, [varint(number) + sized(b"x")])
    decoded = read(path, z=TIME)
    assert not decoded.errors
    assert texts(decoded, "z") == [micros]


def test_nanoseconds_of_a_container_become_numbers_of_the_unit(tmp_path: Path) -> None:
    nanos = {"type": "long", "logicalType": "timestamp-nanos"}
    path = container(tmp_path / "e.avro", event(nanos), [varint(AT * 10**6) + sized(b"x")])
    (decoded,) = read_events(path, {"z": (Kind.LONG, 0, False)}, {}, units={"z": "ms"})
    assert texts(decoded, "z") == [AT]


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("beside", ["int", NODE])
def test_a_uuid_of_sixteen_bytes_is_text(nullable: bool, beside: Any, tmp_path: Path) -> None:
    own = UUID("89791762-2336-4186-9674-299b90a802e2")
    uuid = {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}
    schema = event(beside, ["null", uuid] if nullable else uuid)
    before = b"\2" if beside == "int" else chain(2)
    rows = [before + (b"\2" if nullable else b"") + own.bytes]
    rows += [before + b"\0"] * nullable
    decoded = read(container(tmp_path / "e.avro", schema, rows))
    assert texts(decoded) == [str(own), None][: len(rows)]


def test_a_uuid_of_another_size_is_no_uuid(tmp_path: Path) -> None:
    declared = {"type": "fixed", "name": "U", "size": 2, "logicalType": "uuid"}
    path = container(tmp_path / "e.avro", event("int", declared), [b"\2ab"])
    assert texts(read(path)) == ["ab"]


def test_millis_beside_another_type_stay_numbers(tmp_path: Path) -> None:
    at = datetime(2018, 4, 1, tzinfo=UTC)
    both = ["null", {"type": "long", "logicalType": "timestamp-millis"}, "string"]
    rows = [b"\2" + varint(int(at.timestamp() * 1_000)) + sized(b"x")]
    path = container(tmp_path / "e.avro", event(both), rows)
    decoded = read(path, z=TIME)
    assert texts(decoded, "z") == [int(at.timestamp() * 10**6)]
