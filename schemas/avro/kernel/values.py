"""Compiled reading of single values: integers, text, decimals and the like."""

from __future__ import annotations

from typing import Any

import numpy as np

from base.compiled import leaf, load64, load_float
from schemas.avro.kernel.structs import (
    FAULT_BITS,
    INCOMPATIBLE,
    KEEP,
    MARK,
    NEGATIVE,
    NO_BOOLEAN,
    NO_NUMBER,
    NO_SYMBOL,
    NOT_UTF8,
    OP,
    OUT_OF_RANGE,
    PREFIXED,
    READ_BOOLEAN,
    READ_DECIMAL,
    READ_DOUBLE,
    READ_ENUM,
    READ_FLOAT,
    READ_LONG,
    READ_LONG_AS_DOUBLE,
    READ_TEXT,
    REJECT,
    SKIP_BYTES,
    SKIP_FIXED,
    SKIP_LONG,
    SLOT,
    TOO_LONG,
    TRUNCATED,
    A,
    B,
    Bytes,
    C,
    D,
    Instructions,
    Ints,
    Slots,
)

_NOT_ASCII = np.int64(-0x7F7F7F7F7F7F7F80)


@leaf
def fault(number: int, position: int) -> int:
    """A fault in the form in which it is returned in place of a position."""
    return -((position << FAULT_BITS) | number)


@leaf
def varint(data: Bytes, at: int, end: int) -> tuple[Any, int]:
    """A zigzag integer of at most 64 bits, and the position behind it or a fault."""
    value = np.int64(0)
    for size in range(9):
        if at + size >= end:
            return value, fault(TRUNCATED, at)
        byte = np.int64(data[at + size])
        value |= (byte & 0x7F) << (7 * size)
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + size + 1
    if at + 9 >= end:
        return value, fault(TRUNCATED, at)
    byte = np.int64(data[at + 9])
    if byte > 1:
        return value, fault(TOO_LONG, at)
    return ((value >> 1) | (byte << 62)) ^ -(value & 1), at + 10


@leaf
def sized(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Begin of the bytes of a length-prefixed value, and the position behind them or a fault."""
    length, begin = varint(data, at, end)
    if begin < 0:
        return at, begin
    if length < 0:
        return at, fault(NEGATIVE, at)
    if length > end - begin:
        return at, fault(TRUNCATED, at)
    return begin, begin + length


@leaf
def step(  # noqa: C901, PLR0911, PLR0912 - one case for each instruction
    program: Instructions, pc: int, data: Bytes, at: int, end: int, slots: Slots, row: int
) -> int:
    """Run an instruction that skips or stores one value."""
    code = program.code
    op, slot = code[pc, OP], code[pc, SLOT]
    if op == SKIP_LONG:
        return varint(data, at, end)[1]
    if op == SKIP_BYTES:
        return sized(data, at, end)[1]
    if op == SKIP_FIXED:
        size = code[pc, A]
        return at + size if size <= end - at else fault(TRUNCATED, at)
    if op == REJECT:
        return fault(INCOMPATIBLE, at)
    if op == MARK:
        slots.longs[slot, row] = at
        return at
    slots.present[slot, row] = True
    if op == READ_TEXT:
        return _read_text(data, at, end, slots, slot, row)
    if op in (READ_LONG, READ_LONG_AS_DOUBLE):
        return _read_long(code, pc, data, at, end, slots, row)
    if op in (READ_FLOAT, READ_DOUBLE):
        return _read_floating(data, at, end, op, slots, slot, row)
    if op == READ_BOOLEAN:
        if at >= end:
            return fault(TRUNCATED, at)
        slots.longs[slot, row] = data[at]
        return at + 1 if data[at] <= 1 else fault(NO_BOOLEAN, at)
    if op == READ_ENUM:
        return _read_enum(program, pc, data, at, end, slots, row)
    if op == READ_DECIMAL:
        return _read_decimal(data, at, end, code[pc, A], slots, slot, row)
    if op == KEEP:
        slots.longs[slots.size + slot, row] = at - slots.longs[slot, row]
        slots.longs[2 * slots.size + slot, row] = code[pc, A]
        return at
    slots.longs[slot, row] = code[pc, A]  # FILL
    slots.longs[slots.size + slot, row] = code[pc, B]
    return at


@leaf
def _read_text(data: Bytes, at: int, end: int, slots: Slots, slot: int, row: int) -> int:
    begin, behind = sized(data, at, end)
    if behind < 0:
        return behind
    slots.longs[slot, row] = begin
    slots.longs[slots.size + slot, row] = behind - begin
    return behind if _is_utf8(data, begin, behind) else fault(NOT_UTF8, begin)


@leaf
def _read_long(code: Ints, pc: int, data: Bytes, at: int, end: int, slots: Slots, row: int) -> int:
    value, behind = varint(data, at, end)
    if behind < 0:
        return behind
    if not code[pc, A] <= value <= code[pc, B]:
        return fault(OUT_OF_RANGE, at)
    if code[pc, OP] == READ_LONG_AS_DOUBLE:
        slots.doubles[code[pc, SLOT], row] = value
    else:
        slots.longs[code[pc, SLOT], row] = value * code[pc, C] // code[pc, D]
    return behind


@leaf
def _read_floating(
    data: Bytes, at: int, end: int, op: int, slots: Slots, slot: int, row: int
) -> int:
    size = 8 if op == READ_DOUBLE else 4
    if size > end - at:
        return fault(TRUNCATED, at)
    if op == READ_DOUBLE:
        slots.longs[slot, row] = load64(data, at)
    else:
        slots.doubles[slot, row] = load_float(data, at)
    return at + size


@leaf
def _read_enum(
    program: Instructions, pc: int, data: Bytes, at: int, end: int, slots: Slots, row: int
) -> int:
    number, behind = varint(data, at, end)
    if behind < 0:
        return behind
    if not 0 <= number < program.code[pc, A]:
        return fault(NO_NUMBER, at)
    symbol, slot = program.code[pc, B] + 2 * number, program.code[pc, SLOT]
    slots.longs[slot, row] = program.tables[symbol]
    slots.longs[slots.size + slot, row] = program.tables[symbol + 1]
    return behind if program.tables[symbol] != NO_SYMBOL else fault(NO_NUMBER, at)


@leaf
def _read_decimal(
    data: Bytes, at: int, end: int, size: int, slots: Slots, slot: int, row: int
) -> int:
    """Store a big-endian two's-complement integer of ``size`` bytes, or PREFIXED."""
    begin, behind = at, at + size
    if size == PREFIXED:
        begin, behind = sized(data, at, end)
    elif behind > end:
        return fault(TRUNCATED, at)
    if behind <= begin:  # a fault, or no bytes
        return behind
    low = max(begin, behind - 8)
    # The highest byte keeps its sign, so that no shift leaves the range.
    value = np.int64(data[low])
    if value >= 0x80:
        value -= 0x100
    for place in range(begin, low):
        if data[place] != (0xFF if value < 0 else 0):
            return fault(OUT_OF_RANGE, at)
    for place in range(low + 1, behind):
        value = (value << 8) | np.int64(data[place])
    slots.longs[slot, row] = value
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
