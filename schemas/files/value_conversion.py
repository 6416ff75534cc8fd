"""Convert the values of files to the kinds of column that the schema expects.

Files are looser than records: ids may be integers, times text or numbers, numbers text. A value
that cannot be read is marked; a column whose type can never be read is a ConfigurationError.
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

from base.errors import ConfigurationError
from base.times import DAY
from schemas.batch import Column, Kind

Mask: TypeAlias = npt.NDArray[np.bool_]
Read: TypeAlias = tuple[Any, Mask | bool]
"""The values, and which of them could be read."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = {"s": (1, 1_000_000), "ms": (1, 1_000), "us": (1, 1), "ns": (1_000, 1)}
_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
# Event times lie in the years 2000 to 2099, so a number's size tells its unit.
_YEAR_2000, _YEAR_2100 = 946_684_800, 4_102_444_800
_EPOCH_UNITS = ((1, 1_000_000), (1_000, 1_000), (1_000_000, 1), (1_000_000_000, 0.001))
# The digits of a float's significand: up to two to this power it holds every whole number.
_EXACT_BITS = {pa.float16(): 11, pa.float32(): 24, pa.float64(): 53}
_BASIC = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def plain(array: pa.Array) -> pa.Array:
    """The same values in one of Arrow's basic types; a UUID is text, as JSON and Avro have it."""
    kind = array.type
    if isinstance(kind, pa.UuidType):
        return uuid_texts(array.storage)
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    basic = _BASIC.get(kind)
    return array if basic is None else array.cast(basic)


def uuid_texts(array: pa.Array) -> pa.Array:
    """Sixteen bytes each as the text of a UUID."""
    digits = [None if value is None else value.hex() for value in array.to_pylist()]
    texts = [h and f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in digits]
    return pa.array(texts, pa.string())


