"""Columns as they come back from records: the same as by encoding and decoding each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ErrorCode
from schemas.avro.decoder import Decoder
from schemas.avro.encode.encoder import RecordEncoder
from schemas.avro.round_trip import RoundTrip
from schemas.avro.types import parse_record_schema
from schemas.batch import Column, Decoded, Kind
from schemas.registry.source import FixedSchemaSource

LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6)
TEXTS = st.text(max_size=5)
SYMBOLS = ["pos", "web"]


@dataclass(frozen=True)
class Leaf:
    """An Avro type, the kind of its column, values that a file may give, a JSON default."""

    avro: Any
    kind: Kind
    values: st.SearchStrategy[Any]
    default: Any
    scale: int = 0


def _logical(base: str, logical: str) -> Leaf:
    return Leaf({"type": base, "logicalType": logical}, Kind.TIME, LONGS, 7)


LEAVES = [
    Leaf("boolean", Kind.BOOL, st.booleans(), default=True),
    Leaf("int", Kind.LONG, LONGS, 3),
    Leaf("long", Kind.LONG, LONGS, -4),
    Leaf("float", Kind.DOUBLE, st.floats(), 0.1),
    Leaf("double", Kind.DOUBLE, st.floats(), 0.1),
    Leaf("string", Kind.STRING, TEXTS, "käse"),
    *(_logical("long", f"timestamp-{unit}") for unit in ("millis", "micros", "nanos")),
    *(_logical("long", f"local-timestamp-{unit}") for unit in ("millis", "micros", "nanos")),
    _logical("int", "date"),
    Leaf({"type": "int", "logicalType": "time-millis"}, Kind.LONG, LONGS, 9),
    Leaf(
        {"type": "bytes", "logicalType": "decimal", "precision": 7, "scale": 2},
        Kind.DECIMAL,
        LONGS,
        "\u0001\u00ff",
        scale=2,
    ),
    Leaf(
        {"type": "fixed", "size": 3, "logicalType": "decimal", "precision": 6, "scale": 1},
        Kind.DECIMAL,
        LONGS,
        "\u0000\u0001\u00ff",
        scale=1,
    ),
    Leaf({"type": "enum", "symbols": SYMBOLS}, Kind.STRING, st.sampled_from(["pos", "tv"]), "web"),
    Leaf(
        {"type": "enum", "symbols": SYMBOLS, "default": "web"},
        Kind.STRING,
        st.sampled_from(["pos", "tv"]),
        "pos",
    ),
]


class Case:
    """A schema, and columns for the paths of it that a file has."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._names = 0
        self.rows = draw(st.integers(1, 6))
        self.columns: dict[str, Column] = {}
        self.paths: list[str] = []
        self.schema = self._record("", 2, absent=False)

    def _record(self, prefix: str, depth: int, *, absent: bool) -> dict[str, Any]:
        count = self._draw(st.integers(1, 4))
        return {
            "type": "record",
            "name": self._name(),
            "fields": [self._field(f"{prefix}f{i}", depth, absent=absent) for i in range(count)],
        }

    def _field(self, path: str, depth: int, *, absent: bool) -> dict[str, Any]:
        """absent: a record around it is left to its default, and so has no columns."""
        shape = self._draw(st.sampled_from(["leaf", "nullable", "record", "optional record"]))
        if "record" in shape and depth:
            return self._inner(path, depth, absent=absent, optional=shape == "optional record")
        leaf = self._draw(st.sampled_from(LEAVES))
        avro, default = self._named(leaf.avro), leaf.default
        nullable = shape == "nullable"
        if nullable and self._draw(st.booleans()):
            avro, default = ["null", avro], None
        elif nullable:
            avro = [avro, "null"]
        self.paths.append(path)
        field = {"name": path.rpartition(".")[2], "type": avro}
        left_out = absent or self._draw(st.integers(0, 3)) == 0
        if left_out:
            field["default"] = default
        else:
            self.columns[path] = self._column(leaf)
        return field

    def _inner(self, path: str, depth: int, *, absent: bool, optional: bool) -> dict[str, Any]:
        left_out = absent or self._draw(st.integers(0, 3)) == 0
        record = self._record(f"{path}.", depth - 1, absent=left_out)
        field: dict[str, Any] = {"name": path.rpartition(".")[2], "type": record}
        has_columns = any(name.startswith(f"{path}.") for name in self.columns)
        if optional and has_columns and self._draw(st.booleans()):
            field["type"] = [record, "null"]
        elif optional:
            field["type"] = ["null", record]
        if optional and not has_columns:
            field["default"] = None
        elif absent or (left_out and self._draw(st.booleans())):
            field["default"] = {}
        return field

    def _column(self, leaf: Leaf) -> Column:
        optional = st.one_of(st.none(), leaf.values)
        values = self._draw(st.lists(optional, min_size=self.rows, max_size=self.rows))
        valid = np.array([value is not None for value in values])
        if leaf.kind is Kind.STRING:
            return Column(leaf.kind, pa.array([v or "" for v in values], pa.string()), valid)
        dtype = {Kind.BOOL: np.bool_, Kind.DOUBLE: np.float64}.get(leaf.kind, np.int64)
        numbers: Any = np.array([0 if v is None else v for v in values], dtype)
        return Column(leaf.kind, numbers, valid, leaf.scale)

    def _named(self, avro: Any) -> Any:
        return {**avro, "name": self._name()} if isinstance(avro, dict) else avro

    def _name(self) -> str:
        self._names += 1
        return f"N{self._names}"


