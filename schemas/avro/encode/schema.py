"""Build the nodes that encode a parsed record schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from base.errors import ConfigurationError
from schemas.avro.encode.leaf import leaf_type
from schemas.avro.encode.nodes import ArrayNode, LeafNode, Node, RecordNode, Schema, encode_value


def build(
    path: str, schema: Schema, named: Mapping[str, Schema], enclosing: tuple[str, ...] = ()
) -> Node:
    """Build the node for a parsed schema; ``named`` holds its named types.

    Raises:
        ConfigurationError: The schema is recursive.
    """
    complete = _standalone(schema, named, set())
    null, branch, inner = _split_union(schema)
    node = path, complete, null, branch
    if isinstance(inner, str) and inner in named:
        inner = named[inner]
    if isinstance(inner, dict) and inner["type"] == "record":
        return RecordNode(*node, *_build_fields(path, inner, named, enclosing))
    if isinstance(inner, dict) and inner["type"] == "map":
        # Avro writes a map as an array of its entries.
        fields = [{"name": "key", "type": "string"}, {"name": "value", "type": inner["values"]}]
        entry = {"type": "record", "name": f"{path}.*", "fields": fields}
        inner = {"type": "array", "items": entry}
    if isinstance(inner, dict) and inner["type"] == "array":
        item = build(f"{path}.*", inner["items"], named, enclosing)
        inside = frozenset(node.path for node in walk(item))
        return ArrayNode(*node, item, inside)
    leaf = None if isinstance(inner, list) else leaf_type(inner)
    if leaf is None:
        return Node(*node)
    return LeafNode(*node, leaf)


def walk(node: Node, *, items: bool = False) -> list[Node]:
    """The node and the nodes inside it that take a value.

    With ``items``, the nodes inside arrays are included.
    """
    if isinstance(node, RecordNode):
        return [node, *(inner for child, _ in node.fields for inner in walk(child, items=items))]
    if isinstance(node, ArrayNode) and items:
        return [node, *walk(node.item, items=True)]
    return [node]


def _build_fields(
    path: str, schema: dict[str, Any], named: Mapping[str, Schema], enclosing: tuple[str, ...]
) -> tuple[tuple[tuple[Node, bytes | None], ...], frozenset[str]]:
    """Nodes of the fields of a record with their encoded defaults, and all paths inside it."""
    name = schema["name"]
    if name in enclosing:
        raise ConfigurationError(f"record {name!r} contains itself: recursive schemas are refused")
    fields: list[tuple[Node, bytes | None]] = []
    for entry in schema["fields"]:
        inner_path = f"{path}.{entry['name']}" if path else entry["name"]
        node = build(inner_path, entry["type"], named, (*enclosing, name))
        default = None
        if "default" in entry:
            value = _default_value(entry["default"], entry["type"], named)
            default = encode_value(node.schema, value)
        fields.append((node, default))
    paths = frozenset(inner.path for node, _ in fields for inner in walk(node))
    return tuple(fields), paths


def _split_union(schema: Schema) -> tuple[bytes | None, bytes, Schema]:
    """The branches and the type of a union of one type, with or without null."""
    others = [i for i, branch in enumerate(schema) if branch != "null"]
    if not isinstance(schema, list) or len(others) != 1:
        return None, b"", schema
    null = encode_value("long", schema.index("null")) if "null" in schema else None
    return null, encode_value("long", others[0]), schema[others[0]]


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
