"""Compiled decoder: run the instructions of a program over the bodies of a micro-batch.

Each instruction returns the position behind what it read, or a fault as a negative number, so that
the first fault of a body by its offset is the one that counts. Every read of a body's bytes stands
behind a comparison with the end of the body: compiled code has no bounds checks.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from base.compiled import compiled, compiled_inner, load64, load_float, store64
from base.errors import ErrorCode

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

OP, PATH, SLOT, A, B, C, D, WIDTH = range(8)
"""Columns of an instruction; A to D are its operands. WIDTH is their number."""

SKIP_FIXED, SKIP_LONG, SKIP_BYTES = range(3)
READ_BOOLEAN, READ_LONG, READ_LONG_AS_DOUBLE, READ_FLOAT, READ_DOUBLE = range(3, 8)
READ_TEXT, READ_ENUM, READ_DECIMAL, FILL, MARK, KEEP, REJECT = range(8, 15)
BRANCH, JUMP, OPEN, NEXT, SKIP_ITEMS, CALL, RETURN, END = range(15, 23)
"""Instructions; those from BRANCH on decide which one is next."""

PADDING: Final = 8
"""Bytes behind the last text of a buffer: texts are copied eight bytes at a time."""

NOT_DECODED: Final = -1
"""Entry of a row that is not decoded."""
UNBOUNDED: Final = -1
"""Maximum of items that allows any number."""
PREFIXED: Final = -1
"""Size of a decimal whose length stands before its bytes."""
NO_SYMBOL: Final = 0
"""Begin of the reader's symbol where it has none; those of others are negative."""

FAULTS: Final = (
    ErrorCode.BODY_TRUNCATED,
    ErrorCode.TRAILING_BYTES,
    ErrorCode.VARINT_TOO_LONG,
    ErrorCode.LENGTH_NEGATIVE,
    ErrorCode.UNION_BRANCH_INVALID,
    ErrorCode.ENUM_SYMBOL_INVALID,
    ErrorCode.BOOLEAN_INVALID,
    ErrorCode.UTF8_INVALID,
    ErrorCode.COLLECTION_TOO_LONG,
    ErrorCode.NESTED_TOO_DEEP,
    ErrorCode.VALUE_OUT_OF_RANGE,
    ErrorCode.SCHEMA_INCOMPATIBLE,
)
"""Error codes of the fault numbers below, from 1 on."""
TRUNCATED, TRAILING, TOO_LONG, NEGATIVE, NO_BRANCH, NO_NUMBER = range(1, 7)
NO_BOOLEAN, NOT_UTF8, TOO_MANY, TOO_DEEP, OUT_OF_RANGE, INCOMPATIBLE = range(7, 13)

_FAULT_BITS = 4
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1
_NOT_ASCII = np.int64(-0x7F7F7F7F7F7F7F80)


class Instructions(NamedTuple):
    """Instructions of a program.

    Attributes:
        code: int64[I, WIDTH], one instruction in each row.
        tables: int64[J], addresses of branches, and places of the reader's symbols.
        texts: uint8[K], constant texts, with PADDING.
        text_slots: int64[T], slots of texts in ascending order.
        slots: Number of slots S.
    """

    code: Ints
    tables: Ints
    texts: Bytes
    text_slots: Ints
    slots: int


class Bodies(NamedTuple):
    """Bodies of N rows in one buffer.

    Attributes:
        data: uint8[K], the buffer, with PADDING if the program reads texts.
        starts: int64[N], index at which each body begins.
        ends: int64[N], index at which each body ends.
        entries: int64[N], address of the first instruction of each row, or NOT_DECODED.
    """

    data: Bytes
    starts: Ints
    ends: Ints
    entries: Ints


class Values(NamedTuple):
    """Decoded values of N rows; all arrays are zero before decoding.

    Attributes:
        longs: int64[3 * S, N]. The first S rows have the value of each slot: a number, the bits of
            a float64, or the begin of a text in the data, or -1 - its begin in the constant texts.
            The next S rows have the lengths of texts, the last S rows the numbers of kept values.
        present: bool[S, N], True where the slot has a value.
        faults: int64[N, 3], fault number, index of the path, and position of the fault; without a
            fault the position is the end of the body.
        offsets: int32[T, N + 1], begin of each text in the copied texts of its slot.
    """

    longs: Ints
    present: Bools
    faults: Ints
    offsets: npt.NDArray[np.int32]


