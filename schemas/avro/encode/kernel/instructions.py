"""Compiled loop that writes the records of a micro-batch by the instructions of a program.

Avro writes a record as its fields one after the other. An instruction writes one field, or constant
bytes, of the record whose turn it is. The binary forms are those of the Avro specification, "Binary
encoding" (zigzag variable-length integers, little-endian IEEE floats, length-prefixed strings). All
values are integers here; floats are given as their bits.
"""

from __future__ import annotations

from base.arrays import Bytes, Longs
from base.compiled import compiled, inner, load64, store32, store64

COPY, TEXT, FIXED, WHOLE, DECIMAL, CHOICE, VECTOR, NULL = range(8)
"""Operations; A to D are their operands. All but COPY look at the record's value in a column.

COPY writes the bytes of ``text`` from A to B.
TEXT writes a string, behind its length if A is 1.
FIXED writes a number of A bytes, 4 or 8.
WHOLE writes a number from A to B, divided by C and multiplied by D, as a variable-length integer.
DECIMAL writes a number from A to B, multiplied by D, big-endian in C bytes; 0 bytes are as many as
it takes, behind their number.
CHOICE writes one of B constants, whose number the value is; ``choices`` has their bounds from A on.
VECTOR writes B such constants, each before a number of 4 bytes; the column has B for each record.
NULL goes on unless the value is 0. Then it refuses the record if B is 0. Else it writes the byte A,
if that is not negative, and jumps to B.
"""

OPERATION, ROOM, COLUMN, A, B, C, D, WIDTH = range(8)
"""Columns of ``code``, and their number. ROOM is the most bytes that the instruction writes, without a string's."""

MOST_LONG, MOST_LENGTH = 10, 5
"""Most bytes of a variable-length integer, and of the length of a string."""

DONE, FULL = -1, -2
"""Results of ``encode`` other than the place of an instruction."""


@compiled
def encode(
    code: Longs,
    choices: Longs,
    starts: Longs,
    values: Longs,
    text: Bytes,
    out: Bytes,
    bounds: Longs,
) -> int:
    """Write all records to ``out``, end to end.

    Args:
        code: int64[P, 7], the instructions.
        choices: Bounds of the constants of CHOICE in ``text``.
        starts: First value of each column. A column of strings has a second entry: the place in
            ``text`` that its bytes count from.
        values: All columns, concatenated. A column of strings has their bounds.
        text: Constants, and the bytes of all strings.
        out: Filled with the records.
        bounds: int64[N + 1] with 0 first; filled with the end of each record.

    Returns:
        DONE, FULL if ``out`` is too short, or the place of the instruction that refused a value.
    """
    # An array's integer: with that of a literal, each function below would be compiled twice.
    at = bounds[0]
    for row in range(len(bounds) - 1):
        place = 0
        while place < len(code):
            if at + code[place, ROOM] > len(out):
                return FULL
            operation, a, b = code[place, OPERATION], code[place, A], code[place, B]
            column, following = code[place, COLUMN], place + 1
            if operation == COPY:
                at = _copy(text, a, b, out, at)
            elif operation == TEXT:
                begin = starts[column + 1] + values[starts[column] + row]
                end = starts[column + 1] + values[starts[column] + row + 1]
                if begin < 0 or begin > end or end > len(text):
                    return place
                if at + code[place, ROOM] + end - begin > len(out):
                    return FULL
                if a:
                    at = _write_long(end - begin, out, at)
                at = _copy(text, begin, end, out, at)
            elif operation <= DECIMAL:
                value = values[starts[column] + row]
                if operation == FIXED:
                    if a == 4:
                        store32(out, at, value)
                    else:
                        store64(out, at, value)
                    at += a
                elif value < a or value > b:
                    return place
                elif operation == WHOLE:
                    value = value // code[place, C] * code[place, D]
                    at = _write_long(value, out, at)
                else:
                    at = _write_decimal(value * code[place, D], code[place, C], out, at)
            elif operation == CHOICE:
                choice = values[starts[column] + row]
                if choice < 0 or choice >= b:
                    return place
                at = _copy(text, choices[a + choice], choices[a + choice + 1], out, at)
            elif operation == VECTOR:
                start = starts[column] + row * b
                for entry in range(b):
                    at = _copy(text, choices[a + entry], choices[a + entry + 1], out, at)
                    store32(out, at, values[start + entry])
                    at += 4
            elif values[starts[column] + row] == 0:
                if b == 0:
                    return place
                if a >= 0:
                    out[at] = a
                    at += 1
                following = b
            place = following
        bounds[row + 1] = at
    return DONE


@inner
def _copy(source: Bytes, start: int, end: int, out: Bytes, at: int) -> int:
    while start + 8 <= end:
        store64(out, at, load64(source, start))
        start, at = start + 8, at + 8
    while start < end:
        out[at] = source[start]
        start, at = start + 1, at + 1
    return at


@inner
def _write_long(value: int, out: Bytes, at: int) -> int:
    """Write a zigzag variable-length integer of 1 to 10 bytes."""
    rest = (value << 1) ^ (value >> 63)
    while rest & ~0x7F:
        out[at] = (rest & 0x7F) | 0x80
        # A shift of an integer without sign.
        rest = (rest >> 7) & ((1 << 57) - 1)
        at += 1
    out[at] = rest
    return at + 1


@inner
def _write_decimal(value: int, size: int, out: Bytes, at: int) -> int:
    """Write big-endian two's complement of ``size`` bytes; 0: with its length before it.

    The length is that of fastavro: one more than the shortest for -128, -32768 and so on.
    """
    if size == 0:
        size = 1
        while size < 8 and abs(value) >= 1 << (8 * size - 1):
            size += 1
        at = _write_long(size, out, at)
    for byte in range(size - 1, -1, -1):
        # Shifting by more than 63 is undefined: bytes above the eighth repeat the sign.
        out[at] = (value >> min(8 * byte, 63)) & 0xFF
        at += 1
    return at
