from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.arrays import byte_lengths
from base.errors import ConfigurationError, ErrorCode, RecordError
from features.compute.bind import bind
from features.definition import FeatureSet
from features.values.column_values import event_times, minor_units, numbers, text
from schemas.batch import Column, Decoded, Kind
from tests.support.making import (
    T0,
    booleans,
    columns,
    doubles,
    feature_set,
    longs,
    records,
    strings,
    take,
)

TEXT = """\
name: test
events:
  schema: event.avsc
  id: id
  time: at
  amount: {field: amount, scale: 2, min: -100}
  partition_key: country
entities: {card: card, shop: shop}
features: [{name: A, field: amount}]
"""


@pytest.fixture
def made(tmp_path: Path) -> FeatureSet:
    return feature_set(tmp_path, TEXT)


def decoded(rows: int, **given: Column) -> Decoded:
    base = {"shop": longs(list(range(1, rows + 1))), "country": strings(["FR"] * rows)}
    return Decoded(columns(rows, **(base | given)), {})


def test_good_records_are_events_and_nothing_is_copied(made: FeatureSet) -> None:
    given_records, given = records(3), decoded(3)
    batch, errors = bind(made, given_records, given)
    assert errors == {}
    assert batch.records is given_records
    assert batch.columns is given.columns
    assert batch.event_id is given.columns["id"].values
    assert batch.event_time is given.columns["at"].values
    assert batch.entity_keys["card"] is given.columns["card"].values
    assert batch.entity_keys["shop"].to_pylist() == ["1", "2", "3"]
    assert batch.amount_minor is not None
    assert batch.amount_minor.tolist() == [100, 200, 300]


BAD: list[tuple[str, Column, ErrorCode]] = [
    ("id", strings([None]), ErrorCode.EVENT_ID_MISSING),
    ("id", strings([""]), ErrorCode.EVENT_ID_MISSING),
    ("id", strings(["x" * 1025]), ErrorCode.KEY_TOO_LONG),
    ("at", longs([None], Kind.TIME), ErrorCode.EVENT_TIME_MISSING),
    ("at", longs([946_684_799_999_999], Kind.TIME), ErrorCode.EVENT_TIME_OUT_OF_RANGE),
    ("at", longs([4_102_444_800_000_000], Kind.TIME), ErrorCode.EVENT_TIME_OUT_OF_RANGE),
    ("at", longs([-(2**63)], Kind.TIME), ErrorCode.EVENT_TIME_OUT_OF_RANGE),
    ("amount", doubles([None]), ErrorCode.AMOUNT_MISSING),
    ("amount", doubles([math.nan]), ErrorCode.AMOUNT_NOT_FINITE),
    ("amount", doubles([math.inf]), ErrorCode.AMOUNT_NOT_FINITE),
    ("amount", doubles([-math.inf]), ErrorCode.AMOUNT_NOT_FINITE),
    ("amount", doubles([2.0**63 / 100]), ErrorCode.AMOUNT_OVERFLOW),
    ("amount", doubles([1e17]), ErrorCode.AMOUNT_OVERFLOW),
    ("amount", doubles([1.7e308]), ErrorCode.AMOUNT_OVERFLOW),
    ("amount", doubles([-100.01]), ErrorCode.AMOUNT_BELOW_MINIMUM),
    ("card", strings([None]), ErrorCode.ENTITY_KEY_MISSING),
    ("card", strings([""]), ErrorCode.ENTITY_KEY_MISSING),
    ("card", strings(["é" * 513]), ErrorCode.KEY_TOO_LONG),
    ("shop", longs([None]), ErrorCode.ENTITY_KEY_MISSING),
    ("country", strings([None]), ErrorCode.PARTITION_KEY_MISSING),
]


def with_row(column: Column, row: int, other: Column) -> Column:
    """``column`` with the only row of ``other`` in place of its own ``row``."""
    valid = column.valid.copy()
    valid[row] = other.valid[0]
    if isinstance(column.values, pa.StringArray):
        parts = [column.values[:row], other.values, column.values[row + 1 :]]
        return Column(column.kind, pa.concat_arrays(parts), valid)
    values = column.values.copy()
    values[row] = other.values[0]
    return Column(column.kind, values, valid, column.scale)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("path", "bad", "code"), BAD)
def test_a_bad_record_is_split_off_with_its_code(
    path: str, bad: Column, code: ErrorCode, made: FeatureSet
) -> None:
    good = decoded(5)
    mixed = dict(good.columns)
    mixed[path] = with_row(good.columns[path], 2, bad)
    batch, errors = bind(made, records(5), Decoded(mixed, {}))
    assert {row: error.code for row, error in errors.items()} == {2: code}
    assert path in errors[2].message
    rows = [0, 1, 3, 4]
    assert batch.records.offsets.tolist() == rows
    assert batch.records.keys == [b"k0", b"k1", b"k3", b"k4"]
    assert batch.event_id.to_pylist() == ["e0", "e1", "e3", "e4"]
    assert batch.event_time.tolist() == [T0, T0 + 1, T0 + 3, T0 + 4]
    assert batch.entity_keys["shop"].to_pylist() == ["1", "2", "4", "5"]
    assert batch.amount_minor is not None
    assert batch.amount_minor.tolist() == [100, 200, 400, 500]
    for name, kept in take(good.columns, rows).items():
        assert list(batch.columns[name].values) == list(kept.values)


