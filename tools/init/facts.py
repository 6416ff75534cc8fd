"""Facts about the values of a field in the first rows of a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pyarrow as pa

from base.arrays import Floats, Longs, Mask
from schemas.batch import Column, Kind

# Seconds; event times are in the years 2000 to 2099.
_YEAR_2000, _YEAR_2100 = 946_684_800, 4_102_444_800
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_IN_RANGE = 0.99
_MOST_DIGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Values of one field.

    Attributes:
        rows: Number of rows, N.
        nulls: Number of rows without a value.
        codes: int64[N], a number for each distinct value; -1 where null.
        distinct: Number of distinct values.
        values: Distinct values, by their codes.
        numbers: float64 of the values that are not null, in order; times in microseconds; None for
            text.
    """

    rows: int
    nulls: int
    codes: Longs
    distinct: int
    values: Any
    numbers: Floats | None

    @classmethod
    def of(cls, column: Column) -> Facts:
        rows, valid = len(column), column.valid
        if column.kind is Kind.DOUBLE:
            valid = valid & ~np.isnan(column.values)
        codes = np.full(rows, -1, np.int64)
        numbers = None
        if column.kind is Kind.STRING:
            texts = cast("pa.StringArray", column.values).filter(pa.array(valid))
            encoded = texts.dictionary_encode()
            codes[valid] = encoded.indices.to_numpy(zero_copy_only=False)
            values: Any = encoded.dictionary.to_pylist()
        else:
            values, places = np.unique(column.values[valid], return_inverse=True)
            codes[valid] = places
            numbers = column.values[valid] / 10.0**column.scale
        return cls(rows, rows - int(valid.sum()), codes, len(values), values, numbers)

    @property
    def is_unique(self) -> bool:
        return not self.nulls and self.distinct == self.rows

    @property
    def nulls_share(self) -> float:
        return self.nulls / self.rows

    @property
    def in_order_share(self) -> float:
        """Share of the values that are not below one before them."""
        if self.numbers is None or not len(self.numbers):
            return 0.0
        return float(np.mean(self.numbers >= np.maximum.accumulate(self.numbers)))

    @property
    def never_falls(self) -> bool:
        """True for at least three numbers, none of which is below one before it."""
        return self.distinct > 2 and self.in_order_share == 1.0

    @property
    def is_zero_or_one(self) -> bool:
        if self.numbers is None:
            return {str(value).strip().lower() for value in self.values} <= _BOOLEANS
        return bool(np.isin(self.numbers, (0, 1)).all())

    @property
    def fraud(self) -> Mask:
        """bool[N], True where a label is 1 or true."""
        ones = np.array([str(value).strip().lower() in _ONES for value in self.values], np.bool_)
        return np.append(ones, np.False_)[self.codes]

    @property
    def most_frequent(self) -> list[Any]:
        """The distinct values, most frequent first."""
        counts = np.bincount(self.codes + 1, minlength=self.distinct + 1)[1:]
        return [self.values[code] for code in np.argsort(-counts, kind="stable")]

    @property
    def is_event_time(self) -> bool:
        """True if nearly all times are in the years 2000 to 2099."""
        return self.numbers is not None and _share_in_range(self.numbers, 1e6) >= _IN_RANGE

    @property
    def unit(self) -> str | None:
        """Unit with which nearly all numbers are times in the years 2000 to 2099."""
        if self.numbers is None:
            return None
        shares = {unit: _share_in_range(self.numbers, per) for unit, per in _UNITS.items()}
        return next((unit for unit, share in shares.items() if share >= _IN_RANGE), None)

    def days(self, unit: str | None) -> str:
        """First and last day of the times; ``unit`` is that of plain numbers."""
        numbers = np.empty(0) if self.numbers is None else self.numbers
        seconds = numbers / (1e6 if unit is None else _UNITS[unit])
        inside = seconds[(seconds >= _YEAR_2000) & (seconds < _YEAR_2100)]
        first, last = (datetime.fromtimestamp(at, UTC) for at in (inside.min(), inside.max()))
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"

    def decimal_digits(self, *, single: bool) -> int | None:
        """Decimal digits that all numbers have at most; None for more than four.

        Args:
            single: True for numbers that are stored in 32 bits.
        """
        if self.numbers is None:
            return None
        slack = np.maximum(np.abs(self.numbers), 1.0) * (1e-6 if single else 1e-9)
        for digits in range(_MOST_DIGITS + 1):
            if np.all(np.abs(self.numbers - np.round(self.numbers, digits)) <= slack):
                return digits
        return None


_BOOLEANS = {"0", "1", "true", "false"}
_ONES = {"1", "1.0", "true"}


def _share_in_range(numbers: Floats, per_second: float) -> float:
    low, high = _YEAR_2000 * per_second, _YEAR_2100 * per_second
    return float(np.mean((numbers >= low) & (numbers < high))) if len(numbers) else 0.0
