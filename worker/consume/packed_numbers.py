"""Whole numbers as short text: zigzag variable-length integers, in base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable


def pack(numbers: Iterable[int]) -> str:
    """Encode numbers; those near zero are short, whatever their sign."""
    out = bytearray()
    for number in numbers:
        left = number << 1 if number >= 0 else (~number << 1) | 1
        while left > 0x7F:
            out.append(left & 0x7F | 0x80)
            left >>= 7
        out.append(left)
    return b64encode(out).decode()


def unpack(text: str) -> list[int]:
    """Decode the text of `pack`.

    Raises:
        ValueError: The text is not that of whole numbers.
    """
    numbers, value, shift = list[int](), 0, 0
    for byte in b64decode(text, validate=True):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(~(value >> 1) if value & 1 else value >> 1)
            value = shift = 0
    if shift:
        raise ValueError("the last number is cut off")
    return numbers
