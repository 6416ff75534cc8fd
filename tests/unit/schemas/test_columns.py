"""Faults, exact to the row and the byte, among neighbours that must not notice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from base.errors import ErrorCode, RecordError
from schemas.avro.decoder import Decoder
from schemas.avro.steps import LONG_MAX, LONG_MIN
from schemas.avro.types import parse_record_schema
from schemas.registry.source import FixedSchemaSource
from tests.unit.schemas import avro_cases as avro

MAX_ITEMS = 100
COMPANY = 48
ENDLESS = b"\x80" * 10


def one_schema(schema: Any) -> FixedSchemaSource:
    return FixedSchemaSource(parse_record_schema(schema), framed=False)


def varint(value: int) -> bytes:
    """Zigzag and base 128, written from the specification."""
    rest = value << 1 if value >= 0 else ((-value) << 1) - 1
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def text(value: str) -> bytes:
    raw = value.encode()
    return varint(len(raw)) + raw


def of(*types: Any) -> dict[str, Any]:
    """A record of the fields a, b, c … of these types."""
    fields = [{"name": chr(97 + n), "type": given} for n, given in enumerate(types)]
    return {"type": "record", "name": "Top", "fields": fields}


def fault(schema: Any, body: bytes, paths: list[str], good: bytes) -> RecordError | None:
    """The error of ``body``: the same alone, amid good neighbours, and amid its like."""
    decoder = Decoder(one_schema(schema), schema, paths, 10**6, MAX_ITEMS)
    alone = decoder.decode([body])
    assert not decoder.decode([good]).errors
    wanted = avro.row(decoder.decode([good]), 0)
    alike = decoder.decode([body] * COMPANY)
    assert alike.errors == dict.fromkeys(
        range(COMPANY) if alone.errors else (), alone.errors.get(0)
    )
    assert repr(avro.row(alike, COMPANY - 1)) == repr(avro.row(alone, 0))
    for place in (0, COMPANY // 2, COMPANY):
        bodies = [good] * COMPANY
        bodies.insert(place, body)
        decoded = decoder.decode(bodies)
        assert decoded.errors.keys() == ({place} if alone.errors else set())
        assert decoded.errors.get(place) == alone.errors.get(0)
        for row in (0, 1, place - 1, place + 1, COMPANY):
            if 0 <= row <= COMPANY and row != place:
                assert avro.row(decoded, row) == wanted
        assert repr(avro.row(decoded, place)) == repr(avro.row(alone, 0))
    return alone.errors.get(0)


INTS = st.one_of(st.integers(LONG_MIN, LONG_MAX), st.integers(-(2**14), 2**14))


@given(st.lists(INTS, min_size=1, max_size=40))
def test_integers_of_every_length(values: list[int]) -> None:
    schema = of("long")
    decoder = Decoder(one_schema(schema), schema, ["a"], 100, 1)
    assert (
        decoder.decode([varint(value) for value in values]).columns["a"].values.tolist() == values
    )


@given(st.binary(min_size=1, max_size=14))
def test_any_bytes_as_an_integer(data: bytes) -> None:
    schema = of("long")
    decoded = Decoder(one_schema(schema), schema, ["a"], 100, 1).decode([data])
    size = next((n for n, byte in enumerate(data[:10], 1) if byte < 0x80), None)
    unsigned = sum((byte & 0x7F) << 7 * n for n, byte in enumerate(data[:size]))
    codes = [error.code for error in decoded.errors.values()]
    if size is None and len(data) < 10:
        assert codes == [ErrorCode.BODY_TRUNCATED]
    elif size is None or unsigned >= 2**64:
        assert codes == [ErrorCode.VARINT_TOO_LONG]
    elif size < len(data):
        assert codes == [ErrorCode.TRAILING_BYTES]
    else:
        assert not codes
        assert decoded.columns["a"].values[0] == (unsigned >> 1) ^ -(unsigned & 1)


@pytest.mark.parametrize(
    ("types", "body", "code", "path", "offset"),
    [
        (["long", "long"], varint(300), ErrorCode.BODY_TRUNCATED, "b", 2),
        (["long", "long"], b"\2\xff\xff", ErrorCode.BODY_TRUNCATED, "b", 1),
        (["long", "long"], b"\2" + b"\xff" * 9, ErrorCode.BODY_TRUNCATED, "b", 1),
        (["long", "long"], b"\2" + ENDLESS, ErrorCode.VARINT_TOO_LONG, "b", 1),
        (["long", "long"], b"\2" + b"\xff" * 9 + b"\2", ErrorCode.VARINT_TOO_LONG, "b", 1),
        (["long", "long"], b"\2\2\2\2", ErrorCode.TRAILING_BYTES, "", 2),
        (["int", "long"], varint(2**31) + b"\2", ErrorCode.VALUE_OUT_OF_RANGE, "a", 0),
        (["string", "long"], varint(-1) + b"\2", ErrorCode.LENGTH_NEGATIVE, "a", 0),
        (["string", "long"], varint(LONG_MIN) + b"\2", ErrorCode.LENGTH_NEGATIVE, "a", 0),
        (["string", "long"], varint(3) + b"xy", ErrorCode.BODY_TRUNCATED, "a", 0),
        (["string", "long"], varint(LONG_MAX) + b"xy", ErrorCode.BODY_TRUNCATED, "a", 0),
        (["string", "long"], ENDLESS, ErrorCode.VARINT_TOO_LONG, "a", 0),
        (["string", "long"], b"\4\xc3\x28\2", ErrorCode.UTF8_INVALID, "a", 1),
        (["string", "long"], b"\6\xed\xa0\x80\2", ErrorCode.UTF8_INVALID, "a", 1),
        (["double", "long"], bytes(7), ErrorCode.BODY_TRUNCATED, "a", 0),
        (["float", "long"], bytes(3), ErrorCode.BODY_TRUNCATED, "a", 0),
        (["boolean", "long"], b"\2\2", ErrorCode.BOOLEAN_INVALID, "a", 0),
        (["long", "boolean"], b"\2", ErrorCode.BODY_TRUNCATED, "b", 1),
        ([["null", "long"], "long"], varint(2) + b"\2", ErrorCode.UNION_BRANCH_INVALID, "a", 0),
        ([["null", "long"], "long"], varint(-1) + b"\2", ErrorCode.UNION_BRANCH_INVALID, "a", 0),
        ([["null", "long"], "long"], b"\2", ErrorCode.BODY_TRUNCATED, "a", 1),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_code_its_field_and_its_byte(
    types: list[Any], body: bytes, code: ErrorCode, path: str, offset: int
) -> None:
    schema = of(*types)
    zero = {"string": "ok", "boolean": True, "float": 1.5, "double": 2.5}
    good = avro.encode(
        schema,
        {chr(97 + n): zero.get(t, 1) if isinstance(t, str) else 7 for n, t in enumerate(types)},
    )
    error = fault(schema, body, ["a", "b"], good)
    assert error is not None
    assert error.code is code
    where = f"field {path}, byte {offset} of" if path else f"byte {offset} of"
    assert error.message.startswith(where)


def test_enum_numbers_without_a_symbol() -> None:
    schema = of({"type": "enum", "name": "E", "symbols": ["X", "Y"]}, "long")
    for number in (2, -1, LONG_MAX, LONG_MIN):
        error = fault(schema, varint(number) + b"\2", ["a"], b"\0\2")
        assert error is not None
        assert error.code is ErrorCode.ENUM_SYMBOL_INVALID


def test_the_first_fault_of_a_body_counts() -> None:
    schema = of("string", "long", "string")
    good = text("x") + b"\2" + text("y")
    broken = b"\2\xff"
    for body, code, path, offset in (
        (broken + ENDLESS, ErrorCode.UTF8_INVALID, "a", 1),
        (broken + b"\2" + broken, ErrorCode.UTF8_INVALID, "a", 1),
        (text("x") + b"\2" + broken + b"more", ErrorCode.UTF8_INVALID, "c", 4),
        (ENDLESS + broken, ErrorCode.VARINT_TOO_LONG, "a", 0),
        (text("x") + ENDLESS + broken, ErrorCode.VARINT_TOO_LONG, "b", 2),
    ):
        error = fault(schema, body, ["a", "b", "c"], good)
        assert error is not None
        assert error.code is code
        assert error.message.startswith(f"field {path}, byte {offset} of the body")


def test_bytes_that_no_path_uses_are_not_looked_into() -> None:
    schema = of("string", "int", "boolean", {"type": "enum", "name": "E", "symbols": ["X"]}, "long")
    good = text("x") + b"\2" + b"\1" + b"\0" + b"\2"
    odd = b"\2\xff" + varint(2**40) + b"\7" + varint(9) + b"\2"
    assert fault(schema, odd, ["e"], good) is None


ARRAY = {"type": "array", "items": "long"}
STRINGS = {"type": "map", "values": ["null", "string"]}
NULLS = {"type": "array", "items": "null"}
FIXED = {"type": "array", "items": {"type": "fixed", "name": "F", "size": 3}}
DOUBLES = {"type": "array", "items": {"type": "array", "items": "double"}}
BIG = {"type": "array", "items": {"type": "fixed", "name": "G", "size": 2**30}}


@pytest.mark.parametrize(
    ("declared", "body", "code"),
    [
        (ARRAY, varint(2) + b"\2\2\0", None),
        (ARRAY, varint(1) + b"\2" + varint(1) + b"\2\0", None),
        (ARRAY, varint(-2) + varint(2) + b"\2\2\0", None),
        (ARRAY, varint(2) + b"\2", ErrorCode.BODY_TRUNCATED),
        (ARRAY, varint(2) + b"\2\2", ErrorCode.BODY_TRUNCATED),
        (ARRAY, varint(-2) + ENDLESS + b"\2\2\0", ErrorCode.VARINT_TOO_LONG),
        (ARRAY, varint(-2), ErrorCode.BODY_TRUNCATED),
        (ARRAY, varint(LONG_MIN) + b"\0" + b"\2", ErrorCode.COLLECTION_TOO_LONG),
        (ARRAY, varint(LONG_MAX) + b"\2", ErrorCode.COLLECTION_TOO_LONG),
        (ARRAY, varint(MAX_ITEMS) + b"\2" * MAX_ITEMS + b"\0", None),
        (ARRAY, varint(MAX_ITEMS + 1) + b"\2" * MAX_ITEMS + b"\2\0", ErrorCode.COLLECTION_TOO_LONG),
        (ARRAY, (varint(40) + b"\2" * 40) * 3 + b"\0", ErrorCode.COLLECTION_TOO_LONG),
        (NULLS, varint(2**60) + b"\0", ErrorCode.COLLECTION_TOO_LONG),
        (NULLS, varint(-(2**60)) + b"\0\0", ErrorCode.COLLECTION_TOO_LONG),
        (NULLS, varint(MAX_ITEMS) + b"\0", None),
        (FIXED, varint(2) + b"abcdef" + b"\0", None),
        (FIXED, varint(2) + b"abcd", ErrorCode.BODY_TRUNCATED),
        (BIG, varint(MAX_ITEMS) + b"abcd", ErrorCode.BODY_TRUNCATED),
        (DOUBLES, varint(2) + varint(1) + bytes(8) + b"\0" + b"\0" + b"\0", None),
        (DOUBLES, varint(2) + varint(1) + bytes(8) + b"\0" + varint(-3), ErrorCode.BODY_TRUNCATED),
        (STRINGS, varint(2) + text("k") + b"\2" + text("v") + text("l") + b"\0\0", None),
        (STRINGS, varint(1) + text("k") + b"\4", ErrorCode.UNION_BRANCH_INVALID),
        (STRINGS, varint(1) + varint(-5), ErrorCode.LENGTH_NEGATIVE),
    ],
)
def test_collections_that_are_passed_over(
    declared: Any, body: bytes, code: ErrorCode | None
) -> None:
    schema = of("long", declared, "string")
    good = b"\2" + b"\0" + text("end")
    error = fault(schema, b"\2" + body + text("end"), ["a", "c"], good)
    if code is ErrorCode.BODY_TRUNCATED and error is not None:
        # What follows a collection that is short may still be read as its items.
        assert error.code is not ErrorCode.TRAILING_BYTES
    else:
        assert (error and error.code) == code


@pytest.mark.timeout(20)
def test_collections_of_many_records_are_passed_in_step() -> None:
    rng = np.random.default_rng(1)
    schema = of("long", STRINGS, DOUBLES, "string")
    bodies = []
    for number in range(500):
        pairs = {f"k{n}": None if n % 3 else "v" * n for n in range(rng.integers(0, 12))}
        rows = [[0.5] * int(n) for n in rng.integers(0, 9, rng.integers(0, 6))]
        record = {"a": number, "b": pairs, "c": rows, "d": f"row {number}"}
        bodies.append(avro.encode(schema, record))
    decoded = Decoder(one_schema(schema), schema, ["a", "d"], 10**6, MAX_ITEMS).decode(bodies)
    assert not decoded.errors
    assert [avro.row(decoded, n) for n in range(500)] == [
        {"a": number, "d": f"row {number}"} for number in range(500)
    ]


@pytest.mark.timeout(20)
def test_bombs_take_no_more_time_than_their_bytes() -> None:
    schema = of("long", {"type": "array", "items": NULLS}, "long")
    one = varint(MAX_ITEMS) + b"\0"
    bomb = b"\2" + varint(MAX_ITEMS) + one * MAX_ITEMS + b"\0" + b"\2"
    decoder = Decoder(one_schema(schema), schema, ["a", "c"], 10**6, MAX_ITEMS)
    began = time.perf_counter()
    for bodies in ([bomb], [bomb] * 100, [b"\2\0\2"] * 100 + [bomb]):
        assert not decoder.decode(bodies).errors
    assert time.perf_counter() - began < 5


def test_signalling_nans_and_signed_zeros_pass_unchanged() -> None:
    schema = of("float", "double")
    body = b"\x01\x00\x80\x7f" + b"\0" * 7 + b"\x80"
    decoded = Decoder(one_schema(schema), schema, ["a", "b"], 100, 1).decode([body] * COMPANY)
    assert np.isnan(decoded.columns["a"].values).all()
    assert np.signbit(decoded.columns["b"].values).all()


def test_a_record_of_every_fault_leaves_one_good_row_alone() -> None:
    schema = json.loads(Path(schemas.__file__).with_name("transaction.avsc").read_text())
    paths = [item["name"] for item in schema["fields"]]
    event = {
        "transaction_id": "tx-1", "tx_time": 1_700_000_000_000, "customer_id": "c", "amount": 1.5,
        "terminal_id": "t", "currency": "EUR", "channel": "atm", "merchant_id": None,
        "country": "DE",
    }  # fmt: skip
    good = avro.encode(schema, event)
    bodies = [good[:length] for length in range(1, len(good))]
    bodies += [good + b"\0", b"\xff" * 30, good[:1] + b"\xff" + good[2:]]
    middle = len(bodies) // 2
    bodies.insert(middle, good)
    decoded = Decoder(one_schema(schema), schema, paths, 10**6, 1).decode(bodies)
    assert set(range(len(bodies))) - decoded.errors.keys() == {middle}
    wanted = {**event, "tx_time": 1_700_000_000_000_000}
    assert avro.row(decoded, middle) == wanted
    for row in decoded.errors:
        assert avro.row(decoded, row) == dict.fromkeys(paths)
