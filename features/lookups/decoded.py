"""Decode stored lookup values, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from base.arrays import Floats32, Ints32, Longs, Mask
from features.lookups.kernel.decode import decode_elements, decode_values
from features.store.feast import lists, numbers, timestamps
from features.store.protocol import Row
from features.store.stored_values import StoredValues

NEVER = np.iinfo(np.int64).min
"""Time of values without a known time: always stale if ``max_age`` is set."""
AGELESS = np.iinfo(np.int64).max
"""Time of defaults: never stale."""


_NO_ELEMENTS = np.empty((0, 0), np.int32)


class Vector(NamedTuple):
    """A value of a lookup that is a vector.

    Attributes:
        name: Name of the value.
        width: Number of elements.
        dtype: Type in which they are stored, float32 or float16.
        default: Element of a missing vector.
    """

    name: str
    width: int
    dtype: str
    default: float


class DecodedLookups(NamedTuple):
    """V numbers and E elements of vectors, of U unique keys.

    Attributes:
        values: int64[V, U], bits of the floats.
        updated_at: int64[U], microseconds since 1970-01-01 UTC.
        missing: bool[U].
        invalid: bool[U].
        elements: int32[U, E], bits of the float32s; [0, 0] without vectors.
    """

    values: Longs
    updated_at: Longs
    missing: Mask
    invalid: Mask
    elements: Ints32


@cache
def layout(values: int, vectors: tuple[Vector, ...] = ()) -> np.dtype[np.void]:
    """The dtype of one stored value: int64 updated_at in microseconds UTC, float64s, vectors."""
    places = [
        (f"vector {v.name}", np.dtype(v.dtype).newbyteorder("<"), (v.width,)) for v in vectors
    ]
    return np.dtype([("updated_at", "<i8"), ("values", "<f8", (values,)), *places])


@cache
def blank(defaults: tuple[float, ...]) -> Longs:
    """int64[V + 1], the bits of a stored value that holds the defaults; read-only."""
    bits = np.concatenate(([AGELESS], np.array(defaults).view(np.int64)))
    bits.flags.writeable = False
    return bits


@cache
def blank_elements(vectors: tuple[Vector, ...]) -> Ints32:
    """int32[E], the bits of the elements of missing vectors, end to end; read-only."""
    bits = np.concatenate(
        [np.empty(0, np.float32), *(np.full(v.width, v.default, np.float32) for v in vectors)]
    ).view(np.int32)
    bits.flags.writeable = False
    return bits


@cache
def _sizes(vectors: tuple[Vector, ...]) -> Longs:
    """int64[K, 2], elements of each vector and bytes of one of them."""
    return np.array([(v.width, np.dtype(v.dtype).itemsize) for v in vectors], np.int64)


def split_vectors(elements: Ints32, vectors: tuple[Vector, ...]) -> list[Floats32]:
    """Split int32[N, E], bits of the elements of all vectors, to float32[N, width] of each."""
    begins = accumulate((vector.width for vector in vectors), initial=0)
    floats = elements.view(np.float32)
    return [floats[:, i : i + vector.width] for i, vector in zip(begins, vectors, strict=False)]


def decode(
    stored: StoredValues, defaults: tuple[float, ...], vectors: tuple[Vector, ...] = ()
) -> DecodedLookups:
    """Decode U values in this worker's own layout; all defaults for a missing or invalid value."""
    values = np.empty((len(defaults) + 1, len(stored)), np.int64)
    missing, invalid = np.empty((2, len(stored)), np.bool_)
    size, initial = layout(len(defaults), vectors).itemsize, blank(defaults)
    head = (values[1:], values[0], missing, invalid)
    decode_values(stored.data, stored.begins, stored.lengths, size, initial, *head)
    if not vectors:
        return DecodedLookups(*head, _NO_ELEMENTS)
    missing_elements = blank_elements(vectors)
    elements = np.empty((len(stored), len(missing_elements)), np.int32)
    offset, sizes = layout(len(defaults)).itemsize, _sizes(vectors)
    decode_elements(
        stored.data, stored.begins, offset, sizes, missing_elements, elements, missing, invalid
    )
    values[:, invalid] = initial[:, np.newaxis]
    return DecodedLookups(*head, elements)


def decode_feast(
    stored: Sequence[Row | None], defaults: tuple[float, ...], vectors: tuple[Vector, ...] = ()
) -> DecodedLookups:
    """Decode U hashes of Feast; a missing or invalid value gets its default, a null is NaN.

    A hash is invalid as a whole if its time cannot be read, or if the key holds something other
    than a hash (None).
    """
    nothing: Row = [None] * (len(defaults) + len(vectors) + 1)
    unreadable = np.fromiter((row is None for row in stored), np.bool_, len(stored))
    *columns, times = zip(*(nothing if row is None else row for row in stored), strict=True)
    updated = timestamps(times)
    unreadable |= updated.invalid
    values = np.empty((len(defaults), len(stored)))
    missing, invalid = np.zeros((2, len(stored)), np.bool_)
    gone = ~unreadable
    elements = np.empty((len(stored), len(blank_elements(vectors))), np.int32)
    own = [*values, *split_vectors(elements, vectors)]
    widths = [None] * len(defaults) + [vector.width for vector in vectors]
    initial = [*defaults, *(vector.default for vector in vectors)]
    for column, width, default, filled in zip(columns, widths, initial, own, strict=True):
        read = numbers(column) if width is None else lists(column, width)
        filled[:] = read.values
        filled[read.absent | read.invalid | unreadable] = default
        missing |= read.absent
        invalid |= read.invalid
        gone &= read.absent
    ageless = gone | unreadable
    return DecodedLookups(
        values.view(np.int64),
        np.where(ageless, AGELESS, np.where(updated.absent, NEVER, updated.micros)),
        missing & ~unreadable,
        invalid | unreadable,
        elements,
    )
