"""Types of numpy arrays, byte lengths of strings, and errors by row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ErrorCode, RecordError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints32 = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


def byte_lengths(values: pa.StringArray) -> Ints32:
    """int32[N], the UTF-8 bytes of each string, read from the array's own offsets."""
    offsets, _ = text_parts(values)
    return offsets[1:] - offsets[:-1]


def text_parts(values: pa.StringArray) -> tuple[Ints32, Bytes]:
    """Offsets of N strings, int32[N + 1], and the bytes, uint8[S], that they are places in.

    Both are read-only, as a loop is compiled once for each of the two.
    """
    _, offsets, data = values.buffers()
    if not len(values):
        return _NO_OFFSETS, _NO_BYTES
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    text = np.frombuffer(b"" if data is None else data, np.uint8)
    bounds.flags.writeable = text.flags.writeable = False
    return bounds, text


_NO_OFFSETS, _NO_BYTES = np.frombuffer(bytes(4), np.int32), np.frombuffer(b"", np.uint8)


class RowErrors:
    """The first error of each row.

    Attributes:
        by_row: Error by row; rows without an error have no entry.
    """

    def __init__(self, *earlier: Mapping[int, RecordError]) -> None:
        """Start with the errors in ``earlier``; for one row, the last mapping counts."""
        self.by_row: dict[int, RecordError] = {}
        for errors in earlier:
            self.by_row |= errors

    def add(self, wrong: Mask, code: ErrorCode, message: str) -> None:
        """Record this error for the rows in ``wrong`` that have no error yet."""
        if wrong.any():
            error = RecordError(code, message)
            for row in np.flatnonzero(wrong).tolist():
                self.by_row.setdefault(row, error)

    def valid_rows(self, rows: int) -> Rows:
        """The rows without an error, of rows 0 to ``rows`` - 1, in ascending order."""
        valid = np.ones(rows, np.bool_)
        valid[list(self.by_row)] = False
        return np.flatnonzero(valid)
