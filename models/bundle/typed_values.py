"""Typed access to the values of a parsed model file.

A function raises ValueError, with the key, for a value of another type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_INT32 = np.iinfo(np.int32)


def object_in(values: Any, *keys: str) -> dict[str, Any]:
    """Object at a path of keys."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise ValueError(f"{'.'.join(keys) or 'the document'} is not an object")  # noqa: TRY004
    return values


def text_in(values: Mapping[str, Any], key: str) -> str:
    """Text of a key."""
    text = values.get(key)
    if not isinstance(text, str):
        raise ValueError(f"{key} is not a string")  # noqa: TRY004
    return text


def number_in(values: Mapping[str, Any], key: str) -> int:
    """Whole number of a parameter, which XGBoost writes as text."""
    text = text_in(values, key)
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise ValueError(f"{key} is {text[:40]!r}, not a number")
    return int(text)


def list_in(values: Mapping[str, Any], key: str) -> list[Any]:
    """Array of values of any type."""
    items = values.get(key)
    if not isinstance(items, list):
        raise ValueError(f"{key} is not an array")  # noqa: TRY004
    return items


def texts_in(values: Mapping[str, Any], key: str, columns: int) -> tuple[str, ...]:
    """Array of texts, one for each column; it may be empty."""
    items = list_in(values, key)
    if len(items) not in (0, columns) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{key} is not an array of {columns} strings")
    return tuple(items)


def ints_in(values: Mapping[str, Any], key: str) -> npt.NDArray[np.int64]:
    """Array of 32-bit whole numbers."""
    array = _array(values.get(key), key)
    if array.dtype.kind not in "iu" or (array < _INT32.min).any() or (array > _INT32.max).any():
        raise ValueError(f"{key} is not an array of 32-bit whole numbers")
    return array.astype(np.int64)


def floats_in(values: Mapping[str, Any], key: str) -> npt.NDArray[np.float32]:
    """Array of numbers, as float32."""
    value = values.get(key)
    array = _array(value, key)
    if value is array and array.dtype.kind != "f":
        raise ValueError(f"{key} is an array of whole numbers")
    # An overflow becomes infinite, and is refused for that later.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def is_empty(value: Any) -> bool:
    """Tell if a value is an array without elements."""
    return isinstance(value, list | np.ndarray) and len(value) == 0


def _array(value: Any, key: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        raise ValueError(f"{key} is not an array of numbers")
    try:
        return np.array(value, dtype=None if value else np.int64)
    except OverflowError as error:
        raise ValueError(f"{key} holds a number that is too large") from error
