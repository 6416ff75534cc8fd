"""Nodes of a record schema, each of which appends what writes its field to a program."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from io import BytesIO
from operator import attrgetter
from typing import Any

import fastavro
import numpy as np

from base.arrays import Mask
from base.errors import ConfigurationError
from schemas.avro.encode.fields import Chosen, Constant, Fields, Filled, ListOf, VectorOf
from schemas.avro.encode.kernel.instructions import MOST_LENGTH, WHOLE
from schemas.avro.encode.leaf import LeafType
from schemas.avro.encode.program import EncoderProgram
from schemas.batch import Column

Schema = Any
"""A parsed Avro schema or a part of one: a name, a union as a list, or a mapping."""


@dataclass(frozen=True, slots=True)
class Node:
    """A field that takes only encoded values: a union of several types, plain bytes.

    Attributes:
        path: Dotted path of the field.
        schema: Parsed schema with its union and the definitions of the names that it uses.
        null: Encoded null; None if the schema allows none.
        branch: Index of the type in a union, encoded; empty if the schema is no union.
    """

    path: str
    schema: Schema
    null: bytes | None
    branch: bytes

    def given(self, fields: Collection[str]) -> bool:
        """Return True if a value is given for this field, or for one inside it."""
        return self.path in fields

    def write(self, program: EncoderProgram, fields: Fields) -> None:
        """Append what writes this field."""
        path, value = self.path, fields.get(self.path)
        match value:
            case Constant(data):
                program.constant(data)
            case Chosen(options):
                program.choice(path, options)
            case None:
                raise ConfigurationError(
                    f"field {path!r} has no default in the schema, and no value was given"
                )
            case _:
                raise ConfigurationError(
                    f"field {path!r} is of type {_type_name(self.schema)}: "
                    f"it does not take a {type(value).__name__}"
                )


@dataclass(frozen=True, slots=True)
class LeafNode(Node):
    """A primitive, an enum or a logical type, which takes a column."""

    type: LeafType

    def write(self, program: EncoderProgram, fields: Fields) -> None:
        """Append what writes a column, whose nulls become the union's null, or encoded values."""
        path, column = self.path, fields.get(self.path)
        if not isinstance(column, Column | Filled):
            Node.write(self, program, fields)
            return
        if column.kind not in self.type.kinds:
            raise ConfigurationError(
                f"field {path!r} takes a column of {' or '.join(self.type.kinds)}, "
                f"not of {column.kind}"
            )
        jump = None
        if isinstance(column, Column):
            jump = program.skip(path, attrgetter("valid"), self.null)
        program.constant(self.branch)
        self.type.write(program, path, column.scale)
        program.land(jump)


@dataclass(frozen=True, slots=True)
class ArrayNode(Node):
    """An array or a map, which takes columns over the items of all records.

    Attributes:
        item: Node of an item.
        paths: Paths inside an item.
    """

    item: Node
    paths: frozenset[str] = field(repr=False)

    def write(self, program: EncoderProgram, fields: Fields) -> None:
        """Append what writes a block of items behind its number; no block stands for no items."""
        match fields.get(self.path):
            case ListOf() as lists:
                program.constant(self.branch)
                self._write_items(program, lists)
            case VectorOf(names) if self.schema == {"type": "map", "values": "float"}:
                if names:
                    program.constant(encode_value("long", len(names)))
                    program.vector(self.path, [encode_value("string", name) for name in names])
            case _:
                Node.write(self, program, fields)
                return
        program.constant(b"\x00")

    def _write_items(self, program: EncoderProgram, lists: ListOf) -> None:
        path = self.path
        if unknown := sorted(lists.items.keys() - self.paths):
            raise ConfigurationError(
                f"field {path!r} takes {', '.join(sorted(self.paths))}, not {unknown[0]!r}"
            )
        if lists.counts.any():
            items = EncoderProgram()
            self.item.write(items, lists.items)
            counts = attrgetter("counts")
            jump = program.skip(path, counts, b"")
            program.values(WHOLE, path, (0, 2**31, 1, 1), MOST_LENGTH, read=counts)
            program.text(path, lambda lists: items.run_items(path, lists), prefixed=False)
            program.land(jump)


@dataclass(frozen=True, slots=True)
class RecordNode(Node):
    """A record.

    Attributes:
        fields: Node of each field, with its encoded default or None.
        paths: Paths of the fields inside the record.
    """

    fields: tuple[tuple[Node, bytes | None], ...]
    paths: frozenset[str] = field(repr=False)

    def given(self, fields: Collection[str]) -> bool:
        return self.path in fields or not self.paths.isdisjoint(fields)

    def write(self, program: EncoderProgram, fields: Fields) -> None:
        """Append what writes the fields one by one, or encoded values of the whole record."""
        if self.path in fields or (self.branch and not self.given(fields)):
            Node.write(self, program, fields)
            return
        always = self.valid(fields) is None
        jump = None if always else program.skip(self.path, self.valid, self.null)
        program.constant(self.branch)
        for node, default in self.fields:
            if default is not None and not node.given(fields):
                program.constant(default)
            else:
                node.write(program, fields)
        program.land(jump)

    def valid(self, fields: Fields) -> Mask | None:
        """Rows in which a column inside the record has a value; None if every record is written."""
        inside = [fields[path] for path in self.paths & fields.keys()]
        masks = [value.valid for value in inside if isinstance(value, Column)]
        masks += [value.counts > 0 for value in inside if isinstance(value, ListOf)]
        if self.null is None or len(masks) < len(inside):
            return None
        valid: Mask = np.logical_or.reduce(masks)
        return valid


def encode_value(schema: Schema, value: Any) -> bytes:
    """Encode a value with fastavro."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def _type_name(schema: Schema) -> str:
    if isinstance(schema, list):
        return "union of " + ", ".join(_type_name(branch) for branch in schema)
    if isinstance(schema, str):
        return schema
    return str(schema["type"])
