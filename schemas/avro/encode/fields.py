"""Values of the fields of N records, and their shape: all that a program depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.batch import Column, Kind


@dataclass(frozen=True, slots=True)
class Constant:
    """One encoded value for all N records: see ``RecordEncoder.constant``."""

    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """Values of a field that are encoded once; each record uses one of them."""

    encoded: Sequence[bytes]

    def at(self, codes: npt.NDArray[np.integer[Any]]) -> Chosen:
        """Choose option number ``codes[i]`` for record i; ``codes`` is int[N]."""
        return Chosen(self, codes)

    def where(self, bits: npt.NDArray[np.uint64]) -> Marked:
        """List option i for the records with bit i, from the lowest; ``bits`` is uint64[N]."""
        return Marked(self, bits.view(np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """One of the options for each record: see ``RecordEncoder.options``."""

    options: Options
    codes: npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """An array of some of the options of its items for each record: see ``Options.where``."""

    options: Options
    bits: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A column without nulls, its values as in ``Column``."""

    kind: Kind
    values: npt.NDArray[Any] | pa.StringArray


@dataclass(frozen=True, slots=True, eq=False)
class MapOf:
    """A map with the same keys in every record, each with a column of values.

    If the map's values are nullable, a null is written as the union's null. Otherwise that record's
    map lacks the key.
    """

    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True, eq=False)
class VectorOf:
    """A map of floating-point numbers with the same keys in every record.

    Attributes:
        names: The K keys.
        values: float[N, K].
    """

    names: tuple[str, ...]
    values: npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class ListOf:
    """An array with items of its own in every record.

    Attributes:
        counts: int[N], number of items of each record.
        items: Values of all ``counts.sum()`` items, those of the first record first, by the item's
            path: the path of the array and ``.*``, then the field if the items are records.
    """

    counts: npt.NDArray[np.integer[Any]]
    items: Mapping[str, Field]


Field: TypeAlias = Column | Filled | Constant | Chosen | Marked | MapOf | VectorOf | ListOf
Key: TypeAlias = str | tuple[str, str]
"""Path of a field, with the key of an entry of a map."""


class Gathered:
    """The fields of a micro-batch without their nesting.

    Attributes:
        fields: Field by key; fields inside lists and maps have keys of their own.
        sizes: Number of records, by "", and of items of each list in all records, by its path.
        shape: Equal for fields that one program can encode.
    """

    def __init__(self, rows: int, fields: Mapping[str, Field]) -> None:
        self.fields: dict[Key, Field] = {}
        self.sizes = {"": rows}
        shape: list[Any] = []
        self._add(fields, rows, shape)
        self.shape = tuple(shape)

    def _add(self, fields: Mapping[str, Field], size: int, shape: list[Any]) -> None:
        for path, field in fields.items():
            self.fields[path] = field
            shape += (path, type(field))
            match field:
                case Filled():
                    shape.append(field.kind)
                case Constant():
                    shape.append(field.data)
                case Chosen() | Marked():
                    shape.append(field.options)
                case Column():
                    shape += (field.kind, field.scale)
                case VectorOf():
                    shape.append(field.names)
                case MapOf():
                    for name, column in field.columns.items():
                        self.fields[path, name] = column
                    shape += ((name, c.kind, c.scale) for name, c in field.columns.items())
                case ListOf():
                    self._add_list(path, field, size, shape)

    def _add_list(self, path: str, field: ListOf, size: int, shape: list[Any]) -> None:
        if len(field.counts) != size:
            raise ValueError(f"field {path!r} of {size} records: {len(field.counts)} counts")
        self.sizes[path] = items = int(field.counts.sum())
        # A list without any item needs no values.
        shape += (len(field.items), items > 0)
        self._add(field.items, items, shape)
