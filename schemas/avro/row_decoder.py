"""Run the steps of a schema over one body at a time, for micro-batches too small for numpy.

``column_decoder`` does the same for many bodies at once; both give the same values and faults.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

from base.errors import BodyError, ErrorCode
from schemas.avro import steps as plan
from schemas.avro.steps import Fault, Step

_DOUBLE: Final = struct.Struct("<d")
_FLOAT: Final = struct.Struct("<f")
_VARINT_BYTES: Final = 10


class _Open:
    """Steps in progress inside a record that contains itself.

    Attributes:
        steps: Steps that remain.
        collection: Collection whose item the steps read; None outside a collection.
        nested: True if the steps are those of a record inside itself.
        left: Items of the block that remain, including the current one.
        total: Items of all blocks so far.
    """

    __slots__ = ("collection", "left", "nested", "steps", "total")

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        collection: plan.SkipCollection | None = None,
        nested: bool = False,
    ) -> None:
        self.steps = iter(steps)
        self.collection = collection
        self.nested = nested
        self.left = self.total = 0


class RowReader:
    """Decode bodies that lie in one buffer.

    Args:
        data: Buffer of the bodies.
        max_items: Maximum items of an array or map.
        out: Takes the value of each slot as it is decoded.
    """

    __slots__ = ("_data", "_max_items", "_out")

    _MAX_NESTED: ClassVar = plan.MAX_NESTED

    def __init__(self, data: bytes, max_items: int, out: list[Any]) -> None:
        self._data = data
        self._max_items = max_items
        self._out = out

    def read(self, steps: Sequence[Step], start: int, end: int) -> Fault | None:
        """Decode data[start:end] as one body.

        Returns:
            The fault that stopped it, or None.
        """
        try:
            position = self.run(steps, start, end)
        except BodyError as error:
            return Fault(error.code, error.path, error.position - start)
        if position < end:
            return Fault(ErrorCode.TRAILING_BYTES, "", position - start)
        return None

    def run(self, steps: Sequence[Step], position: int, end: int) -> int:
        """Run steps from ``position``.

        Returns:
            The position at which the steps end.

        Raises:
            BodyError: The body cannot be decoded any further.
        """
        for step in steps:
            position = self._HANDLERS[type(step)](self, step, position, end)
        return position

    def _varint(self, step: Step, position: int, end: int) -> tuple[int, int]:
        """A zigzag integer of at most 64 bits, and the position after it."""
        data = self._data
        if position < end and data[position] < 0x80:
            byte = data[position]
            return (byte >> 1) ^ -(byte & 1), position + 1
        value = shift = 0
        for here in range(position, position + _VARINT_BYTES):
            if here >= end:
                raise BodyError(ErrorCode.BODY_TRUNCATED, step.path, position)
            byte = data[here]
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and value < 2**64:
                return (value >> 1) ^ -(value & 1), here + 1
            shift += 7
        raise BodyError(ErrorCode.VARINT_TOO_LONG, step.path, position)

    def _sized(self, step: Step, position: int, end: int) -> tuple[int, int]:
        """Positions at which the bytes of a length-prefixed value begin and end."""
        length, begin = self._varint(step, position, end)
        if length < 0:
            raise BodyError(ErrorCode.LENGTH_NEGATIVE, step.path, position)
        if length > end - begin:
            raise BodyError(ErrorCode.BODY_TRUNCATED, step.path, position)
        return begin, begin + length

    def _skip_fixed(self, step: plan.SkipFixed, position: int, end: int) -> int:
        if step.size > end - position:
            raise BodyError(ErrorCode.BODY_TRUNCATED, step.path, position)
        return position + step.size

    def _skip_long(self, step: plan.SkipLong, position: int, end: int) -> int:
        return self._varint(step, position, end)[1]

    def _skip_bytes(self, step: plan.SkipBytes, position: int, end: int) -> int:
        return self._sized(step, position, end)[1]

    def _skip_collection(self, step: plan.SkipCollection, position: int, end: int) -> int:
        return self.collection(step, position, end, 0)

    def items(self, item: Sequence[Step], position: int, end: int, count: int) -> int:
        """Skip ``count`` items of an array or map.

        Raises:
            BodyError: The body cannot be decoded any further.
        """
        for _ in range(count):
            position = self.run(item, position, end)
        return position

    def collection(self, step: plan.SkipCollection, position: int, end: int, total: int) -> int:
        """Skip an array or map from the head of a block, after ``total`` items of earlier ones."""
        while True:
            left, behind = self._block(step, position, end, total)
            if left == 0:
                return behind
            total += left
            if not step.item:
                position = behind
            elif len(step.item) == 1 and isinstance(step.item[0], plan.SkipFixed):
                position = behind + left * step.item[0].size
                if position > end:
                    raise BodyError(ErrorCode.BODY_TRUNCATED, step.item[0].path, behind)
            else:
                position = self.items(step.item, behind, end, left)

    def _block(
        self, step: plan.SkipCollection, position: int, end: int, total: int
    ) -> tuple[int, int]:
        """The number of items in the block at ``position``, and the position of the first."""
        left, behind = self._varint(step, position, end)
        if left < 0:
            # A negative count is followed by the block's size in bytes, which readers that walk
            # the items do not need.
            left, (_, behind) = -left, self._varint(step, behind, end)
        if total + left > self._max_items:
            raise BodyError(ErrorCode.COLLECTION_TOO_LONG, step.path, position)
        return left, behind

    def recursive(self, step: plan.SkipRecursive, position: int, end: int) -> int:
        """Skip a record that contains itself.

        Open records are on an explicit stack, so that no body can exhaust Python's.

        Raises:
            BodyError: The body cannot be decoded any further; the error has the path of ``step``.
        """
        try:
            return self._walk(step, position, end)
        except BodyError as error:
            raise BodyError(error.code, step.path, error.position) from None

    def _walk(self, start: plan.SkipRecursive, position: int, end: int) -> int:
        opened = [_Open((start,))]
        nested = 0
        while opened:
            top = opened[-1]
            step = next(top.steps, None)
            match step:
                case None if top.collection is None:
                    nested -= opened.pop().nested
                case None:
                    position = self._next_item(top, position, end)
                    if not top.left:
                        opened.pop()
                case plan.SkipRecursive():
                    nested += 1
                    if nested > self._MAX_NESTED:
                        raise BodyError(ErrorCode.NESTED_TOO_DEEP, step.path, position)
                    opened.append(_Open(step.records[step.record], nested=True))
                case plan.Branch():
                    steps, position = self._chosen(step, position, end)
                    opened.append(_Open(steps))
                case plan.SkipCollection():
                    opened.append(_Open((), collection=step))
                case _:
                    position = self._HANDLERS[type(step)](self, step, position, end)
        return position

    def _next_item(self, top: _Open, position: int, end: int) -> int:
        """Continue with the next item of a collection; none is left at its end."""
        collection = cast("plan.SkipCollection", top.collection)
        top.left -= 1
        while top.left <= 0:
            top.left, position = self._block(collection, position, end, top.total)
            if not top.left:
                return position
            top.total += top.left
            if not collection.item:
                top.left = 0
        top.steps = iter(collection.item)
        return position

    def _read_boolean(self, step: plan.ReadBoolean, position: int, end: int) -> int:
        if position >= end:
            raise BodyError(ErrorCode.BODY_TRUNCATED, step.path, position)
        byte = self._data[position]
        if byte > 1:
            raise BodyError(ErrorCode.BOOLEAN_INVALID, step.path, position)
        self._out[step.slot] = byte == 1
        return position + 1

    def _read_long(self, step: plan.ReadLong, position: int, end: int) -> int:
        value, behind = self._varint(step, position, end)
        if not step.low <= value <= step.high:
            raise BodyError(ErrorCode.VALUE_OUT_OF_RANGE, step.path, position)
        if step.as_double:
            self._out[step.slot] = float(value)
        else:
            self._out[step.slot] = value * step.factor // step.divisor
        return behind

    def _read_floating(self, step: plan.ReadFloating, position: int, end: int) -> int:
        if step.size > end - position:
            raise BodyError(ErrorCode.BODY_TRUNCATED, step.path, position)
        layout = _DOUBLE if step.size == _DOUBLE.size else _FLOAT
        self._out[step.slot] = layout.unpack_from(self._data, position)[0]
        return position + step.size

    def _read_string(self, step: plan.ReadString, position: int, end: int) -> int:
        begin, behind = self._sized(step, position, end)
        try:
            self._out[step.slot] = str(self._data[begin:behind], "utf-8")
        except UnicodeDecodeError:
            raise BodyError(ErrorCode.UTF8_INVALID, step.path, begin) from None
        return behind

    def _read_enum(self, step: plan.ReadEnum, position: int, end: int) -> int:
        number, behind = self._varint(step, position, end)
        symbol = step.symbols[number] if 0 <= number < len(step.symbols) else -1
        if symbol < 0:
            raise BodyError(ErrorCode.ENUM_SYMBOL_INVALID, step.path, position)
        self._out[step.slot] = symbol
        return behind

    def _read_decimal(self, step: plan.ReadDecimal, position: int, end: int) -> int:
        if step.size is None:
            begin, behind = self._sized(step, position, end)
        else:
            begin, behind = position, position + step.size
            if behind > end:
                raise BodyError(ErrorCode.BODY_TRUNCATED, step.path, position)
        value = int.from_bytes(self._data[begin:behind], "big", signed=True)
        if not plan.LONG_MIN <= value <= plan.LONG_MAX:
            raise BodyError(ErrorCode.VALUE_OUT_OF_RANGE, step.path, position)
        self._out[step.slot] = value
        return behind

    def _fill(self, step: plan.Fill, position: int, _end: int) -> int:
        self._out[step.slot] = step.value
        return position

    def _branch(self, step: plan.Branch, position: int, end: int) -> int:
        steps, behind = self._chosen(step, position, end)
        return self.run(steps, behind, end)

    def _chosen(self, step: plan.Branch, position: int, end: int) -> tuple[tuple[Step, ...], int]:
        """The steps of the branch whose number is at ``position``, and where the branch begins."""
        number, behind = self._varint(step, position, end)
        if not 0 <= number < len(step.branches):
            raise BodyError(ErrorCode.UNION_BRANCH_INVALID, step.path, position)
        return step.branches[number], behind

    def _reject(self, step: plan.Reject, position: int, _end: int) -> int:
        raise BodyError(ErrorCode.SCHEMA_INCOMPATIBLE, step.path, position)

    _HANDLERS: ClassVar[Mapping[type[Step], Callable[..., int]]] = {
        plan.SkipFixed: _skip_fixed,
        plan.SkipLong: _skip_long,
        plan.SkipBytes: _skip_bytes,
        plan.SkipCollection: _skip_collection,
        plan.SkipRecursive: recursive,
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
