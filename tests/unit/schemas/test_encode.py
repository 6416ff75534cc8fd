"""The columnar encoder gives the bytes that fastavro gives, for whatever columns."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError
from schemas.avro.encode import program
from schemas.avro.encode.encoder import RecordEncoder
from schemas.avro.encode.fields import Chosen, Constant, Field, Filled, ListOf, VectorOf
from schemas.batch import Column, Kind
from tests.support.encode_both import both_loops  # noqa: F401 - used by all tests here

LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("é", max_size=300)
DOUBLES = st.floats()
FLOATS = st.floats(width=32)
UNSCALED = st.integers(-(10**17), 10**17) | st.sampled_from([127, 128, -128, -129, 32768, -32768])


def record(*fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "test.Event", "fields": list(fields)}


def reference(schema: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[bytes]:
    parsed = fastavro.parse_schema(dict(schema))
    bodies = []
    for row in rows:
        out = BytesIO()
        fastavro.schemaless_writer(out, parsed, row)
        bodies.append(out.getvalue())
    return bodies


def column(kind: Kind, values: list[Any], scale: int = 0) -> Column:
    valid = np.array([value is not None for value in values], np.bool_)
    if kind is Kind.STRING:
        return Column(kind, pa.array([v or "" for v in values], pa.string()), valid)
    dtype = {Kind.BOOL: np.bool_, Kind.DOUBLE: np.float64}.get(kind, np.int64)
    return Column(kind, np.array([0 if v is None else v for v in values], dtype), valid, scale)


# Avro type, kind of the column, values, and a value as fastavro takes it.
SYMBOLS = ["pos", "web", "atm"]
LEAVES: list[tuple[Any, Kind, st.SearchStrategy[Any]]] = [
    ("boolean", Kind.BOOL, st.booleans()),
    ("int", Kind.LONG, INTS),
    ("long", Kind.LONG, LONGS),
    ("float", Kind.DOUBLE, FLOATS),
    ("double", Kind.DOUBLE, DOUBLES),
    ("string", Kind.STRING, TEXTS),
    ({"type": "string", "logicalType": "uuid"}, Kind.STRING, TEXTS),
    ({"type": "long", "logicalType": "timestamp-micros"}, Kind.TIME, LONGS),
    ({"type": "enum", "name": "test.Channel", "symbols": SYMBOLS}, Kind.STRING,
     st.sampled_from(SYMBOLS)),
]  # fmt: skip


@st.composite
def leaf_cases(draw: st.DrawFn) -> tuple[Any, Kind, list[Any]]:
    """A field type, perhaps a nullable union either way round, and 1 to 12 values."""
    avro_type, kind, values = draw(st.sampled_from(LEAVES))
    union = draw(st.sampled_from(["none", "null first", "null last"]))
    if union == "none":
        return avro_type, kind, draw(st.lists(values, min_size=1, max_size=12))
    nullable = ["null", avro_type] if union == "null first" else [avro_type, "null"]
    return nullable, kind, draw(st.lists(st.none() | values, min_size=1, max_size=12))


@given(st.lists(leaf_cases(), min_size=1, max_size=6))
def test_equals_fastavro_for_columns_of_every_type(
    cases: list[tuple[Any, Kind, list[Any]]],
) -> None:
    rows = min(len(values) for _, _, values in cases)
    types = [avro_type for avro_type, _, _ in cases]
    enums = [i for i, avro_type in enumerate(types) if "Channel" in str(avro_type)]
    for i in enums[1:]:  # a name is defined once, then referred to
        types[i] = _by_name(types[i])
    fields = [{"name": f"f{i}", "type": avro_type} for i, avro_type in enumerate(types)]
    schema = record(*fields)
    columns = {f"f{i}": column(kind, values[:rows]) for i, (_, kind, values) in enumerate(cases)}
    plain = [{f"f{i}": case[2][row] for i, case in enumerate(cases)} for row in range(rows)]
    prefix = b"\x00\x00\x00\x00\x2a"

    got = RecordEncoder(schema, prefix).encode(rows, columns)

    assert got == [prefix + body for body in reference(schema, plain)]
    full: dict[str, Field] = {
        path: Filled(field.kind, field.values) if field.valid.all() else field
        for path, field in columns.items()
    }
    assert RecordEncoder(schema, prefix).encode(rows, full) == got


def _by_name(avro_type: Any) -> Any:
    if isinstance(avro_type, list):
        return ["test.Channel" if isinstance(branch, dict) else branch for branch in avro_type]
    return "test.Channel"


@given(st.lists(UNSCALED, min_size=1, max_size=12), st.sampled_from([0, 2]))
def test_equals_fastavro_for_decimals(unscaled: list[int], scale: int) -> None:
    decimal = {"logicalType": "decimal", "precision": 22, "scale": 2}
    schema = record(
        {"name": "a", "type": {"type": "bytes", **decimal}},
        {"name": "b", "type": {"type": "fixed", "size": 12, "name": "test.Money", **decimal}},
    )
    unscaled = [value // 10**3 if scale == 0 else value for value in unscaled]
    amounts = column(Kind.DECIMAL, unscaled, scale)
    exact = [Decimal(value).scaleb(-scale) for value in unscaled]

    got = RecordEncoder(schema).encode(len(unscaled), {"a": amounts, "b": amounts})

    assert got == reference(schema, [{"a": value, "b": value} for value in exact])


@pytest.mark.parametrize(
    ("avro_type", "logical", "per_unit"),
    [
        ("long", "timestamp-millis", 1_000),
        ("long", "local-timestamp-micros", 1),
        ("int", "date", 86_400_000_000),
    ],
)
def test_times_are_floored_to_the_unit_of_the_schema(
    avro_type: str, logical: str, per_unit: int
) -> None:
    schema = record({"name": "at", "type": {"type": avro_type, "logicalType": logical}})
    micros = [0, 999, 1_000, -1, 86_400_000_000, 1_234_567_890]

    got = RecordEncoder(schema).encode(len(micros), {"at": column(Kind.TIME, micros)})

    assert got == reference(schema, [{"at": value // per_unit} for value in micros])


def test_nanoseconds_multiply_and_refuse_what_would_wrap() -> None:
    schema = record({"name": "at", "type": {"type": "long", "logicalType": "timestamp-nanos"}})
    encoder = RecordEncoder(schema)

    assert encoder.encode(1, {"at": column(Kind.TIME, [-7])}) == reference(schema, [{"at": -7_000}])
    with pytest.raises(ValueError, match=r"'at'.*out of its range"):
        encoder.encode(1, {"at": column(Kind.TIME, [2**62])})


NESTED = record(
    {"name": "id", "type": "string"},
    {
        "name": "card",
        "type": [
            "null",
            {
                "type": "record",
                "name": "Card",
                "fields": [
                    {"name": "number", "type": "string"},
                    {"name": "country", "type": ["null", "string"], "default": None},
                    {"name": "scheme", "type": "string", "default": "none"},
                    {"name": "limit", "type": "double"},
                ],
            },
        ],
        "default": None,
    },
    {"name": "previous", "type": ["null", "Card"], "default": None},
    {"name": "note", "type": "bytes", "default": "\u00ff\u0001"},
)


@given(
    st.lists(
        st.tuples(TEXTS, st.none() | st.tuples(TEXTS, st.none() | TEXTS, DOUBLES)),
        min_size=1,
        max_size=12,
    )
)
def test_equals_fastavro_for_a_nullable_record_inside(
    events: list[tuple[str, tuple[str, str | None, float] | None]],
) -> None:
    cards = [card or (None, None, None) for _, card in events]
    columns = {
        "id": column(Kind.STRING, [name for name, _ in events]),
        "card.number": column(Kind.STRING, [card[0] for card in cards]),
        "card.country": column(Kind.STRING, [card[1] for card in cards]),
        "card.limit": column(Kind.DOUBLE, [card[2] for card in cards]),
    }
    plain = [
        {
            "id": name,
            "card": card and {"number": card[0], "country": card[1], "limit": card[2]},
            "note": b"\xff\x01",
        }
        for name, card in events
    ]

    assert RecordEncoder(NESTED).encode(len(events), columns) == reference(NESTED, plain)


MAPS = record(
    {"name": "carried", "type": {"type": "map", "values": "string"}, "default": {}},
    {"name": "vector", "type": ["null", {"type": "map", "values": ["null", "float"]}]},
    {"name": "flags", "type": {"type": "array", "items": "string"}},
    {"name": "model", "type": {"type": "record", "name": "M", "fields": [
        {"name": "name", "type": "string"}, {"name": "version", "type": "string"}]}},
)  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(["amount", "ñ", "x" * 70]), TEXTS),
            st.none() | FLOATS,
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_equals_fastavro_for_maps_options_and_constants(
    events: list[tuple[dict[str, str], float | None, bool]],
) -> None:
    encoder = RecordEncoder(MAPS)
    carried, ages, flagged = (list(values) for values in zip(*events, strict=True))
    keys = ["amount", "ñ", "x" * 70]
    names = encoder.options("carried.*.key", keys)
    places = np.array([keys.index(key) for own in carried for key in own], np.int64)
    texts = column(Kind.STRING, [text for own in carried for text in own.values()])
    got = encoder.encode(
        len(events),
        {
            "carried": ListOf(
                np.array([len(own) for own in carried]),
                {"carried.*.key": Chosen(names, places), "carried.*.value": texts},
            ),
            "vector": ListOf(
                np.ones(len(events), np.int64),
                {
                    "vector.*.key": encoder.constant("vector.*.key", "age"),
                    "vector.*.value": column(Kind.DOUBLE, ages),
                },
            ),
            "flags": Chosen(
                encoder.options("flags", [[], ["late", "stale"]]), np.array(flagged, np.int8)
            ),
            "model": encoder.constant("model", {"name": "a" * 100, "version": "1"}),
        },
    )

    plain = [
        {
            "carried": own,
            "vector": {"age": age},
            "flags": ["late", "stale"] if flag else [],
            "model": {"name": "a" * 100, "version": "1"},
        }
        for own, age, flag in events
    ]
    assert got == reference(MAPS, plain)


@given(st.integers(1, 5), st.integers(0, 4), st.sampled_from(["f4", "f8"]), st.data())
def test_equals_fastavro_for_vectors(
    rows: int, width: int, dtype: str, data: st.DataObject
) -> None:
    values = st.lists(FLOATS, min_size=rows * width, max_size=rows * width)
    matrix = np.array(data.draw(values), dtype).reshape(rows, width, order="F")
    names = tuple(f"ñ{'x' * place}" for place in range(width))
    schema = record({"name": "vector", "type": {"type": "map", "values": "float"}})

    got = RecordEncoder(schema).encode(rows, {"vector": VectorOf(names, matrix)})

    plain = [dict(zip(names, row, strict=True)) for row in matrix.tolist()]
    assert got == reference(schema, [{"vector": row} for row in plain])


def test_options_and_constants_follow_the_record_that_holds_them() -> None:
    encoder = RecordEncoder(NESTED)
    numbers = Chosen(encoder.options("card.number", ["b", "a"]), np.array([1, 0]))
    limits = encoder.constant("card.limit", 0.5)
    cards = [{"number": "a", "limit": 0.5}, {"number": "b", "limit": 0.5}]
    fields: dict[str, Field] = {
        "id": column(Kind.STRING, ["x", "y"]),
        "card.number": numbers,
        "card.limit": limits,
    }

    got = encoder.encode(2, fields)

    rows = [{"id": i, "card": c, "note": b"\xff\x01"} for i, c in zip("xy", cards, strict=True)]
    assert got == reference(NESTED, rows)


def test_slices_and_values_under_a_null_are_not_written() -> None:
    schema = record({"name": "s", "type": ["null", "string"]}, {"name": "t", "type": "string"})
    texts = pa.array(["zero", "one", "twenty", "three"])[1:3]
    ghost = Column(Kind.STRING, texts, np.array([False, True]))

    got = RecordEncoder(schema).encode(2, {"s": ghost, "t": column(Kind.STRING, ["a", "b"])})

    assert got == reference(schema, [{"s": None, "t": "a"}, {"s": "twenty", "t": "b"}])


def test_long_strings_stand_among_short_ones() -> None:
    schema = record({"name": "a", "type": "string"}, {"name": "b", "type": "string"})
    a, b = ["x" * 100_000, ""] * 50, ["", "y" * 70_000] * 50

    got = RecordEncoder(schema).encode(
        100, {"a": column(Kind.STRING, a), "b": column(Kind.STRING, b)}
    )

    rows = [{"a": x, "b": y} for x, y in zip(a, b, strict=True)]
    assert got == reference(schema, rows)


def test_records_of_constants_alone_and_of_no_bytes() -> None:
    schema = record({"name": "a", "type": "string"})
    encoder = RecordEncoder(schema)
    assert encoder.encode(3, {"a": encoder.constant("a", "k")}) == [b"\x02k"] * 3
    assert (
        encoder.encode(3, {"a": encoder.constant("a", "k" * 99)}) == [b"\xc6\x01" + b"k" * 99] * 3
    )
    assert encoder.encode(2, {"a": Constant(b"")}) == [b"", b""]
    assert encoder.encode(0, {"a": encoder.constant("a", "k")}) == []
    assert RecordEncoder(record()).encode(2, {}) == [b"", b""]


@pytest.mark.parametrize(
    ("avro_type", "given_column", "problem"),
    [
        ("int", column(Kind.LONG, [2**31]), "'f' is an int of 32 bits"),
        ("string", column(Kind.STRING, [None]), "'f' has nulls"),
        (["string"], column(Kind.STRING, [None]), "'f' has nulls"),
        (LEAVES[-1][0], column(Kind.STRING, ["sea"]), "'f' takes one of pos, web, atm"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1},
         column(Kind.DECIMAL, [-1000], 1), "'f' is a decimal of precision 3"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 9},
         column(Kind.DECIMAL, [10**12], 1), "a value is larger"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_by_name(
    avro_type: Any, given_column: Column, problem: str
) -> None:
    encoder = RecordEncoder(record({"name": "f", "type": avro_type}))
    with pytest.raises(ValueError, match=problem):
        encoder.encode(1, {"f": given_column})


def test_wrong_fields_are_refused_by_name() -> None:
    encoder = RecordEncoder(NESTED)
    names = {"id": column(Kind.STRING, ["a"])}
    with pytest.raises(ConfigurationError, match="'amount' is not in the schema, which has card, "):
        encoder.encode(1, {**names, "amount": column(Kind.LONG, [1])})
    with pytest.raises(ConfigurationError, match=r"'card.number' has no default"):
        encoder.encode(1, {**names, "card.limit": column(Kind.DOUBLE, [1.0])})
    with pytest.raises(ConfigurationError, match="'id' takes a column of string, not of long"):
        encoder.encode(1, {"id": column(Kind.LONG, [1])})
    with pytest.raises(
        ConfigurationError, match="'note' is of type bytes: it does not take a Colu"
    ):
        encoder.encode(1, {**names, "note": column(Kind.STRING, ["a"])})


def test_columns_of_another_length_and_unknown_options_are_refused() -> None:
    encoder = RecordEncoder(NESTED)
    names = {"id": column(Kind.STRING, ["a", "b"])}
    vector = RecordEncoder(record({"name": "v", "type": {"type": "map", "values": "float"}}))
    options = encoder.options("note", [b"x", b"y"])
    with pytest.raises(ValueError, match="'id' of 3 records: 2 values"):
        encoder.encode(3, names)
    with pytest.raises(ValueError, match="'v' of 2 records: 3 values"):
        vector.encode(2, {"v": VectorOf(("a", "b"), np.zeros((3, 1), np.float32))})
    for code in (-1, 2):
        with pytest.raises(ValueError, match="'note' has 2 options, and a code is of none"):
            encoder.encode(2, {**names, "note": Chosen(options, np.array([1, code]))})


def test_more_bytes_than_one_call_may_give_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = RecordEncoder(record({"name": "a", "type": "string"}, {"name": "b", "type": "long"}))
    fields = {
        "a": column(Kind.STRING, ["x" * 50, "y" * 50]),
        "b": column(Kind.LONG, [-1, 2**63 - 1]),
    }
    values = encoder.encode(2, fields)
    for most in range(sum(map(len, values))):
        monkeypatch.setattr(program, "_MOST_BYTES", most)
        with pytest.raises(OverflowError, match="more than 2 GiB in one call"):
            encoder.encode(2, fields)


@pytest.mark.parametrize("offsets", [[0, 2, 1, 3], [0, 1, 9, 3], [0, -5, 1, 3]])
def test_strings_that_lie_outside_their_bytes_are_refused(offsets: list[int]) -> None:
    bounds = pa.py_buffer(np.array(offsets, np.int32))
    texts = pa.StringArray.from_buffers(3, bounds, pa.py_buffer(b"abc"))
    second = Column(Kind.STRING, texts, np.array([False, True, False]))
    encoder = RecordEncoder(record({"name": "a", "type": ["null", "string"]}))
    with pytest.raises(ValueError, match="'a' has strings that lie outside of their bytes"):
        encoder.encode(3, {"a": second})
    with pytest.raises(ValueError, match="'a' has strings that lie outside of their bytes"):
        encoder.encode(3, {"a": Filled(Kind.STRING, texts)})


def test_a_schema_that_cannot_be_encoded_is_refused() -> None:
    loop = record({"name": "next", "type": ["null", "test.Event"], "default": None})
    with pytest.raises(ConfigurationError, match=r"'test.Event' contains itself"):
        RecordEncoder(loop)
    with pytest.raises(ConfigurationError, match=r"broken: .*Unknown"):
        RecordEncoder(record({"name": "a", "type": "Unknown"}))
    with pytest.raises(ConfigurationError, match="no record"):
        RecordEncoder({"type": "map", "values": "long"})
