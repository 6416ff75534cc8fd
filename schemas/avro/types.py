"""Parse Avro schemas to checked trees: names expanded, depth and size bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from base.errors import SchemaRefusedError, UndefinedNameError
from schemas.avro.definitions import PRIMITIVES, Definitions, Schema, valid_logical

MAX_NODES: Final = 5_000
MAX_DEPTH: Final = 64


class Missing(Enum):
    """Sentinel for a missing default (None is a default: null)."""

    DEFAULT = "no default"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record."""

    name: str
    type: Type
    aliases: tuple[str, ...] = ()
    default: object = Missing.DEFAULT


@dataclass(frozen=True, slots=True, eq=False)
class RecursiveRecords:
    """The records of one schema that contain themselves, by full name."""

    types: dict[str, Type] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Type:
    """One Avro type; ``base`` decides which of the other attributes apply.

    Attributes:
        base: A primitive, or "record", "enum", "fixed", "array", "map", "union"; or "recursive",
            for the record ``name`` of ``records``.
        name: Full name of a record, enum or fixed.
        logical: Logical type, or None.
        scale: Decimal digits after the point, of a decimal.
        size: Bytes of a fixed.
        symbols: Symbols of an enum.
        default: Default symbol of an enum.
        fields: Fields of a record.
        branches: Branches of a union.
        item: Type of the items of an array, or of the values of a map.
        records: Records that contain themselves, for the base "recursive".
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
    records: RecursiveRecords | None = field(default=None, repr=False)

    @property
    def unfolded(self) -> Type:
        """The record that a recursive type stands for; other types as they are."""
        return self if self.records is None else self.records.types[self.name]


def parse_record_schema(schema: object) -> Type:
    """Parse a record schema of this project or its user, given as JSON values.

    Raises:
        SchemaRefusedError: The schema is not valid Avro, is no record, contains itself, or when
            expanded is larger than MAX_NODES types or deeper than MAX_DEPTH.
    """
    definitions = Definitions()
    top = definitions.add(schema)
    try:
        parse_schema(schema, _write_hint=False)  # type: ignore[arg-type]
    except UnknownType as error:
        raise UndefinedNameError(error.name) from error
    except SchemaParseException as error:
        raise SchemaRefusedError(f"it is not valid Avro: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaRefusedError(
            f"it is not valid Avro: an attribute has a value that it cannot have ({error})"
        ) from error
    if recursive := definitions.recursive():
        raise SchemaRefusedError(f"record {min(recursive)} contains itself")
    tree = _Expander(definitions).expand(top)
    if tree.base != "record":
        raise SchemaRefusedError(f"its top level is {tree.base}; events are records")
    return tree


def parse_writer_schema(schema: object, definitions: Definitions | None = None) -> Type:
    """Parse a schema that bodies were written with: a record, or a union with records.

    Parts that reading does not need may be invalid (see ``definitions``), and its records may
    contain themselves.

    Args:
        schema: Schema as JSON values.
        definitions: Types that the schema may refer to; those that it defines are added.

    Raises:
        SchemaRefusedError: The schema is not Avro or has no records, or when expanded is larger
            than MAX_NODES types or deeper than MAX_DEPTH.
    """
    known = Definitions() if definitions is None else definitions
    top = known.add(schema)
    tree = _Expander(known).expand(top).unfolded
    if not any(branch.unfolded.base == "record" for branch in (tree, *tree.branches)):
        raise SchemaRefusedError(f"its top level is {tree.base}; events are records")
    return tree


class _Expander:
    """Replace names by their definitions; every use of a name becomes a tree of its own.

    Only records that contain themselves are stored once, beside the tree.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._recursive = definitions.recursive()
        self._records = RecursiveRecords()
        self._waiting: list[str] = []
        self._nodes = 0
        self._depth = 0

    def expand(self, schema: Schema) -> Type:
        tree = self._bounded(schema)
        while self._waiting:
            name = self._waiting.pop()
            if name not in self._records.types:
                self._records.types[name] = self._named(self._definitions[name])
        return tree

    def _bounded(self, schema: Schema) -> Type:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise SchemaRefusedError(f"it expands to more than {MAX_NODES} types")
        if self._depth == MAX_DEPTH:
            raise SchemaRefusedError(f"it expands to more than {MAX_DEPTH} levels of types")
        self._depth += 1
        expanded = self._expand(schema)
        self._depth -= 1
        return expanded

    def _expand(self, schema: Schema) -> Type:
        match schema:
            case list():
                return self._union(schema)
            case str() if schema in PRIMITIVES:
                return Type(schema)
            case str() if schema in self._recursive:
                self._waiting.append(schema)
                return Type("recursive", schema, records=self._records)
            case str():
                return self._named(self._definitions[schema])
            case {"items": inner} | {"values": inner}:
                return Type(schema["type"], item=self._bounded(inner))
            case _:
                return _annotated(schema)

    def _union(self, branches: list[Schema]) -> Type:
        types = tuple(self._bounded(branch) for branch in branches)
        if not types:
            raise SchemaRefusedError("it holds an empty union")
        if any(branch.base == "union" for branch in types):
            raise SchemaRefusedError("it holds a union directly inside a union")
        return Type("union", branches=types)

    def _named(self, schema: Mapping[str, Any]) -> Type:
        match schema["type"]:
            case "enum":
                symbols, default = tuple(schema["symbols"]), schema.get("default")
                default = default if isinstance(default, str) else None
                return Type("enum", schema["name"], symbols=symbols, default=default)
            case "fixed":
                return _annotated(schema)
        fields = tuple(
            Field(
                item["name"],
                self._bounded(item["type"]),
                _aliases(item),
                item.get("default", Missing.DEFAULT),
            )
            for item in schema["fields"]
        )
        return Type("record", schema["name"], fields=fields)


def _aliases(schema: Mapping[str, Any]) -> tuple[str, ...]:
    aliases = schema.get("aliases")
    aliases = aliases if isinstance(aliases, list) else []
    return tuple(alias for alias in aliases if isinstance(alias, str))


def _annotated(schema: Mapping[str, Any]) -> Type:
    """A primitive or fixed, with its logical type where that is valid."""
    base, logical = schema["type"], valid_logical(schema)
    return Type(
        base,
        schema.get("name", "") if base == "fixed" else "",
        logical=logical,
        scale=schema.get("scale", 0) if logical == "decimal" else 0,
        size=schema["size"] if base == "fixed" else 0,
    )
