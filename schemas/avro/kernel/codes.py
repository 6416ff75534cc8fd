"""Numbers of the instructions and faults of the compiled decoder."""

from __future__ import annotations

from typing import Final

OP, PATH, SLOT, A, B, C, D, WIDTH = range(8)
"""Columns of an instruction; A to D are its operands. WIDTH is their number."""

# SKIP_FIXED: bytes.
SKIP_FIXED, SKIP_LONG, SKIP_BYTES, REJECT = range(4)
# READ_LONG: least and greatest value, then a factor and a divisor.
# READ_LONG_AS_DOUBLE: least and greatest value. READ_DECIMAL: bytes or PREFIXED.
# READ_ENUM: number of symbols and their index in the tables.
# FILL: a value, or begin and length of a text.
READ_BOOLEAN, READ_LONG, READ_LONG_AS_DOUBLE, READ_FLOAT, READ_DOUBLE = range(4, 9)
READ_TEXT, READ_ENUM, READ_DECIMAL, FILL, MARK, KEEP = range(9, 15)
# BRANCH: number of branches and the index of their addresses in the tables. SKIP_ITEMS: bytes of an
# item. JUMP, NEXT, CALL: an address. END: 1 if bytes behind the body are a fault.
BRANCH, JUMP, OPEN, NEXT, SKIP_ITEMS, CALL, RETURN, END = range(15, 23)
"""Instructions and their operands; those from BRANCH on decide which one is next."""

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
"""Faults, in the order of ``steps.FAULTS``."""
FAULT_BITS: Final = 4
"""Bits of the number of a fault."""