def test_a_row_keeps_its_first_error(made: FeatureSet) -> None:
    columns_ = decoded(
        3, id=strings(["a", None, None]), amount=doubles([math.nan, math.nan, 1.0])
    ).columns
    broken = RecordError(ErrorCode.BODY_TRUNCATED, "ends in the middle")
    batch, errors = bind(made, records(3), Decoded(columns_, {2: broken}))
    assert len(batch) == 0
    assert errors[2] is broken
    assert errors[0].code is ErrorCode.AMOUNT_NOT_FINITE
    assert errors[1].code is ErrorCode.EVENT_ID_MISSING


def test_no_message_holds_a_key(made: FeatureSet) -> None:
    secret = "4111-1111" + "x" * 2000
    _, errors = bind(made, records(1), decoded(1, card=strings([secret])))
    assert "4111" not in errors[0].message


def test_an_empty_batch_is_bound(made: FeatureSet) -> None:
    batch, errors = bind(made, records(0), decoded(0))
    assert (len(batch), errors) == (0, {})


def test_a_column_of_another_kind_is_named(made: FeatureSet) -> None:
    for path, column, wanted in [
        ("id", doubles([1.0]), "text or a whole number"),
        ("at", longs([1]), "a timestamp"),
        ("amount", strings(["1"]), "a number"),
    ]:
        with pytest.raises(ConfigurationError, match=f"field {path}: .*{wanted}"):
            bind(made, records(1), decoded(1, **{path: column}))


@pytest.mark.parametrize(
    ("column", "scale", "minor"),
    [
        (doubles([0.29, 1.15, -0.01, 1e15]), 2, [29, 115, -1, 10**17]),
        (doubles([0.5, 1.5, 2.5, -0.5]), 0, [0, 2, 2, 0]),
        (longs([12345, -1]), 2, [12345, -1]),
        (longs([12345, -12345], Kind.DECIMAL, 4), 2, [123, -123]),
        (longs([50, 150, 250, -50, -150], Kind.DECIMAL, 2), 0, [0, 2, 2, 0, -2]),
        (longs([51, 149, -51], Kind.DECIMAL, 2), 0, [1, 1, -1]),
        (longs([7], Kind.DECIMAL, 0), 2, [700]),
        (longs([10**18], Kind.DECIMAL, 30), 2, [0]),
    ],
)
def test_amounts_become_minor_units_rounded_half_to_even(
    column: Column, scale: int, minor: list[int]
) -> None:
    units, not_finite, overflow = minor_units(column, "amount", scale)
    assert units.tolist() == minor
    assert not not_finite.any()
    assert not overflow.any()


def test_a_decimal_that_leaves_64_bits_overflows() -> None:
    column = longs([2**63 - 1, -(2**63), 1], Kind.DECIMAL, 0)
    units, _, overflow = minor_units(column, "amount", 2)
    assert overflow.tolist() == [True, True, False]
    assert units.tolist() == [0, 0, 100]


@given(st.integers(-(10**13), 10**13), st.integers(0, 3))
def test_a_decimal_amount_survives_the_way_through_a_double(units: int, scale: int) -> None:
    as_double = doubles([units / 10**scale])
    assert minor_units(as_double, "amount", scale)[0].tolist() == [units]
    assert minor_units(longs([units], Kind.DECIMAL, scale), "x", scale)[0].tolist() == [units]


@pytest.mark.parametrize(
    ("unit", "value", "micros"),
    [
        ("s", 1_533_081_600, T0),
        ("ms", 1_533_081_600_123, T0 + 123_000),
        ("us", T0 + 5, T0 + 5),
        ("ns", (T0 + 5) * 1000 + 999, T0 + 5),
    ],
)
def test_plain_numbers_become_times_by_their_unit(unit: str, value: int, micros: int) -> None:
    assert event_times(longs([value]), "seconds", unit).tolist() == [micros]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_time_too_large_for_its_unit_does_not_wrap_into_range(unit: str, tmp_path: Path) -> None:
    made = feature_set(
        tmp_path, TEXT.replace("time: at", f"time: {{field: seconds, unit: {unit}}}")
    )
    # 2**63 microseconds less a bit of every size: some product would wrap into 2000 to 2100.
    values = [
        2**63 - 1,
        -(2**63),
        *(2**62 + 2**k for k in range(62)),
        *(-(2**k) for k in range(63)),
    ]
    _, errors = bind(made, records(len(values)), decoded(len(values), seconds=longs(values)))
    assert {error.code for error in errors.values()} == {ErrorCode.EVENT_TIME_OUT_OF_RANGE}
    assert len(errors) == len(values)


def test_numbers_of_every_kind() -> None:
    np.testing.assert_array_equal(numbers(doubles([1.5, None]), "x"), [1.5, math.nan])
    np.testing.assert_array_equal(numbers(booleans([True, False, None]), "x"), [1, 0, math.nan])
    np.testing.assert_array_equal(numbers(longs([12345], Kind.DECIMAL, 2), "x"), [123.45])
    with pytest.raises(ConfigurationError, match="field x"):
        numbers(strings(["1"]), "x")


def test_byte_lengths_of_a_slice() -> None:
    values = strings(["a", "é", "", "four"]).values[1:]
    assert byte_lengths(values).tolist() == [2, 0, 4]
    assert byte_lengths(values[3:]).tolist() == []


def test_whole_numbers_as_text() -> None:
    assert text(longs([-5, None, 2**62]), "x").to_pylist() == ["-5", "", str(2**62)]
