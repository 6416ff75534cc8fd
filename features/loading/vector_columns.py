"""Columns of a lookup file: the types of numbers, and lists of numbers as vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Mask
from features.lookups.lookup import Vector
from schemas.files.arrow_values import plain, valid_mask


def is_numeric(kind: pa.DataType) -> bool:
    """Return True for numbers, booleans, and nulls alone."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )


def is_vector(kind: pa.DataType) -> bool:
    """Return True for lists of numbers, and nulls alone."""
    lists = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    return is_numeric(kind.value_type) if lists else bool(pa.types.is_null(kind))


def vector_values(
    array: pa.Array, vector: Vector, refuse: Callable[[Mask, str], None]
) -> npt.NDArray[Any]:
    """Convert lists of numbers to vectors.

    Args:
        array: Array[N] of a type that `is_vector` accepts.
        vector: The vector.
        refuse: Called with the rows, bool[N], that have a fault, and the fault of the first one.
            Raises an error if there are such rows.

    Returns:
        [N, width] in the type of the vector, NaN where the list is null.
    """
    lists, width = plain(array), vector.width
    table = np.full((len(lists), width), np.nan, vector.dtype)
    if not pa.types.is_null(lists.type):
        rows = np.flatnonzero(valid_mask(lists))
        lengths = pc.fill_null(pc.list_value_length(lists), width).to_numpy()
        first = lengths[np.argmax(lengths != width)] if len(lengths) else width
        refuse(lengths != width, f"{vector.name} has {first} elements, and the vector {width}")
        table[rows] = _elements(lists.flatten(), rows, vector, len(lists), refuse)
    return table


def _elements(
    flat: pa.Array,
    rows: npt.NDArray[np.intp],
    vector: Vector,
    count: int,
    refuse: Callable[[Mask, str], None],
) -> npt.NDArray[Any]:
    """[R, width], the elements of the lists at ``rows``, of ``count`` rows."""

    def check(wrong: Mask, what: str) -> None:
        of_rows = np.zeros(count, np.bool_)
        of_rows[rows] = wrong.reshape(len(rows), vector.width).any(axis=1)
        refuse(of_rows, f"{vector.name} has an element that is {what}")

    check(~valid_mask(flat), "null; write NaN for one that is missing")
    if not (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)):
        flat = pc.cast(flat, pa.float64())
    numbers = flat.to_numpy(zero_copy_only=False)
    check(np.isinf(numbers), "infinite")
    with np.errstate(over="ignore"):
        elements = numbers.astype(vector.dtype)
    too_large = np.isinf(elements)
    example = numbers[np.argmax(too_large)] if len(numbers) else 0
    check(too_large, f"{example:g}, too large for {vector.dtype}")
    vectors: npt.NDArray[Any] = elements.reshape(len(rows), vector.width)
    return vectors
