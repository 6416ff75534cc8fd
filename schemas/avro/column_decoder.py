"""Run the steps of a schema over a whole micro-batch with numpy, a field of all records at a time.

The bodies lie end to end in one buffer. A cursor holds, for the records still alive, the current
position in each and the end of its own body. A record that fails is noted and leaves the cursor, so
that it can neither read a neighbour's bytes nor be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from base.arrays import Longs, Mask, Rows
from base.errors import BodyError, ErrorCode
from schemas.avro import steps as plan
from schemas.avro.buffers import ColumnBuffers
from schemas.avro.cursor import OVERLONG, Bodies, Cursor
from schemas.avro.row_decoder import RowReader
from schemas.avro.steps import Step

# For this many records or fewer, a plain loop is faster than calls of numpy (measured).
FEW: Final = 24


class ColumnReader:
    """Decode bodies by the steps of their schemas into column buffers.

    Args:
        bodies: Buffer of all bodies of the micro-batch.
        buffers: Slots that take the values, and faults.
        max_items: Maximum items of an array or map.
    """

    def __init__(self, bodies: Bodies, buffers: ColumnBuffers, max_items: int) -> None:
        self._bodies = bodies
        self._buffers = buffers
        self._max_items = max_items

    def read(self, steps: Sequence[Step], rows: Rows, start: Longs, end: Longs) -> None:
        """Decode data[start[i]:end[i]] as the body of ``rows[i]``."""
        cursor = Cursor(start, end, rows, rows)
        self._run(steps, cursor)
        self._drop(cursor, cursor.pos < cursor.end, ErrorCode.TRAILING_BYTES, "")

    def _run(self, steps: Sequence[Step], cursor: Cursor) -> None:
        for step in steps:
            if not len(cursor):
                return
            self._HANDLERS[type(step)](self, step, cursor)

    def _drop(
        self, cursor: Cursor, bad: Mask, code: ErrorCode, path: str, *arrays: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], ...]:
        """Record a fault for each bad record and drop it from the cursor.

        Returns:
            ``arrays`` without the dropped records.
        """
        if not bad.any():
            return arrays
        rows, positions = cursor.rows[bad], cursor.pos[bad]
        self._buffers.fail(rows, positions, code, path)
        kept = np.flatnonzero(~bad)
        cursor.keep(kept)
        return tuple(array[kept] for array in arrays)

    def _checked_varint(self, cursor: Cursor, path: str) -> tuple[Longs, Longs]:
        """Varints of the records in the cursor and the positions behind them, within the bodies."""
        value, behind = self._bodies.varints(cursor.pos)
        return self._drop_overrun(cursor, path, value, behind)

    def _drop_overrun(
        self, cursor: Cursor, path: str, value: Longs, behind: Longs
    ) -> tuple[Longs, Longs]:
        bad = behind > cursor.end
        if not bad.any():
            return value, behind
        overlong = (behind == OVERLONG) & (cursor.pos + 10 <= cursor.end)
        value, behind = self._drop(cursor, overlong, ErrorCode.VARINT_TOO_LONG, path, value, behind)
        value, behind = self._drop(
            cursor, behind > cursor.end, ErrorCode.BODY_TRUNCATED, path, value, behind
        )
        return value, behind

    def _sized(self, cursor: Cursor, path: str) -> tuple[Longs, Longs]:
        """Positions and lengths of the bytes of length-prefixed values."""
        length, begin = self._bodies.varints(cursor.pos)
        # One test for the usual case; a varint that overran leaves less than no room.
        if ((length < 0) | (length > cursor.end - begin)).any():
            length, begin = self._drop_overrun(cursor, path, length, begin)
            length, begin = self._drop(
                cursor, length < 0, ErrorCode.LENGTH_NEGATIVE, path, length, begin
            )
            length, begin = self._drop(
                cursor,
                length > cursor.end - begin,
                ErrorCode.BODY_TRUNCATED,
                path,
                length,
                begin,
            )
        return begin, length

    # What no path uses

    def _skip_fixed(self, step: plan.SkipFixed, cursor: Cursor) -> None:
        self._drop(cursor, cursor.end - cursor.pos < step.size, ErrorCode.BODY_TRUNCATED, step.path)
        cursor.pos = cursor.pos + step.size

    def _skip_long(self, step: plan.SkipLong, cursor: Cursor) -> None:
        _, cursor.pos = self._checked_varint(cursor, step.path)

    def _skip_bytes(self, step: plan.SkipBytes, cursor: Cursor) -> None:
        begin, length = self._sized(cursor, step.path)
        cursor.pos = begin + length

    def _skip_collection(self, step: plan.SkipCollection, cursor: Cursor) -> None:
        """Skip a collection block by block, item by item.

        Each item is skipped for all records at once; the last few records are done one by one.
        """
        total = np.zeros(len(cursor), np.int64)
        ends = np.full(len(cursor), -1, np.int64)
        live = cursor.pick(np.arange(len(cursor)))
        while len(live) > FEW:
            count, behind = self._checked_varint(live, step.path)
            ends[live.local[count == 0]] = behind[count == 0]
            inside = np.flatnonzero(count)
            live.keep(inside)
            count = self._enter_blocks(step, live, count[inside], behind[inside], total)
            self._pass_items(step.item, live, count)

        def finish(reader: RowReader, place: int, position: int, end: int) -> int:
            return reader.collection(step, position, end, int(total[live.local[place]]))

        self._one_by_one(live, finish)
        ends[live.local] = live.pos
        cursor.pos = ends
        cursor.keep(np.flatnonzero(ends >= 0))

    def _skip_recursive(self, step: plan.SkipRecursive, cursor: Cursor) -> None:
        def move(reader: RowReader, _place: int, position: int, end: int) -> int:
            return reader.recursive(step, position, end)

        self._one_by_one(cursor, move)

    def _enter_blocks(
        self,
        step: plan.SkipCollection,
        live: Cursor,
        count: Longs,
        behind: Longs,
        total: Longs,
    ) -> Longs:
        """Move from the heads of blocks to their first items.

        ``total`` holds the items so far, by ``live.local``; those of the blocks are added to it.

        Returns:
            The number of items of each block.
        """
        negative = np.flatnonzero(count < 0)
        if len(negative):
            # A negative count is followed by the block's size in bytes, not needed here.
            sized = live.pick(negative)
            sized.pos = behind[negative]
            _, behind_size = self._checked_varint(sized, step.path)
            behind[negative] = -1
            behind[sized.local] = behind_size
            kept = np.flatnonzero(behind >= 0)
            live.keep(kept)
            count, behind = np.abs(count[kept]), behind[kept]
        # The absolute value of the lowest integer is itself: still negative, and too many.
        too_many = (count > self._max_items - total[live.local]) | (count < 0)
        count, behind = self._drop(
            live, too_many, ErrorCode.COLLECTION_TOO_LONG, step.path, count, behind
        )
        total[live.local] += count
        live.pos = behind
        return count

    def _pass_items(self, item: Sequence[Step], live: Cursor, count: Longs) -> None:
        """Skip ``count`` items of each record; ``count`` is modified."""
        if not item or not len(live):
            return
        if len(item) == 1 and isinstance(item[0], plan.SkipFixed):
            size = count * item[0].size
            short = size > live.end - live.pos
            (size,) = self._drop(live, short, ErrorCode.BODY_TRUNCATED, item[0].path, size)
            live.pos = live.pos + size
            return
        ends = np.full(len(live), -1, np.int64)
        walking = live.pick(np.arange(len(live)))
        while len(walking) > FEW:
            self._run(item, walking)
            count[walking.local] -= 1
            done = count[walking.local] == 0
            ends[walking.local[done]] = walking.pos[done]
            walking.keep(np.flatnonzero(~done))

        def finish(reader: RowReader, place: int, position: int, end: int) -> int:
            return reader.items(item, position, end, int(count[walking.local[place]]))

        self._one_by_one(walking, finish)
        ends[walking.local] = walking.pos
        live.pos = ends
        live.keep(np.flatnonzero(ends >= 0))

    def _one_by_one(self, cursor: Cursor, move: Callable[[RowReader, int, int, int], int]) -> None:
        """Move the records of a short cursor one by one: move(reader, place, position, end)."""
        reader = RowReader(self._bodies.data, self._max_items, [])
        places: list[int] = []
        moved: list[int] = []
        bounds = zip(cursor.pos.tolist(), cursor.end.tolist(), strict=True)
        for place, (position, end) in enumerate(bounds):
            try:
                moved.append(move(reader, place, position, end))
                places.append(place)
            except BodyError as error:
                row = cursor.rows[place : place + 1]
                self._buffers.fail(row, np.array([error.position]), error.code, error.path)
        cursor.keep(np.array(places, np.intp))
        cursor.pos = np.array(moved, np.int64)

    # What paths use

    def _read_boolean(self, step: plan.ReadBoolean, cursor: Cursor) -> None:
        path = step.path
        self._drop(cursor, cursor.pos >= cursor.end, ErrorCode.BODY_TRUNCATED, path)
        byte = self._bodies.bytes[cursor.pos]
        (byte,) = self._drop(cursor, byte > 1, ErrorCode.BOOLEAN_INVALID, path, byte)
        self._buffers.store(step.slot, cursor.rows, byte == 1)
        cursor.pos = cursor.pos + 1

    def _read_long(self, step: plan.ReadLong, cursor: Cursor) -> None:
        value, behind = self._checked_varint(cursor, step.path)
        if step.low > plan.LONG_MIN:
            outside = (value < step.low) | (value > step.high)
            value, behind = self._drop(
                cursor, outside, ErrorCode.VALUE_OUT_OF_RANGE, step.path, value, behind
            )
        if step.factor > 1:
            value = value * step.factor
        if step.divisor > 1:
            value = value // step.divisor
        kept = value.astype(np.float64) if step.as_double else value
        self._buffers.store(step.slot, cursor.rows, kept)
        cursor.pos = behind

    def _read_floating(self, step: plan.ReadFloating, cursor: Cursor) -> None:
        self._drop(cursor, cursor.end - cursor.pos < step.size, ErrorCode.BODY_TRUNCATED, step.path)
        if step.size == 8:
            value = self._bodies.doubles[cursor.pos]
        else:
            # A signalling NaN is a number like any other here, and widening it no event.
            with np.errstate(invalid="ignore"):
                value = self._bodies.floats[cursor.pos].astype(np.float64)
        self._buffers.store(step.slot, cursor.rows, value)
        cursor.pos = cursor.pos + step.size

    def _read_string(self, step: plan.ReadString, cursor: Cursor) -> None:
        begin, length = self._sized(cursor, step.path)
        self._buffers.store_text(step.slot, cursor.rows, begin, length)
        cursor.pos = begin + length

    def _read_enum(self, step: plan.ReadEnum, cursor: Cursor) -> None:
        number, behind = self._checked_varint(cursor, step.path)
        symbols = np.array([*step.symbols, -1], np.int64)
        symbol = symbols[np.minimum(number.view(np.uint64), np.uint64(len(step.symbols)))]
        symbol, behind = self._drop(
            cursor, symbol < 0, ErrorCode.ENUM_SYMBOL_INVALID, step.path, symbol, behind
        )
        self._buffers.store(step.slot, cursor.rows, symbol)
        cursor.pos = behind

    def _read_decimal(self, step: plan.ReadDecimal, cursor: Cursor) -> None:
        if step.size is None:
            begin, length = self._sized(cursor, step.path)
        else:
            short = cursor.end - cursor.pos < step.size
            self._drop(cursor, short, ErrorCode.BODY_TRUNCATED, step.path)
            begin, length = cursor.pos, np.full(len(cursor), step.size, np.int64)
        # The eight bytes from the first on, most significant first, shifted down to the length.
        word = self._bodies.words[begin].byteswap().view(np.int64)
        value = np.where(length == 0, 0, word >> np.clip(64 - 8 * length, 0, 63))
        outside = self._long_decimals(begin, length, value)
        value, begin, length = self._drop(
            cursor, outside, ErrorCode.VALUE_OUT_OF_RANGE, step.path, value, begin, length
        )
        self._buffers.store(step.slot, cursor.rows, value)
        cursor.pos = begin + length

    def _long_decimals(self, begin: Longs, length: Longs, value: Longs) -> Mask:
        """Complete in place the decimals of more than eight bytes.

        Returns:
            bool array, True for a decimal that does not fit 64 bits.
        """
        outside = np.zeros(len(begin), np.bool_)
        for place in np.flatnonzero(length > 8).tolist():
            raw = self._bodies.data[begin[place] : begin[place] + length[place]]
            number = int.from_bytes(raw, "big", signed=True)
            if plan.LONG_MIN <= number <= plan.LONG_MAX:
                value[place] = number
            else:
                outside[place] = True
        return outside

    def _fill(self, step: plan.Fill, cursor: Cursor) -> None:
        self._buffers.fill(step.slot, cursor.rows, step.value)

    def _branch(self, step: plan.Branch, cursor: Cursor) -> None:
        number, behind = self._checked_varint(cursor, step.path)
        unknown = number.view(np.uint64) >= len(step.branches)
        number, behind = self._drop(
            cursor, unknown, ErrorCode.UNION_BRANCH_INVALID, step.path, number, behind
        )
        cursor.pos = behind
        if not len(cursor):
            return
        if (number == number[0]).all():
            self._run(step.branches[number[0]], cursor)
            return
        ends = np.full(len(cursor), -1, np.int64)
        for index, steps in enumerate(step.branches):
            taken = cursor.pick(np.flatnonzero(number == index))
            self._run(steps, taken)
            ends[taken.local] = taken.pos
        cursor.pos = ends
        cursor.keep(np.flatnonzero(ends >= 0))

    def _reject(self, step: plan.Reject, cursor: Cursor) -> None:
        everything = np.ones(len(cursor), np.bool_)
        self._drop(cursor, everything, ErrorCode.SCHEMA_INCOMPATIBLE, step.path)

    _HANDLERS: ClassVar[Mapping[type[Step], Callable[..., None]]] = {
        plan.SkipFixed: _skip_fixed,
        plan.SkipLong: _skip_long,
        plan.SkipBytes: _skip_bytes,
        plan.SkipCollection: _skip_collection,
        plan.SkipRecursive: _skip_recursive,
        plan.ReadBoolean: _read_boolean,
        plan.ReadLong: _read_long,
        plan.ReadFloating: _read_floating,
        plan.ReadString: _read_string,
        plan.ReadEnum: _read_enum,
        plan.ReadDecimal: _read_decimal,
        plan.Fill: _fill,
        plan.Branch: _branch,
        plan.Reject: _reject,
    }
