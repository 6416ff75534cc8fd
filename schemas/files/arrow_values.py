"""Convert Arrow arrays to plain types, numpy arrays and parsed values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Mask

_BASIC = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def plain(array: pa.Array) -> pa.Array:
    """Convert extension and view types to Arrow's basic types; UUIDs become text, as in JSON."""
    kind = array.type
    if isinstance(kind, pa.UuidType):
        return uuid_texts(array.storage)
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    basic = _BASIC.get(kind)
    return array if basic is None else array.cast(basic)


def uuid_texts(array: pa.Array) -> pa.Array:
    """Convert UUIDs of 16 bytes to text."""
    digits = [None if value is None else value.hex() for value in array.to_pylist()]
    texts = [h and f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in digits]
    return pa.array(texts, pa.string())


def parse_each(array: pa.Array, parse: Callable[[Any], Any], blank: Any) -> tuple[list[Any], Mask]:
    """Parse the values one by one; ``blank`` where a value is null or cannot be parsed."""
    values, good = [], np.ones(len(array), np.bool_)
    for row, value in enumerate(array.to_pylist()):
        try:
            values.append(blank if value is None else parse(value))
        except (ValueError, ArithmeticError, KeyError):
            values.append(blank)
            good[row] = False
    return values, good


def valid_mask(array: pa.Array) -> Mask:
    """bool[N], False where the array is null."""
    valid: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def filled(array: pa.Array) -> npt.NDArray[Any]:
    """Values as a numpy array, 0 or False where null."""
    if array.null_count:
        array = array.fill_null(
            pa.scalar(False if pa.types.is_boolean(array.type) else 0, array.type)
        )
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values


def is_text(kind: pa.DataType) -> bool:
    """Return True for text of any size."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_number(kind: pa.DataType) -> bool:
    """Return True for integers, floats and decimals."""
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )
