"""Programs: the instructions that write fields of one shape, and the columns that they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

from base.arrays import Bytes, Longs
from schemas.avro.encode.fields import Fields, ListOf, Options
from schemas.avro.encode.kernel import instructions

_MOST_BYTES = 2**31 - 1

Read: TypeAlias = Callable[[Any], Any]
"""Gives integers of N records; for strings, their N + 1 bounds and the bytes."""
Instruction: TypeAlias = list[int]


class EncoderProgram:
    """Program that writes records; the nodes of a schema append to it, field by field.

    Args:
        prefix: Bytes before each record.
    """

    def __init__(self, prefix: bytes = b"") -> None:
        self._constant = prefix
        self._literals = b""
        self._choices: list[int] = []
        self._code: list[Instruction] = []
        self._columns: list[tuple[str, Read, bool, int]] = []
        self._places = 0
        self._room = 0
        self._refusals: dict[int, str] = {}

    def constant(self, data: bytes) -> None:
        """Write the same bytes in every record."""
        self._constant += data

    def values(
        self,
        operation: int,
        path: str,
        operands: tuple[int, ...],
        room: int,
        problem: str = "",
        read: Read = attrgetter("values"),
    ) -> Instruction:
        """Write the values of a column.

        Args:
            operation: Operation, see `instructions`.
            path: Path of the field.
            operands: Operands of the operation, from A on.
            room: Most bytes of a value, without a string's.
            problem: Message for a value that is refused, behind the name of the field.
            read: Gives the column of the field; of all fields if the field itself is not given.
        """
        self._write_constant()
        self._refusals[len(self._code)] = f"field {path!r} {problem}"
        instruction = [operation, room, self._places, *operands, 0, 0, 0][: instructions.WIDTH]
        self._code.append(instruction)
        self._room += room
        is_text = operation == instructions.TEXT
        width = operands[1] if operation == instructions.VECTOR else 1
        self._columns.append((path, read, is_text, width))
        self._places += 1 + is_text
        return instruction

    def text(self, path: str, read: Read, *, prefixed: bool) -> None:
        """Write strings, behind their lengths if ``prefixed``."""
        problem = "has strings that lie outside of their bytes"
        room = instructions.MOST_LENGTH
        self.values(instructions.TEXT, path, (int(prefixed),), room, problem, read)

    def choice(self, path: str, options: Options) -> None:
        """Write one of the options for each record."""
        room = max(map(len, options), default=0)
        problem = f"has {len(options)} options, and a code is of none"
        operands = self._constants(options)
        self.values(instructions.CHOICE, path, operands, room, problem, attrgetter("codes"))

    def vector(self, path: str, keys: Sequence[bytes]) -> None:
        """Write the keys in every record, each before a float."""
        room = sum(map(len, keys)) + 4 * len(keys)
        self.values(
            instructions.VECTOR,
            path,
            self._constants(keys),
            room,
            read=lambda field: field.values.astype(np.float32, copy=False).ravel().view(np.int32),
        )

    def skip(self, path: str, read: Read, null: bytes | None) -> Instruction | None:
        """Write ``null`` for records with 0 in the column, and jump to where the result lands.

        They are refused if ``null`` is None.
        """
        problem = "has nulls, and its schema allows none"
        operands = (null[0] if null else -1,)
        jump = self.values(instructions.NULL, path, operands, len(null or b""), problem, read)
        return None if null is None else jump

    def land(self, jump: Instruction | None) -> None:
        """Let a jump, if there is one, land here."""
        if jump is not None:
            self._write_constant()
            jump[instructions.B] = len(self._code)

    def run(self, rows: int, fields: Fields) -> tuple[Bytes, Longs]:
        """Write N records: the bytes of all, end to end, and their N + 1 bounds.

        Raises ValueError for a value that does not fit, OverflowError for more than 2 GiB.
        """
        code, choices = self._arrays
        starts, columns, texts = [], [np.empty(0, np.int64)], [self._literals]
        end, text_end = 0, len(self._literals)
        for path, read, is_text, width in self._columns:
            column = read(fields.get(path, fields))
            starts.append(end)
            if is_text:
                column, data = column
                starts.append(text_end - int(column[0]))
                texts.append(data[column[0] : column[-1]])
                text_end += len(texts[-1])
            if len(column) != rows * width + is_text:
                raise ValueError(
                    f"field {path!r} of {rows} records: {len(column) - is_text} values"
                )
            columns.append(column)
            end += len(column)
        out = np.empty(min(self._room * rows + text_end, _MOST_BYTES), np.uint8)
        bounds = np.zeros(rows + 1, np.int64)
        result = instructions.encode(
            code,
            choices,
            np.array(starts, np.int64),
            np.concatenate(columns, dtype=np.int64),
            np.frombuffer(b"".join(texts), np.uint8),
            out,
            bounds,
        )
        if result == instructions.FULL:
            raise OverflowError("more than 2 GiB in one call: encode fewer records at once")
        if result != instructions.DONE:
            raise ValueError(self._refusals[result])
        return out[: bounds[-1]], bounds

    def run_items(self, path: str, lists: ListOf) -> tuple[Longs, Bytes]:
        """Write the items of N lists: the N + 1 bounds of the lists, and the bytes."""
        if (lists.counts < 0).any():
            raise ValueError(f"field {path!r} has a negative number of items")
        ends = np.concatenate([[0], np.cumsum(lists.counts, dtype=np.int64)])
        data, bounds = self.run(int(ends[-1]), lists.items)
        return bounds[ends], data

    @cached_property
    def _arrays(self) -> tuple[Longs, Longs]:
        """Instructions and bounds of choices, which are complete at the first run."""
        self._write_constant()
        code = np.array(self._code, np.int64).reshape(-1, instructions.WIDTH)
        return code, np.array(self._choices, np.int64)

    def _constants(self, encoded: Sequence[bytes]) -> tuple[int, int]:
        """Operands A and B of CHOICE and VECTOR."""
        first = len(self._choices)
        for data in (*encoded, b""):
            self._choices.append(len(self._literals))
            self._literals += data
        return first, len(encoded)

    def _write_constant(self) -> None:
        """Write the constant bytes up to here in one instruction."""
        if self._constant:
            start, size = len(self._literals), len(self._constant)
            self._literals += self._constant
            self._code.append([instructions.COPY, size, 0, start, start + size, 0, 0])
            self._room += size
            self._constant = b""
