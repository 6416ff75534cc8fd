"""Paths in use of a reader schema, and the column type of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from base.errors import ConfigurationError
from schemas.avro.types import Type
from schemas.batch import Kind

# Logical types of a point in time: microseconds are value * first // second.
MICROS: Final = {
    "timestamp-millis": (1_000, 1),
    "timestamp-micros": (1, 1),
    "timestamp-nanos": (1, 1_000),
    "local-timestamp-millis": (1_000, 1),
    "local-timestamp-micros": (1, 1),
    "local-timestamp-nanos": (1, 1_000),
    "date": (86_400_000_000, 1),
}


class PathType(NamedTuple):
    """Column type of a path.

    Attributes:
        kind: Kind of the column.
        scale: Decimal digits after the point, for decimals; 0 for other kinds.
        nullable: True if the value may be null.
    """

    kind: Kind
    scale: int
    nullable: bool


@dataclass(frozen=True, slots=True)
class Target:
    """A path in use.

    Attributes:
        slot: Place of the path among the columns.
        path: Dotted path.
        type: Column type of the path.
        leaf: Type of the value in the reader schema, without its union with null.
    """

    slot: int
    path: str
    type: PathType
    leaf: Type


def targets(reader: Type, paths: Iterable[str]) -> tuple[Target, ...]:
    """The targets of ``paths`` in a reader schema, in the order of ``paths``.

    Raises:
        ConfigurationError: A path does not exist or has no column kind.
    """
    return tuple(_target(slot, path, reader) for slot, path in enumerate(dict.fromkeys(paths)))


def _target(slot: int, path: str, reader: Type) -> Target:
    here, nullable, passed = reader, False, ""
    for name in path.split("."):
        where = f"reader schema {reader.name}, path {path!r}"
        if here.base != "record":
            raise ConfigurationError(f"{where}: {passed!r} is {here.base}, which has no fields.")
        field = next((item for item in here.fields if item.name == name), None)
        if field is None:
            known = ", ".join(item.name for item in here.fields)
            raise ConfigurationError(
                f"{where}: {here.name} has no field {name!r}. It has: {known}. Name one of these."
            )
        passed = f"{passed}.{name}" if passed else name
        here, optional = without_null(field.type)
        nullable = nullable or optional
    kind = _kind(here)
    if kind is None:
        raise ConfigurationError(
            f"reader schema {reader.name}, path {path!r}: {describe(here)} is not a value that a "
            "column holds. Bind a boolean, number, string, enum, time or decimal, or a nullable "
            "union of one with null; paths go through records."
        )
    scale = here.scale if kind is Kind.DECIMAL else 0
    return Target(slot, path, PathType(kind, scale, nullable), here)


def without_null(declared: Type) -> tuple[Type, bool]:
    """The one type of a nullable union, and True if null is allowed; another type unchanged."""
    if declared.base != "union":
        return declared, False
    others = [branch for branch in declared.branches if branch.base != "null"]
    if len(others) != 1:
        return declared, False
    return others[0], len(others) < len(declared.branches)


def _kind(leaf: Type) -> Kind | None:
    match leaf.base:
        case "boolean":
            return Kind.BOOL
        case "int" | "long":
            return Kind.TIME if leaf.logical in MICROS else Kind.LONG
        case "float" | "double":
            return Kind.DOUBLE
        case "string" | "enum":
            return Kind.STRING
        case "bytes" | "fixed" if leaf.logical == "decimal":
            return Kind.DECIMAL
        case _:
            return None


def describe(declared: Type) -> str:
    """Name of a type for an error message."""
    return f"{declared.base} ({declared.logical})" if declared.logical else declared.base
