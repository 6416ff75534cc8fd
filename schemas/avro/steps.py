"""Steps that decode the paths in use from a body of one writer schema, and their faults.

``program`` turns them into instructions, which the compiled decoder runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from base.errors import ErrorCode, RecordError

Constant: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Step:
    """One step through a body.

    Attributes:
        path: Path of the element in the writer schema, for messages.
    """

    path: str


@dataclass(frozen=True, slots=True)
class Value(Step):
    """Skip, store or reject one value.

    Attributes:
        instruction: Instruction of the kernel.
        slot: Slot of the value; 0 if none is stored.
        operands: Operands of the instruction; a text is the begin and the length of a constant.
    """

    instruction: int
    slot: int = 0
    operands: tuple[Constant, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadEnum(Step):
    """Store the reader's symbol.

    ``symbols[i]`` is the reader's symbol for the writer's symbol i, None if the reader has none.
    """

    slot: int
    symbols: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Keep(Step):
    """Store the place of the bytes that ``steps`` skip."""

    slot: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Branch(Step):
    """Read the number of a union's branch and continue with the steps of that branch."""

    branches: tuple[tuple[Step, ...], ...]


@dataclass(frozen=True, slots=True)
class SkipCollection(Step):
    """Skip an array, or a map if ``item`` begins with its key."""

    item: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class SkipRecursive(Step):
    """Skip the record named ``record``.

    ``records`` has its steps, and those of the recursive records inside it, by name.
    """

    record: str
    records: Mapping[str, tuple[Step, ...]] = field(repr=False)


MAX_NESTED: Final = 1_000
"""Maximum levels to which a record may contain itself."""

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1

FAULTS: Final = {
    ErrorCode.BODY_TRUNCATED: "the body ends too early",
    ErrorCode.TRAILING_BYTES: "bytes are left over after the last field",
    ErrorCode.VARINT_TOO_LONG: "an integer takes more than 64 bits",
    ErrorCode.LENGTH_NEGATIVE: "a length is negative",
    ErrorCode.UNION_BRANCH_INVALID: "the union has no branch of this number",
    ErrorCode.ENUM_SYMBOL_INVALID: "no symbol of the reader's enum stands for this number",
    ErrorCode.BOOLEAN_INVALID: "a boolean is neither 0 nor 1",
    ErrorCode.UTF8_INVALID: "a string is not valid UTF-8",
    ErrorCode.COLLECTION_TOO_LONG: "an array or map has more items than are allowed",
    ErrorCode.NESTED_TOO_DEEP: "a record contains itself on more levels than are allowed",
    ErrorCode.VALUE_OUT_OF_RANGE: "a number does not fit its type",
    ErrorCode.SCHEMA_INCOMPATIBLE: "the type written here does not resolve to the reader's",
}
"""Faults in the order of the kernel's numbers, from 1 on."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault that stopped the decoding of a body.

    Attributes:
        code: Stable code of the reason.
        path: Path of the failing element in the writer schema; "" for the body as a whole.
        offset: Bytes from the start of the body to the failing element.
    """

    code: ErrorCode
    path: str
    offset: int

    def as_record_error(self) -> RecordError:
        where = f"field {self.path}, " if self.path else ""
        return RecordError(self.code, f"{where}byte {self.offset} of the body: {FAULTS[self.code]}")
