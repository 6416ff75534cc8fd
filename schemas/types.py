"""Avro schemas as checked trees: names expanded, bounded in depth and size, never recursive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from fastavro.schema import SchemaParseException, UnknownType, parse_schema

MAX_NODES: Final = 5_000
MAX_DEPTH: Final = 64
MAX_JSON_DEPTH: Final = 4 * MAX_DEPTH

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
}


class Missing(Enum):
    """Stands for a default that the schema does not give (None is a default: null)."""

    DEFAULT = "no default"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record."""

    name: str
    type: Type
    aliases: tuple[str, ...] = ()
    default: object = Missing.DEFAULT


@dataclass(frozen=True, slots=True)
class Type:
    """One Avro type; which of the attributes hold depends on ``base``.

    base: a primitive, or "record", "enum", "fixed", "array", "map", "union".
    item: of an array or a map. default: of an enum. size: of a fixed. scale: of a decimal.
    """

    base: str
    name: str = ""
    logical: str | None = None
    scale: int = 0
    size: int = 0
    symbols: tuple[str, ...] = ()
    default: str | None = None
    fields: tuple[Field, ...] = ()
    branches: tuple[Type, ...] = ()
    item: Type | None = field(default=None)


class SchemaRefusedError(Exception):
    """A schema that is not valid Avro, or that this project does not read. Says which and why."""


def parse_record_schema(schema: object, named: dict[str, Any] | None = None) -> Type:
    """The tree of a record schema given as JSON values.

    named: definitions that the schema may refer to, by full name, as ``parse_schema`` of fastavro
        fills them; those of ``schema`` are added.

    Raises SchemaRefusedError for what is no valid Avro, is no record, refers to itself (decoders
    recurse on such data until the process ends), or when expanded is larger than MAX_NODES types or
    deeper than MAX_DEPTH.
    """
    definitions: dict[str, Any] = {} if named is None else named
    tree = _Expander(definitions).expand(define(schema, definitions))
    if tree.base != "record":
        raise SchemaRefusedError(f"its top level is {tree.base}; events are records")
    return tree


def define(schema: object, named: dict[str, Any]) -> Any:
    """Checks a schema given as JSON values, and adds its definitions to ``named``.

    Returns it with full names in place of relative ones. Raises SchemaRefusedError.
    """
    if json_depth(schema) > MAX_JSON_DEPTH:
        raise SchemaRefusedError(f"it is nested more than {MAX_JSON_DEPTH} levels deep")
    try:
        return parse_schema(schema, named_schemas=named, _write_hint=False)  # type: ignore[arg-type]
    except UnknownType as error:
        raise SchemaRefusedError(f"it refers to {error.name!r}, which is not defined") from error
    except SchemaParseException as error:
        raise SchemaRefusedError(f"it is not valid Avro: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaRefusedError(f"it is not valid Avro: {error!r}") from error


def json_depth(schema: object) -> int:
    """Levels of nesting, found without recursion; stops counting past the limit."""
    level, depth = [schema], 0
    while level and depth <= MAX_JSON_DEPTH:
        depth += 1
        below: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = below
    return depth


class _Expander:
    """Replaces references by what they name; every use of a name is a tree of its own."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._open: list[str] = []
        self._nodes = 0
        self._depth = 0

    def expand(self, schema: Any) -> Type:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise SchemaRefusedError(f"it expands to more than {MAX_NODES} types")
        if self._depth == MAX_DEPTH:
            raise SchemaRefusedError(f"it expands to more than {MAX_DEPTH} levels of types")
        self._depth += 1
        expanded = self._expand(schema)
        self._depth -= 1
        return expanded

    def _expand(self, schema: Any) -> Type:
        if isinstance(schema, list):
            return self._union(schema)
        if isinstance(schema, str):
            return Type(schema) if schema in PRIMITIVES else self.expand(self._named[schema])
        base = schema["type"]
        if not isinstance(base, str) or base in self._named:
            return self.expand(base)
        match base:
            case "record" | "error":
                return self._record(schema)
            case "enum":
                return Type(
                    base,
                    schema["name"],
                    symbols=tuple(schema["symbols"]),
                    default=schema.get("default"),
                )
            case "array":
                return Type(base, item=self.expand(schema["items"]))
            case "map":
                return Type(base, item=self.expand(schema["values"]))
            case _:
                return self._annotated(base, schema)

    def _union(self, branches: list[Any]) -> Type:
        types = tuple(self.expand(branch) for branch in branches)
        if not types:
            raise SchemaRefusedError("it holds an empty union")
        if any(branch.base == "union" for branch in types):
            raise SchemaRefusedError("it holds a union directly inside a union")
        return Type("union", branches=types)

    def _record(self, schema: Mapping[str, Any]) -> Type:
        name = schema["name"]
        if name in self._open:
            raise SchemaRefusedError(f"record {name} contains itself")
        self._open.append(name)
        fields = tuple(
            Field(
                item["name"],
                self.expand(item["type"]),
                tuple(item.get("aliases", ())),
                item.get("default", Missing.DEFAULT),
            )
            for item in schema["fields"]
        )
        self._open.pop()
        return Type("record", name, fields=fields)

    @staticmethod
    def _annotated(base: str, schema: Mapping[str, Any]) -> Type:
        """A primitive or fixed, with its logical type."""
        size = schema.get("size", 0)
        if not isinstance(size, int) or not 0 <= size < 2**31:
            raise SchemaRefusedError(f"fixed {schema.get('name')} has the size {size!r}")
        scale = schema.get("scale", 0)
        logical = schema.get("logicalType")
        # A logical type on a type that it is not defined for is to be ignored.
        annotates = isinstance(logical, str) and base in _LOGICAL_BASES.get(logical, ())
        return Type(
            base,
            schema.get("name", ""),
            logical=logical if annotates else None,
            scale=scale if isinstance(scale, int) else 0,
            size=size,
        )
