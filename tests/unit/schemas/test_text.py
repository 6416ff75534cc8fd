"""Values as text: the same value comes back from it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.avro.text import as_text
from schemas.batch import Column, Kind

INT64 = st.integers(-(2**63), 2**63 - 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def text_of(kind: Kind, values: list[object], scale: int = 0) -> list[str]:
    types = {Kind.BOOL: np.bool_, Kind.DOUBLE: np.float64}
    array: npt.NDArray[Any] = np.array(values, types.get(kind, np.int64))
    column = as_text(Column(kind, array, np.ones(len(values), np.bool_), scale))
    assert column.kind is Kind.STRING
    assert isinstance(column.values, pa.StringArray)
    found: list[str] = column.values.to_pylist()
    return found


def test_text_stays_what_it_is() -> None:
    column = Column(Kind.STRING, pa.array(["a", ""]), np.array([True, False]))
    assert as_text(column) is column


def test_values_of_each_kind_have_a_text() -> None:
    assert text_of(Kind.BOOL, [True, False]) == ["true", "false"]
    assert text_of(Kind.LONG, [0, -7, 2**63 - 1]) == ["0", "-7", "9223372036854775807"]
    assert text_of(Kind.DOUBLE, [12.5, 0.1, -3.0]) == ["12.5", "0.1", "-3"]
    assert text_of(Kind.DECIMAL, [1250, -5, 0, -1234567], 2) == [
        "12.50",
        "-0.05",
        "0.00",
        "-12345.67",
    ]
    assert text_of(Kind.DECIMAL, [12, -3], 0) == ["12", "-3"]
    assert text_of(Kind.TIME, [0, 1_530_000_000_123_456, -1]) == [
        "1970-01-01T00:00:00.000000Z",
        "2018-06-26T08:00:00.123456Z",
        "1969-12-31T23:59:59.999999Z",
    ]


@pytest.mark.parametrize("kind", [Kind.BOOL, Kind.LONG, Kind.DOUBLE, Kind.TIME, Kind.DECIMAL])
def test_nulls_stay_null_and_nothing_stays_nothing(kind: Kind) -> None:
    valid = np.array([True, False])
    column = as_text(Column(kind, np.zeros(2, np.int64), valid, 2))
    assert column.valid is valid
    assert len(column.values) == 2
    assert text_of(kind, []) == []


@given(st.lists(st.floats(), max_size=20))
@example([0.1, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, -0.0, math.inf, -math.inf, math.nan])
def test_a_float_comes_back_bit_for_bit_from_the_fewest_digits(values: list[float]) -> None:
    for value, text in zip(values, text_of(Kind.DOUBLE, list(values)), strict=True):
        back = float(text)
        assert back == value or (math.isnan(back) and math.isnan(value))
        assert math.copysign(1, back) == math.copysign(1, value) or math.isnan(value)
        if math.isfinite(value):
            digits = len(Decimal(text).normalize().as_tuple().digits)
            assert digits == len(Decimal(repr(value)).normalize().as_tuple().digits)


@given(st.lists(INT64, max_size=20), st.integers(0, 18))
@example([-(2**63), 2**63 - 1, -1, 0], 18)
def test_a_decimal_has_all_digits_of_its_scale(values: list[int], scale: int) -> None:
    for units, text in zip(values, text_of(Kind.DECIMAL, list(values), scale), strict=True):
        assert Decimal(text) == Decimal(units).scaleb(-scale)
        assert len(text.partition(".")[2]) == scale


@given(st.lists(INT64, max_size=20))
def test_a_number_comes_back(values: list[int]) -> None:
    assert [int(text) for text in text_of(Kind.LONG, list(values))] == values


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=20))
def test_a_time_comes_back_to_the_microsecond(moments: list[datetime]) -> None:
    micros = [(moment - EPOCH) // timedelta(microseconds=1) for moment in moments]
    texts = text_of(Kind.TIME, list(micros))
    assert [datetime.fromisoformat(text) for text in texts] == moments
