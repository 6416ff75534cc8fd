"""Decode Feast's protobuf messages ``feast.types.Value`` and ``Timestamp``, as stored in Redis."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np

from base.arrays import Floats, Longs, Mask
from base.errors import MalformedError

_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10
_NULL = 19
_DOUBLE = np.dtype([("tag", "u1"), ("value", "<f8")])
_DOUBLE_TAG = 5 << 3 | _FIXED64
_MORE = 0x80
"""Bit of a varint's byte that is set if more bytes follow."""
_USUAL_BYTES = 12
_SECONDS, _NANOS = slice(1, 6), slice(7, 12)
"""Bytes of the varints in a usual ``Timestamp``, each after its tag."""
_SEVENS = 1 << 7 * np.arange(5, dtype=np.int64)
_NANOS_PER_SECOND = 1_000_000_000
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Range of a Timestamp: 0001-01-01 to the end of 9999."""


class Numbers(NamedTuple):
    """N decoded numbers.

    Attributes:
        values: float64[N], NaN for a null.
        absent: bool[N].
        invalid: bool[N].
    """

    values: Floats
    absent: Mask
    invalid: Mask


class FeastTimes(NamedTuple):
    """N decoded times.

    Attributes:
        micros: int64[N], microseconds since 1970-01-01 UTC, 0 where there is none.
        absent: bool[N].
        invalid: bool[N].
    """

    micros: Longs
    absent: Mask
    invalid: Mask


def numbers(messages: Sequence[bytes | None]) -> Numbers:
    """Decode N values, None where the hash lacks the field.

    A value is invalid if it is neither a finite number nor NaN: text, a list, infinity, damaged
    bytes.
    """
    rows = len(messages)
    values = np.full(rows, np.nan)
    invalid = np.zeros(rows, np.bool_)
    absent = np.fromiter((value is None for value in messages), np.bool_, rows)
    double = np.fromiter(
        (value is not None and _is_double(value) for value in messages), bool, rows
    )
    joined = b"".join(value for value in compress(messages, double) if value is not None)
    values[double] = np.frombuffer(joined, _DOUBLE)["value"]
    other = ~double & ~absent
    if other.any():
        # Counts and other whole numbers: few distinct ones.
        rest = [value for value in compress(messages, other) if value is not None]
        read = {value: _number_or_infinite(value) for value in set(rest)}
        values[other] = [read[value] for value in rest]
    infinite = np.isinf(values)
    if infinite.any():
        invalid |= infinite
        values[infinite] = np.nan
    return Numbers(values, absent, invalid)


def timestamps(messages: Sequence[bytes | None]) -> FeastTimes:
    """Decode N times, None where the hash lacks the field."""
    rows = len(messages)
    absent = np.fromiter((value is None for value in messages), np.bool_, rows)
    micros, read = _usual_timestamps(messages)
    micros[~read] = 0
    invalid = np.zeros(rows, np.bool_)
    for row in np.flatnonzero(~read & ~absent).tolist():
        try:
            micros[row] = timestamp(messages[row] or b"")
        except MalformedError:
            invalid[row] = True
    return FeastTimes(micros, absent, invalid)


def number(message: bytes) -> float:
    """Decode the number in a ``Value``, NaN for a null; MalformedError if it is not a number."""
    number = math.nan
    for field, wire, value, _ in message_fields(message):
        reader = _READERS.get((field, wire))
        if reader is None:
            raise MalformedError(f"field {field} is not a number")
        number = reader(value)
    return number


def timestamp(message: bytes) -> int:
    """Decode a ``Timestamp`` to microseconds since 1970; MalformedError if it is not one."""
    parts = {1: 0, 2: 0}
    for field, wire, value, _ in message_fields(message):
        if wire != _VARINT or field not in parts:
            raise MalformedError(f"field {field} is not a field of a Timestamp")
        parts[field] = _signed(value, 64)
    seconds, nanos = parts[1], parts[2]
    if not (_FIRST_SECOND <= seconds <= _LAST_SECOND and 0 <= nanos < _NANOS_PER_SECOND):
        raise MalformedError("outside the range of a Timestamp")
    return seconds * 1_000_000 + nanos // 1000


def _is_double(value: bytes) -> bool:
    return len(value) == _DOUBLE.itemsize and value[0] == _DOUBLE_TAG


def _number_or_infinite(value: bytes) -> float:
    try:
        return number(value)
    except MalformedError:
        return math.inf


def _usual_timestamps(messages: Sequence[bytes | None]) -> tuple[Longs, Mask]:
    """Decode usual timestamps: seconds in five bytes (1978 to 3058), with or without nanoseconds.

    Returns:
        int64[N] in microseconds, and bool[N], False for a message in another form.
    """
    usual = [b"" if value is None or len(value) > _USUAL_BYTES else value for value in messages]
    last = np.fromiter(map(len, usual), np.int64, len(usual)) - 1
    joined = b"".join(value.ljust(_USUAL_BYTES, b"\0") for value in usual)
    table = np.frombuffer(joined, np.uint8).reshape(-1, _USUAL_BYTES)
    ends = table < _MORE
    seconds, nanos = ((table[:, part] & 0x7F) @ _SEVENS for part in (_SECONDS, _NANOS))
    alone = last == _SECONDS.stop - 1
    followed = (table[:, _SECONDS.stop] == 2 << 3) & (last >= _NANOS.start)
    read = (
        (table[:, 0] == 1 << 3)
        & (ends[:, _SECONDS] == (np.arange(5) == 4)).all(axis=1)
        & (alone | followed)
        & (ends[:, _NANOS] == (np.arange(_NANOS.start, _NANOS.stop) >= last[:, None])).all(axis=1)
        & (nanos < _NANOS_PER_SECOND)
    )
    return seconds * 1_000_000 + nanos // 1000, read


def message_fields(message: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Number, wire type, bits and bytes of each field; a sized field has no bits, others no bytes.

    Raises:
        MalformedError: The message is not valid protobuf.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        field, wire = tag >> 3, tag & 7
        value, content = 0, b""
        if wire == _VARINT:
            value, place = _varint(message, place)
        elif wire == _SIZED:
            length, start = _varint(message, place)
            place = start + length
            content = message[start:place]
        elif wire in _WIDTHS:
            start, place = place, place + _WIDTHS[wire]
            value = int.from_bytes(message[start:place], "little")
        else:
            raise MalformedError(f"wire type {wire}")
        if place > len(message):
            raise MalformedError("it is cut off")
        yield field, wire, value, content


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of up to 64 bits, and the index after it."""
    number = 0
    for count, byte in enumerate(message[place : place + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number & (1 << 64) - 1, place + count + 1
    raise MalformedError("a number does not end")


def _signed(value: int, bits: int) -> int:
    """``value``'s low bits in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _float(value: int) -> float:
    return float(struct.unpack("<f", value.to_bytes(4, "little"))[0])


def _double(value: int) -> float:
    return float(struct.unpack("<d", value.to_bytes(8, "little"))[0])


_READERS: dict[tuple[int, int], Callable[[int], float]] = {
    (3, _VARINT): lambda value: float(_signed(value, 32)),
    (4, _VARINT): lambda value: float(_signed(value, 64)),
    (5, _FIXED64): _double,
    (6, _FIXED32): _float,
    (7, _VARINT): lambda value: float(value != 0),
    (8, _VARINT): lambda value: float(_signed(value, 64)),
    (_NULL, _VARINT): lambda _value: math.nan,
}
"""Conversion by field number and wire type: int32, int64, double, float, bool, time, null."""
