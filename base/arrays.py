"""Types of numpy arrays, byte lengths of strings, and errors by row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ErrorCode, RecordError

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
"""Indexes of rows."""


def byte_lengths(values: pa.StringArray) -> npt.NDArray[np.int32]:
    """int32[N], number of UTF-8 bytes of each string, from the offsets of the array."""
    offsets = np.frombuffer(values.buffers()[1], np.int32)
    return np.diff(offsets[values.offset : values.offset + len(values) + 1])


def add_errors(errors: dict[int, RecordError], wrong: Mask, code: ErrorCode, message: str) -> None:
    """Add an error to the rows in ``wrong`` that have no error yet.

    Args:
        errors: Error of each invalid row, by row.
        wrong: bool[N], True for the rows with this error.
        code: Code of the error.
        message: Sentence for people, without payload or keys.
    """
    if wrong.any():
        error = RecordError(code, message)
        for row in np.flatnonzero(wrong).tolist():
            errors.setdefault(row, error)
