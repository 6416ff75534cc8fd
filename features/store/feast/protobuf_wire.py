"""Protobuf's encoding of messages.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

from base.errors import MalformedError

VARINT, FIXED64, SIZED, FIXED32 = 0, 1, 2, 5
NULL = 19
"""Number of the field of ``feast.types.Value`` that is set for a null."""
MORE = 0x80
"""Bit of a varint's byte that is set if more bytes follow."""
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES = 10


def fields(message: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Number, wire type, bits (0 of a sized field) and bytes (none of another) of each field."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        field, wire = tag >> 3, tag & 7
        value, content = 0, b""
        if wire == VARINT:
            value, place = _varint(message, place)
        elif wire == SIZED:
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


def varint_bytes(number: int) -> bytes:
    """``number`` as `_varint` reads it."""
    parts = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(part | MORE for part in parts[:-1]), parts[-1]])


def signed(value: int, bits: int) -> int:
    """``value``'s low bits in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
