"""Stored lookup values in this worker's own layout."""

from __future__ import annotations

from base.arrays import Bytes, Ints32, Longs, Mask
from base.compiled import compiled, leaf, load16, load32, load64

ANY_AGE = -1
"""Maximum age of a lookup without one."""
WORD = 8
_EXPONENT = 0x7FF0000000000000
_WITHOUT_SIGN = 0x7FFFFFFFFFFFFFFF
_EXPONENT32, _WITHOUT_SIGN32 = 0x7F800000, 0x7FFFFFFF


@compiled
def decode_values(
    data: Bytes,
    begins: Longs,
    lengths: Longs,
    size: int,
    defaults: Longs,
    values: Longs,
    updated_at: Longs,
    missing: Mask,
    invalid: Mask,
) -> None:
    """Decode the head of U stored values: the time of the update, then V floats.

    A value of another size, or with an infinite float, gets the defaults.

    Args:
        data: uint8[B].
        begins: int64[U], as in `features.store.stored_values.StoredValues`.
        lengths: int64[U], likewise.
        size: Bytes of a value, with what follows the head.
        defaults: int64[V + 1], the time and the bits of the floats for a value without them.
        values: int64[V, U], filled with the bits of the floats.
        updated_at: int64[U], filled with the times of the updates.
        missing: bool[U], filled; True for a key without a value.
        invalid: bool[U], filled; True for a value of another length, or with an infinite float.
    """
    count = values.shape[0]
    for key in range(len(lengths)):
        at = begins[key]
        missing[key] = lengths[key] < 0
        usable = lengths[key] == size
        invalid[key] = not (usable or missing[key])
        if usable:
            for value in range(count):
                bits = load64(data, at + WORD * (value + 1))
                values[value, key] = bits
                # A NaN stays: it says that the value is not known.
                invalid[key] |= bits & _WITHOUT_SIGN == _EXPONENT
            updated_at[key] = load64(data, at)
        if not usable or invalid[key]:
            updated_at[key] = defaults[0]
            values[:, key] = defaults[1:]


@compiled
def spread_values(
    values: Longs,
    updated_at: Longs,
    keys: Longs,
    event_time: Longs,
    max_age: int,
    defaults: Longs,
    of_rows: Longs,
    stale: Mask,
) -> None:
    """Give each of N events the values of its key, or the defaults if they are too old for it.

    Args:
        values: int64[V, U], as in `decode_values`.
        updated_at: int64[U], likewise.
        keys: int64[N], the key of each event.
        event_time: int64[N].
        max_age: Maximum age of a value at the event time, or ANY_AGE.
        defaults: int64[V + 1], as in `decode_values`.
        of_rows: int64[V, N], filled.
        stale: bool[N], filled.
    """
    for row in range(len(keys)):
        key = keys[row]
        # The oldest time allowed: no underflow, as event times lie within 2000 and 2100.
        stale[row] = max_age != ANY_AGE and updated_at[key] < event_time[row] - max_age
        for value in range(values.shape[0]):
            of_rows[value, row] = defaults[value + 1] if stale[row] else values[value, key]


@compiled
def decode_elements(
    data: Bytes,
    begins: Longs,
    offset: int,
    vectors: Longs,
    defaults: Ints32,
    elements: Ints32,
    missing: Mask,
    invalid: Mask,
) -> None:
    """Decode the vectors of U stored values, end to end, to E elements of 32 bits.

    Args:
        data: uint8[B].
        begins: int64[U], as in `decode_values`.
        offset: Place of the first element in a stored value.
        vectors: int64[K, 2], number of elements of each vector, and bytes of one of them: 4 or 2.
        defaults: int32[E], the bits of the elements for a value without them.
        elements: int32[U, E], filled with the bits of float32s.
        missing: bool[U], as `decode_values` has filled it.
        invalid: bool[U], likewise; set for a value with an infinite element.
    """
    for key in range(len(begins)):
        if not (missing[key] or invalid[key]):
            at, place, infinite = begins[key] + offset, 0, False
            for vector in range(len(vectors)):
                end = place + vectors[vector, 0]
                if vectors[vector, 1] == 4:
                    for element in range(place, end):
                        bits = load32(data, at + 4 * (element - place))
                        elements[key, element] = bits
                        infinite |= bits & _WITHOUT_SIGN32 == _EXPONENT32
                else:
                    for element in range(place, end):
                        bits = _widened(load16(data, at + 2 * (element - place)))
                        elements[key, element] = bits
                        infinite |= bits & _WITHOUT_SIGN32 == _EXPONENT32
                at += vectors[vector, 0] * vectors[vector, 1]
                place = end
            invalid[key] = infinite
        if missing[key] or invalid[key]:
            elements[key] = defaults


@leaf
def _widened(half: int) -> int:
    """The bits of the float32 that is equal to a float16 with these bits, both with their sign."""
    sign, magnitude = half >> 15 << 31, half & 0x7FFF
    if magnitude >= 0x7C00:  # infinite, or NaN
        return sign | (magnitude << 13) + (224 << 23)
    if magnitude >= 0x400:
        return sign | (magnitude << 13) + (112 << 23)
    if magnitude == 0:
        return sign
    exponent = 113
    while magnitude < 0x400:
        magnitude <<= 1
        exponent -= 1
    return sign | exponent << 23 | (magnitude & 0x3FF) << 13


@compiled
def spread_elements(
    elements: Ints32, keys: Longs, stale: Mask, defaults: Ints32, of_rows: Ints32
) -> None:
    """Give each of N events the elements of its key, or the defaults if they are too old for it.

    Args:
        elements: int32[U, E], as in `decode_elements`.
        keys: int64[N], the key of each event.
        stale: bool[N], as `spread_values` has filled it.
        defaults: int32[E], as in `decode_elements`.
        of_rows: int32[N, E], filled.
    """
    for row in range(len(keys)):
        key = keys[row]
        for element in range(len(defaults)):
            of_rows[row, element] = defaults[element] if stale[row] else elements[key, element]
