"""Resolve the names of Avro schemas given as JSON values, and define every named type once.

A schema is checked only as far as reading bodies needs it. Defaults, aliases, logical types, the
spelling of symbols and documentation may be wrong: a writer's schema cannot be changed any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from base.errors import SchemaRefusedError, UndefinedNameError

Schema: TypeAlias = Any
"""A primitive or a full name, a list (union), or a dict: array, map or annotated primitive."""

MAX_JSON_DEPTH: Final = 256

_UUID_BYTES: Final = 16
_LOGICAL: Final = ("logicalType", "scale")

PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)

_LOGICAL_BASES: Final = {
    "date": ("int",),
    "decimal": ("bytes", "fixed"),
    "local-timestamp-micros": ("long",),
    "local-timestamp-millis": ("long",),
    "local-timestamp-nanos": ("long",),
    "time-micros": ("long",),
    "time-millis": ("int",),
    "timestamp-micros": ("long",),
    "timestamp-millis": ("long",),
    "timestamp-nanos": ("long",),
    "uuid": ("fixed",),
}


class Definitions:
    """Named types by full name; their parts refer to other named types by name.

    A type may be defined again if both definitions describe the same bytes.
    """

    def __init__(self) -> None:
        self._named: dict[str, dict[str, Any]] = {}
        self._again: list[dict[str, Any]] = []

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._named[name]

    def add(self, schema: object) -> Schema:
        """Resolve a schema and add the types that it defines.

        Raises:
            SchemaRefusedError: The schema is invalid; the definitions are unchanged.
        """
        check_depth(schema)
        refuse_other_documents(schema)
        before = dict(self._named)
        self._again = []
        try:
            resolved = self._resolve(schema, "")
            for definition in self._again:
                if _layout(definition) != _layout(self._named[definition["name"]]):
                    raise SchemaRefusedError(f"{definition['name']} is defined twice, differently")
        except BaseException:
            self._named = before
            raise
        return resolved

    def recursive(self) -> set[str]:
        """Records that contain themselves: at least one of every cycle of records."""
        found: set[str] = set()
        done: set[str] = set()
        for root in self._named:
            path, trail = [root], [self._inside(root)]
            while trail and root not in done:
                name = next(trail[-1], None)
                if name is None:
                    done.add(path.pop())
                    trail.pop()
                elif name in path:
                    found.update(path[path.index(name) :])
                elif name not in done:
                    path.append(name)
                    trail.append(self._inside(name))
        return found

    def _inside(self, name: str) -> Iterator[str]:
        """Names of the types that a record's fields are made of."""
        waiting = [item["type"] for item in self._named[name].get("fields", ())]
        while waiting:
            match waiting.pop():
                case list() as branches:
                    waiting += branches
                case {"items": inner} | {"values": inner}:
                    waiting.append(inner)
                case str() as inner if inner not in PRIMITIVES:
                    yield inner

    def _resolve(self, schema: object, namespace: str) -> Schema:
        match schema:
            case str():
                return self._known(schema, namespace)
            case list():
                return [self._resolve(branch, namespace) for branch in schema]
            case {"type": "array", "items": items}:
                return {"type": "array", "items": self._resolve(items, namespace)}
            case {"type": "map", "values": values}:
                return {"type": "map", "values": self._resolve(values, namespace)}
            case {"type": "record" | "error" | "enum" | "fixed" as base}:
                return self._define(base, cast("Mapping[str, Any]", schema), namespace)
            case {"type": str() as primitive} if primitive in PRIMITIVES:
                return _only(cast("Mapping[str, Any]", schema), "type", *_LOGICAL)
            case {"type": ("array" | "map") as base}:
                raise _invalid(f"{base} of nothing")
            case {"type": inner}:
                return self._resolve(inner, namespace)
            case _:
                raise _invalid("a type is a name, a list or an object with a type")

    def _known(self, name: str, namespace: str) -> str:
        """The full name of a reference.

        A name is looked up in the namespace of the reference first, then, like Java's reader does,
        without a namespace.
        """
        if name in PRIMITIVES:
            return name
        full = f"{namespace}.{name}" if namespace and "." not in name else name
        if full in self._named:
            return full
        if name in self._named:
            return name
        raise UndefinedNameError(full)

    def _define(self, base: str, schema: Mapping[str, Any], namespace: str) -> str:
        name = schema.get("name")
        if not isinstance(name, str):
            raise _invalid(f"{base} without a name")
        own = schema.get("namespace", namespace)
        if "." not in name and isinstance(own, str) and own:
            name = f"{own}.{name}"
        definition: dict[str, Any] = {"type": base, "name": name}
        if name in self._named:
            self._again.append(definition)
        else:
            self._named[name] = definition
        match base:
            case "enum":
                _check_symbols(name, schema.get("symbols"))
                definition.update(_only(schema, "symbols", "default"))
            case "fixed":
                _check_size(name, schema.get("size"))
                definition.update(_only(schema, "size", *_LOGICAL))
            case _:
                fields = self._fields(name, schema.get("fields"))
                definition.update(type="record", fields=fields)
        return name

    def _fields(self, record: str, fields: object) -> list[dict[str, Any]]:
        if not isinstance(fields, list):
            raise _invalid(f"record {record} without fields")
        namespace = record.rpartition(".")[0]
        resolved: dict[str, dict[str, Any]] = {}
        for item in fields:
            match item:
                case {"name": str() as name, "type": declared}:
                    if name in resolved:
                        raise _invalid(f"record {record} has the field {name!r} twice")
                    resolved[name] = {**item, "type": self._resolve(declared, namespace)}
                case _:
                    raise _invalid(f"record {record} has a field without a name or a type")
        return list(resolved.values())


