"""The fields of a parsed record schema as a tree of nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import fastavro

from base.errors import ConfigurationError
from schemas.avro.encode.leaf import LeafType, leaf_type

Schema = Any
"""A parsed Avro schema or a part of one: a name, a union as a list, or a mapping."""


@dataclass(frozen=True, slots=True)
class Union:
    """A union with one type besides null.

    Attributes:
        null: Encoded index of the null branch; None if the union has no null.
        value: Encoded index of the other branch.
    """

    null: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Node:
    """A field; one of this class takes only encoded values: a union of several types, plain bytes.

    Attributes:
        path: Dotted path of the field.
        schema: Parsed schema with its union and the definitions of the names that it uses.
        union: Branches of the field's union; None without one.
    """

    path: str
    schema: Schema
    union: Union | None

    @property
    def nullable(self) -> bool:
        """True if the field's union has null."""
        return self.union is not None and self.union.null is not None

    def encode_value(self, value: Any) -> bytes:
        """Encode a value for this field with fastavro."""
        return encode_value(self.schema, value)

    def given(self, fields: Collection[str]) -> bool:
        """Return True if ``fields`` has the path of this field, or of one inside it."""
        return self.path in fields


@dataclass(frozen=True, slots=True)
class LeafNode(Node):
    """A primitive, an enum or a logical type, which takes a column."""

    type: LeafType


@dataclass(frozen=True, slots=True)
class MapNode(Node):
    """A map, which takes a column for each of its keys."""

    values: LeafNode


@dataclass(frozen=True, slots=True)
class ArrayNode(Node):
    """An array, which takes columns over the items of all records.

    Attributes:
        item: Node of an item.
        paths: Paths inside an item.
    """

    item: Node
    paths: frozenset[str] = field(repr=False)


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


def build(
    path: str, schema: Schema, named: Mapping[str, Schema], enclosing: tuple[str, ...] = ()
) -> Node:
    """Build the node for a parsed schema; ``named`` holds its named types.

    Raises:
        ConfigurationError: The schema is recursive.
    """
    complete = _standalone(schema, named, set())
    union, inner = _split_union(schema)
    if isinstance(inner, str) and inner in named:
        inner = named[inner]
    if isinstance(inner, dict) and inner["type"] == "record":
        return _build_record(path, complete, union, inner, named, enclosing)
    if isinstance(inner, dict) and inner["type"] == "map":
        values = build(f"{path}.*", inner["values"], named, enclosing)
        if isinstance(values, LeafNode):
            return MapNode(path, complete, union, values)
    if isinstance(inner, dict) and inner["type"] == "array":
        item = build(f"{path}.*", inner["items"], named, enclosing)
        inside = frozenset(node.path for node in walk(item))
        return ArrayNode(path, complete, union, item, inside)
    leaf = None if isinstance(inner, list) else leaf_type(inner)
    if leaf is None:
        return Node(path, complete, union)
    return LeafNode(path, complete, union, leaf)


def encode_value(schema: Schema, value: Any) -> bytes:
    """Encode a value with fastavro."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def walk(node: Node, *, items: bool = False) -> list[Node]:
    """The node and the nodes inside it that take a value.

    With ``items``, the nodes inside arrays are included.
    """
    if isinstance(node, RecordNode):
        return [node, *(inner for child, _ in node.fields for inner in walk(child, items=items))]
    if isinstance(node, ArrayNode) and items:
        return [node, *walk(node.item, items=True)]
    return [node]


def _build_record(
    path: str,
    complete: Schema,
    union: Union | None,
    schema: dict[str, Any],
    named: Mapping[str, Schema],
    enclosing: tuple[str, ...],
) -> RecordNode:
    name = schema["name"]
    if name in enclosing:
        raise ConfigurationError(f"record {name!r} contains itself: recursive schemas are refused")
    fields: list[tuple[Node, bytes | None]] = []
    for entry in schema["fields"]:
        inner_path = f"{path}.{entry['name']}" if path else entry["name"]
        node = build(inner_path, entry["type"], named, (*enclosing, name))
        default = None
        if "default" in entry:
            default = node.encode_value(_default_value(entry["default"], entry["type"], named))
        fields.append((node, default))
    paths = frozenset(inner.path for node, _ in fields for inner in walk(node))
    return RecordNode(path, complete, union, tuple(fields), paths)


def _split_union(schema: Schema) -> tuple[Union | None, Schema]:
    """The branches and the type of a union of one type, with or without null."""
    if not isinstance(schema, list):
        return None, schema
    others = [i for i, branch in enumerate(schema) if branch != "null"]
    if len(others) != 1:
        return None, schema
    null = encode_value("long", schema.index("null")) if "null" in schema else None
    return Union(null, encode_value("long", others[0])), schema[others[0]]


def _standalone(schema: Schema, named: Mapping[str, Schema], defined: set[str]) -> Schema:
    """The same schema, with each name that it uses defined at its first use."""
    match schema:
        case str() if schema in named and schema not in defined:
            return _standalone(named[schema], named, defined)
        case list():
            return [_standalone(branch, named, defined) for branch in schema]
        case {"type": "record", "fields": fields, "name": name}:
            defined.add(name)
            inner = [{**f, "type": _standalone(f["type"], named, defined)} for f in fields]
            return {"type": "record", "name": name, "fields": inner}
        case {"type": "array", "items": items}:
            return {**schema, "items": _standalone(items, named, defined)}
        case {"type": "map", "values": values}:
            return {**schema, "values": _standalone(values, named, defined)}
        case {"name": name}:
            defined.add(name)
    return schema


def _default_value(default: Any, schema: Schema, named: Mapping[str, Schema]) -> Any:
    """The Python value of a default that the schema gives as JSON."""
    if isinstance(schema, list):
        return _default_value(default, schema[0], named)
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    avro_type = schema if isinstance(schema, str) else schema["type"]
    if avro_type in ("bytes", "fixed"):
        # The specification: code points 0 to 255 stand for the bytes 0 to 255.
        return default.encode("latin-1")
    if avro_type == "record":
        return {
            entry["name"]: _default_value(
                default.get(entry["name"], entry.get("default")), entry["type"], named
            )
            for entry in schema["fields"]
        }
    return default
