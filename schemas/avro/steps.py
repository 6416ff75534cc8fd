"""The steps that take a body apart: what one writer schema means for the paths in use.

Both executors, ``columns`` (a micro-batch at a time) and ``rows`` (a record at a time), run the
same steps and report the same faults at the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from base.errors import ErrorCode, RecordError

Constant: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Step:
    """One move through a body. path: where it stands in the writer schema, for messages."""

    path: str


@dataclass(frozen=True, slots=True)
class SkipFixed(Step):
    """Passes ``size`` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class SkipLong(Step):
    """Passes one varint."""


@dataclass(frozen=True, slots=True)
class SkipBytes(Step):
    """Passes a length and as many bytes."""


@dataclass(frozen=True, slots=True)
class SkipCollection(Step):
    """Passes an array, or a map where ``item`` begins with its key."""

    item: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class SkipRecursive(Step):
    """Passes the record named ``record``, whose steps are in ``records``, as are those within."""

    record: str
    records: Mapping[str, tuple[Step, ...]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReadBoolean(Step):
    """Keeps a byte that must be 0 or 1."""

    slot: int


@dataclass(frozen=True, slots=True)
class ReadLong(Step):
    """Keeps floor(value * factor / divisor) of a varint that must lie in [low, high]."""

    slot: int
    low: int
    high: int
    factor: int = 1
    divisor: int = 1
    as_double: bool = False


@dataclass(frozen=True, slots=True)
class ReadFloating(Step):
    """Keeps an IEEE 754 number of ``size`` (4 or 8) bytes."""

    slot: int
    size: int


@dataclass(frozen=True, slots=True)
class ReadString(Step):
    """Keeps text: a length and as many bytes of UTF-8."""

    slot: int


@dataclass(frozen=True, slots=True)
class ReadEnum(Step):
    """Keeps the reader's symbol: ``symbols[i]`` is its index for the writer's i, -1 for none."""

    slot: int
    symbols: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReadDecimal(Step):
    """Keeps a big-endian two's-complement integer: of ``size`` bytes, or after a length (None)."""

    slot: int
    size: int | None


@dataclass(frozen=True, slots=True)
class Fill(Step):
    """Keeps a default of the reader; passes no bytes. An enum's value is its symbol's index."""

    slot: int
    value: Constant


@dataclass(frozen=True, slots=True)
class Branch(Step):
    """Reads the number of a union's branch and goes on with the steps of that branch."""

    branches: tuple[tuple[Step, ...], ...]


@dataclass(frozen=True, slots=True)
class Reject(Step):
    """Ends the record: the writer's type here does not resolve to the reader's."""


MAX_NESTED: Final = 1_000
"""Levels to which a record may contain itself."""

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1

_SENTENCES: Final = {
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


@dataclass(frozen=True, slots=True)
class Fault:
    """What stopped a body. offset: bytes from the start of the body to the failing element."""

    code: ErrorCode
    path: str
    offset: int

    def as_record_error(self) -> RecordError:
        where = f"field {self.path}, " if self.path else ""
        return RecordError(
            self.code, f"{where}byte {self.offset} of the body: {_SENTENCES[self.code]}"
        )
