"""Compiled decoder: run the instructions of a program over the bodies of a micro-batch.

Each instruction returns the position behind what it read, or a fault as a negative number, so that
the first fault of a body by its offset is the one that counts. Every read of a body's bytes stands
behind a comparison with the end of the body.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from base.arrays import Bytes
from base.compiled import compiled, inner, leaf, load64, store64
from schemas.avro.kernel import codes
from schemas.avro.kernel.structs import Bodies, BodyLimits, Instructions, Values
from schemas.avro.kernel.values import fault, index, step, varint

_LONG_MIN: Final = -(2**63)
_LONG_MAX: Final = 2**63 - 1


@compiled
def decode(
    program: Instructions, bodies: Bodies, values: Values, limits: BodyLimits
) -> tuple[Bytes, int]:
    """Decode the bodies; a row with a fault has no values.

    Args:
        program: Instructions of all writer schemas.
        bodies: Bodies to decode.
        values: Takes the values and faults.
        limits: Limits of each body.

    Returns:
        Texts of all slots, one slot after another; then the number of faults.
    """
    failed = 0
    for row in range(len(bodies.entries)):
        if bodies.entries[row] != codes.NOT_DECODED:
            _run(program, bodies, values, limits, row)
            if values.faults[row, 0]:
                failed += 1
                for slot in range(len(values.longs)):
                    values.present[slot, row] = False
                    values.longs[slot, row] = values.lengths[slot, row] = 0
    return _copy_texts(program, bodies.data, values), failed


@leaf
def _run(
    program: Instructions, bodies: Bodies, values: Values, limits: BodyLimits, row: int
) -> None:
    """Decode one body.

    The stack has the items that remain and the room for more of each open collection, and the
    address behind the call of each open record. Inside a recursive record, a fault has the path of
    the outermost one.
    """
    code, data, stack = program.code, bodies.data, limits.stack
    at, end, pc = bodies.starts[row], bodies.ends[row], bodies.entries[row]
    top = nested = outer = 0
    while True:
        op, operand = code[pc, codes.OP], code[pc, codes.A]
        then, behind = pc + 1, at
        if op < codes.BRANCH:
            behind = step(program, pc, data, at, end, values, row)
        elif op == codes.BRANCH:
            number, behind = index(data, at, end, operand, codes.NO_BRANCH)
            if behind >= 0:
                then = program.tables[code[pc, codes.B] + number]
        elif op == codes.JUMP:
            then = operand
        elif op == codes.OPEN:
            stack[top, 0], stack[top, 1] = 0, limits.items
            top += 1
        elif op == codes.NEXT:
            left, room = stack[top - 1, 0], stack[top - 1, 1]
            if left == 0:
                left, room, behind = _block(data, at, end, room)
            if left == 0:
                top -= 1
                then = operand
            else:
                stack[top - 1, 0], stack[top - 1, 1] = left - 1, room
        elif op == codes.SKIP_ITEMS:
            behind = _skip_items(at, end, stack[top - 1, 0] + 1, operand)
            stack[top - 1, 0] = 0
        elif op == codes.CALL:
            if nested == limits.levels:
                behind = fault(codes.TOO_DEEP, at)
            else:
                outer = outer if nested else code[pc, codes.PATH]
                stack[top, 0] = then
                top, nested = top + 1, nested + 1
                then = operand
        elif op == codes.RETURN:
            top, nested = top - 1, nested - 1
            then = stack[top, 0]
        elif at < end and operand:
            behind = fault(codes.TRAILING, at)
        else:
            values.faults[row, 2] = at
            return
        if behind < 0:
            values.faults[row, 0] = -behind & ((1 << codes.FAULT_BITS) - 1)
            values.faults[row, 1] = outer if nested else code[pc, codes.PATH]
            values.faults[row, 2] = -behind >> codes.FAULT_BITS
            return
        at, pc = behind, then


@leaf
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
    count, behind = varint(data, at, end)
    if behind >= 0 and count < 0:
        # A negative count is followed by the block's size in bytes, which is not needed.
        count = _LONG_MAX if count == _LONG_MIN else -count
        _, behind = varint(data, behind, end)
    if behind < 0:
        return 1, room, behind
    if room == codes.UNBOUNDED:
        return count, room, behind
    if count > room:
        return 1, room, fault(codes.TOO_MANY, at)
    return count, room - count, behind


@leaf
def _skip_items(at: int, end: int, count: int, size: int) -> int:
    """Skip ``count`` items of ``size`` bytes."""
    if size == 0:
        return at
    return at + count * size if count <= (end - at) // size else fault(codes.TRUNCATED, at)


@inner
def _copy_texts(program: Instructions, data: Bytes, values: Values) -> Bytes:
    """Copy the texts of each slot one after another; store their offsets."""
    total = 0
    for slot in program.text_slots:
        for length in values.lengths[slot]:
            total += length
    copied = np.empty(total + 7, np.uint8)
    at = 0
    for number in range(len(program.text_slots)):
        slot = program.text_slots[number]
        values.offsets[number, 0] = at
        for row in range(values.longs.shape[1]):
            begin, length = values.longs[slot, row], values.lengths[slot, row]
            if begin < 0:
                _copy(copied, at, program.texts, -1 - begin, length)
            elif begin + length + 7 > len(data):
                _copy(copied, at, data, begin, length)
            else:
                # What a word has beyond the text is overwritten by the next text.
                for place in range(0, length, 8):
                    store64(copied, at + place, load64(data, begin + place))
            at += length
            values.offsets[number, row + 1] = at
    return copied


@leaf
def _copy(copied: Bytes, at: int, source: Bytes, begin: int, length: int) -> None:
    for place in range(length):
        copied[at + place] = source[begin + place]
