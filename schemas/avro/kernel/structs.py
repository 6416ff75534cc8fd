"""Instructions of the compiled decoder, and the arrays that it reads and fills."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OP, PATH, SLOT, A, B, C, D, WIDTH = range(8)
"""Columns of an instruction; A to D are its operands. WIDTH is their number."""

SKIP_FIXED, SKIP_LONG, SKIP_BYTES = range(3)
READ_BOOLEAN, READ_LONG, READ_LONG_AS_DOUBLE, READ_FLOAT, READ_DOUBLE = range(3, 8)
READ_TEXT, READ_ENUM, READ_DECIMAL, FILL, MARK, KEEP, REJECT = range(8, 15)
BRANCH, JUMP, OPEN, NEXT, SKIP_ITEMS, CALL, RETURN, END = range(15, 23)
"""Instructions; those from BRANCH on decide which one is next."""

NOT_DECODED: Final = -1
"""Entry of a row that is not decoded."""
UNBOUNDED: Final = -1
"""Maximum of items that allows any number."""
PREFIXED: Final = -1
"""Size of a decimal whose length stands before its bytes."""
NO_SYMBOL: Final = 0
"""Begin of the reader's symbol where it has none; those of others are negative."""

TRUNCATED, TRAILING, TOO_LONG, NEGATIVE, NO_BRANCH, NO_NUMBER = range(1, 7)
NO_BOOLEAN, NOT_UTF8, TOO_MANY, TOO_DEEP, OUT_OF_RANGE, INCOMPATIBLE = range(7, 13)
"""Faults; ``program.FAULTS`` has their codes."""
FAULT_BITS = 4
"""Bits of the number of a fault."""


class Instructions(NamedTuple):
    """Instructions of a program.

    Attributes:
        code: int64[I, WIDTH], one instruction in each row.
        tables: int64[J], addresses of branches, and places of the reader's symbols.
        texts: uint8[K], constant texts.
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
        data: uint8[K], the buffer.
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


class BodyLimits(NamedTuple):
    """BodyLimits of a body.

    Attributes:
        stack: int64[D, 2], room for open collections and records.
        items: Maximum items of an array or map, or UNBOUNDED.
        levels: Maximum levels to which a record may contain itself.
    """

    stack: Ints
    items: int
    levels: int


class Slots(NamedTuple):
    """Values of N rows as in ``Values``, the same memory as floats, and the number of slots."""

    longs: Ints
    doubles: Floats
    present: Bools
    size: int
