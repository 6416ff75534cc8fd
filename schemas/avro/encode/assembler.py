"""Assemble the program that writes given fields of a record schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from base.errors import ConfigurationError
from schemas.avro.encode.fields import (
    Chosen,
    Constant,
    Field,
    Filled,
    Key,
    ListOf,
    MapOf,
    Marked,
    Options,
    VectorOf,
)
from schemas.avro.encode.kernel import instructions
from schemas.avro.encode.kernel.instructions import MOST_LENGTH, MOST_LONG
from schemas.avro.encode.nodes import (
    ArrayNode,
    LeafNode,
    MapNode,
    Node,
    RecordNode,
    Schema,
    Union,
    encode_value,
)
from schemas.avro.encode.record_program import ColumnSource, Integers, RecordProgram
from schemas.batch import Column, Kind

Fields = Mapping[str, Field]
Instruction = list[int]

_END = b"\x00"
"""End of the blocks of an array or a map."""


class Assembler:
    """Assembler of one program.

    Args:
        sizes: Number of items of each list, by its path; a list without any is written as such.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._code: list[Instruction] = []
        self._literals = bytearray()
        self._choices: list[int] = []
        self._tests: list[int] = []
        self._levels = [""]
        self._columns: dict[tuple[Key, str], int] = {}
        self._sources: list[ColumnSource] = []
        self._places = 0
        self._refusals: dict[int, tuple[type[Exception], str]] = {}
        self._landing = 0

    def assemble(self, prefix: bytes, root: RecordNode, fields: Fields) -> RecordProgram:
        """Assemble the program.

        Args:
            prefix: Bytes before each record.
            root: Node of the records.
            fields: Fields of the shape that the program is for.

        Raises:
            ConfigurationError: A column's kind does not fit its field, or a field without a default
                is missing.
        """
        self._copy(prefix, 0)
        self._write_record(root, fields, 0)
        rooms = [0] * len(self._levels)
        for instruction in self._code:
            rooms[instruction[instructions.LEVEL]] += instruction[instructions.ROOM]
        program = instructions.WriteProgram(
            np.array(self._code, np.int64).reshape(-1, instructions.D + 1),
            np.frombuffer(self._literals, np.uint8),
            np.array(self._choices, np.int64),
            np.array(self._tests, np.int64),
        )
        return RecordProgram(program, self._levels, rooms, self._sources, self._refusals)

    def _write(self, node: Node, fields: Fields, level: int) -> None:
        value = fields.get(node.path)
        match node, value:
            case RecordNode(), None if node.union is None or node.given(fields):
                self._write_record(node, fields, level)
            case LeafNode(), Column():
                self._write_column(node, node.path, value, level)
            case LeafNode(), Filled(kind):
                _check_kind(node, kind)
                self._write_values(node, node.path, 0, level)
            case MapNode(), MapOf(columns):
                self._write_map(node, columns, level)
            case MapNode(), VectorOf(names):
                self._write_vector(node, names, level)
            case ArrayNode(), ListOf() | Marked():
                self._write_array(node, value, level)
            case _, Constant(data):
                self._copy(data, level)
            case _, Chosen(options):
                self._write_choice(node.path, options, level)
            case _, None:
                raise ConfigurationError(
                    f"field {node.path!r} has no default in the schema, and no value was given"
                )
            case _:
                raise ConfigurationError(
                    f"field {node.path!r} is of type {_type_name(node.schema)}: "
                    f"it does not take a {type(value).__name__}"
                )

    def _write_record(self, node: RecordNode, fields: Fields, level: int) -> None:
        branch = None
        if node.nullable and (tests := self._tests_of_record(node, fields, level)):
            branch = self._branch(tests, level, node.union)
        self._copy_branch(node, level)
        for child, default in node.fields:
            if default is not None and not child.given(fields):
                self._copy(default, level)
            else:
                self._write(child, fields, level)
        self._land(branch)

    def _tests_of_record(self, node: RecordNode, fields: Fields, level: int) -> list[int]:
        """Columns of which one is above 0 where the record is not null; none if it never is."""
        tests = []
        for path in sorted(node.paths & fields.keys()):
            match fields[path]:
                case Column():
                    tests.append(self._column(path, "valid", level))
                case ListOf():
                    tests.append(self._column(path, "counts", level))
                case _:
                    return []
        return tests

    def _write_column(self, node: LeafNode, key: Key, column: Column, level: int) -> None:
        """Write a column of values; its nulls become the union's null."""
        _check_kind(node, column.kind)
        valid, branch = self._column(key, "valid", level), None
        if node.nullable:
            branch = self._branch([valid], level, node.union)
        else:
            self._emit(instructions.REQUIRE, level, valid)
            self._refuse(ValueError, node.path, "has nulls, and its schema allows none")
        self._write_values(node, key, column.scale, level)
        self._land(branch)

    def _write_values(self, node: LeafNode, key: Key, scale: int, level: int) -> None:
        """Write the values of a column that are not null."""
        self._copy_branch(node, level)
        write = node.type.write(scale)
        operands = write.operands
        if node.type.symbols:
            places = range(len(node.type.symbols))
            operands = self._options([encode_value("long", place) for place in places])
        column = self._column(key, "values", level, node.type.read)
        self._emit(write.operation, level, column, operands, write.room)
        self._refuse(write.error, node.path, write.problem)

    def _write_choice(self, path: str, options: Options, level: int) -> None:
        room = max(map(len, options.encoded), default=0)
        operands = self._options(options.encoded)
        column = self._column(path, "codes", level)
        self._emit(instructions.CHOICE, level, column, operands, room)
        self._refuse(IndexError, path, f"has {len(options.encoded)} options, and a code is of none")

    def _write_map(self, node: MapNode, columns: Mapping[str, Column], level: int) -> None:
        """Write an entry for each column; if nulls have no entry, where it has a value."""
        self._copy_branch(node, level)
        always = node.values.nullable
        valid = [self._column((node.path, name), "valid", level) for name in columns]
        if valid and always:
            self._copy(encode_value("long", len(valid)), level)
        elif valid:
            operands = self._test(valid)
            self._emit(instructions.COUNT, level, operands=operands, room=MOST_LENGTH)
        for test, (name, column) in zip(valid, columns.items(), strict=True):
            branch = None if always else self._branch([test], level, None)
            self._copy(encode_value("string", name), level)
            self._write_column(node.values, (node.path, name), column, level)
            self._land(branch)
        self._copy(_END, level)

    def _write_vector(self, node: MapNode, names: Sequence[str], level: int) -> None:
        _check_kind(node.values, Kind.DOUBLE)
        self._copy_branch(node, level)
        if names:
            self._copy(encode_value("long", len(names)), level)
        write, count = node.values.type.write(0), len(names)
        column = self._column(node.path, "values", level, node.values.type.read, count)
        *_, size = write.operands
        for place, name in enumerate(names):
            self._copy(encode_value("string", name), level)
            self._copy_branch(node.values, level)
            self._emit(write.operation, level, column, (place, count, size), write.room)
        self._copy(_END, level)

    def _write_array(self, node: ArrayNode, value: ListOf | Marked, level: int) -> None:
        """Write a block of items behind its number; no block stands for no items."""
        self._copy_branch(node, level)
        if isinstance(value, Marked):
            operands = self._options(value.options.encoded)
            column = self._column(node.path, "bits", level)
            room = MOST_LENGTH + sum(map(len, value.options.encoded))
            self._emit(instructions.MARKED, level, column, operands, room)
        else:
            self._write_items(node, value.items, level)
        self._copy(_END, level)

    def _write_items(self, node: ArrayNode, items: Fields, level: int) -> None:
        if unknown := sorted(items.keys() - node.paths):
            raise ConfigurationError(
                f"field {node.path!r} takes {', '.join(sorted(node.paths))}, not {unknown[0]!r}"
            )
        if self._sizes[node.path]:
            inner = len(self._levels)
            self._levels.append(node.path)
            counts = self._column(node.path, "counts", level)
            loop = self._emit(instructions.LOOP, level, counts, (inner,), MOST_LONG)
            self._refuse(ValueError, node.path, "has a negative number of items")
            body = self._land()
            self._write(node.item, items, inner)
            self._emit(instructions.NEXT, inner, operands=(inner, 0, 0, body))
            self._land(loop)

    def _column(
        self,
        key: Key,
        part: str,
        level: int,
        read: Callable[[Any], Integers] | None = None,
        width: int = 1,
    ) -> int:
        """Number of a column.

        Args:
            key: Key of the field.
            part: Attribute of the field.
            level: Level of its rows.
            read: Gives the integers of the values, if the part is "values"; None for strings.
            width: Numbers of each row.
        """
        if (key, part) not in self._columns:
            self._columns[key, part] = self._places
            read = read if part == "values" else attrgetter(part)
            self._sources.append(ColumnSource(key, self._levels[level], read, width))
            self._places += 2 if read is None else 1
        return self._columns[key, part]

    def _options(self, encoded: Sequence[bytes]) -> tuple[int, int]:
        """Operands A and B of CHOICE."""
        first = len(self._choices)
        for data in encoded:
            self._choices.append(len(self._literals))
            self._literals += data
        self._choices.append(len(self._literals))
        return first, len(encoded)

    def _test(self, columns: list[int]) -> tuple[int, int]:
        """Operands A and B of BRANCH and COUNT."""
        self._tests += columns
        return len(self._tests) - len(columns), len(self._tests)

    def _branch(self, columns: list[int], level: int, union: Union | None) -> Instruction:
        """Write null, if there is a union, and jump to where this lands if no column is above 0."""
        null = -1 if union is None or union.null is None else union.null[0]
        return self._emit(instructions.BRANCH, level, operands=(*self._test(columns), null), room=1)

    def _copy_branch(self, node: Node, level: int) -> None:
        """Write the index of the branch of values."""
        self._copy(b"" if node.union is None else node.union.value, level)

    def _copy(self, data: bytes, level: int) -> None:
        """Write constant bytes, together with those just before them."""
        start = len(self._literals)
        self._literals += data
        last = self._code[-1] if len(self._code) > self._landing else [-1] * 8
        if last[instructions.OPERATION] == instructions.COPY and last[instructions.B] == start:
            last[instructions.B] += len(data)
            last[instructions.ROOM] += len(data)
        elif data:
            operands = (start, start + len(data))
            self._emit(instructions.COPY, level, operands=operands, room=len(data))

    def _emit(
        self,
        operation: int,
        level: int,
        column: int = 0,
        operands: tuple[int, ...] = (),
        room: int = 0,
    ) -> Instruction:
        padding = [0] * (4 - len(operands))
        self._code.append([operation, room, level, column, *operands, *padding])
        return self._code[-1]

    def _refuse(self, error: type[Exception], path: str, problem: str) -> None:
        """Set the error of the instruction that was emitted last."""
        self._refusals[len(self._code) - 1] = error, f"field {path!r} {problem}"

    def _land(self, jump: Instruction | None = None) -> int:
        """Place of the next instruction; ``jump`` jumps to it."""
        if jump is not None:
            jump[instructions.D] = len(self._code)
        self._landing = len(self._code)
        return self._landing


def _check_kind(node: LeafNode, kind: Kind) -> None:
    if kind not in node.type.kinds:
        raise ConfigurationError(
            f"field {node.path!r} takes a column of {' or '.join(node.type.kinds)}, not of {kind}"
        )


def _type_name(schema: Schema) -> str:
    if isinstance(schema, list):
        return "union of " + ", ".join(_type_name(branch) for branch in schema)
    if isinstance(schema, str):
        return schema
    return str(schema["type"])
