"""Compiled reading of single values: integers, text, decimals and the like."""

from __future__ import annotations

from typing import Any

import numpy as np

from base.arrays import Bytes, Longs
from base.compiled import leaf, load32, load64
from schemas.avro.kernel import codes
from schemas.avro.kernel.structs import Instructions, Values

_NOT_ASCII = np.int64(-0x7F7F7F7F7F7F7F80)


@leaf
def fault(number: int, position: int) -> int:
    """A fault in the form in which it is returned in place of a position."""
    return -((position << codes.FAULT_BITS) | number)


@leaf
def varint(data: Bytes, at: int, end: int) -> tuple[Any, int]:
    """A zigzag integer of at most 64 bits, and the position behind it or a fault."""
    value = np.int64(0)
    for size in range(9):
        if at + size >= end:
            return value, fault(codes.TRUNCATED, at)
        byte = np.int64(data[at + size])
        value |= (byte & 0x7F) << (7 * size)
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + size + 1
    if at + 9 >= end:
        return value, fault(codes.TRUNCATED, at)
    byte = np.int64(data[at + 9])
    if byte > 1:
        return value, fault(codes.TOO_LONG, at)
    return ((value >> 1) | (byte << 62)) ^ -(value & 1), at + 10


@leaf
def index(data: Bytes, at: int, end: int, count: int, invalid: int) -> tuple[Any, int]:
    """A varint below ``count``, and the position behind it or a fault, ``invalid`` for others."""
    number, behind = varint(data, at, end)
    if behind >= 0 and not 0 <= number < count:
        behind = fault(invalid, at)
    return number, behind


@leaf
def sized(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Begin of the bytes of a length-prefixed value, and the position behind them or a fault."""
    length, begin = varint(data, at, end)
    if begin < 0:
        return at, begin
    if length < 0:
        return at, fault(codes.NEGATIVE, at)
    if length > end - begin:
        return at, fault(codes.TRUNCATED, at)
    return begin, begin + length


@leaf
def step(
    program: Instructions, pc: int, data: Bytes, at: int, end: int, values: Values, row: int
) -> int:
    """Run an instruction that skips or stores one value."""
    code = program.code
    op, slot, operand = code[pc, codes.OP], code[pc, codes.SLOT], code[pc, codes.A]
    if op == codes.SKIP_LONG:
        return varint(data, at, end)[1]
    if op == codes.SKIP_BYTES:
        return sized(data, at, end)[1]
    if op == codes.SKIP_FIXED:
        return at + operand if operand <= end - at else fault(codes.TRUNCATED, at)
    if op == codes.REJECT:
        return fault(codes.INCOMPATIBLE, at)
    if op == codes.MARK:
        values.longs[slot, row] = at
        return at
    values.present[slot, row] = True
    if op == codes.READ_TEXT:
        return _read_text(data, at, end, values, slot, row)
    if op in (codes.READ_LONG, codes.READ_LONG_AS_DOUBLE):
        return _read_long(code, pc, data, at, end, values.longs, row)
    if op in (codes.READ_FLOAT, codes.READ_DOUBLE):
        return _read_floating(data, at, end, op, values.longs, slot, row)
    if op == codes.READ_BOOLEAN:
        if at >= end:
            return fault(codes.TRUNCATED, at)
        values.longs[slot, row] = data[at]
        return at + 1 if data[at] <= 1 else fault(codes.NO_BOOLEAN, at)
    if op == codes.READ_ENUM:
        return _read_enum(program, pc, data, at, end, values, row)
    if op == codes.READ_DECIMAL:
        return _read_decimal(data, at, end, operand, values.longs, slot, row)
    if op == codes.KEEP:
        values.lengths[slot, row] = at - values.longs[slot, row]
        return at
    values.longs[slot, row] = operand  # FILL
    values.lengths[slot, row] = code[pc, codes.B]
    return at


@leaf
def _read_text(data: Bytes, at: int, end: int, values: Values, slot: int, row: int) -> int:
    begin, behind = sized(data, at, end)
    if behind < 0:
        return behind
    values.longs[slot, row] = begin
    values.lengths[slot, row] = behind - begin
    return behind if _is_utf8(data, begin, behind) else fault(codes.NOT_UTF8, begin)


@leaf
def _read_long(code: Longs, pc: int, data: Bytes, at: int, end: int, longs: Longs, row: int) -> int:
    value, behind = varint(data, at, end)
    if behind < 0:
        return behind
    if not code[pc, codes.A] <= value <= code[pc, codes.B]:
        return fault(codes.OUT_OF_RANGE, at)
    if code[pc, codes.OP] == codes.READ_LONG_AS_DOUBLE:
        value = np.float64(value).view(np.int64)
    else:
        value = value * code[pc, codes.C] // code[pc, codes.D]
    longs[code[pc, codes.SLOT], row] = value
    return behind


@leaf
def _read_floating(
    data: Bytes, at: int, end: int, op: int, longs: Longs, slot: int, row: int
) -> int:
    size = 8 if op == codes.READ_DOUBLE else 4
    if size > end - at:
        return fault(codes.TRUNCATED, at)
    if op == codes.READ_DOUBLE:
        longs[slot, row] = load64(data, at)
    else:
        number = np.int32(load32(data, at)).view(np.float32)
        longs[slot, row] = np.float64(number).view(np.int64)
    return at + size


@leaf
def _read_enum(
    program: Instructions, pc: int, data: Bytes, at: int, end: int, values: Values, row: int
) -> int:
    code, slot = program.code, program.code[pc, codes.SLOT]
    number, behind = index(data, at, end, code[pc, codes.A], codes.NO_NUMBER)
    if behind < 0:
        return behind
    symbol = code[pc, codes.B] + 2 * number
    values.longs[slot, row] = program.tables[symbol]
    values.lengths[slot, row] = program.tables[symbol + 1]
    return behind if program.tables[symbol] != codes.NO_SYMBOL else fault(codes.NO_NUMBER, at)


@leaf
def _read_decimal(
    data: Bytes, at: int, end: int, size: int, longs: Longs, slot: int, row: int
) -> int:
    """Store a big-endian two's-complement integer of ``size`` bytes, or PREFIXED."""
    begin, behind = at, at
    if size == codes.PREFIXED:
        begin, behind = sized(data, at, end)
    elif size > end - at:
        return fault(codes.TRUNCATED, at)
    else:
        behind += size
    if behind <= begin:  # a fault, or no bytes
        return behind
    low = max(begin, behind - 8)
    # The highest byte keeps its sign, so that no shift leaves the range.
    value = np.int64(data[low])
    if value >= 0x80:
        value -= 0x100
    for place in range(begin, low):
        if data[place] != (0xFF if value < 0 else 0):
            return fault(codes.OUT_OF_RANGE, at)
    for place in range(low + 1, behind):
        value = (value << 8) | np.int64(data[place])
    longs[slot, row] = value
    return behind


@leaf
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
