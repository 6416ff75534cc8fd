"""Decode vectors of Feast: lists of floats in protobuf ``feast.types.Value``, as in Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from base.arrays import Floats32, Mask
from base.errors import MalformedError
from features.store.feast.protobuf_wire import (
    FIXED32,
    FIXED64,
    NULL,
    SIZED,
    VARINT,
    fields,
    varint_bytes,
)

_LISTS: dict[int, tuple[int, np.dtype[Any]]] = {
    15: (FIXED64, np.dtype("<f8")),
    16: (FIXED32, np.dtype("<f4")),
}
"""Wire type of an element, and its type, by the number of a field with a list."""


class Lists(NamedTuple):
    """N decoded lists of W numbers.

    Attributes:
        values: float32[N, W], NaN for a null.
        absent: bool[N].
        invalid: bool[N].
    """

    values: Floats32
    absent: Mask
    invalid: Mask


def lists(messages: Sequence[bytes | None], width: int) -> Lists:
    """Decode N lists of floats or doubles, None where the hash lacks the field.

    A value is invalid if it is not a list of ``width`` numbers that are finite or NaN as float32.
    """
    rows = len(messages)
    values = np.full((rows, width), np.nan, np.float32)
    absent = np.fromiter((value is None for value in messages), np.bool_, rows)
    read = absent.copy()
    for field, (_, kind) in _LISTS.items():
        head = _list_head(field, width * kind.itemsize)
        size = len(head) + width * kind.itemsize
        usual = np.fromiter(
            (v is not None and len(v) == size and v.startswith(head) for v in messages), bool, rows
        )
        if usual.any():
            joined = b"".join(value for value in compress(messages, usual) if value is not None)
            table = np.frombuffer(joined, np.uint8).reshape(-1, size)[:, len(head) :]
            with np.errstate(over="ignore"):
                values[usual] = np.ascontiguousarray(table).view(kind)
            read |= usual
    if not read.all():
        # Mostly nulls: few distinct ones.
        rest = [value for value in compress(messages, ~read) if value is not None]
        vectors = {value: _vector_or_infinite(value, width) for value in set(rest)}
        values[~read] = [vectors[value] for value in rest]
    invalid = np.asarray(np.isinf(values).any(axis=1))
    values[invalid] = np.nan
    return Lists(values, absent, invalid)


def elements(message: bytes) -> Floats32 | None:
    """Decode the list in a ``Value``, None for a null; MalformedError if it is no list of floats.

    An element may stand alone or packed with others, as protobuf demands of each reader.
    """
    parts: list[Floats32] | None = None
    last = NULL
    for field, wire, _, content in fields(message):
        if field in _LISTS and wire == SIZED:
            # Messages of one field are merged; another field replaces the one before.
            parts = (parts or []) if field == last else []
            parts += _list_parts(content, *_LISTS[field])
        elif field == NULL and wire == VARINT:
            parts = None
        else:
            raise MalformedError(f"field {field} is not a list of floats")
        last = field
    return None if parts is None else np.concatenate([np.empty(0, np.float32), *parts])


def _vector_or_infinite(message: bytes, width: int) -> Floats32:
    with suppress(MalformedError):
        vector = elements(message)
        if vector is None:
            return np.full(width, np.nan, np.float32)
        if len(vector) == width:
            return vector
    return np.full(width, np.inf, np.float32)


def _list_head(field: int, size: int) -> bytes:
    """First bytes of a usual ``Value`` with a list, whose packed elements have ``size`` bytes."""
    packed = b"\x0a" + varint_bytes(size)
    return varint_bytes(field << 3 | SIZED) + varint_bytes(len(packed) + size) + packed


def _list_parts(message: bytes, element: int, kind: np.dtype[Any]) -> Iterator[Floats32]:
    """The elements of a ``FloatList`` or ``DoubleList``, packed ones and single ones."""
    for field, wire, value, content in fields(message):
        if field != 1 or wire not in (element, SIZED) or len(content) % kind.itemsize:
            raise MalformedError("its elements are no numbers of its type")
        packed = content if wire == SIZED else value.to_bytes(kind.itemsize, "little")
        with np.errstate(over="ignore"):
            yield np.frombuffer(packed, kind).astype(np.float32)
