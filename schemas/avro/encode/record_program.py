"""Programs: the instructions that write fields of one shape, and the columns that they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from base.arrays import text_parts
from schemas.avro.encode.fields import Gathered, Key
from schemas.avro.encode.kernel.instructions import DONE, FULL, WriteInputs, WriteProgram, encode
from schemas.batch import Column

_MOST_BYTES = 2**31 - 1

Integers = npt.NDArray[np.integer[Any]]


class ColumnSource(NamedTuple):
    """Source of a column of the program.

    Attributes:
        key: Key of its field.
        level: Path of the list whose items it belongs to; "" for a column of records.
        read: Gives its integers; None for strings, which take two places.
        width: Numbers of each row.
    """

    key: Key
    level: str
    read: Callable[[Any], Integers] | None
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class RecordProgram:
    """Program that writes fields of one shape.

    Attributes:
        instructions: The instructions.
        levels: Path of the list of each level; "" for level 0, the records.
        rooms: Most bytes of one record or item of each level, strings excepted.
        sources: Sources of the columns that the instructions read.
        refusals: Error of the instructions that refuse values, and its message.
    """

    instructions: WriteProgram
    levels: Sequence[str]
    rooms: Sequence[int]
    sources: Sequence[ColumnSource]
    refusals: Mapping[int, tuple[type[Exception], str]]

    def run(self, gathered: Gathered) -> list[bytes]:
        """Encode records of fields of this shape.

        Raises:
            ValueError: A value does not fit.
            OverflowError: The records exceed 2 GiB together.
        """
        inputs = self._inputs(gathered)
        room = len(inputs.text) + sum(map(int.__mul__, self.rooms, inputs.sizes.tolist()))
        out = np.empty(min(room, _MOST_BYTES), np.uint8)
        ends = np.empty(gathered.sizes[""], np.int64)
        result = encode(self.instructions, inputs, out, ends)
        if result == FULL:
            raise OverflowError("more than 2 GiB in one call: encode fewer records at once")
        if result != DONE:
            error, message = self.refusals[result]
            raise error(message)
        data, places = out.data, ends.tolist()
        return [bytes(data[start:end]) for start, end in zip([0, *places], places, strict=False)]

    def _inputs(self, gathered: Gathered) -> WriteInputs:
        columns: list[Integers] = []
        starts: list[int] = []
        texts: list[npt.NDArray[np.uint8]] = []
        end = text_end = 0
        for key, level, read, width in self.sources:
            field, rows = gathered.fields[key], gathered.sizes[level]
            starts.append(end)
            if read is not None:
                column = read(field)
                count = len(column)
            else:
                column, text = text_parts(cast("Column", field).values)
                count, first = len(column) - 1, int(column[0])
                starts.append(text_end - first)
                texts.append(text[first : column[-1]])
                text_end += len(texts[-1])
            if count != rows * width:
                raise ValueError(f"field {key!r} of {rows} records: {count} values")
            columns.append(column)
            end += len(column)
        return WriteInputs(
            np.concatenate(columns, dtype=np.int64) if columns else np.empty(0, np.int64),
            np.array(starts, np.int64),
            np.concatenate(texts) if texts else np.empty(0, np.uint8),
            np.array([gathered.sizes[level] for level in self.levels], np.int64),
        )
