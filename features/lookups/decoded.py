"""Decode stored lookup values, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from base.arrays import Longs, Mask
from features.lookups.kernel.decode import decode_values
from features.store.feast import numbers, timestamps
from features.store.protocol import Row
from features.store.stored_values import StoredValues

NEVER = np.iinfo(np.int64).min
"""Time of values without a known time: always stale if ``max_age`` is set."""
AGELESS = np.iinfo(np.int64).max
"""Time of defaults: never stale."""


class DecodedLookups(NamedTuple):
    """V values of U unique keys.

    Attributes:
        values: int64[V, U], bits of the floats.
        updated_at: int64[U], microseconds since 1970-01-01 UTC.
        missing: bool[U].
        invalid: bool[U].
    """

    values: Longs
    updated_at: Longs
    missing: Mask
    invalid: Mask


@cache
def layout(values: int) -> np.dtype[np.void]:
    """The dtype of one stored value: int64 updated_at in microseconds UTC, then float64s."""
    return np.dtype([("updated_at", "<i8"), ("values", "<f8", (values,))])


@cache
def blank(defaults: tuple[float, ...]) -> Longs:
    """int64[V + 1], the bits of a stored value that holds the defaults; read-only."""
    bits = np.concatenate(([AGELESS], np.array(defaults).view(np.int64)))
    bits.flags.writeable = False
    return bits


def decode(stored: StoredValues, defaults: tuple[float, ...]) -> DecodedLookups:
    """Decode U values in this worker's own layout; all defaults for a missing or invalid value."""
    values = np.empty((len(defaults) + 1, len(stored)), np.int64)
    missing, invalid = np.empty((2, len(stored)), np.bool_)
    decoded = DecodedLookups(values[1:], values[0], missing, invalid)
    decode_values(stored.data, stored.begins, stored.lengths, blank(defaults), *decoded)
    return decoded


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
        values.view(np.int64),
        np.where(ageless, AGELESS, np.where(updated.absent, NEVER, updated.micros)),
        missing & ~unreadable,
        invalid | unreadable,
    )
