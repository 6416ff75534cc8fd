"""Programs: terms of expressions as the instructions of one compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from base.arrays import Floats
from features.expression.kernel import instructions as op
from features.expression.texts import TextNumbers


@dataclass(frozen=True, slots=True)
class ConstantNode:
    """A number, or a text."""

    value: float | str


@dataclass(frozen=True, slots=True)
class Input:
    """Values of a micro-batch that a program reads.

    Attributes:
        name: Name; equal for equal values.
        read: Function from a frame (the values of a micro-batch) to float64[N], NaN where missing.
            For a time it gives the bits of int64[N], for a text a `Text`.
    """

    name: str
    read: Callable[[Any], Any] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Listed:
    """Numbers of listed texts.

    Attributes:
        text: The text.
        numbers: Number of each listed text.
        other: Number of any other text.
    """

    text: Input
    numbers: Mapping[str, float]
    other: float


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on values.

    Attributes:
        code: The operation, as in ``kernel.instructions``.
        operands: The values.
        numbers: The operation's own numbers.
    """

    code: int
    operands: tuple[Node, ...]
    numbers: tuple[float, ...] = ()


Node = ConstantNode | Input | Listed | Operation
"""A value of each event, as it is computed."""


class ExpressionProgram:
    """Computation of nodes for micro-batches, by one call of the compiled loop.

    An input with the name of an earlier node is the value of that node.

    Args:
        nodes: The nodes, by name.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        compiler = _InstructionCompiler()
        self._results = [(name, compiler.compile(name, node)) for name, node in nodes.items()]
        self._height = compiler.height
        code, numbers = compiler.instructions()
        operands = {row for instruction in code for row in instruction[op.A : op.START]}
        # Most features of windows: a copy of each column takes longer than all instructions.
        self._unchanged = [(row, read) for row, read in compiler.inputs if row not in operands]
        self._inputs = [(row, read) for row, read in compiler.inputs if row in operands]
        self._inputs += compiler.text_inputs()
        self._code = np.array(code, np.int64).reshape(-1, op.WIDTH)
        self._numbers = np.array(numbers, np.float64)

    def run(self, frame: Sized) -> dict[str, Floats]:
        """Compute float64[N] of each node, by name, NaN where missing."""
        values = np.empty((self._height, len(frame)))
        for row, read in self._inputs:
            values[row] = read(frame)
        op.run(self._code, self._numbers, values, values.view(np.int64))
        unchanged = {row: np.asarray(read(frame), np.float64) for row, read in self._unchanged}
        return {name: unchanged.get(row, values[row]) for name, row in self._results}


class _Codes(NamedTuple):
    """Codes of the listed texts of one input, in the order in which they were met."""

    row: int
    text: Input
    by_text: dict[str, float]


class _InstructionCompiler:
    """Compiler of nodes to instructions on the rows of one array.

    Attributes:
        height: Number of rows.
        inputs: Rows of inputs, and how to read them.
    """

    def __init__(self) -> None:
        self.height = 0
        self.inputs: list[tuple[int, Callable[[Any], Any]]] = []
        self._kept: dict[str, int] = {}
        self._free: list[int] = []
        self._codes: dict[str, _Codes] = {}
        self._instructions: list[tuple[list[int], tuple[float, ...] | Listed]] = []

    def compile(self, name: str, node: Node) -> int:
        """Compile ``node``; the row of its value is not used again."""
        self._kept[name] = self._row(node)
        return self._kept[name]

    def text_inputs(self) -> list[tuple[int, Callable[[Any], Any]]]:
        """Rows of the codes of texts, and how to compute them."""
        return [(codes.row, _read_codes(codes)) for codes in self._codes.values()]

    def instructions(self) -> tuple[list[list[int]], list[float]]:
        """The instructions, and the numbers of all of them, concatenated."""
        code: list[list[int]] = []
        numbers: list[float] = []
        for instruction, own in self._instructions:
            start = len(numbers)
            numbers += self._by_code(own) if isinstance(own, Listed) else own
            code.append([*instruction, start, len(numbers) - start])
        return code, numbers

    def _by_code(self, listed: Listed) -> list[float]:
        texts = self._codes[listed.text.name].by_text
        return [*(listed.numbers.get(text, listed.other) for text in texts), listed.other]

    def _row(self, node: Node) -> int:
        """Compile ``node`` and return the row of its value."""
        match node:
            case Input(name, read):
                if name not in self._kept:
                    self._kept[name] = self._new_row()
                    self.inputs.append((self._kept[name], read))
                return self._kept[name]
            case ConstantNode(value):
                return self._append(op.CONSTANT, [], (float(value),))
            case Listed(text, numbers):
                if text.name not in self._codes:
                    self._kept[text.name] = self._new_row()
                    self._codes[text.name] = _Codes(self._kept[text.name], text, {})
                row, _, by_text = self._codes[text.name]
                for listed in numbers:
                    by_text.setdefault(listed, float(len(by_text)))
                return self._append(op.LISTED, [row], node)
            case Operation(code, operands, own):
                return self._append(code, [self._row(operand) for operand in operands], own)

    def _append(self, code: int, operands: list[int], own: tuple[float, ...] | Listed) -> int:
        kept = self._kept.values()
        self._free += {row for row in operands if row not in kept}
        result = self._free.pop() if self._free else self._new_row()
        self._instructions.append(([code, result, *operands, *[0] * (3 - len(operands))], own))
        return result

    def _new_row(self) -> int:
        self.height += 1
        return self.height - 1


def _read_codes(codes: _Codes) -> Callable[[Any], Floats]:
    numbers = TextNumbers(codes.by_text, len(codes.by_text))
    return lambda frame: numbers.of(codes.text.read(frame))
