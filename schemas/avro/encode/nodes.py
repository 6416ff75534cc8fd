"""The parts of a record schema, each of which writes its field of N records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ConfigurationError
from schemas.avro.encode.body import Body, Mask, Present
from schemas.avro.encode.leaf import LeafWriter
from schemas.batch import Column

Schema = Any
"""A parsed Avro schema or a part of one: a name, a union as a list, or a mapping."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One value for all N records, encoded: see ``RecordEncoder.constant``."""

    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """N values that are encoded already, as BinaryArray[N]: see ``RecordEncoder.options``."""

    values: pa.BinaryArray


@dataclass(frozen=True, slots=True, eq=False)
class MapOf:
    """A map with the same keys in every record, each with a column of values.

    A null is written as the union's null where the map's values are nullable; otherwise that
    record's map has no such key.
    """

    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True, eq=False)
class ListOf:
    """An array with items of its own in every record.

    counts: int[N], how many. items: what the ``counts.sum()`` items hold, those of the first record
    first, by the item's path: that of the array and ``.*``, and further for a record's fields.
    """

    counts: npt.NDArray[np.integer[Any]]
    items: Mapping[str, Field]


Field = Column | Constant | Encoded | MapOf | ListOf
Fields = Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class Union:
    """The branches of a union with one type besides null: the encoded index of each.

    ``null`` is None where the union has no null.
    """

    null: bytes | None
    value: bytes

    def write(self, body: Body, valid: Present, present: Present) -> None:
        """The value's branch where ``valid``, else null's."""
        if valid is None or self.null is None:
            body.constant(self.value, present)
        else:
            branches = np.where(valid, self.value[0], self.null[0])
            body.number(branches, "u1", present)


@dataclass(frozen=True, slots=True)
class Node:
    """A field that takes encoded values only: a union of several types, plain bytes.

    schema: parsed, with the definitions of the names that it uses, its union included.
    """

    path: str
    schema: Schema
    union: Union | None

    def encode_value(self, value: Any) -> bytes:
        """The value as fastavro encodes it for this field."""
        out = BytesIO()
        fastavro.schemaless_writer(out, self.schema, value)
        return out.getvalue()

    def given(self, fields: Fields) -> bool:
        """Whether there is a value for this field, or for one inside it."""
        return self.path in fields

    def write(self, body: Body, fields: Fields, present: Present) -> None:
        """This field of all records where ``present``."""
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
        """A column, or encoded values."""
        value = fields.get(self.path)
        if isinstance(value, Column):
            self.write_column(body, value, present)
        else:
            Node.write(self, body, fields, present)

    def write_column(self, body: Body, column: Column, present: Present) -> None:
        """A column of values, its nulls as the union's null."""
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
        """A column for each key, or encoded values."""
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
    """A record: its fields, each with the encoded default or None, and the paths inside it."""

    fields: tuple[tuple[Node, bytes | None], ...]
    paths: frozenset[str] = field(repr=False)

    def given(self, fields: Fields) -> bool:
        """Whether there is a value for the record, or for a field of it."""
        return self.path in fields or not self.paths.isdisjoint(fields)

    def write(self, body: Body, fields: Fields, present: Present) -> None:
        """Its fields one by one, or encoded values of the whole."""
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
        """True where a column inside has a value; None where every record is to be written."""
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
    """How many entries each map has: blocks of items stand behind their count, none behind a 0."""
    masks = [mask for mask in held if mask is not None]
    always = len(held) - len(masks)
    if masks:
        counts = np.sum(masks, axis=0) + always
        body.varint(counts, present if always else both(present, counts > 0))
    elif always:
        body.constant(encode_long(always), present)


def both(one: Present, other: Present) -> Present:
    """Where both are; None stands for everywhere."""
    if one is None:
        return other
    return one if other is None else one & other


def encode_long(value: int) -> bytes:
    """A non-negative number as Avro writes a long."""
    out = BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


def _type_name(schema: Schema) -> str:
    if isinstance(schema, list):
        return "union of " + ", ".join(_type_name(branch) for branch in schema)
    if isinstance(schema, str):
        return schema
    return str(schema["type"])
