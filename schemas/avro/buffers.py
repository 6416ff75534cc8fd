"""Buffers that the decoders fill: a slot for each path in use, a fault for each failed row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Longs, Mask, Rows
from base.errors import ErrorCode
from schemas.avro.paths import Target
from schemas.avro.steps import Constant, Fault
from schemas.batch import Column, Kind

_DTYPES: Final[Mapping[Kind, type[np.generic]]] = {
    Kind.BOOL: np.bool_,
    Kind.LONG: np.int64,
    Kind.DOUBLE: np.float64,
    Kind.TIME: np.int64,
    Kind.DECIMAL: np.int64,
}


class ColumnBuffers:
    """Decoded values of N bodies, in one slot for each path in use.

    Numbers are stored as they are decoded. A string is stored as its position in the buffer, an
    enum as the index of the reader's symbol; both become Arrow arrays at the end.

    Attributes:
        faults: Fault of each failed row, by row.
    """

    def __init__(self, targets: Sequence[Target], data: bytes, starts: Longs) -> None:
        """Create empty slots.

        Args:
            targets: Paths in use, one slot each.
            data: Buffer of all bodies.
            starts: int64[N], rising, index in the buffer at which each body begins.
        """
        self.faults: dict[int, Fault] = {}
        self._targets = targets
        self._data = data
        self._starts = starts
        self._size = len(starts)
        self._everywhere = np.ones(self._size, np.bool_)
        # One for each slot; behind them, for each slot again, the lengths of its strings.
        self._values: list[npt.NDArray[Any] | None] = [None] * (2 * len(targets))
        self._present: list[Mask | None] = [None] * (2 * len(targets))
        self._constants: list[tuple[int, Rows, str]] = []

    def fail(self, rows: Rows, positions: Longs, code: ErrorCode, path: str) -> None:
        """Record a fault of ``rows`` at ``positions`` of the buffer."""
        offsets = (positions - self._starts[rows]).tolist()
        for row, offset in zip(rows.tolist(), offsets, strict=True):
            known = self.faults.get(row)
            # Of several faults of a body the first counts; text is checked after all else.
            if known is None or offset < known.offset:
                self.faults[row] = Fault(code, path, offset)

    def store(self, slot: int, rows: Rows, values: npt.NDArray[Any]) -> None:
        """Store one value for each of ``rows``, in ascending order, and own ``values``."""
        if len(rows) == self._size:
            self._values[slot], self._present[slot] = values, self._everywhere
            return
        kept, present = self._values[slot], self._present[slot]
        if kept is None or present is None:
            kept = self._values[slot] = np.zeros(self._size, values.dtype)
            present = self._present[slot] = np.zeros(self._size, np.bool_)
        kept[rows] = values
        present[rows] = True

    def store_text(self, slot: int, rows: Rows, begin: Longs, length: Longs) -> None:
        """Store the text of ``length`` bytes at ``begin`` for each of ``rows``."""
        self.store(slot, rows, begin)
        self.store(slot + len(self._targets), rows, length)

    def fill(self, slot: int, rows: Rows, value: Constant) -> None:
        """Store the same value for all of ``rows``."""
        if isinstance(value, str):
            self._constants.append((slot, rows, value))
            return
        target = self._targets[slot]
        dtype = np.int64 if target.leaf.base == "enum" else _DTYPES[target.type.kind]
        self.store(slot, rows, np.full(len(rows), value, dtype))

    def columns(self) -> dict[str, Column]:
        """Return the column of each path; a row with a fault is null in all columns."""
        texts = [item.slot for item in self._targets if _is_text(item)]
        arrays = {slot: self._text(slot) for slot in texts}
        for slot, array in arrays.items():
            self._check_text(slot, array)
        if self.faults:
            self._blank(np.fromiter(self.faults, np.intp, len(self.faults)))
            arrays = {slot: self._text(slot) for slot in texts}
        return {item.path: self._column(item, arrays.get(item.slot)) for item in self._targets}

    def _column(self, target: Target, text: pa.StringArray | None) -> Column:
        slot, kind = target.slot, target.type.kind
        values, present = self._values[slot], self._present[slot]
        if present is None:
            present = np.zeros(self._size, np.bool_)
        if text is not None:
            text, present = self._with_constants(slot, text, present)
            return Column(kind, text, present)
        if kind is Kind.STRING:
            symbols = pa.array([*target.leaf.symbols, ""], pa.string())
            numbers = np.where(present, 0 if values is None else values, len(symbols) - 1)
            return Column(kind, symbols.take(pa.array(numbers)), present)
        if values is None:
            values = np.zeros(self._size, _DTYPES[kind])
        return Column(kind, values, present, target.type.scale)

    def _text(self, slot: int) -> pa.StringArray:
        """Strings of a slot, "" for a row without one; not yet validated as UTF-8.

        Arrow takes every second of 2N consecutive parts of the buffer: a string, the bytes between
        it and the next one, the next one, and so on.
        """
        begin, length, present = (
            self._values[slot],
            self._values[slot + len(self._targets)],
            self._present[slot],
        )
        if begin is None or length is None or present is None:
            return pa.array([""] * self._size, pa.string())
        if present is not self._everywhere:
            begin = np.where(present, begin, self._starts)
            length = np.where(present, length, 0)
        bounds = np.empty(2 * self._size + 1, np.int32)
        bounds[0:-1:2] = begin
        bounds[1::2] = begin + length
        bounds[-1] = bounds[-2]
        stretches = pa.StringArray.from_buffers(
            2 * self._size, pa.py_buffer(bounds), pa.py_buffer(self._data)
        )
        return stretches.take(pa.array(np.arange(0, 2 * self._size, 2)))

    def _check_text(self, slot: int, array: pa.StringArray) -> None:
        """Record a fault for each row of a slot whose text is not UTF-8."""
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            raw = array.cast(pa.binary()).to_pylist()
            bad = np.array([row for row, value in enumerate(raw) if not _is_utf8(value)], np.intp)
            begin = cast("Longs", self._values[slot])
            self.fail(bad, begin[bad], ErrorCode.UTF8_INVALID, self._targets[slot].path)

    def _with_constants(
        self, slot: int, text: pa.StringArray, present: Mask
    ) -> tuple[pa.StringArray, Mask]:
        for filled, rows, value in self._constants:
            if filled == slot:
                here = np.zeros(self._size, np.bool_)
                here[rows] = True
                here[list(self.faults)] = False
                text = pc.if_else(pa.array(here), value, text)
                present = present | here
        return text, present

    def _blank(self, rows: Rows) -> None:
        self._everywhere = self._everywhere.copy()
        self._everywhere[rows] = False
        for slot, (values, present) in enumerate(zip(self._values, self._present, strict=True)):
            if values is not None and present is not None:
                values[rows] = 0
                self._present[slot] = present & self._everywhere


def columns_of_rows(targets: Sequence[Target], rows: Sequence[Sequence[Any]]) -> dict[str, Column]:
    """Convert the slots of each row to columns; a slot without a value is None."""
    return {item.path: _column_of_rows(item, [row[item.slot] for row in rows]) for item in targets}


def _column_of_rows(target: Target, values: list[Any]) -> Column:
    kind = target.type.kind
    valid = np.array([value is not None for value in values], np.bool_)
    if kind is not Kind.STRING:
        numbers = [0 if value is None else value for value in values]
        return Column(kind, np.array(numbers, _DTYPES[kind]), valid, target.type.scale)
    symbols = target.leaf.symbols
    if symbols:
        values = [None if value is None else symbols[value] for value in values]
    return Column(kind, pa.array([value or "" for value in values], pa.string()), valid)


def _is_text(target: Target) -> bool:
    return target.leaf.base == "string"


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
