"""What operators and functions of an expression do to columns.

A number or condition is float64[N] (or 0-d, for a constant), NaN where missing; a condition is 0 or
1. Each operation gives a row the same bits whatever stands beside it: only operations that IEEE 754
rounds correctly are used. A missing operand makes a missing result, but for ``and`` and ``or`` where
the other side decides, ``is_null`` and ``coalesce``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.expression import elementary

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_THURSDAY = 3  # 1970-01-01, where Monday is 0


class Text(NamedTuple):
    """StringArray[N] and bool[N], False where missing."""

    values: pa.StringArray
    valid: Mask


class Times(NamedTuple):
    """int64[N] of microseconds since 1970-01-01 UTC and bool[N], False where missing."""

    values: npt.NDArray[np.int64]
    valid: Mask


def known(condition: Any, *operands: Floats) -> Floats:
    """A boolean array as a condition, missing where an operand is."""
    result = np.asarray(condition, dtype=np.float64)
    for operand in operands:
        result = np.where(operand == operand, result, np.nan)
    return result


def divide(a: Floats, b: Floats) -> Floats:
    return np.where(b == 0.0, np.nan, np.true_divide(a, b))


def floor_divide(a: Floats, b: Floats) -> Floats:
    return np.where(b == 0.0, np.nan, np.floor_divide(a, b))


def remainder(a: Floats, b: Floats) -> Floats:
    return np.where(b == 0.0, np.nan, np.mod(a, b))


def power(x: Floats, exponent: float) -> Floats:
    """X ** exponent by repeated squaring; exponent is a whole number but 0, or 0.5."""
    if exponent == 0.5:
        return np.sqrt(x)
    remaining = abs(int(exponent))
    result: Floats | None = None
    square = x
    while remaining:
        if remaining % 2:
            result = square if result is None else result * square
        remaining //= 2
        if remaining:
            square = square * square
    assert result is not None
    return divide(np.float64(1.0), result) if exponent < 0 else result


def both(a: Floats, b: Floats) -> Floats:
    return np.where((a == 0.0) | (b == 0.0), 0.0, a * b)


def either(a: Floats, b: Floats) -> Floats:
    return np.where((a == 1.0) | (b == 1.0), 1.0, a + b)


def negation(a: Floats) -> Floats:
    return 1.0 - a


def where(condition: Floats, then: Floats, otherwise: Floats) -> Floats:
    chosen = np.where(condition == 1.0, then, otherwise)
    return np.where(condition == condition, chosen, np.nan)


def smallest(*values: Floats) -> Floats:
    # np.minimum may give 0.0 or -0.0 for the two, by the place of the row in the array.
    result = values[0]
    for value in values[1:]:
        result = np.where((value < result) | (value != value), value, result)
    return result


def largest(*values: Floats) -> Floats:
    result = values[0]
    for value in values[1:]:
        result = np.where((value > result) | (value != value), value, result)
    return result


def coalesce(*values: Floats) -> Floats:
    result = values[-1]
    for value in reversed(values[:-1]):
        result = np.where(value == value, value, result)
    return result


def log(x: Floats) -> Floats:
    return np.where(x > 0.0, elementary.log(x), np.nan)


def log1p(x: Floats) -> Floats:
    return np.where(x > -1.0, elementary.log1p(x), np.nan)


def number_is_null(x: Floats) -> Floats:
    return np.asarray(x != x, dtype=np.float64)


def value_is_null(x: Text | Times) -> Floats:
    return np.asarray(~x.valid, dtype=np.float64)


def number_in(x: Floats, members: Floats) -> Floats:
    return known(np.isin(x, members), x)


def text_equal(a: Text, b: Text) -> Floats:
    return _of_text(pc.equal(a.values, b.values), a.valid & b.valid)


def text_is(a: Text, constant: str) -> Floats:
    return _of_text(pc.equal(a.values, constant), a.valid)


def text_in(a: Text, members: pa.StringArray) -> Floats:
    return _of_text(pc.is_in(a.values, value_set=members), a.valid)


def hour(t: Times) -> Floats:
    return _of_time(t.values // _HOUR % 24, t.valid)


def weekday(t: Times) -> Floats:
    return _of_time((t.values // _DAY + _THURSDAY) % 7, t.valid)


def day(t: Times) -> Floats:
    dates = (t.values // _DAY).astype("datetime64[D]")
    first = dates.astype("datetime64[M]").astype("datetime64[D]")
    return _of_time((dates - first).astype(np.int64) + 1, t.valid)


def _of_text(result: pa.BooleanArray, valid: Mask) -> Floats:
    found = result.to_numpy(zero_copy_only=False).astype(np.float64)
    return found if valid.all() else np.where(valid, found, np.nan)


def _of_time(result: npt.NDArray[np.int64], valid: Mask) -> Floats:
    found = result.astype(np.float64)
    return found if valid.all() else np.where(valid, found, np.nan)
