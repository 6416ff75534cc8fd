"""Turn the steps of writer schemas into a program of the compiled decoder, and run it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from base.arrays import Bytes, Longs
from schemas.avro import steps as plan
from schemas.avro.kernel import codes
from schemas.avro.kernel.decode import decode
from schemas.avro.kernel.structs import Bodies, BodyLimits, Instructions, Values
from schemas.avro.steps import Constant, Fault, Step


class DecoderProgram:
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
        self._code = np.empty((0, codes.WIDTH), np.int64)
        self._tables: list[int] = []
        self._texts = b""
        self._paths = {"": 0}
        # Collections that are open at once.
        self._loops = 0
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
        self._write(codes.END, "", 0, int(whole))
        self._write_records()
        self._code = np.concatenate([self._code, np.array(self._new, np.int64)])
        self._new = []
        self._instructions = self._build()
        return entry

    def run(
        self, bodies: Bodies, max_items: int, max_nested: int = plan.MAX_NESTED
    ) -> tuple[Values, Bytes, int]:
        """Decode bodies; return the values, the copied texts and the number of faults."""
        rows = len(bodies.entries)
        values = Values(
            np.zeros((self._slots, rows), np.int64),
            np.zeros((self._slots, rows), np.int64),
            np.zeros((self._slots, rows), np.bool_),
            np.zeros((rows, 3), np.int64),
            np.zeros((len(self._text_slots), rows + 1), np.int32),
        )
        stack = np.empty(((max_nested + 1) * (self._loops + 1), 2), np.int64)
        limits = BodyLimits(stack, max_items, max_nested)
        return values, *decode(self._instructions, bodies, values, limits)

    def faults(self, values: Values, starts: Longs) -> dict[int, Fault]:
        """Fault of each failed row, by row; ``starts`` has the begin of each body."""
        rows = np.flatnonzero(values.faults[:, 0])
        codes_of, paths = list(plan.FAULTS), list(self._paths)
        found = zip(values.faults[rows].tolist(), starts[rows].tolist(), strict=True)
        faults = [
            Fault(codes_of[number - 1], paths[path], position - start)
            for (number, path, position), start in found
        ]
        return dict(zip(rows.tolist(), faults, strict=True))

    def _build(self) -> Instructions:
        return Instructions(
            self._code,
            np.array(self._tables, np.int64),
            np.frombuffer(self._texts, np.uint8),
            self._text_slots,
        )

    @property
    def _here(self) -> int:
        return len(self._code) + len(self._new)

    def _write_all(self, steps: Sequence[Step], loops: int) -> None:
        for step in steps:
            match step:
                case plan.Value(path, instruction, slot, operands):
                    self._write(instruction, path, slot, *operands)
                case plan.ReadEnum(path, slot, symbols):
                    self._write(codes.READ_ENUM, path, slot, len(symbols), len(self._tables))
                    for symbol in symbols:
                        none = (codes.NO_SYMBOL, 0)
                        self._tables += none if symbol is None else self._place(symbol)
                case plan.Keep(path, slot, inner):
                    self._write(codes.MARK, path, slot)
                    self._write_all(inner, loops)
                    self._write(codes.KEEP, path, slot)
                case plan.Branch():
                    self._write_branch(step, loops)
                case plan.SkipCollection():
                    self._write_collection(step, loops + 1)
                case plan.SkipRecursive(path):
                    self._calls.append((self._write(codes.CALL, path, 0, 0), step))
                case _:
                    raise TypeError(f"{step} has no instruction")

    def _write_branch(self, step: plan.Branch, loops: int) -> None:
        table, count = len(self._tables), len(step.branches)
        self._write(codes.BRANCH, step.path, 0, count, table)
        self._tables += [0] * count
        jumps = []
        for number, steps in enumerate(step.branches):
            self._tables[table + number] = self._here
            self._write_all(steps, loops)
            jumps.append(self._write(codes.JUMP, "", 0, 0))
        for jump in jumps:
            jump[codes.A] = self._here

    def _write_collection(self, step: plan.SkipCollection, loops: int) -> None:
        self._write(codes.OPEN, step.path, 0)
        begin = self._here
        head = self._write(codes.NEXT, step.path, 0, 0)
        self._loops = max(self._loops, loops)
        match step.item:
            case ():
                self._write(codes.SKIP_ITEMS, step.path, 0, 0)
            case (plan.Value(path, codes.SKIP_FIXED, _, operands),):
                self._write(codes.SKIP_ITEMS, path, 0, *operands)
            case items:
                self._write_all(items, loops)
        self._write(codes.JUMP, "", 0, begin)
        head[codes.A] = self._here

    def _write_records(self) -> None:
        """Write each recursive record once, behind the body, and the address into its calls."""
        addresses: dict[tuple[int, str], int] = {}
        while self._calls:
            call, step = self._calls.pop()
            key = (id(step.records), step.record)
            if key not in addresses:
                addresses[key] = self._here
                self._write_all(step.records[step.record], 0)
                self._write(codes.RETURN, "", 0)
            call[codes.A] = addresses[key]

    def _write(self, instruction: int, path: str, slot: int, *operands: Constant) -> list[int]:
        """Append an instruction; a text takes two operands, a float the one of its bits."""
        written = [instruction, self._paths.setdefault(path, len(self._paths)), slot]
        for operand in operands:
            match operand:
                case str():
                    written += self._place(operand)
                case float():
                    written.append(int(np.float64(operand).view(np.int64)))
                case _:
                    written.append(int(operand))
        self._new.append(written + [0] * (codes.WIDTH - len(written)))
        return self._new[-1]

    def _place(self, text: str) -> tuple[int, int]:
        """Append a constant text; return its begin and length in the form of ``Values``."""
        raw = text.encode()
        begin = len(self._texts)
        self._texts += raw
        self.longest = max(self.longest, len(raw))
        return -1 - begin, len(raw)