@compiled
def decode(
    program: Instructions, bodies: Bodies, values: Values, stack: Ints, max_items: int, nested: int
) -> tuple[Bytes, int]:
    """Decode the bodies; a row with a fault has no values.

    Args:
        program: Instructions of all writer schemas.
        bodies: Bodies to decode.
        values: Takes the values and faults.
        stack: int64[D, 2], room for open collections and records.
        max_items: Maximum items of an array or map, or UNBOUNDED.
        nested: Maximum levels to which a record may contain itself.

    Returns:
        Texts of the slots one after another, each without gaps, with PADDING; number of faults.
    """
    code, tables, slots = program.code, program.tables, program.slots
    data, longs, present, faults = bodies.data, values.longs, values.present, values.faults
    doubles = longs.view(np.float64)
    failed = 0
    for row in range(len(bodies.entries)):
        at, end, entry = bodies.starts[row], bodies.ends[row], bodies.entries[row]
        if entry != NOT_DECODED:
            _run(code, tables, data, at, end, entry, row, longs, doubles, present, faults, stack,
                 max_items, nested, slots)  # fmt: skip
            if faults[row, 0]:
                failed += 1
                for slot in range(slots):
                    present[slot, row] = False
                    longs[slot, row] = 0
                    longs[slots + slot, row] = 0
    texts = _copy_texts(data, program.texts, longs, program.text_slots, slots, values.offsets)
    return texts, failed


@compiled_inner
def _run(  # noqa: C901, PLR0912, PLR0913, PLR0915 - one case for each instruction, plain arrays
    code: Ints,
    tables: Ints,
    data: Bytes,
    at: int,
    end: int,
    pc: int,
    row: int,
    longs: Ints,
    doubles: npt.NDArray[np.float64],
    present: Bools,
    faults: Ints,
    stack: Ints,
    max_items: int,
    max_nested: int,
    slots: int,
) -> None:
    """Decode one body.

    The stack has the items that remain and the room for more of each open collection, and the
    address behind the call of each open record. Inside a recursive record, a fault has the path of
    the outermost one.
    """
    top = nested = outer = 0
    while True:
        op, then, behind = code[pc, OP], pc + 1, at
        if op < BRANCH:
            behind = _step(code, pc, tables, data, at, end, row, longs, doubles, present, slots)
        elif op == BRANCH:
            number, behind = _varint(data, at, end)
            if behind >= 0:
                if 0 <= number < code[pc, A]:
                    then = tables[code[pc, B] + number]
                else:
                    behind = _fault(NO_BRANCH, at)
        elif op == JUMP:
            then = code[pc, A]
        elif op == OPEN:
            stack[top, 0], stack[top, 1] = 0, max_items
            top += 1
        elif op == NEXT:
            left, room = stack[top - 1, 0], stack[top - 1, 1]
            if left == 0:
                left, room, behind = _block(data, at, end, room)
            if left == 0:
                top -= 1
                then = code[pc, A]
            else:
                stack[top - 1, 0], stack[top - 1, 1] = left - 1, room
        elif op == SKIP_ITEMS:
            behind = _skip_items(at, end, stack[top - 1, 0] + 1, code[pc, A])
            stack[top - 1, 0] = 0
        elif op == CALL:
            if nested == max_nested:
                behind = _fault(TOO_DEEP, at)
            else:
                outer = outer if nested else code[pc, PATH]
                stack[top, 0] = then
                top += 1
                nested += 1
                then = code[pc, A]
        elif op == RETURN:
            top -= 1
            nested -= 1
            then = stack[top, 0]
        elif at < end and code[pc, A]:
            behind = _fault(TRAILING, at)
        else:
            faults[row, 2] = at
            return
        if behind < 0:
            faults[row, 0] = -behind & ((1 << _FAULT_BITS) - 1)
            faults[row, 1] = outer if nested else code[pc, PATH]
            faults[row, 2] = -behind >> _FAULT_BITS
            return
        at, pc = behind, then


@compiled_inner
def _fault(number: int, position: int) -> int:
    """A fault in the form in which it is returned in place of a position."""
    return -((position << _FAULT_BITS) | number)


