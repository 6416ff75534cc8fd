"""Arrays that the compiled decoder reads and fills."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from base.arrays import Bytes, Longs, Mask


class Instructions(NamedTuple):
    """Instructions of a program.

    Attributes:
        code: int64[I, WIDTH], one instruction in each row.
        tables: int64[J], addresses of branches, and places of the reader's symbols.
        texts: uint8[K], constant texts.
        text_slots: int64[T], slots of texts in ascending order.
    """

    code: Longs
    tables: Longs
    texts: Bytes
    text_slots: Longs


class Bodies(NamedTuple):
    """Bodies of N rows in one buffer.

    Attributes:
        data: uint8[K], the buffer.
        starts: int64[N], index at which each body begins.
        ends: int64[N], index at which each body ends.
        entries: int64[N], address of the first instruction of each row, or NOT_DECODED.
    """

    data: Bytes
    starts: Longs
    ends: Longs
    entries: Longs


class Values(NamedTuple):
    """Decoded values of N rows in S slots; all arrays are zero before decoding.

    Attributes:
        longs: int64[S, N], a number, the bits of a float64, or the begin of a text in the data, or
            -1 - its begin in the constant texts.
        lengths: int64[S, N], bytes of texts.
        present: bool[S, N], True where the slot has a value.
        faults: int64[N, 3], fault number, index of the path, and position of the fault; without a
            fault the position is the end of the body.
        offsets: int32[T, N + 1], begin of each text in the copied texts.
    """

    longs: Longs
    lengths: Longs
    present: Mask
    faults: Longs
    offsets: npt.NDArray[np.int32]


class BodyLimits(NamedTuple):
    """Limits of a body.

    Attributes:
        stack: int64[D, 2], room for open collections and records.
        items: Maximum items of an array or map, or UNBOUNDED.
        levels: Maximum levels to which a record may contain itself.
    """

    stack: Longs
    items: int
    levels: int