def _only(schema: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Keep the attributes in use; all others may have any name and value."""
    return {name: schema[name] for name in names if name in schema}


def check_depth(schema: object) -> None:
    """Raise SchemaRefusedError for a schema that is nested too deeply for recursion."""
    if json_depth(schema) > MAX_JSON_DEPTH:
        raise SchemaRefusedError(f"it is nested more than {MAX_JSON_DEPTH} levels deep")


def refuse_other_documents(schema: object) -> None:
    """Raise SchemaRefusedError for JSON that contains a schema, or is a schema of another kind."""
    if not isinstance(schema, Mapping):
        return
    words = schema.keys() & {"properties", "$ref", "$defs", "anyOf", "oneOf", "allOf"}
    if "$schema" in schema or schema.get("type") == "object" or (words and "fields" not in schema):
        raise SchemaRefusedError("it looks like JSON Schema; only Avro is supported")
    if "type" not in schema and isinstance(schema.get("schema"), str):
        raise SchemaRefusedError(
            'it is an answer of a schema registry; keep the text of its "schema" alone '
            "(jq -r .schema FILE)"
        )
    if "type" not in schema and "protocol" in schema:
        raise SchemaRefusedError(
            'it is an Avro protocol; keep the record of the event, one of its "types", alone'
        )


def json_depth(value: object) -> int:
    """Levels of nesting, counted without recursion and only up to one beyond the limit."""
    level, depth = [value], 0
    while level and depth <= MAX_JSON_DEPTH:
        depth += 1
        below: list[object] = []
        for inner in level:
            if isinstance(inner, Mapping):
                below.extend(inner.values())
            elif isinstance(inner, list):
                below.extend(inner)
        level = below
    return depth


def _check_symbols(name: str, symbols: object) -> None:
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise _invalid(f"enum {name} without a list of symbols")


def _check_size(name: str, size: object) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**31:
        raise SchemaRefusedError(f"fixed {name} has the size {size!r}")


def valid_logical(schema: Mapping[str, Any]) -> str | None:
    """The logical type of a primitive or fixed; None if it has no valid one.

    The specification says to ignore an invalid logical type. Of a decimal only the scale matters:
    a wrong precision does not change its numbers. A string is read alike with or without the type
    UUID.
    """
    base, logical, scale = schema["type"], schema.get("logicalType"), schema.get("scale", 0)
    if not isinstance(logical, str) or base not in _LOGICAL_BASES.get(logical, ()):
        return None
    valid = True
    if logical == "decimal":
        valid = isinstance(scale, int) and not isinstance(scale, bool) and scale >= 0
    elif logical == "uuid":
        valid = schema["size"] == _UUID_BYTES
    return logical if valid else None


def _layout(definition: Mapping[str, Any]) -> object:
    """The layout of a named type in a body, and the names of its parts."""
    match definition["type"]:
        case "enum":
            return "enum", definition["symbols"]
        case "fixed":
            return *_annotation(definition), definition["size"]
        case _:
            fields = [(item["name"], _body(item["type"])) for item in definition["fields"]]
            return "record", fields


def _body(schema: Schema) -> object:
    """The layout of a field's type in a body, however the type is spelled."""
    match schema:
        case str():
            return schema
        case list():
            return [_body(branch) for branch in schema]
        case {"items": inner} | {"values": inner}:
            return schema["type"], _body(inner)
        case _:
            base, logical, scale = _annotation(schema)
            return base if logical is None else (base, logical, scale)


def _annotation(schema: Mapping[str, Any]) -> tuple[str, str | None, int]:
    """A primitive or fixed, its valid logical type, and the scale of a decimal."""
    logical = valid_logical(schema)
    return schema["type"], logical, schema.get("scale", 0) if logical == "decimal" else 0


def _invalid(why: str) -> SchemaRefusedError:
    return SchemaRefusedError(f"it is not valid Avro: {why}")
