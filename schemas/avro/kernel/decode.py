"""Compiled decoder: run the instructions of a program over the bodies of a micro-batch.

Each instruction returns the position behind what it read, or a fault as a negative number, so that
the first fault of a body by its offset is the one that counts. Every read of a body's bytes stands
behind a comparison with the end of the body.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from base.compiled import compiled, leaf, load64, store64
from schemas.avro.kernel.structs import (
    BRANCH,
    CALL,
    FAULT_BITS,
    JUMP,
    NEXT,
    NO_BRANCH,
    NOT_DECODED,
    OP,
    OPEN,
    PATH,
    RETURN,
    SKIP_ITEMS,
    TOO_DEEP,
    TOO_MANY,
    TRAILING,
    TRUNCATED,
    UNBOUNDED,
    A,
    B,
    Bodies,
    BodyLimits,
    Bytes,
    Instructions,
    Ints,
    Slots,
    Values,
)
from schemas.avro.kernel.values import fault, step, varint

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
        Texts of the slots one after another, each without gaps; then the number of faults.
    """
    longs, present, faults, count = values.longs, values.present, values.faults, program.slots
    slots = Slots(longs, longs.view(np.float64), present, count)
    failed = 0
    for row in range(len(bodies.entries)):
        if bodies.entries[row] != NOT_DECODED:
            _run(program, bodies, slots, faults, limits, row)
            if faults[row, 0]:
                failed += 1
                for slot in range(count):
                    present[slot, row] = False
                    longs[slot, row] = 0
                    longs[count + slot, row] = 0
    return _copy_texts(bodies.data, program, longs, values.offsets), failed


@leaf
def _run(  # noqa: C901, PLR0912, PLR0915 - one case for each instruction
    program: Instructions,
    bodies: Bodies,
    slots: Slots,
    faults: Ints,
    limits: BodyLimits,
    row: int,
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
        op, then, behind = code[pc, OP], pc + 1, at
        if op < BRANCH:
            behind = step(program, pc, data, at, end, slots, row)
        elif op == BRANCH:
            number, behind = varint(data, at, end)
            if behind >= 0:
                if 0 <= number < code[pc, A]:
                    then = program.tables[code[pc, B] + number]
                else:
                    behind = fault(NO_BRANCH, at)
        elif op == JUMP:
            then = code[pc, A]
        elif op == OPEN:
            stack[top, 0], stack[top, 1] = 0, limits.items
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
            if nested == limits.levels:
                behind = fault(TOO_DEEP, at)
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
            behind = fault(TRAILING, at)
        else:
            faults[row, 2] = at
            return
        if behind < 0:
            faults[row, 0] = -behind & ((1 << FAULT_BITS) - 1)
            faults[row, 1] = outer if nested else code[pc, PATH]
            faults[row, 2] = -behind >> FAULT_BITS
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
    if room == UNBOUNDED:
        return count, room, behind
    if count > room:
        return 1, room, fault(TOO_MANY, at)
    return count, room - count, behind


@leaf
def _skip_items(at: int, end: int, count: int, size: int) -> int:
    """Skip ``count`` items of ``size`` bytes."""
    if size == 0:
        return at
    return at + count * size if count <= (end - at) // size else fault(TRUNCATED, at)


@compiled
def _copy_texts(
    data: Bytes, program: Instructions, longs: Ints, offsets: npt.NDArray[np.int32]
) -> Bytes:
    """Copy the texts of each slot one after another; store their offsets."""
    text_slots, slots = program.text_slots, program.slots
    total = 0
    for slot in text_slots:
        for row in range(longs.shape[1]):
            total += longs[slots + slot, row]
    copied = np.empty(total + 7, np.uint8)
    at = 0
    for index in range(len(text_slots)):
        slot, first = text_slots[index], at
        for row in range(longs.shape[1]):
            begin, length = longs[slot, row], longs[slots + slot, row]
            if begin >= 0 and begin + length + 7 <= len(data):
                # What a word has beyond the text is overwritten by the next text.
                for place in range(0, length, 8):
                    store64(copied, at + place, load64(data, begin + place))
            elif begin >= 0:
                _copy(copied, at, data, begin, length)
            else:
                _copy(copied, at, program.texts, -1 - begin, length)
            at += length
            offsets[index, row + 1] = at - first
    return copied


@leaf
def _copy(copied: Bytes, at: int, source: Bytes, begin: int, length: int) -> None:
    for place in range(length):
        copied[at + place] = source[begin + place]
