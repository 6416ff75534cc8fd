"""N Avro bodies under construction, all at once.

Avro writes a record as its fields one after the other, so N records are N rows of the same
*pieces*: constants, numbers, strings. Numbers and short constants that follow each other share
one matrix of bytes; strings are taken as they lie in their Arrow buffers; Arrow joins the pieces
row by row in compiled code. The binary forms are those of the Avro specification, "Binary
encoding" (zigzag variable-length integers, little-endian IEEE floats, length-prefixed strings).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Mask, byte_lengths

Present = Mask | None
"""bool[N], False where a piece is left out; None when no row leaves it out."""

# A constant up to this many bytes is cheaper in the matrix than as a piece of its own.
_LONGEST_INLINE = 64
_MOST_BYTES = 2**31 - 1
_SEVENS = np.arange(10, dtype=np.uint64)[:, None] * np.uint64(7)
_VARINT_FLOORS = np.uint64(1) << _SEVENS[1:]
_DECIMAL_FLOORS = np.int64(1) << np.arange(7, 63, 8)[:, None]


@dataclass(frozen=True, slots=True)
class _Slot:
    """Columns of the matrix that one value takes.

    Attributes:
        width: Number of bytes.
        values: A scalar or array[N] with an item size of ``width``, or uint8[width, N].
        used: bool[width, N]; None if every byte of every row is used.
    """

    width: int
    values: Any
    used: Mask | None


class Body:
    """N bodies that grow by one piece at a time; ``finish`` returns their bytes."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        # What awaits its place, in this order: slots of the matrix, then constant bytes.
        self._slots: list[_Slot] = []
        self._constant = b""
        self._pieces: list[Any] = []

    def constant(self, data: bytes, present: Present = None) -> None:
        """Append the same bytes to every row."""
        if present is None:
            self._constant += data
        elif data:
            self._slot(len(data), np.array(data, f"V{len(data)}"), present)

    def number(self, values: npt.NDArray[Any], dtype: str, present: Present = None) -> None:
        """Append numbers, array[N], as little-endian items of ``dtype``, such as "<f8"."""
        items = values.astype(dtype, copy=False)
        self._slot(items.dtype.itemsize, items, present)

    def varint(self, values: npt.NDArray[Any], present: Present = None) -> None:
        """Append int64[N] as zigzag variable-length integers of 1 to 10 bytes."""
        signed = values.astype(np.int64, copy=False)
        zigzag = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
        width = (max(int(zigzag.max()).bit_length(), 1) + 6) // 7
        if width == 1:
            self._slot(1, zigzag.astype(np.uint8), present)
            return
        more = zigzag >= _VARINT_FLOORS[: width - 1]
        items = (zigzag >> _SEVENS[:width]).astype(np.uint8) & np.uint8(0x7F)
        items[:-1] |= more.view(np.uint8) << np.uint8(7)
        if more[-1].all():
            self._slot(width, items, present)
            return
        used = np.ones((width, self.rows), np.bool_)
        used[1:] = more
        self._append(width, items, used if present is None else used & present)

    def decimal(self, unscaled: npt.NDArray[np.int64], present: Present = None) -> None:
        """int64[N], each above -2**63, as length-prefixed big-endian two's complement.

        As many bytes as fastavro takes: one more than the shortest for -128, -32768 and so on.
        """
        lengths = 1 + (np.abs(unscaled) >= _DECIMAL_FLOORS).sum(axis=0)
        self.varint(lengths, present)
        width = int(lengths.max())
        used = np.arange(width, 0, -1)[:, None] <= lengths
        self._append(
            width, _big_endian(unscaled, width), used if present is None else used & present
        )

    def decimal_fixed(
        self, unscaled: npt.NDArray[np.int64], size: int, present: Present = None
    ) -> None:
        """Append int64[N] as big-endian two's complement of ``size`` bytes."""
        self._slot(size, _big_endian(unscaled, size), present)

    def string(self, values: pa.StringArray, present: Present = None) -> None:
        """Append StringArray[N] as length-prefixed UTF-8."""
        lengths = byte_lengths(values)
        if present is not None and lengths[~present].any():
            values = pc.if_else(pa.array(present), values, "")
        self.varint(lengths, present)
        self._flush()
        self._pieces.append(values.view(pa.binary()))

    def encoded(self, values: pa.BinaryArray, present: Present = None) -> None:
        """Append BinaryArray[N] of values that are encoded already."""
        self._flush()
        if present is not None:
            values = pc.if_else(pa.array(present), values, pa.scalar(b"", pa.binary()))
        self._pieces.append(values)

    def finish(self) -> list[bytes]:
        """Return the N bodies.

        Raises:
            OverflowError: The bodies exceed 2 GiB together.
        """
        bodies: list[bytes] = self.joined().to_pylist()
        return bodies

    def joined(self) -> pa.BinaryArray:
        """Return the N bodies as BinaryArray without nulls; raises like ``finish``."""
        self._flush()
        nothing = pa.scalar(b"", pa.binary())
        # A constant alone would make a single scalar: an array of empty strings gives the rows.
        if not any(isinstance(piece, pa.Array) for piece in self._pieces):
            self._pieces.append(pa.array([b""] * self.rows, pa.binary()))
        try:
            return pc.binary_join_element_wise(*self._pieces, nothing, null_handling="skip")
        except pa.ArrowCapacityError as error:
            raise OverflowError(
                "more than 2 GiB in one call: encode fewer records at once"
            ) from error

    def _slot(self, width: int, values: Any, present: Present) -> None:
        used = None if present is None else np.broadcast_to(present, (width, self.rows))
        self._append(width, values, used)

    def _append(self, width: int, values: Any, used: Mask | None) -> None:
        self._place_constant()
        self._slots.append(_Slot(width, values, used))

    def _place_constant(self) -> None:
        data, self._constant = self._constant, b""
        if 0 < len(data) <= _LONGEST_INLINE:
            self._slots.append(_Slot(len(data), np.array(data, f"V{len(data)}"), None))
        elif data:
            self._flush_slots()
            self._pieces.append(pa.scalar(data, pa.binary()))

    def _flush(self) -> None:
        """Convert the pending slots and constant to pieces."""
        self._place_constant()
        self._flush_slots()

    def _flush_slots(self) -> None:
        """Convert the pending slots to one piece."""
        if not self._slots:
            return
        width = sum(slot.width for slot in self._slots)
        if width * self.rows > _MOST_BYTES:
            raise OverflowError("more than 2 GiB in one call: encode fewer records at once")
        matrix = np.empty((self.rows, width), np.uint8)
        start = 0
        for slot in self._slots:
            _fill(matrix, start, slot)
            start += slot.width
        if all(slot.used is None for slot in self._slots):
            ends = np.arange(0, width * (self.rows + 1), width, dtype=np.int32)
            data = matrix
        else:
            ends, data = self._compress(matrix)
        self._pieces.append(
            pa.Array.from_buffers(
                pa.binary(), self.rows, [None, pa.py_buffer(ends), pa.py_buffer(data)]
            )
        )
        self._slots = []

    def _compress(
        self, matrix: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """The used bytes of a matrix, back to back, and where each row starts and ends."""
        used = np.ones(matrix.shape, np.bool_)
        ends = np.zeros(self.rows + 1, np.int32)
        start = 0
        for slot in self._slots:
            if slot.used is None:
                ends[1:] += slot.width
            else:
                used[:, start : start + slot.width] = slot.used.T
                ends[1:] += slot.used.sum(axis=0, dtype=np.int32)
            start += slot.width
        return np.cumsum(ends, dtype=np.int32), matrix[used]


def _fill(matrix: npt.NDArray[np.uint8], start: int, slot: _Slot) -> None:
    if slot.values.ndim == 2:
        matrix[:, start : start + slot.width] = slot.values.T
        return
    # One strided copy of whole items; byte by byte would take several times as long.
    items: npt.NDArray[Any] = np.ndarray(
        matrix.shape[:1], slot.values.dtype, matrix.data, start, matrix.strides[:1]
    )
    items[...] = slot.values


def _big_endian(values: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.uint8]:
    """uint8[width, N], the most significant byte first."""
    # Shifting by more than 63 is undefined: bytes above the eighth repeat the sign.
    shifts = np.minimum(np.arange(width - 1, -1, -1) * 8, 63)[:, None]
    return (values >> shifts).astype(np.uint8)


def where_present(values: npt.NDArray[Any], present: Present) -> npt.NDArray[Any]:
    """The same values, with 0 where they are not present and so may be anything."""
    return values if present is None else np.where(present, values, 0)
