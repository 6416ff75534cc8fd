"""Bodies of a micro-batch in one buffer, and cursors that move through them."""

from __future__ import annotations

from typing import Final, Self

import numpy as np
import numpy.typing as npt

from base.arrays import Longs, Rows

# Behind the last body, so that a gather of a whole word at its end stays inside the buffer.
PADDING: Final = 16

OVERLONG: Final = np.int64(2**62)
_ZIGZAG: Final = np.array([(n >> 1) ^ -(n & 1) for n in range(128)], dtype=np.int64)
_STOP_BITS: Final = np.uint64(0x8080808080808080)
_SWAR: Final = (
    (np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00), np.uint64(1)),
    (np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000), np.uint64(2)),
    (np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000), np.uint64(4)),
)
_ONE: Final = np.uint64(1)


class Bodies:
    """The bodies of a micro-batch in one buffer, viewed as words that may begin at any byte."""

    __slots__ = ("bytes", "data", "doubles", "floats", "words")

    def __init__(self, data: bytes) -> None:
        """Create the views of a buffer.

        Args:
            data: The bodies end to end, with PADDING bytes after the last.
        """
        size = len(data)
        self.data = data
        self.bytes = np.frombuffer(data, np.uint8)
        self.words = np.ndarray((size - 7,), "<u8", data, strides=(1,))
        self.doubles = np.ndarray((size - 7,), "<f8", data, strides=(1,))
        self.floats = np.ndarray((size - 3,), "<f4", data, strides=(1,))

    def varints(self, pos: Longs) -> tuple[Longs, Longs]:
        """Zigzag integers at ``pos`` and the positions after them.

        An integer of more than 64 bits ends at OVERLONG, beyond every body. The end of a body is
        not checked here.
        """
        first = self.bytes[pos]
        if first.max() < 0x80:
            return _ZIGZAG[first], pos + 1
        word = self.words[pos]
        # Of the stop bits only the lowest matters: one less is a mask of all bits below it.
        stop = ~word & _STOP_BITS
        below = (stop & (~stop + _ONE)) - _ONE
        value = word & below & ~_STOP_BITS
        for low, high, shift in _SWAR:
            value = (value & low) | ((value & high) >> shift)
        size = (np.bitwise_count(below) + np.uint8(1)) >> np.uint8(3)
        behind = pos + size
        if not stop.all():
            self._complete(pos, np.flatnonzero(stop == 0), value, behind)
        return ((value >> _ONE) ^ -(value & _ONE)).view(np.int64), behind

    def _complete(
        self, pos: Longs, places: Rows, value: npt.NDArray[np.uint64], behind: Longs
    ) -> None:
        """Complete the integers of nine and ten bytes in place."""
        at = pos[places]
        ninth = self.bytes[at + 8].astype(np.uint64)
        tenth = self.bytes[at + 9].astype(np.uint64)
        value[places] |= (ninth & np.uint64(0x7F)) << np.uint64(56)
        of_ten = ninth >= 0x80
        value[places[of_ten]] |= tenth[of_ten] << np.uint64(63)
        ends = np.where(of_ten, np.where(tenth <= 1, at + 10, OVERLONG), at + 9)
        behind[places] = ends


class Cursor:
    """Positions in the bodies of M records that have not failed.

    Attributes:
        pos: int64[M], current positions in the buffer.
        end: int64[M], ends of the bodies in the buffer.
        rows: intp[M], rows of the records in the micro-batch.
        local: intp[M], places of the records in the cursor that this one was picked from.
    """

    __slots__ = ("end", "local", "pos", "rows")

    def __init__(self, pos: Longs, end: Longs, rows: Rows, local: Rows) -> None:
        self.pos = pos
        self.end = end
        self.rows = rows
        self.local = local

    def __len__(self) -> int:
        return len(self.pos)

    def pick(self, places: Rows) -> Self:
        return type(self)(self.pos[places], self.end[places], self.rows[places], places)

    def keep(self, places: Rows) -> None:
        self.pos = self.pos[places]
        self.end = self.end[places]
        self.rows = self.rows[places]
        self.local = self.local[places]
