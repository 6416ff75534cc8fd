"""Nodes of a record schema, each of which encodes its field of N records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Mask
from base.errors import ConfigurationError
from schemas.avro.encode.body import Body, Present
from schemas.avro.encode.leaf import LeafWriter
from schemas.batch import Column

Schema = Any
"""A parsed Avro schema or a part of one: a name, a union as a list, or a mapping."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One encoded value for all N records: see ``RecordEncoder.constant``."""

    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """N values that are already encoded, as BinaryArray[N]: see ``RecordEncoder.options``."""

    values: pa.BinaryArray


@dataclass(frozen=True, slots=True, eq=False)
class MapOf:
    """A map with the same keys in every record, each with a column of values.

    If the map's values are nullable, a null is written as the union's null. Otherwise that record's
    map lacks the key.
    """

    columns: Mapping[str, Column]


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


Field = Column | Constant | Encoded | MapOf | ListOf
Fields = Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class Union:
    """A union with one type besides null.

    Attributes:
        null: Encoded index of the null branch; None if the union has no null.
        value: Encoded index of the other branch.
    """

    null: bytes | None
    value: bytes

    def write(self, body: Body, valid: Present, present: Present) -> None:
        """Write the index of the value's branch where ``valid``, else that of null."""
        if valid is None or self.null is None:
            body.constant(self.value, present)
        else:
            branches = np.where(valid, self.value[0], self.null[0])
            body.number(branches, "u1", present)


@dataclass(frozen=True, slots=True)
class Node:
    """A field that takes only encoded values: a union of several types, plain bytes.

    Attributes:
        path: Dotted path of the field.
        schema: Parsed schema with its union and the definitions of the names that it uses.
        union: Branches of the field's union; None without one.
    """

    path: str
    schema: Schema
    union: Union | None

    def encode_value(self, value: Any) -> bytes:
        """Encode a value for this field with fastavro."""
        out = BytesIO()
        fastavro.schemaless_writer(out, self.schema, value)
        return out.getvalue()

    def given(self, fields: Fields) -> bool:
        """Return True if a value is given for this field, or for one inside it."""
        return self.path in fields

    def write(self, body: Body, fields: Fields, present: Present) -> None:
        """Write this field of all records where ``present``."""
        value = fields.get(self.path)
        match value:
            case Constant(data):
                body.constant(data, present)
            case Encoded(values):
                body.encoded(values, present)
            case None:
                raise ConfigurationError(
                    f"field {self.path!r} has no default in the schema, and no value was given"
                )
            case _:
                raise ConfigurationError(
                    f"field {self.path!r} is of type {_type_name(self.schema)}: "
                    f"it does not take a {type(value).__name__}"
                )


@dataclass(frozen=True, slots=True)
class LeafNode(Node):
    """A primitive, an enum or a logical type, which takes a column."""

    writer: LeafWriter

    def write(self, body: Body, fields: Fields, present: Present) -> None:
        """Write a column, or encoded values."""
        value = fields.get(self.path)
        if isinstance(value, Column):
            self.write_column(body, value, present)
        else:
            Node.write(self, body, fields, present)

    def write_column(self, body: Body, column: Column, present: Present) -> None:
        """Write a column of values; its nulls become the union's null."""
        if column.kind not in self.writer.kinds:
            raise ConfigurationError(
                f"field {self.path!r} takes a column of {' or '.join(self.writer.kinds)}, "
                f"not of {column.kind}"
            )
        valid = None if column.valid.all() else column.valid
        if self.union is not None:
            self.union.write(body, valid, present)
        if self.union is not None and self.union.null is not None:
            present = both(present, valid)
        elif valid is not None and (present is None or not valid[present].all()):
            raise ValueError(f"field {self.path!r} has nulls, and its schema allows none")
        if present is None or present.any():
            self.writer.write(body, self.path, column, present)


@dataclass(frozen=True, slots=True)
class MapNode(Node):
    """A map, which takes a column for each of its keys."""

    values: LeafNode

    def write(self, body: Body, fields: Fields, present: Present) -> None:
        """Write a column for each key, or encoded values."""
        value = fields.get(self.path)
        if isinstance(value, MapOf):
            self._write_columns(body, value.columns, present)
        else:
            Node.write(self, body, fields, present)

    def _write_columns(self, body: Body, columns: Mapping[str, Column], present: Present) -> None:
        if self.union is not None:
            self.union.write(body, None, present)
        keeps_nulls = self.values.union is not None and self.values.union.null is not None
        held: dict[str, Present] = {
            name: None if keeps_nulls or column.valid.all() else column.valid
            for name, column in columns.items()
        }
        _write_count(body, list(held.values()), present)
        for name, column in columns.items():
            here = both(present, held[name])
            key = name.encode()
            body.constant(encode_long(len(key)) + key, here)
            self.values.write_column(body, column, here)
        body.constant(b"\x00", present)


@dataclass(frozen=True, slots=True)
class RecordNode(Node):
    """A record.

    Attributes:
        fields: Node of each field, with its encoded default or None.
        paths: Paths of the fields inside the record.
    """

    fields: tuple[tuple[Node, bytes | None], ...]
    paths: frozenset[str] = field(repr=False)

    def given(self, fields: Fields) -> bool:
        """Return True if a value is given for the record, or for a field inside it."""
        return self.path in fields or not self.paths.isdisjoint(fields)

    def write(self, body: Body, fields: Fields, present: Present) -> None:
        """Write the fields one by one, or encoded values of the whole record."""
        if self.path in fields or (self.union is not None and not self.given(fields)):
            Node.write(self, body, fields, present)
            return
        if self.union is not None:
            valid = self.valid(fields)
            self.union.write(body, valid, present)
            present = both(present, valid)
        for node, default in self.fields:
            if default is not None and not node.given(fields):
                body.constant(default, present)
            else:
                node.write(body, fields, present)

    def valid(self, fields: Fields) -> Present:
        """Rows in which a column inside the record has a value; None if every record is written."""
        if self.union is None or self.union.null is None:
            return None
        valid: Mask | None = None
        for path in self.paths & fields.keys():
            match fields[path]:
                case Column(valid=held):
                    pass
                case ListOf(counts=counts):
                    held = counts > 0
                case _:
                    return None
            if held.all():
                return None
            valid = held if valid is None else valid | held
        return valid


def _write_count(body: Body, held: list[Present], present: Present) -> None:
    """Write the number of entries of each map, which precedes the block of its entries.

    An empty map has no block, so no count is written for it here.
    """
    masks = [mask for mask in held if mask is not None]
    always = len(held) - len(masks)
    if masks:
        counts = np.sum(masks, axis=0) + always
        body.varint(counts, present if always else both(present, counts > 0))
    elif always:
        body.constant(encode_long(always), present)


def both(one: Present, other: Present) -> Present:
    """Rows where both masks are True; a mask of None is True everywhere."""
    if one is None:
        return other
    return one if other is None else one & other


def encode_long(value: int) -> bytes:
    """Encode a non-negative number as an Avro long."""
    out = BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


def _type_name(schema: Schema) -> str:
    if isinstance(schema, list):
        return "union of " + ", ".join(_type_name(branch) for branch in schema)
    if isinstance(schema, str):
        return schema
    return str(schema["type"])
