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
Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


def byte_lengths(values: pa.StringArray) -> npt.NDArray[np.int32]:
    """int32[N], the UTF-8 bytes of each string, read from the array's own offsets."""
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)
    return np.diff(offsets[values.offset : values.offset + len(values) + 1])


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
        error = RecordError(code, message)
        for row in np.flatnonzero(wrong).tolist():
            self.by_row.setdefault(row, error)

    def valid_rows(self, rows: int) -> Rows:
        """The rows without an error, of rows 0 to ``rows`` - 1, in ascending order."""
        valid = np.ones(rows, np.bool_)
        valid[list(self.by_row)] = False
        return np.flatnonzero(valid)
