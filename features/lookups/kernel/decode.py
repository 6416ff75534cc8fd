"""Stored lookup values in this worker's own layout."""

from __future__ import annotations

from base.arrays import Bytes, Longs, Mask
from base.compiled import compiled, load64

ANY_AGE = -1
"""Maximum age of a lookup without one."""
WORD = 8
_EXPONENT = 0x7FF0000000000000
_WITHOUT_SIGN = 0x7FFFFFFFFFFFFFFF


@compiled
def decode_values(
    data: Bytes,
    begins: Longs,
    lengths: Longs,
    defaults: Longs,
    values: Longs,
    updated_at: Longs,
    missing: Mask,
    invalid: Mask,
) -> None:
    """Decode U stored values: the time of the update, then V floats; defaults for any other value.

    Args:
        data: uint8[B].
        begins: int64[U], as in `features.store.stored_values.StoredValues`.
        lengths: int64[U], likewise.
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
        usable = lengths[key] == WORD * (count + 1)
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