def to_column(
    array: pa.Array, kind: Kind, scale: int, where: str, unit: str | None = None
) -> tuple[Column, Mask]:
    """The array as a column, and bool[N], True where a value is there that cannot be read.

    Times: timestamps and dates, naive ones in UTC; ISO 8601 text, without an offset in UTC; numbers
    since 1970-01-01 UTC in the unit (s, ms, us, ns) that puts them into the years 2000 to 2099.
    Decimals: exact; a float must be within its own precision of ``scale`` digits.
    Text: numbers that are whole as their digits, and no others; floats up to 2**53 (float64), as
    beyond, one may stand for several whole numbers. The same bound holds for longs.
    NaN is null, but in a DOUBLE: data frames mark with it what is missing.

    unit: of a LONG that holds times (s, ms, us, ns); timestamps, dates and ISO 8601 text become
    whole numbers of it, rounded down.

    Raises ConfigurationError, naming ``where``, when the array's type can never be of that kind.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    if kind is not Kind.DOUBLE and pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    valid = _valid(array)
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
    if _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return array.cast(pa.string()).fill_null(""), True
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return array.cast(pa.string()).fill_null(""), True
        except pa.ArrowInvalid:
            texts, good = _each(array, lambda value: str(value, "utf-8"), "")
            return pa.array(texts, pa.string()), good
    return None


def _digits(array: pa.Array) -> Read:
    """Floats and decimals that are whole numbers, as text."""
    if pa.types.is_floating(array.type):
        whole, good = _whole(array)
        digits = pa.array(whole).cast(pa.string())
        return pc.if_else(pa.array(good & _valid(array)), digits, ""), good
    try:
        return array.cast(pa.decimal128(38, 0)).cast(pa.string()).fill_null(""), True
    except pa.ArrowInvalid:
        texts, good = _each(array, _parse_digits, "")
        return pa.array(texts, pa.string()), good


def _parse_digits(value: Decimal) -> str:
    if value != value.to_integral_value():
        raise ValueError
    return format(value.to_integral_value(), "f")


def exact_digits(value: float) -> str | None:
    """The digits of a float64 that stands for one whole number; None where it stands for none."""
    return str(int(value)) if value.is_integer() and abs(value) <= 2.0**53 else None


def _long(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if pa.types.is_uint64(kind):
        values = _filled(array)
        return values.astype(np.int64), values < 2**63
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return _filled(array).astype(np.int64), True
    if pa.types.is_floating(kind):
        return _whole(array)
    if pa.types.is_decimal(kind):
        return _decimal(array, 0)
    if _is_text(kind):
        return _parsed(array, pa.int64(), np.int64, _parse_long)
    return None


def _ticks(array: pa.Array, unit: str) -> Read | None:
    """Times as whole numbers of a unit; numbers are of that unit already."""
    kind, (factor, divisor) = array.type, _TICKS[unit]
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        micros, good = cast("Read", _time(array, 0))
        values, fits = _multiplied(micros, factor)
        return values // divisor, good & fits
    if not _is_text(kind):
        return _long(array, 0)

    def parse(text: str) -> int:
        try:
            return _parse_long(text)
        except ValueError:
            return _parse_iso(text) * factor // divisor

    return _parsed(array, pa.int64(), np.int64, parse)


def _double(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if _is_text(kind):
        return _parsed(array, pa.float64(), np.float64, float)
    if _is_number(kind) or pa.types.is_boolean(kind):
        return _filled(array.cast(pa.float64(), safe=False)), True
    return None


def _bool(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if pa.types.is_boolean(kind):
        return _filled(array), True
    if _is_text(kind):
        return _parsed(array, pa.bool_(), np.bool_, lambda text: _TRUTHS[text.strip().lower()])
    if _is_number(kind):
        values = _filled(array.cast(pa.float64(), safe=False))
        return values == 1, (values == 0) | (values == 1)
    return None


def _time(array: pa.Array, _: int) -> Read | None:
    kind = array.type
    if pa.types.is_timestamp(kind):
        ticks = _filled(array.cast(pa.int64()))
        if kind.unit == "ns":
            return ticks // 1_000, True
        return _multiplied(ticks, _MICROS[kind.unit])
    if pa.types.is_date(kind):
        days = _filled(array.cast(pa.date32(), safe=False).cast(pa.int32()))
        return _multiplied(days.astype(np.int64), DAY)
    if pa.types.is_integer(kind):
        return _epoch_times(_filled(array))
    if pa.types.is_floating(kind):
        # float16 is too narrow for the bounds of years.
        return _epoch_times(_filled(array).astype(np.float64))
    if pa.types.is_decimal(kind):
        return _epoch_times(_filled(array.cast(pa.float64(), safe=False)))
    if _is_text(kind):
        return _text_times(array)
    return _unreadable_truths(array)


def _decimal(array: pa.Array, scale: int) -> Read | None:
    kind = array.type
    if pa.types.is_floating(kind):
        return _scaled(_filled(array).astype(np.float64) * 10.0**scale)
    if not (_is_number(kind) or _is_text(kind)):
        return _unreadable_truths(array)
    # Arrow does the work where every value has at most `scale` digits after the point.
    try:
        exact = array.cast(pa.decimal128(38, scale))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values, good = _each(array, lambda value: _parse_decimal(value, scale), 0)
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


def _unreadable_truths(array: pa.Array) -> Read | None:
    """No truth value can be read, though its neighbours in JSON lines may be of another type."""
    if pa.types.is_boolean(array.type):
        return np.zeros(len(array), np.int64), False
    return None


def _multiplied(values: npt.NDArray[np.int64], factor: int) -> tuple[npt.NDArray[np.int64], Mask]:
    """Products, and which of them 64 bits hold."""
    bound = np.iinfo(np.int64).max // factor
    fits = (values >= -bound) & (values <= bound)
    return np.where(fits, values, 0) * factor, fits


def _epoch_times(values: npt.NDArray[Any]) -> Read:
    """Microseconds, by the unit that puts a number into the years 2000 to 2099."""
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
            return _filled(array.cast(target).cast(pa.int64())), True
        except pa.ArrowInvalid:
            continue
    values, good = _each(array, _parse_time, 0)
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
    """Microseconds."""
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
    """Text as numbers: all at once, or one by one where some text is none."""
    try:
        return _filled(array.cast(target)), True
    except pa.ArrowInvalid:
        values, good = _each(array, parse, 0)
        return np.array(values, dtype), good


def _each(array: pa.Array, parse: Callable[[Any], Any], blank: Any) -> tuple[list[Any], Mask]:
    """Each value by itself; ``blank`` where it is null or cannot be parsed."""
    values, good = [], np.ones(len(array), np.bool_)
    for row, value in enumerate(array.to_pylist()):
        try:
            values.append(blank if value is None else parse(value))
        except (ValueError, ArithmeticError, KeyError):
            values.append(blank)
            good[row] = False
    return values, good


def _whole(array: pa.Array) -> tuple[npt.NDArray[np.int64], Mask]:
    """Floats as whole numbers; not readable where they are none, or may stand for several."""
    values = _filled(array).astype(np.float64)
    good = np.abs(values) <= 2.0 ** _EXACT_BITS[array.type]
    good &= np.rint(values) == values
    return np.where(good, values, 0.0).astype(np.int64), good


def _scaled(values: npt.NDArray[np.float64]) -> Read:
    """Floats as the whole numbers that they are but for their rounding."""
    good = np.isfinite(values) & (np.abs(values) < 2.0**63)
    values = np.where(good, values, 0.0)
    whole = np.rint(values)
    slack = 1e-9 * np.maximum(np.abs(values), 1.0)
    return whole.astype(np.int64), good & (np.abs(values - whole) <= slack)


def _valid(array: pa.Array) -> Mask:
    valid: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _filled(array: pa.Array) -> npt.NDArray[Any]:
    """The values, 0 or False where null."""
    if array.null_count:
        array = array.fill_null(
            pa.scalar(False if pa.types.is_boolean(array.type) else 0, array.type)
        )
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )
