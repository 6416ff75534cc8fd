"""Requests and answers in the protocol of Redis (RESP 2 and 3).

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import numpy as np

from base.arrays import Bytes, Ints32, Longs
from base.compiled import compiled, inner

DONE, MORE, UNEXPECTED = 0, 1, 2
"""Results of `read_answers`."""
ABSENT, REFUSED = -1, -2
"""Lengths of values: of one that is not in the store, and of each value of a command with an error."""
SINGLE = -1
"""Count of a command whose answer is one value instead of an array."""
POSITION, COMMAND, ITEM, PLACE, NEEDED = range(5)
"""Indexes of the progress of `read_answers`."""
UNREADABLE = -(2**62)
"""What `_read_number` returns for anything but a number."""
HEAD_BYTES, KEY_BYTES = 32, 16
"""Maximum bytes of a command, and of a key in it, without the bytes of prefix and key."""

_LARGEST = 2**28
"""Number from which on no further digit is read: a value has at most 2**29 bytes."""
_LONGEST_LINE = 2**16
_ARRAY, _BULK, _VERBATIM, _ERROR, _NULL = ord("*"), ord("$"), ord("="), ord("-"), ord("_")
_CR, _LF, _MINUS, _ZERO = ord("\r"), ord("\n"), ord("-"), ord("0")
_MGET = np.frombuffer(b"$4\r\nMGET\r\n", np.uint8)


@compiled
def write_mgets(prefix: Bytes, ends: Ints32, data: Bytes, most: int, out: Bytes) -> int:
    """Write the commands that read the values of U keys.

    Args:
        prefix: First bytes of each key.
        ends: int32[U + 1], as in `features.values.keys.Keys`.
        data: uint8[B], likewise.
        most: Maximum number of keys in a command.
        out: Bytes to fill: HEAD_BYTES for each command, and for each key its bytes and KEY_BYTES.

    Returns:
        Number of bytes written.
    """
    at, count = 0, len(ends) - 1
    for key in range(count):
        if key % most == 0:
            at = _write_number(_ARRAY, min(most, count - key) + 1, out, at)
            at = _copy(_MGET, 0, len(_MGET), out, at)
        begin, end = int(ends[key]), int(ends[key + 1])
        at = _write_number(_BULK, len(prefix) + end - begin, out, at)
        at = _copy(prefix, 0, len(prefix), out, at)
        at = _end_line(out, _copy(data, begin, end, out, at))
    return at


@compiled
def write_append(
    head: Bytes,
    prefix: Bytes,
    ends: Ints32,
    keys: Bytes,
    expire: Bytes,
    data: Bytes,
    begins: Longs,
    lengths: Longs,
    out: Bytes,
) -> int:
    """Write the call of a script that appends a value to each of U keys, without absent values.

    Args:
        head: Bytes before the first key.
        prefix: As in `write_mgets`, like ``ends``.
        ends: Likewise.
        keys: Bytes of the keys, ``data`` there.
        expire: Argument before the first value.
        data: uint8[B], bytes of the values.
        begins: int64[U], place of each value in ``data``.
        lengths: int64[U], ABSENT where there is no value.
        out: Bytes to fill: those of all others, and KEY_BYTES twice for each key.

    Returns:
        Number of bytes written.
    """
    at = _copy(head, 0, len(head), out, 0)
    for row in range(len(lengths)):
        if lengths[row] != ABSENT:
            begin, end = int(ends[row]), int(ends[row + 1])
            at = _write_number(_BULK, len(prefix) + end - begin, out, at)
            at = _copy(prefix, 0, len(prefix), out, at)
            at = _end_line(out, _copy(keys, begin, end, out, at))
    at = _copy(expire, 0, len(expire), out, at)
    for row in range(len(lengths)):
        if lengths[row] != ABSENT:
            at = _write_number(_BULK, lengths[row], out, at)
            begin = begins[row]
            at = _end_line(out, _copy(data, begin, begin + lengths[row], out, at))
    return at


@compiled
def read_answers(
    data: Bytes, filled: int, counts: Longs, progress: Longs, begins: Longs, lengths: Longs
) -> int:
    """Read the answers to C commands, each an array of values, a value or an error.

    They are read as far as they are here. A value of verbatim text begins with its format.

    Args:
        data: uint8[B], bytes that were received.
        filled: Number of these.
        counts: int64[C], number of values in each answer, or SINGLE.
        progress: int64[5], zeros at first, ITEM -1; NEEDED is set to the number of bytes of
            ``data`` that are known to come.
        begins: int64[V], filled with the place of each value in ``data``, or of an error's text.
        lengths: int64[V], filled with the length of each value, ABSENT or REFUSED.

    Returns:
        DONE, MORE if bytes are missing, or UNEXPECTED.
    """
    while progress[COMMAND] < len(counts):
        begin, count = progress[POSITION], counts[progress[COMMAND]]
        if begin < filled and data[begin] not in (_ARRAY, _BULK, _VERBATIM, _ERROR, _NULL):
            return UNEXPECTED
        line_end = _find_line_end(data, begin, filled)
        if line_end < 0:
            return MORE if filled - begin < _LONGEST_LINE else UNEXPECTED
        position, kind = line_end + 2, data[begin]
        if count == SINGLE:
            count = 1
            if kind != _ERROR:
                progress[ITEM] = 0
        place, number = progress[PLACE], _read_number(data, begin + 1, line_end)
        if progress[ITEM] < 0 and kind == _ERROR:
            begins[place : place + count] = begin + 1
            lengths[place : place + count] = REFUSED
            progress[PLACE] += count
            progress[ITEM] = count
        elif progress[ITEM] < 0:
            if kind != _ARRAY or number != count:
                return UNEXPECTED
            progress[ITEM] = 0
        elif kind == _NULL or (kind == _BULK and number == ABSENT):
            begins[place], lengths[place] = begin, ABSENT
            progress[PLACE] += 1
            progress[ITEM] += 1
        elif kind in (_BULK, _VERBATIM) and number >= 0:
            progress[NEEDED] = position + number + 2
            if progress[NEEDED] > filled:
                return MORE
            begins[place], lengths[place] = position, number
            position += number + 2
            progress[PLACE] += 1
            progress[ITEM] += 1
        else:
            return UNEXPECTED
        progress[POSITION] = position
        if progress[ITEM] == count:
            progress[COMMAND] += 1
            progress[ITEM] = -1
    return DONE


@inner
def _find_line_end(data: Bytes, begin: int, filled: int) -> int:
    """Place of the CR that ends the line, or -1 if it is not here with its LF."""
    for at in range(begin, filled - 1):
        if data[at] == _CR:
            return at
    return -1


@inner
def _read_number(data: Bytes, begin: int, end: int) -> int:
    """Read the whole number in [begin, end)."""
    negative = begin < end and data[begin] == _MINUS
    first = begin + 1 if negative else begin
    number = 0
    for at in range(first, end):
        digit = int(data[at]) - _ZERO
        if not 0 <= digit <= 9 or number > _LARGEST:
            return UNREADABLE
        number = 10 * number + digit
    if first == end:
        return UNREADABLE
    return -number if negative else number


@inner
def _write_number(kind: int, number: int, out: Bytes, at: int) -> int:
    """Write a line with a number; return the place behind it."""
    out[at] = kind
    digits, rest = 1, number // 10
    while rest:
        digits, rest = digits + 1, rest // 10
    rest = number
    for place in range(at + digits, at, -1):
        out[place] = _ZERO + rest % 10
        rest //= 10
    return _end_line(out, at + 1 + digits)


@inner
def _end_line(out: Bytes, at: int) -> int:
    out[at], out[at + 1] = _CR, _LF
    return at + 2


@inner
def _copy(source: Bytes, begin: int, end: int, out: Bytes, at: int) -> int:
    """Copy bytes; return the place behind them."""
    for byte in range(begin, end):
        out[at] = source[byte]
        at += 1
    return at
