"""Turn the steps of writer schemas into a program of the compiled decoder, and run it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from base.arrays import Longs
from base.errors import ErrorCode
from schemas.avro import steps as plan
from schemas.avro.kernel import structs as kernel
from schemas.avro.kernel.decode import decode
from schemas.avro.kernel.structs import Bodies, BodyLimits, Bytes, Instructions, Values
from schemas.avro.steps import Fault, Step

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
"""Error codes of the kernel's faults, from 1 on."""


class Program:
    """Instructions for the bodies of any number of writer schemas.

    Attributes:
        longest: Bytes of the longest constant text.
    """

    def __init__(self, slots: int, text_slots: Sequence[int] = ()) -> None:
        """Create an empty program.

        Args:
            slots: Number of slots.
            text_slots: Slots of texts.
        """
        self.longest = 0
        self._slots = slots
        self._text_slots = np.array(text_slots, np.int64)
        self._code = np.empty((0, kernel.WIDTH), np.int64)
        self._tables: list[int] = []
        self._texts = b""
        self._paths = {"": 0}
        # Collections that are open at once, and levels of recursive records.
        self._loops = 0
        self._recursive = False
        # Of the writer schema that is being added.
        self._new: list[list[int]] = []
        self._calls: list[tuple[list[int], plan.SkipRecursive]] = []
        self._instructions = self._build()

    def add(self, steps: Sequence[Step], *, whole: bool = True) -> int:
        """Add the instructions of one writer schema.

        Args:
            steps: Steps through a body.
            whole: True if bytes behind the last step are a fault.

        Returns:
            The address of the first instruction.
        """
        entry = len(self._code)
        self._write_all(steps, 0)
        self._write(kernel.END, "", 0, int(whole))
        self._write_records()
        self._code = np.concatenate([self._code, np.array(self._new, np.int64)])
        self._new = []
        self._instructions = self._build()
        return entry

    def run(
        self, bodies: Bodies, max_items: int, max_nested: int = plan.MAX_NESTED
    ) -> tuple[Values, Bytes, int]:
        """Decode bodies; return the values, the copied texts and the number of faults."""
        rows, slots = len(bodies.entries), self._slots
        values = Values(
            np.zeros((3 * slots, rows), np.int64),
            np.zeros((slots, rows), np.bool_),
            np.zeros((rows, 3), np.int64),
            np.zeros((len(self._text_slots), rows + 1), np.int32),
        )
        levels = max_nested + 1 if self._recursive else 1
        stack = np.empty((levels * (self._loops + 1), 2), np.int64)
        limits = BodyLimits(stack, max_items, max_nested)
        return values, *decode(self._instructions, bodies, values, limits)

    def faults(self, values: Values, starts: Longs) -> dict[int, Fault]:
        """Fault of each failed row, by row; ``starts`` has the begin of each body."""
        rows = np.flatnonzero(values.faults[:, 0])
        paths = list(self._paths)
        found = zip(values.faults[rows].tolist(), starts[rows].tolist(), strict=True)
        faults = [
            Fault(FAULTS[number - 1], paths[path], position - start)
            for (number, path, position), start in found
        ]
        return dict(zip(rows.tolist(), faults, strict=True))

    def _build(self) -> Instructions:
        return Instructions(
            self._code,
            np.array(self._tables, np.int64),
            np.frombuffer(self._texts, np.uint8),
            self._text_slots,
            self._slots,
        )

    @property
    def _here(self) -> int:
        return len(self._code) + len(self._new)

    def _write(self, operation: int, path: str, slot: int, *operands: int) -> list[int]:
        where = self._paths.setdefault(path, len(self._paths))
        unused = kernel.WIDTH - 3 - len(operands)
        self._new.append([operation, where, slot, *operands, *[0] * unused])
        return self._new[-1]

    def _write_all(self, steps: Sequence[Step], loops: int, *, recursive: bool = False) -> None:
        for step in steps:
            match step:
                case plan.Branch():
                    self._write_branch(step, loops, recursive=recursive)
                case plan.SkipCollection():
                    self._write_collection(step, loops + 1, recursive=recursive)
                case plan.SkipRecursive():
                    self._calls.append((self._write(kernel.CALL, step.path, 0, 0), step))
                case plan.Keep(path, slot, number, inner):
                    self._write(kernel.MARK, path, slot)
                    self._write_all(inner, loops, recursive=recursive)
                    self._write(kernel.KEEP, path, slot, number)
                case _:
                    self._write_value(step)

    def _write_value(self, step: Step) -> None:
        path = step.path
        match step:
            case plan.SkipFixed():
                self._write(kernel.SKIP_FIXED, path, 0, step.size)
            case plan.SkipLong():
                self._write(kernel.SKIP_LONG, path, 0)
            case plan.SkipBytes():
                self._write(kernel.SKIP_BYTES, path, 0)
            case plan.Reject():
                self._write(kernel.REJECT, path, 0)
            case plan.ReadBoolean():
                self._write(kernel.READ_BOOLEAN, path, step.slot)
            case plan.ReadLong():
                operation = kernel.READ_LONG_AS_DOUBLE if step.as_double else kernel.READ_LONG
                bounds = (step.low, step.high, step.factor, step.divisor)
                self._write(operation, path, step.slot, *bounds)
            case plan.ReadFloating():
                operation = kernel.READ_DOUBLE if step.size == 8 else kernel.READ_FLOAT
                self._write(operation, path, step.slot)
            case plan.ReadString():
                self._write(kernel.READ_TEXT, path, step.slot)
            case plan.ReadDecimal():
                size = kernel.PREFIXED if step.size is None else step.size
                self._write(kernel.READ_DECIMAL, path, step.slot, size)
            case _:
                self._write_constant(step)

    def _write_constant(self, step: Step) -> None:
        match step:
            case plan.ReadEnum():
                self._write(
                    kernel.READ_ENUM, step.path, step.slot, len(step.symbols), len(self._tables)
                )
                for symbol in step.symbols:
                    none = (kernel.NO_SYMBOL, 0)
                    self._tables += none if symbol is None else self._place(symbol)
            case plan.Fill(path, slot, str() as text):
                self._write(kernel.FILL, path, slot, *self._place(text))
            case plan.Fill(path, slot, float() as number):
                (bits,) = struct.unpack("<q", struct.pack("<d", number))
                self._write(kernel.FILL, path, slot, bits)
            case plan.Fill(path, slot, bool() | int() as number):
                self._write(kernel.FILL, path, slot, int(number))
            case _:
                raise TypeError(f"{step} has no instruction")

    def _place(self, text: str) -> tuple[int, int]:
        """Append a constant text; return its begin and length in the form of ``Values.longs``."""
        raw = text.encode()
        begin = len(self._texts)
        self._texts += raw
        self.longest = max(self.longest, len(raw))
        return -1 - begin, len(raw)

    def _write_branch(self, step: plan.Branch, loops: int, *, recursive: bool) -> None:
        table, count = len(self._tables), len(step.branches)
        self._write(kernel.BRANCH, step.path, 0, count, table)
        self._tables += [0] * count
        jumps = []
        for number, steps in enumerate(step.branches):
            self._tables[table + number] = self._here
            self._write_all(steps, loops, recursive=recursive)
            jumps.append(self._write(kernel.JUMP, "", 0, 0))
        for jump in jumps:
            jump[kernel.A] = self._here

    def _write_collection(self, step: plan.SkipCollection, loops: int, *, recursive: bool) -> None:
        self._write(kernel.OPEN, step.path, 0)
        begin = self._here
        head = self._write(kernel.NEXT, step.path, 0, 0)
        self._loops = max(self._loops, loops)
        match step.item:
            case ():
                self._write(kernel.SKIP_ITEMS, step.path, 0, 0)
            # Inside a recursive record, a fault is that of the single item.
            case (plan.SkipFixed(path, size),) if not recursive:
                self._write(kernel.SKIP_ITEMS, path, 0, size)
            case items:
                self._write_all(items, loops, recursive=recursive)
        self._write(kernel.JUMP, "", 0, begin)
        head[kernel.A] = self._here

    def _write_records(self) -> None:
        """Write each recursive record once, behind the body, and the address into its calls."""
        addresses: dict[tuple[int, str], int] = {}
        self._recursive = self._recursive or bool(self._calls)
        while self._calls:
            call, step = self._calls.pop()
            key = (id(step.records), step.record)
            if key not in addresses:
                addresses[key] = self._here
                self._write_all(step.records[step.record], 0, recursive=True)
                self._write(kernel.RETURN, "", 0)
            call[kernel.A] = addresses[key]
