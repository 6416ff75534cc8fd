"""Strict parser and writer of Universal Binary JSON in the form that XGBoost writes.

Python checks the bounds of every read, so damaged content cannot be read beyond its end, as it
could in XGBoost's own reader. Content that this parser accepts has the same meaning for XGBoost:
objects have no type or count, lengths and counts have 64 bits, every array has a count, and an
array of numbers of one type may name that type.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_MAX_DEPTH = 16
_ARRAYS: dict[bytes, np.dtype[Any]] = {
    b"U": np.dtype("u1"),
    b"i": np.dtype("i1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
    b"D": np.dtype(">f8"),
}
_NUMBERS = {
    b"U": struct.Struct(">B"),
    b"i": struct.Struct(">b"),
    b"I": struct.Struct(">h"),
    b"l": struct.Struct(">i"),
    b"L": struct.Struct(">q"),
    b"d": struct.Struct(">f"),
    b"D": struct.Struct(">d"),
}
_CONSTANTS = {b"T": True, b"F": False, b"Z": None}


def parse_ubj(content: bytes) -> Any:
    """Parse a document.

    Returns:
        The value, made of dicts, lists, text and numbers, and of numpy arrays for arrays that name
        a type.

    Raises:
        ValueError: naming the byte, for anything that XGBoost does not write.
    """
    reader = _UbjReader(content)
    try:
        value = reader.value(0)
    except ValueError as error:
        raise ValueError(f"{error}, near byte {reader.at}") from error
    if reader.at != len(content):
        raise ValueError(f"it goes on after its end, at byte {reader.at}")
    return value


def format_ubj(value: Any) -> bytes:
    """Write a document that `parse_ubj` has read.

    Raises:
        ValueError: for a value of a type that `parse_ubj` does not return.
    """
    parts: list[bytes] = []
    _append(parts, value)
    return b"".join(parts)


def _append(parts: list[bytes], value: Any) -> None:
    if isinstance(value, dict):
        parts.append(b"{")
        for key, item in value.items():
            parts.append(_text_bytes(key))
            _append(parts, item)
        parts.append(b"}")
    elif isinstance(value, list):
        parts.append(b"[#" + _count_bytes(len(value)))
        for item in value:
            _append(parts, item)
    elif isinstance(value, np.ndarray):
        marker = next(each for each, dtype in _ARRAYS.items() if dtype == value.dtype)
        parts += [b"[$", marker, b"#", _count_bytes(len(value)), value.tobytes()]
    elif isinstance(value, str):
        parts.append(b"S" + _text_bytes(value))
    elif value is None or isinstance(value, bool):
        parts.append(b"Z" if value is None else b"T" if value else b"F")
    elif isinstance(value, int):
        parts.append(b"L" + _NUMBERS[b"L"].pack(value))
    elif isinstance(value, float):
        parts.append(b"D" + _NUMBERS[b"D"].pack(value))
    else:
        raise ValueError(f"{type(value).__name__} has no form in UBJ")


def _text_bytes(text: str) -> bytes:
    encoded = text.encode()
    return _count_bytes(len(encoded)) + encoded


def _count_bytes(count: int) -> bytes:
    return b"L" + _NUMBERS[b"L"].pack(count)


class _UbjReader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def value(self, depth: int) -> Any:
        marker = self._take(1)
        if marker == b"S":
            return self._text()
        if marker in _NUMBERS:
            number = _NUMBERS[marker]
            return number.unpack(self._take(number.size))[0]
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if depth == _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if marker == b"{":
            return self._object(depth + 1)
        if marker == b"[":
            return self._array(depth + 1)
        raise ValueError(f"a value cannot begin with {marker!r}")

    def _object(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while self._content[self.at : self.at + 1] != b"}":
            key = self._text()
            if key in values:
                raise ValueError(f"it has the key {key[:80]!r} twice")
            values[key] = self.value(depth)
        self.at += 1
        return values

    def _array(self, depth: int) -> Any:
        marker = self._take(1)
        dtype = None
        if marker == b"$":
            dtype = _ARRAYS.get(self._take(1))
            if dtype is None:
                raise ValueError("an array has a type that is not known")
            marker = self._take(1)
        if marker != b"#":
            raise ValueError("an array has no count")
        count = self._count()
        if dtype is not None:
            return np.frombuffer(self._take(count * dtype.itemsize), dtype)
        return [self.value(depth) for _ in range(count)]

    def _text(self) -> str:
        return self._take(self._count()).decode()

    def _count(self) -> int:
        if self._take(1) != b"L":
            raise ValueError("a count does not have 64 bits")
        count = int.from_bytes(self._take(8), "big", signed=True)
        if not 0 <= count <= len(self._content) - self.at:
            raise ValueError(f"a count of {count} goes beyond the end")
        return count

    def _take(self, size: int) -> bytes:
        taken = self._content[self.at : self.at + size]
        if len(taken) < size:
            raise ValueError("it is cut off")
        self.at += size
        return taken
