"""Convert the values of files to columns of the kinds that the schema expects.

Files are less strictly typed than records: ids may be integers, times may be text or numbers, and
numbers may be text. A value that cannot be read is marked as bad. A column of a type that can never
be read is a ConfigurationError.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Mask
from base.errors import ConfigurationError
from base.times import DAY
from schemas.batch import Column, Kind
from schemas.files.arrow_values import filled, is_number, is_text, parse_each, valid_mask

Read: TypeAlias = tuple[Any, Mask | bool]
"""Converted values, and bool[N] or bool, True for values that could be read."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = {"s": (1, 1_000_000), "ms": (1, 1_000), "us": (1, 1), "ns": (1_000, 1)}
_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
# Event times are in the years 2000 to 2099, so the size of a number determines its unit.
_YEAR_2000, _YEAR_2100 = 946_684_800, 4_102_444_800
_EPOCH_UNITS = ((1, 1_000_000), (1_000, 1_000), (1_000_000, 1), (1_000_000_000, 0.001))
# Bits of a float's significand: up to two to this power, each whole number has its own float.
_EXACT_BITS = {pa.float16(): 11, pa.float32(): 24, pa.float64(): 53}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def to_column(
    array: pa.Array, kind: Kind, scale: int, where: str, unit: str | None = None
) -> tuple[Column, Mask]:
    """Convert an array to a column of a kind.

    TIME: timestamps and dates (UTC if they have no time zone), ISO 8601 text (UTC without an
    offset), and numbers since 1970-01-01 UTC, in the unit (s, ms, us, ns) that gives a time in the
    years 2000 to 2099.
    DECIMAL: exact values; a float may differ by its rounding error from one of ``scale`` digits.
    STRING: text, and whole numbers as their decimal digits; floats only up to 2**53 (float64),
    because a larger float may stand for several whole numbers. The same bound applies to LONG.
    NaN is null except in a DOUBLE, because data frames mark missing values with NaN.

    Args:
        array: Array[N] of the file.
        kind: Kind of the column.
        scale: Decimal digits after the point, for DECIMAL.
        where: Name of the array, for messages.
        unit: Unit (s, ms, us, ns) of a LONG that is a time; timestamps, dates and ISO 8601 text are
            converted to whole numbers of this unit, rounded down. None for any other column.

    Returns:
        The column, and bool[N], True for values that are not null and cannot be read.

    Raises:
        ConfigurationError: The array has a type that can never be converted to ``kind``.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    if kind is not Kind.DOUBLE and pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    valid = valid_mask(array)
    read = _READERS[kind](array, scale) if unit is None else _ticks(array, unit)
    if read is None:
        raise ConfigurationError(
            f"{where} is of type {array.type}, which cannot be read as a {kind}: "
            "bind another column, or convert it in the file"
        )
    values, good = read
    bad = valid & ~np.asarray(good)
    valid = valid & good
    if kind is Kind.STRING:
        return Column(kind, values, valid), bad
    if not valid.all():
        values = np.where(valid, values, values.dtype.type(0))
    return Column(kind, values, valid, scale if kind is Kind.DECIMAL else 0), bad


def _string(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _digits(array)
    if is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return array.cast(pa.string()).fill_null(""), True
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return array.cast(pa.string()).fill_null(""), True
        except pa.ArrowInvalid:
            texts, good = parse_each(array, lambda value: str(value, "utf-8"), "")
            return pa.array(texts, pa.string()), good
    return None


def _digits(array: pa.Array) -> Read:
    """Convert floats and decimals that are whole numbers to text."""
    if pa.types.is_floating(array.type):
        whole, good = _whole(array)
        digits = pa.array(whole).cast(pa.string())
        return pc.if_else(pa.array(good & valid_mask(array)), digits, ""), good
    try:
        return array.cast(pa.decimal128(38, 0)).cast(pa.string()).fill_null(""), True
    except pa.ArrowInvalid:
        texts, good = parse_each(array, _parse_digits, "")
        return pa.array(texts, pa.string()), good


def _parse_digits(value: Decimal) -> str:
    if value != value.to_integral_value():
        raise ValueError
    return format(value.to_integral_value(), "f")


def exact_digits(value: float) -> str | None:
    """Decimal digits of a float64 that is exactly one whole number; None for any other float."""
    return str(int(value)) if value.is_integer() and abs(value) <= 2.0**53 else None


def _long(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if pa.types.is_uint64(kind):
        values = filled(array)
        return values.astype(np.int64), values < 2**63
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return filled(array).astype(np.int64), True
    if pa.types.is_floating(kind):
        return _whole(array)
    if pa.types.is_decimal(kind):
        return _decimal(array, 0)
    if is_text(kind):
        return _parsed(array, pa.int64(), np.int64, _parse_long)
    return None


def _ticks(array: pa.Array, unit: str) -> Read | None:
    """Convert times to whole numbers of a unit; numbers are in that unit already."""
    kind, (factor, divisor) = array.type, _TICKS[unit]
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        micros, good = cast("Read", _time(array, 0))
        values, fits = _multiplied(micros, factor)
        return values // divisor, good & fits
    if not is_text(kind):
        return _long(array, 0)

    def parse(text: str) -> int:
        try:
            return _parse_long(text)
        except ValueError:
            return _parse_iso(text) * factor // divisor

    return _parsed(array, pa.int64(), np.int64, parse)


def _double(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if is_text(kind):
        return _parsed(array, pa.float64(), np.float64, float)
    if is_number(kind) or pa.types.is_boolean(kind):
        return filled(array.cast(pa.float64(), safe=False)), True
    return None


def _bool(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if pa.types.is_boolean(kind):
        return filled(array), True
    if is_text(kind):
        return _parsed(array, pa.bool_(), np.bool_, lambda text: _BOOLEANS[text.strip().lower()])
    if is_number(kind):
        values = filled(array.cast(pa.float64(), safe=False))
        return values == 1, (values == 0) | (values == 1)
    return None


def _time(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if pa.types.is_timestamp(kind):
        ticks = filled(array.cast(pa.int64()))
        if kind.unit == "ns":
            return ticks // 1_000, True
        return _multiplied(ticks, _MICROS[kind.unit])
    if pa.types.is_date(kind):
        days = filled(array.cast(pa.date32(), safe=False).cast(pa.int32()))
        return _multiplied(days.astype(np.int64), DAY)
    if pa.types.is_integer(kind):
        return _epoch_times(filled(array))
    if pa.types.is_floating(kind):
        # float16 is too small for the bounds of the years.
        return _epoch_times(filled(array).astype(np.float64))
    if pa.types.is_decimal(kind):
        return _epoch_times(filled(array.cast(pa.float64(), safe=False)))
    if is_text(kind):
        return _text_times(array)
    return _bad_booleans(array)


def _decimal(array: pa.Array, scale: int) -> Read | None:
    kind = array.type
    if pa.types.is_floating(kind):
        return _scaled(filled(array).astype(np.float64) * 10.0**scale)
    if not (is_number(kind) or is_text(kind)):
        return _bad_booleans(array)
    # Arrow does the work where every value has at most `scale` digits after the point.
    try:
        exact = array.cast(pa.decimal128(38, scale))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values, good = parse_each(array, lambda value: _parse_decimal(value, scale), 0)
        return np.array(values, np.int64), good
    words = np.frombuffer(exact.buffers()[1], np.int64).reshape(-1, 2)
    low, high = words[exact.offset : exact.offset + len(exact)].T
    return low, high == low >> 63


_READERS: dict[Kind, Callable[[pa.Array, int], Read | None]] = {
    Kind.BOOL: _bool,
    Kind.LONG: _long,
    Kind.DOUBLE: _double,
    Kind.STRING: _string,
    Kind.TIME: _time,
    Kind.DECIMAL: _decimal,
}


def _bad_booleans(array: pa.Array) -> Read | None:
    """Mark all booleans as bad; None for another type.

    It is not a ConfigurationError, because other lines of a JSON file may have another type.
    """
    if pa.types.is_boolean(array.type):
        return np.zeros(len(array), np.int64), False
    return None


def _multiplied(values: npt.NDArray[np.int64], factor: int) -> tuple[npt.NDArray[np.int64], Mask]:
    """Products, and bool[N], True where 64 bits are enough."""
    bound = np.iinfo(np.int64).max // factor
    fits = (values >= -bound) & (values <= bound)
    return np.where(fits, values, 0) * factor, fits


def _epoch_times(values: npt.NDArray[Any]) -> Read:
    """Convert numbers to microseconds, by the unit that gives a time in the years 2000 to 2099."""
    micros = np.zeros(len(values), np.int64)
    good = np.zeros(len(values), np.bool_)
    for per_second, factor in _EPOCH_UNITS:
        here = (values >= _YEAR_2000 * per_second) & (values < _YEAR_2100 * per_second)
        if values.dtype.kind == "f":
            micros[here] = np.rint(values[here] * factor).astype(np.int64)
        elif factor < 1:
            micros[here] = values[here] // 1_000
        else:
            micros[here] = values[here] * int(factor)
        good |= here
    return micros, good


def _text_times(array: pa.Array) -> Read:
    for target in (pa.timestamp("us"), pa.timestamp("us", "UTC")):  # without and with an offset
        try:
            return filled(array.cast(target).cast(pa.int64())), True
        except pa.ArrowInvalid:
            continue
    values, good = parse_each(array, _parse_time, 0)
    return np.array(values, np.int64), good


def _parse_time(text: str) -> int:
    try:
        number = np.array([int(text)]) if text.strip().isdigit() else np.array([float(text)])
    except (ValueError, OverflowError):
        number = np.zeros(1)
    if abs(number[0]) < 2**63:
        values, good = _epoch_times(number)
        if np.all(good):
            return int(values[0])
    return _parse_iso(text)


def _parse_iso(text: str) -> int:
    """Convert ISO 8601 text to microseconds since 1970-01-01 UTC."""
    at = datetime.fromisoformat(text.strip())
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _parse_long(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError
    return value


def _parse_decimal(value: Any, scale: int) -> int:
    unscaled = Decimal(str(value)).scaleb(scale)
    if unscaled != unscaled.to_integral_value() or abs(unscaled) >= 2**63:
        raise ValueError
    return int(unscaled)


def _parsed(
    array: pa.Array, target: pa.DataType, dtype: type[Any], parse: Callable[[str], Any]
) -> Read:
    """Convert text to numbers: all at once, or one by one if a text is not a number."""
    try:
        return filled(array.cast(target)), True
    except pa.ArrowInvalid:
        values, good = parse_each(array, parse, 0)
        return np.array(values, dtype), good


def _whole(array: pa.Array) -> tuple[npt.NDArray[np.int64], Mask]:
    """Convert floats to whole numbers; bad if fractional, or large enough to be inexact."""
    values = filled(array).astype(np.float64)
    good = np.abs(values) <= 2.0 ** _EXACT_BITS[array.type]
    good &= np.rint(values) == values
    return np.where(good, values, 0.0).astype(np.int64), good


def _scaled(values: npt.NDArray[np.float64]) -> Read:
    """Convert floats to whole numbers; bad if they differ by more than their rounding error."""
    good = np.isfinite(values) & (np.abs(values) < 2.0**63)
    values = np.where(good, values, 0.0)
    whole = np.rint(values)
    slack = 1e-9 * np.maximum(np.abs(values), 1.0)
    return whole.astype(np.int64), good & (np.abs(values - whole) <= slack)
