"""Values of the fields of N records."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Floats32
from schemas.batch import Column, Kind


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A column without nulls, its values as in ``Column``."""

    kind: Kind
    values: npt.NDArray[Any] | pa.StringArray
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    """One encoded value for all N records: see ``RecordEncoder.constant``."""

    data: bytes


Options: TypeAlias = tuple[bytes, ...]
"""Values of a field, encoded once: see ``RecordEncoder.options``."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """One of the options for each record.

    Attributes:
        options: The options.
        codes: int[N], number of each record's option.
    """

    options: Options
    codes: npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class VectorOf:
    """A map of floats with the same keys in every record.

    Attributes:
        names: The K keys.
        values: float32[N, K].
    """

    names: tuple[str, ...]
    values: Floats32


@dataclass(frozen=True, slots=True, eq=False)
class ListOf:
    """An array or a map with items of its own in every record.

    Attributes:
        counts: int[N], number of items of each record.
        items: Values of all ``counts.sum()`` items, those of the first record first, by the item's
            path: the path of the array and ``.*``, then the field if the items are records. The
            items of a map are records of ``key`` and ``value``.
    """

    counts: npt.NDArray[np.integer[Any]]
    items: Fields


Field: TypeAlias = Column | Filled | Constant | Chosen | VectorOf | ListOf
Fields: TypeAlias = Mapping[str, Field]


def shape(fields: Fields) -> Hashable:
    """Equal for fields that one program can write."""
    return tuple((path, type(field), _shape(field)) for path, field in fields.items())


def _shape(field: Field) -> Hashable:
    match field:
        case Column() | Filled():
            return field.kind, field.scale
        case Constant():
            return field.data
        case Chosen():
            return field.options
        case VectorOf():
            return field.names
        case ListOf():
            # Without any item, columns of items may be missing.
            return shape(field.items) if field.counts.any() else None
