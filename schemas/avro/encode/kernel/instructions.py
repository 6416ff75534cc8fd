"""Compiled loop that writes the records of a micro-batch by the instructions of a program.

Avro writes a record as its fields one after the other. An instruction writes one field, or constant
bytes, of the record whose turn it is. The binary forms are those of the Avro specification, "Binary
encoding" (zigzag variable-length integers, little-endian IEEE floats, length-prefixed strings). All
values are integers here; floats are given as their bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from base.compiled import compiled, load64, store32, store64

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

COPY, FIXED, WHOLE, DECIMAL, TEXT, CHOICE, MARKED, REQUIRE, BRANCH, COUNT, LOOP, NEXT = range(12)
"""Operations; A to D are their operands.

COPY writes the literal bytes from A to B.
FIXED writes a number of C bytes; it is at place A of the B numbers of its row.
WHOLE writes a number from A to B, divided by C and multiplied by D, as a variable-length integer.
DECIMAL writes a number from A to B, multiplied by D, big-endian in C bytes; 0 bytes are as many as
it takes, behind their number.
TEXT writes a string behind its length.
CHOICE writes the literal with the number in the column, which is one of B literals from A on.
MARKED writes, behind their number, those of the B literals from A on whose bits are set in the
column, unless none is.
REQUIRE refuses a null.
BRANCH goes on if one of the columns ``tests[A:B]`` is above 0. Else it writes the byte C, if it is
not negative, and jumps to D.
COUNT writes how many of the columns ``tests[A:B]`` are above 0, unless none is.
LOOP writes how many items a list has and goes on with the first of them, which are the next ones of
level A. Without items it jumps to D.
NEXT jumps to D if there are more items of level A.
"""

OPERATION, ROOM, LEVEL, COLUMN, A, B, C, D = range(8)
"""Columns of ``WriteProgram.code``. ROOM is the most bytes that the instruction writes, strings
excepted; LEVEL is 0 for values of records, else the list whose items the values belong to."""

MOST_LONG, MOST_LENGTH = 10, 5
"""Most bytes of a variable-length integer, and of the length of a string or a map."""

DONE, FULL = -1, -2
"""Results of ``encode`` other than the place of an instruction."""


class WriteProgram(NamedTuple):
    """A program.

    Attributes:
        code: int64[P, 8], the instructions.
        literals: uint8[L], constant bytes.
        choices: int64[O], bytes before each literal of CHOICE and after the last.
        tests: int64[T], columns that BRANCH and COUNT look at.
    """

    code: Ints
    literals: Bytes
    choices: Ints
    tests: Ints


class WriteInputs(NamedTuple):
    """Columns of a micro-batch.

    Attributes:
        values: int64[V], all columns, concatenated. A column of strings has the bytes before each
            string, and after the last.
        starts: int64[C], first value of each column. A column of strings has a second entry: the
            place in ``text`` that its bytes count from.
        text: uint8[S], bytes of all strings.
        sizes: int64[L], number of records, then number of items of each list in all records.
    """

    values: Ints
    starts: Ints
    text: Bytes
    sizes: Ints


@compiled
def encode(program: WriteProgram, inputs: WriteInputs, out: Bytes, ends: Ints) -> int:  # noqa: C901, PLR0912, PLR0915 - one branch for each operation; calls with ten arrays would cost more than the work
    """Write all records to ``out``, and to ``ends`` the number of bytes up to the end of each.

    Returns:
        DONE, FULL if ``out`` is too short, or the place of the instruction that refused a value.
    """
    code, literals, choices, tests = program.code, program.literals, program.choices, program.tests
    values, starts, text, sizes = inputs.values, inputs.starts, inputs.text, inputs.sizes
    current = np.zeros(len(sizes), np.int64)
    left = np.zeros(len(sizes), np.int64)
    # An array's integer: with that of a literal, each function below would be compiled twice.
    at = current[0]
    for row in range(len(ends)):
        current[0] = row
        place = 0
        while place < len(code):
            if at + code[place, ROOM] > len(out):
                return FULL
            operation, index = code[place, OPERATION], current[code[place, LEVEL]]
            a, b, following = code[place, A], code[place, B], place + 1
            if operation == COPY:
                at = _copy(literals, a, b, out, at)
            elif operation == FIXED:
                start = starts[code[place, COLUMN]] + index * b + a
                at = _write_fixed(values[start], code[place, C], out, at)
            elif operation <= DECIMAL:
                value = values[starts[code[place, COLUMN]] + index]
                if value < a or value > b:
                    return place
                if operation == WHOLE:
                    value = value // code[place, C] * code[place, D]
                    at = _write_long(value, out, at)
                else:
                    value *= code[place, D]
                    at = _write_decimal(value, code[place, C], out, at)
            elif operation == TEXT:
                column = code[place, COLUMN]
                start = starts[column + 1] + values[starts[column] + index]
                end = starts[column + 1] + values[starts[column] + index + 1]
                if start < 0 or start > end or end > len(text):
                    return place
                if at + code[place, ROOM] + end - start > len(out):
                    return FULL
                at = _write_long(end - start, out, at)
                at = _copy(text, start, end, out, at)
            elif operation == CHOICE:
                choice = values[starts[code[place, COLUMN]] + index]
                if choice < 0 or choice >= b:
                    return place
                at = _copy(literals, choices[a + choice], choices[a + choice + 1], out, at)
            elif operation == MARKED:
                bits, count = values[starts[code[place, COLUMN]] + index], 0
                for option in range(b):
                    count += (bits >> option) & 1
                if count:
                    at = _write_long(count, out, at)
                for option in range(b):
                    if (bits >> option) & 1:
                        at = _copy(literals, choices[a + option], choices[a + option + 1], out, at)
            elif operation == REQUIRE:
                if not values[starts[code[place, COLUMN]] + index]:
                    return place
            elif operation == BRANCH:
                if _held(tests, a, b, starts, values, index) == 0:
                    if code[place, C] >= 0:
                        out[at] = code[place, C]
                        at += 1
                    following = code[place, D]
            elif operation == COUNT:
                held = _held(tests, a, b, starts, values, index)
                if held:
                    at = _write_long(held, out, at)
            elif operation == LOOP:
                count = values[starts[code[place, COLUMN]] + index]
                if count < 0 or current[a] + count > sizes[a]:
                    return place
                left[a] = count
                if count:
                    at = _write_long(count, out, at)
                else:
                    following = code[place, D]
            else:  # NEXT
                current[a] += 1
                left[a] -= 1
                if left[a]:
                    following = code[place, D]
            place = following
        ends[row] = at
    return DONE


@compiled
def _copy(source: Bytes, start: int, end: int, out: Bytes, at: int) -> int:
    while start + 8 <= end:
        store64(out, at, load64(source, start))
        start, at = start + 8, at + 8
    while start < end:
        out[at] = source[start]
        start, at = start + 1, at + 1
    return at


@compiled
def _write_fixed(value: int, size: int, out: Bytes, at: int) -> int:
    if size == 4:
        store32(out, at, value)
    elif size == 8:
        store64(out, at, value)
    else:
        out[at] = value
    return at + size


@compiled
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


@compiled
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


@compiled
def _held(tests: Ints, first: int, end: int, starts: Ints, values: Ints, index: int) -> int:
    """Count the columns that are above 0."""
    held = 0
    for test in range(first, end):
        if values[starts[tests[test]] + index] > 0:
            held += 1
    return held
