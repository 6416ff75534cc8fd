"""Decode stored lookup values, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from base.arrays import Floats, Longs, Mask
from features.store.feast import numbers, timestamps
from features.store.protocol import Row

NEVER = np.iinfo(np.int64).min
"""Time of values without a known time: always stale if ``max_age`` is set."""
AGELESS = np.iinfo(np.int64).max
"""Time of defaults: never stale."""


class DecodedLookups(NamedTuple):
    """V values of U unique keys.

    Attributes:
        values: float64[V, U].
        updated_at: int64[U], microseconds since 1970-01-01 UTC.
        missing: bool[U], or None if no key is missing.
        invalid: bool[U], or None if no key is invalid.
    """

    values: Floats
    updated_at: Longs
    missing: Mask | None
    invalid: Mask | None


def layout(values: int) -> np.dtype[np.void]:
    """The dtype of one stored value: int64 updated_at in microseconds UTC, then float64s."""
    return np.dtype([("updated_at", "<i8"), ("values", "<f8", (values,))])


def decode(stored: Sequence[bytes | None], defaults: tuple[float, ...]) -> DecodedLookups:
    """Decode U values in this worker's own layout; all defaults for a missing or invalid value."""
    missing = invalid = None
    form = layout(len(defaults))
    blank = np.array([(AGELESS, defaults)], dtype=form).tobytes()
    present = [blank if value is None else value for value in stored]
    if None in stored:
        missing = np.array([value is None for value in stored])
    if set(map(len, present)) - {form.itemsize}:
        invalid = np.array([len(value) != form.itemsize for value in present])
        present = [value if len(value) == form.itemsize else blank for value in present]
    table = np.frombuffer(b"".join(present), dtype=form)
    values = np.ascontiguousarray(table["values"].T)
    updated_at = table["updated_at"]
    infinite = np.isinf(values)
    if infinite.any():
        damaged = infinite.any(axis=0)
        invalid = damaged if invalid is None else invalid | damaged
        values = np.where(damaged, np.array(defaults)[:, None], values)
        updated_at = np.where(damaged, AGELESS, updated_at)
    return DecodedLookups(values, updated_at, missing, invalid)


def decode_feast(stored: Sequence[Row | None], defaults: tuple[float, ...]) -> DecodedLookups:
    """Decode U hashes of Feast; a missing or invalid value gets its default, a null is NaN.

    A hash is invalid as a whole if its time cannot be read, or if the key holds something other
    than a hash (None).
    """
    nothing: Row = [None] * (len(defaults) + 1)
    unreadable = np.fromiter((row is None for row in stored), np.bool_, len(stored))
    *columns, times = zip(*(nothing if row is None else row for row in stored), strict=True)
    updated = timestamps(times)
    unreadable |= updated.invalid
    values = np.empty((len(defaults), len(stored)))
    missing, invalid = np.zeros((2, len(stored)), np.bool_)
    gone = ~unreadable
    for place, (column, default) in enumerate(zip(columns, defaults, strict=True)):
        read = numbers(column)
        bad = read.absent | read.invalid | unreadable
        values[place] = np.where(bad, default, read.values)
        missing |= read.absent
        invalid |= read.invalid
        gone &= read.absent
    ageless = gone | unreadable
    return DecodedLookups(
        values,
        np.where(ageless, AGELESS, np.where(updated.absent, NEVER, updated.micros)),
        _or_none(missing & ~unreadable),
        _or_none(invalid | unreadable),
    )


def _or_none(mask: Mask) -> Mask | None:
    return mask if mask.any() else None
