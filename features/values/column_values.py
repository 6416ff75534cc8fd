"""Convert a column to numbers, text, event times or minor units of money."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Floats, Longs, Mask
from base.errors import ConfigurationError
from schemas.batch import Column, Kind

MICROSECONDS_PER = {"s": 1_000_000, "ms": 1_000, "us": 1}
_INT64_BOUND = 2.0**63


def numbers(column: Column, path: str) -> Floats:
    """float64[N], NaN where null. BOOL is 0 or 1, DECIMAL its value (not its units)."""
    if column.kind in (Kind.STRING, Kind.TIME):
        raise _wrong_kind(column, path, "a number")
    values = np.asarray(column.values, dtype=np.float64)
    if column.kind is Kind.DECIMAL and column.scale:
        values = values / 10.0**column.scale
    return values if column.valid.all() else np.where(column.valid, values, np.nan)


def text(column: Column, path: str) -> pa.StringArray:
    """StringArray[N], "" where null: text as it is, whole numbers in decimal."""
    if isinstance(column.values, pa.StringArray):
        return column.values
    if column.kind is not Kind.LONG:
        raise _wrong_kind(column, path, "text or a whole number")
    written = pc.cast(pa.array(column.values), pa.string())
    return written if column.valid.all() else pc.if_else(pa.array(column.valid), written, "")


def event_times(column: Column, path: str, unit: str | None) -> Longs:
    """int64[N], microseconds since 1970-01-01 UTC; saturates where int64 has no room.

    ``unit`` (s, ms, us, ns) is that of a LONG; a TIME is in microseconds already.
    """
    if column.kind is Kind.TIME:
        return np.asarray(column.values, dtype=np.int64)
    if column.kind is not Kind.LONG or unit is None:
        raise _wrong_kind(column, path, "a timestamp, or a whole number with a unit")
    values = np.asarray(column.values, dtype=np.int64)
    if unit == "ns":
        return values // 1000
    factor = MICROSECONDS_PER[unit]
    bound = np.iinfo(np.int64).max // factor
    return np.clip(values, -bound, bound) * factor


def minor_units(column: Column, path: str, scale: int) -> tuple[Longs, Mask, Mask]:
    """An amount of money as int64[N] minor units (10**-scale of a major unit), exact.

    DOUBLE and DECIMAL hold major units and are rounded half to even; a LONG holds minor units.
    Returns the units (0 where they are not good), bool[N] not finite, bool[N] overflows int64.
    """
    never = np.zeros(len(column), dtype=np.bool_)
    if column.kind is Kind.LONG:
        return np.asarray(column.values, dtype=np.int64), never, never
    if column.kind is Kind.DECIMAL:
        units, overflow = _scaled(
            np.asarray(column.values, dtype=np.int64), scale - column.scale, never
        )
        return units, never, overflow
    if column.kind is not Kind.DOUBLE:
        raise _wrong_kind(column, path, "a number")
    doubles = np.asarray(column.values, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # see `good`
        scaled = np.rint(doubles * 10.0**scale)
    good = np.abs(scaled) < _INT64_BOUND
    if good.all():
        return scaled.astype(np.int64), never, never
    finite = np.isfinite(doubles)
    return np.where(good, scaled, 0.0).astype(np.int64), ~finite, finite & ~good


def _scaled(values: Longs, digits: int, never: Mask) -> tuple[Longs, Mask]:
    """Values * 10**digits rounded half to even, and where that leaves int64 (0 there)."""
    if digits >= 0:
        factor = 10**digits
        bound = np.iinfo(np.int64).max // factor
        overflow = (values > bound) | (values < -bound)
        return np.where(overflow, 0, values) * factor, overflow
    divisor = 10**-digits
    if divisor > np.iinfo(np.int64).max:
        return np.zeros_like(values), never
    quotient, rest = np.divmod(values, divisor)
    half = divisor // 2
    up = (rest > half) | ((rest == half) & (quotient % 2 == 1))
    return quotient + up, never


def _wrong_kind(column: Column, path: str, wanted: str) -> ConfigurationError:
    return ConfigurationError(
        f"field {path}: found {column.kind.value} where the feature set needs {wanted}"
    )