def by_rows(
    schema: dict[str, Any], case_columns: dict[str, Column], rows: int, paths: list[str]
) -> list[list[Any] | None]:
    """The values of each row by encoding and decoding it; None where that is impossible."""
    source = FixedSchemaSource(parse_record_schema(schema), framed=False)
    decoder = Decoder(source, schema, paths, 10_000, 10)
    found: list[list[Any] | None] = []
    for row in range(rows):
        columns = {k: c.take(np.array([row])) for k, c in case_columns.items()}
        try:
            with np.errstate(over="ignore"):
                (body,) = RecordEncoder(schema).encode(1, columns)
        except ValueError:
            found.append(None)
            continue
        decoded = decoder.decode([body])
        found.append(None if decoded.errors else values_of(decoded, paths, 0))
    return found


def values_of(decoded: Decoded, paths: list[str], row: int) -> list[Any]:
    found = []
    for path in paths:
        column = decoded.columns[path]
        value = column.values[row]
        value = value.as_py() if isinstance(value, pa.Scalar) else repr(value.item())
        found.append((column.kind, column.scale, bool(column.valid[row]), value))
    return found


def pylist(column: Column) -> list[Any]:
    return list(cast("pa.StringArray", column.values).to_pylist())


def with_defaults(schema: Any, columns: dict[str, Column], path: str = "") -> None:
    """Puts the enum's default for what is no symbol: a producer of this schema could not say it."""
    match schema:
        case list():
            for branch in schema:
                with_defaults(branch, columns, path)
        case {"type": "record", "fields": fields}:
            for field in fields:
                with_defaults(field["type"], columns, f"{path}.{field['name']}".lstrip("."))
        case {"type": "enum", "default": default} if path in columns:
            column = columns[path]
            texts = [
                text if text in SYMBOLS or not valid else default
                for text, valid in zip(pylist(column), column.valid, strict=True)
            ]
            columns[path] = Column(column.kind, pa.array(texts, pa.string()), column.valid)


@given(st.data())
def test_every_row_comes_back_as_if_it_had_been_a_record(data: st.DataObject) -> None:
    case = Case(data.draw)
    some = st.lists(st.sampled_from(case.paths), min_size=1, unique=True)
    paths = data.draw(st.just(case.paths) | some)
    trip = RoundTrip(case.schema, paths)
    given_columns = {k: c for k, c in case.columns.items() if k in trip.reads}

    got = trip(case.rows, given_columns)

    # Every column: whether the other fields can be written is not asked.
    columns = dict(case.columns)
    with_defaults(case.schema, columns)
    expected = by_rows(case.schema, columns, case.rows, paths)
    for row, values in enumerate(expected):
        if values is None and row not in got.errors:
            others = case.columns.keys() - set(paths)
            assert others, f"row {row} fits no record"
        elif values is not None:
            assert row not in got.errors
            assert values_of(got, paths, row) == values


def record(*fields: tuple[str, Any]) -> dict[str, Any]:
    name = "N" + "".join(name for name, _ in fields)
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields]}


def test_an_optional_record_of_which_nothing_is_given_is_null() -> None:
    inner = record(("v", "long"))
    trip = RoundTrip(record(("a", "long"), ("b", ["null", inner])), ["b.v"])
    found = trip(2, {})
    assert found.columns["b.v"].valid.tolist() == [False, False]
    assert not found.errors


def test_the_fields_beside_one_decide_whether_its_record_is_null() -> None:
    inner = record(("v", "long"), ("w", ["null", "string"]))
    trip = RoundTrip(record(("b", ["null", inner]), ("c", "long")), ["b.v"])
    assert trip.reads == {"b.v", "b.w"}
    null = Column(Kind.LONG, np.zeros(2, np.int64), np.zeros(2, np.bool_))
    text = Column(Kind.STRING, pa.array(["x", ""]), np.array([True, False]))
    found = trip(2, {"b.v": null, "b.w": text})
    assert list(found.errors) == [0]
    assert "b.v is null" in found.errors[0].message


def test_text_that_is_not_utf8_is_an_error_of_its_row() -> None:
    raw = pa.array([b"good", b"\xff", b"k\xc3\xa4se"], pa.binary())
    text = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    trip = RoundTrip(record(("a", "string")), ["a"])
    found = trip(3, {"a": Column(Kind.STRING, text, np.ones(3, np.bool_))})
    assert {row: error.code for row, error in found.errors.items()} == {1: ErrorCode.UTF8_INVALID}
    assert pylist(found.columns["a"]) == ["good", "", "käse"]
