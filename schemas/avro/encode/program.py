"""Programs: the instructions that write fields of one shape, and the columns that they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from base.arrays import text_parts
from schemas.avro.encode.fields import Gathered, Key
from schemas.avro.encode.instructions import DONE, FULL, Inputs, Instructions, encode

_MOST_BYTES = 2**31 - 1

Integers = npt.NDArray[np.integer[Any]]


class Source(NamedTuple):
    """A column of the program.

    Attributes:
        key: Key of its field.
        level: Path of the list whose items it belongs to; "" for a column of records.
        read: Gives its integers; None for strings.
        width: Numbers of each row.
    """

    key: Key
    level: str
    read: Callable[[Any], Integers] | None
    width: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Instructions for fields of one shape.

    Attributes:
        instructions: The instructions.
        levels: Path of the list of each level; "" for level 0, the records.
        rooms: Most bytes of one record or item of each level, strings excepted.
        sources: Columns that the instructions read. Behind one of strings stands None, for their
            place.
        refusals: Error of the instructions that refuse values, and its message.
    """

    instructions: Instructions
    levels: Sequence[str]
    rooms: Sequence[int]
    sources: Sequence[Source | None]
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
        data, places = memoryview(out), ends.tolist()
        return [bytes(data[start:end]) for start, end in zip([0, *places], places, strict=False)]

    def _inputs(self, gathered: Gathered) -> Inputs:
        fields, sizes = gathered.fields, gathered.sizes
        columns: list[Integers] = []
        starts: list[int] = []
        texts: list[npt.NDArray[np.uint8]] = []
        end = text_end = 0
        for source in self.sources:
            if source is None:  # the second entry of the strings before
                continue
            field, size = fields[source.key], sizes[source.level]
            starts.append(end)
            if source.read is None:
                column, text = text_parts(field.values)
                first = int(column[0])
                starts.append(text_end - first)
                texts.append(text[first : column[-1]])
                text_end += len(texts[-1])
                size += 1
            else:
                column = source.read(field)
            if len(column) != size * source.width:
                raise ValueError(f"field {source.key!r} of {size} records: {len(column)} values")
            columns.append(column)
            end += len(column)
        return Inputs(
            np.concatenate(columns, dtype=np.int64) if columns else np.empty(0, np.int64),
            np.array(starts, np.int64),
            np.concatenate(texts) if texts else np.empty(0, np.uint8),
            np.array([sizes[level] for level in self.levels], np.int64),
        )
