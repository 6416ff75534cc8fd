"""Values of variable length in one buffer: appended to, replaced and moved.

A value is changed behind its end only, or moved. So a reader of the buffer has the values as they
were when it looked up their places.
"""

from __future__ import annotations

from base.arrays import Bytes, Longs
from base.compiled import compiled, copy_bytes, leaf, load64
from features.store.kernel.resp import ABSENT

BEGIN, LENGTH, ROOM = range(3)
"""Rows of ``places``: first byte of a value, its length or ABSENT, and the bytes kept for it."""


@compiled
def append(
    data: Bytes,
    filled: int,
    places: Longs,
    slots: Longs,
    more: Bytes,
    begins: Longs,
    lengths: Longs,
    done: int,
) -> tuple[int, int, int]:
    """Append bytes to values, until the buffer is full.

    Args:
        data: uint8[B], the buffer.
        filled: Bytes of it that are in use.
        places: int64[3, C], places of values.
        slots: int64[U], columns of ``places`` to append to.
        more: Bytes to append.
        begins: int64[U], first byte in ``more`` for each of ``slots``.
        lengths: int64[U], number of bytes.
        done: Number of appends that are done.

    Returns:
        Number of appends that are done; bytes in use; bytes that the next append needs.
    """
    for index in range(done, len(slots)):
        slot = slots[index]
        length = max(places[LENGTH, slot], 0)
        need = length + lengths[index]
        if need > places[ROOM, slot]:
            room = _room_for(need)
            if filled + room > len(data):
                return index, filled, room
            copy_bytes(data, places[BEGIN, slot], places[BEGIN, slot] + length, data, filled)
            places[BEGIN, slot], places[ROOM, slot] = filled, room
            filled += room
        end = begins[index] + lengths[index]
        copy_bytes(more, begins[index], end, data, places[BEGIN, slot] + length)
        places[LENGTH, slot] = need
    return len(slots), filled, 0


@compiled
def replace(
    data: Bytes,
    filled: int,
    places: Longs,
    slots: Longs,
    prefix: Bytes,
    prefix_begins: Longs,
    prefix_lengths: Longs,
    kept: Bytes,
    begins: Longs,
    lengths: Longs,
    done: int,
) -> tuple[int, int, int]:
    """Replace the prefixes of values, until the buffer is full.

    A value that does not begin with its prefix, or whose prefix is empty, stays. A value that
    becomes empty is ABSENT.

    Args:
        data: uint8[B], the buffer.
        filled: Bytes of it that are in use.
        places: int64[3, C], places of values.
        slots: int64[U], columns of ``places``.
        prefix: Bytes of the prefixes.
        prefix_begins: int64[U], first byte in ``prefix`` for each of ``slots``.
        prefix_lengths: int64[U], number of bytes.
        kept: Bytes that replace the prefixes.
        begins: int64[U], as for the prefixes.
        lengths: int64[U], likewise.
        done: Number of replacements that are done.

    Returns:
        Number of replacements that are done; bytes in use; bytes that the next one needs.
    """
    for index in range(done, len(slots)):
        slot, cut = slots[index], prefix_lengths[index]
        begin, length = places[BEGIN, slot], places[LENGTH, slot]
        if cut == 0 or length < cut:
            continue
        if not _is_equal(data, begin, prefix, prefix_begins[index], cut):
            continue
        need = lengths[index] + length - cut
        room = _room_for(need)
        if filled + room > len(data):
            return index, filled, room
        at = copy_bytes(kept, begins[index], begins[index] + lengths[index], data, filled)
        copy_bytes(data, begin + cut, begin + length, data, at)
        places[BEGIN, slot], places[ROOM, slot] = filled, room
        places[LENGTH, slot] = need or ABSENT
        filled += room
    return len(slots), filled, 0


@compiled
def move_all(data: Bytes, places: Longs, count: int, target: Bytes) -> int:
    """Move all values to an empty buffer; return its bytes in use.

    Args:
        data: uint8[B], the buffer.
        places: int64[3, C], places of values.
        count: Number of columns in use.
        target: The other buffer, at least one and a half times as large as all values.
    """
    filled = 0
    for slot in range(count):
        begin, length = places[BEGIN, slot], places[LENGTH, slot]
        if length > 0:
            copy_bytes(data, begin, begin + length, target, filled)
            places[BEGIN, slot], places[ROOM, slot] = filled, _room_for(length)
            filled += _room_for(length)
        else:
            places[BEGIN, slot], places[ROOM, slot] = 0, 0
    return filled


@leaf
def _room_for(length: int) -> int:
    """Bytes to keep for a value: most are appended to again."""
    return length + (length >> 1)


@leaf
def _is_equal(one: Bytes, begin: int, other: Bytes, other_begin: int, length: int) -> bool:
    at = 0
    while at + 8 <= length and load64(one, begin + at) == load64(other, other_begin + at):
        at += 8
    while at < length and one[begin + at] == other[other_begin + at]:
        at += 1
    return at == length