@compiled_inner
def _varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """A zigzag integer of at most 64 bits, and the position behind it or a fault."""
    value = np.int64(0)
    for size in range(9):
        if at + size >= end:
            return value, _fault(TRUNCATED, at)
        byte = np.int64(data[at + size])
        value |= (byte & 0x7F) << (7 * size)
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + size + 1
    if at + 9 >= end:
        return value, _fault(TRUNCATED, at)
    byte = np.int64(data[at + 9])
    if byte > 1:
        return value, _fault(TOO_LONG, at)
    return ((value >> 1) | (byte << 62)) ^ -(value & 1), at + 10


@compiled_inner
def _sized(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Begin of the bytes of a length-prefixed value, and the position behind them or a fault."""
    length, begin = _varint(data, at, end)
    if begin < 0:
        return at, begin
    if length < 0:
        return at, _fault(NEGATIVE, at)
    if length > end - begin:
        return at, _fault(TRUNCATED, at)
    return begin, begin + length


@compiled_inner
def _block(data: Bytes, at: int, end: int, room: int) -> tuple[int, int, int]:
    """Head of a block of a collection.

    Args:
        data: Buffer of the bodies.
        at: Position of the head.
        end: End of the body.
        room: Items that the collection may still have, or UNBOUNDED.

    Returns:
        The number of items, the room left after them, and the position of the first item; after a
        fault one item and the fault.
    """
    count, behind = _varint(data, at, end)
    if behind >= 0 and count < 0:
        # A negative count is followed by the block's size in bytes, which is not needed.
        count = _LONG_MAX if count == _LONG_MIN else -count
        _, behind = _varint(data, behind, end)
    if behind < 0:
        return 1, room, behind
    if room == UNBOUNDED:
        return count, room, behind
    if count > room:
        return 1, room, _fault(TOO_MANY, at)
    return count, room - count, behind


@compiled_inner
def _skip_items(at: int, end: int, count: int, size: int) -> int:
    """Skip ``count`` items of ``size`` bytes."""
    if size == 0:
        return at
    return at + count * size if count <= (end - at) // size else _fault(TRUNCATED, at)


@compiled_inner
def _step(  # noqa: C901, PLR0911, PLR0912, PLR0913 - one case for each instruction, plain arrays
    code: Ints,
    pc: int,
    tables: Ints,
    data: Bytes,
    at: int,
    end: int,
    row: int,
    longs: Ints,
    doubles: npt.NDArray[np.float64],
    present: Bools,
    slots: int,
) -> int:
    """Run an instruction that skips or stores one value."""
    op, slot = code[pc, OP], code[pc, SLOT]
    if op == SKIP_LONG:
        return _varint(data, at, end)[1]
    if op == SKIP_BYTES:
        return _sized(data, at, end)[1]
    if op == SKIP_FIXED:
        size = code[pc, A]
        return at + size if size <= end - at else _fault(TRUNCATED, at)
    if op == REJECT:
        return _fault(INCOMPATIBLE, at)
    if op == MARK:
        longs[slot, row] = at
        return at
    present[slot, row] = True
    if op == READ_TEXT:
        begin, behind = _sized(data, at, end)
        longs[slot, row], longs[slots + slot, row] = begin, behind - begin
        if behind >= 0 and not _is_utf8(data, begin, behind):
            return _fault(NOT_UTF8, begin)
        return behind
    if op == READ_LONG or op == READ_LONG_AS_DOUBLE:  # noqa: PLR1714 - numba compares numbers
        value, behind = _varint(data, at, end)
        if behind >= 0 and not code[pc, A] <= value <= code[pc, B]:
            return _fault(OUT_OF_RANGE, at)
        if op == READ_LONG_AS_DOUBLE:
            doubles[slot, row] = value
        elif behind >= 0:
            longs[slot, row] = value * code[pc, C] // code[pc, D]
        return behind
    if op == READ_DOUBLE or op == READ_FLOAT:  # noqa: PLR1714 - likewise
        size = 8 if op == READ_DOUBLE else 4
        if size > end - at:
            return _fault(TRUNCATED, at)
        if op == READ_DOUBLE:
            longs[slot, row] = load64(data, at)
        else:
            doubles[slot, row] = load_float(data, at)
        return at + size
    if op == READ_BOOLEAN:
        if at >= end:
            return _fault(TRUNCATED, at)
        longs[slot, row] = data[at]
        return at + 1 if data[at] <= 1 else _fault(NO_BOOLEAN, at)
    if op == READ_ENUM:
        number, behind = _varint(data, at, end)
        if behind < 0:
            return behind
        symbol = code[pc, B] + 2 * number if 0 <= number < code[pc, A] else -1
        if symbol < 0 or tables[symbol] == NO_SYMBOL:
            return _fault(NO_NUMBER, at)
        longs[slot, row], longs[slots + slot, row] = tables[symbol], tables[symbol + 1]
        return behind
    if op == READ_DECIMAL:
        return _read_decimal(data, at, end, code[pc, A], longs, slot, row)
    if op == KEEP:
        longs[slots + slot, row] = at - longs[slot, row]
        longs[2 * slots + slot, row] = code[pc, A]
        return at
    longs[slot, row], longs[slots + slot, row] = code[pc, A], code[pc, B]  # FILL
    return at


@compiled_inner
def _read_decimal(
    data: Bytes, at: int, end: int, size: int, longs: Ints, slot: int, row: int
) -> int:
    """Store a big-endian two's-complement integer of ``size`` bytes, or PREFIXED."""
    begin, behind = at, at + size
    if size == PREFIXED:
        begin, behind = _sized(data, at, end)
    elif behind > end:
        return _fault(TRUNCATED, at)
    if behind <= begin:  # a fault, or no bytes
        return behind
    sign = -1 if data[begin] >= 0x80 else 0
    low = max(begin, behind - 8)
    for place in range(begin, low):
        if data[place] != sign & 0xFF:
            return _fault(OUT_OF_RANGE, at)
    # The highest byte keeps its sign, so that no shift leaves the range.
    value = np.int64(data[low])
    if value >= 0x80:
        value -= 0x100
    if low > begin and (value < 0) != (sign < 0):
        return _fault(OUT_OF_RANGE, at)
    for place in range(low + 1, behind):
        value = (value << 8) | np.int64(data[place])
    longs[slot, row] = value
    return behind


@compiled_inner
def _is_utf8(data: Bytes, begin: int, end: int) -> bool:
    at = begin
    while at + 8 <= end and load64(data, at) & _NOT_ASCII == 0:
        at += 8
    while at < end:
        lead = np.int64(data[at])
        if lead < 0x80:
            at += 1
            continue
        if lead < 0xC2 or lead > 0xF4:
            return False
        size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if size > end - at:
            return False
        point = lead & (0x7F >> size)
        for place in range(at + 1, at + size):
            byte = np.int64(data[place])
            if byte & 0xC0 != 0x80:
                return False
            point = (point << 6) | (byte & 0x3F)
        # Longer than need be, half of a surrogate pair, or beyond Unicode.
        if point < 1 << (5 * size - 4) or 0xD800 <= point < 0xE000 or point > 0x10FFFF:
            return False
        at += size
    return True


@compiled
def _copy_texts(
    data: Bytes,
    texts: Bytes,
    longs: Ints,
    text_slots: Ints,
    slots: int,
    offsets: npt.NDArray[np.int32],
) -> Bytes:
    """Copy the texts of each slot one after another; store their offsets."""
    total = 0
    for slot in text_slots:
        for row in range(longs.shape[1]):
            total += longs[slots + slot, row]
    copied = np.empty(total + PADDING, np.uint8)
    at = 0
    for index in range(len(text_slots)):
        slot, first = text_slots[index], at
        for row in range(longs.shape[1]):
            begin, length = longs[slot, row], longs[slots + slot, row]
            if begin >= 0:
                _copy(copied, at, data, begin, length)
            else:
                _copy(copied, at, texts, -1 - begin, length)
            at += length
            offsets[index, row + 1] = at - first
    return copied


@compiled_inner
def _copy(copied: Bytes, at: int, source: Bytes, begin: int, length: int) -> None:
    """Copy a text; bytes that are copied beyond it are overwritten by the next one."""
    for place in range(0, length, 8):
        store64(copied, at + place, load64(source, begin + place))
