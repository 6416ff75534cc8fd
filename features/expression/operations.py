"""Column operations of the operators and functions of expressions.

A number or condition is float64[N] (or 0-d, for a constant), NaN where missing; a condition is 0 or
1. Each operation gives a row the same bits in any batch: only operations that IEEE 754 rounds
correctly are used. A missing operand gives a missing result, except in ``and`` and ``or`` where the
other operand decides, in ``is_null`` and in ``coalesce``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Floats, Mask, text_parts
from base.times import DAY, HOUR
from features.expression import elementary
from features.expression.kernel.texts import number_texts

_THURSDAY = 3  # 1970-01-01, where Monday is 0


class Text(NamedTuple):
    """StringArray[N] and bool[N], False where missing."""

    values: pa.StringArray
    valid: Mask


class TextNumbers:
    """Numbers of listed texts, and one number for all others.

    Args:
        numbers: Number of each listed text.
        other: Number of any other text.
    """

    def __init__(self, numbers: Mapping[str, float], other: float) -> None:
        listed = sorted((text.encode(), number) for text, number in numbers.items())
        texts = [text for text, _ in listed]
        self._texts = np.frombuffer(b"".join(texts), np.uint8)
        self._ends = np.array([0, *accumulate(map(len, texts))], np.int32)
        self._ends.flags.writeable = False
        self._numbers = np.array([*(number for _, number in listed), other], np.float64)

    def of(self, text: Text) -> Floats:
        """float64[N], NaN where the text is missing."""
        result = np.empty(len(text.values))
        number_texts(*text_parts(text.values), self._ends, self._texts, self._numbers, result)
        return result if text.valid.all() else np.where(text.valid, result, np.nan)


class Times(NamedTuple):
    """int64[N] of microseconds since 1970-01-01 UTC and bool[N], False where missing."""

    values: npt.NDArray[np.int64]
    valid: Mask


def known(condition: Any, *operands: Floats) -> Floats:
    """A boolean array as a condition, missing where an operand is."""
    result = np.asarray(condition, dtype=np.float64)
    for operand in operands:
        result = np.where(np.isnan(operand), np.nan, result)
    return result


def divide(a: Floats, b: Floats) -> Floats:
    """A / b; missing where b is 0."""
    return np.where(b == 0.0, np.nan, np.true_divide(a, b))


def floor_divide(a: Floats, b: Floats) -> Floats:
    """The largest whole number that is at most a / b; missing where b is 0."""
    return np.where(b == 0.0, np.nan, np.floor_divide(a, b))


def remainder(a: Floats, b: Floats) -> Floats:
    """The remainder of floor_divide, with the sign of b; missing where b is 0."""
    return np.where(b == 0.0, np.nan, np.mod(a, b))


def power(x: Floats, exponent: float) -> Floats:
    """X ** exponent by repeated squaring; exponent is a whole number other than 0, or 0.5."""
    if exponent == 0.5:
        return np.sqrt(x)
    remaining = abs(int(exponent))
    result: Floats = np.ones_like(x)
    while remaining:
        if remaining % 2:
            result = result * x
        remaining //= 2
        if remaining:
            x = x * x
    return divide(np.ones_like(x), result) if exponent < 0 else result


def both(a: Floats, b: Floats) -> Floats:
    """The condition a and b."""
    return np.where((a == 0.0) | (b == 0.0), 0.0, a * b)


def either(a: Floats, b: Floats) -> Floats:
    """The condition a or b."""
    return np.where((a == 1.0) | (b == 1.0), 1.0, a + b)


def negation(a: Floats) -> Floats:
    """The condition not a."""
    return 1.0 - a


def where(condition: Floats, then: Floats, otherwise: Floats) -> Floats:
    """``then`` where the condition holds, ``otherwise`` where it does not."""
    chosen = np.where(condition == 1.0, then, otherwise)
    return np.where(np.isnan(condition), np.nan, chosen)


def smallest(*values: Floats) -> Floats:
    """The least of the values of each row."""
    # np.minimum may give 0.0 or -0.0 for the two, by the place of the row in the array.
    result = values[0]
    for value in values[1:]:
        result = np.where((value < result) | np.isnan(value), value, result)
    return result


def largest(*values: Floats) -> Floats:
    """The greatest of the values of each row."""
    result = values[0]
    for value in values[1:]:
        result = np.where((value > result) | np.isnan(value), value, result)
    return result


def coalesce(*values: Floats) -> Floats:
    """The first value of each row that is not missing."""
    result = values[-1]
    for value in reversed(values[:-1]):
        result = np.where(np.isnan(value), result, value)
    return result


def log(x: Floats) -> Floats:
    """The natural logarithm; missing for 0 and below."""
    return np.where(x > 0.0, elementary.log(x), np.nan)


def log1p(x: Floats) -> Floats:
    """log(1 + x); missing for -1 and below."""
    return np.where(x > -1.0, elementary.log1p(x), np.nan)


def number_is_null(x: Floats) -> Floats:
    """1 where a number is missing, else 0."""
    return np.asarray(np.isnan(x), dtype=np.float64)


def value_is_null(x: Text | Times) -> Floats:
    """1 where a text or time is missing, else 0."""
    return np.asarray(~x.valid, dtype=np.float64)


def number_in(x: Floats, members: Floats) -> Floats:
    """1 where a number is in ``members``, else 0; missing where the number is missing."""
    return known(np.isin(x, members), x)


def text_equal(a: Text, b: Text) -> Floats:
    """1 where two texts are equal, else 0; missing where one of them is missing."""
    equal, valid = pc.equal(a.values, b.values), a.valid & b.valid
    values = equal.to_numpy(zero_copy_only=False).astype(np.float64)
    return values if valid.all() else np.where(valid, values, np.nan)


def hour(t: Times) -> Floats:
    """Hour of the day in UTC, 0 to 23."""
    return _of_time(t.values // HOUR % 24, t.valid)


def weekday(t: Times) -> Floats:
    """Day of the week in UTC, Monday 0 to Sunday 6."""
    return _of_time((t.values // DAY + _THURSDAY) % 7, t.valid)


def day(t: Times) -> Floats:
    """Day of the month in UTC, 1 to 31."""
    dates = (t.values // DAY).astype("datetime64[D]")
    first = dates.astype("datetime64[M]").astype("datetime64[D]")
    return _of_time((dates - first).astype(np.int64) + 1, t.valid)


def _of_time(result: npt.NDArray[np.int64], valid: Mask) -> Floats:
    values = result.astype(np.float64)
    return values if valid.all() else np.where(valid, values, np.nan)
