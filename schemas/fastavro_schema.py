"""Convert checked schema trees to schemas for fastavro."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from schemas.avro.types import Type

Annotate: TypeAlias = Callable[[Type], Mapping[str, Any]]
"""Returns the attributes of the logical type of a primitive or fixed; empty for the bare type."""

_MAX_DIGITS: Final = 1_000


class FastavroSchema:
    """A schema tree as JSON values, with a generated name for every use of a named type.

    With generated names, fastavro never applies its own rules for resolving or refusing names.
    fastavro checks the symbols of an enum when it parses a schema, but not when it reads, so
    ``restore`` inserts the real symbols after parsing.

    Args:
        tree: Checked schema tree.
        annotate: Returns the attributes of a logical type.

    Attributes:
        json: The schema as JSON values, for ``fastavro.parse_schema``.
    """

    def __init__(self, tree: Type, annotate: Annotate) -> None:
        self._annotate = annotate
        self._names = 0
        self._symbols: dict[str, tuple[str, ...]] = {}
        self.json = self._of(tree)

    def restore(self, parsed: Any) -> None:
        """Insert the real symbols into the schema that fastavro parsed from ``json``."""
        match parsed:
            case list():
                for branch in parsed:
                    self.restore(branch)
            case {"type": "enum", "name": name}:
                parsed["symbols"] = list(self._symbols[name])
            case {"fields": fields}:
                for item in fields:
                    self.restore(item["type"])
            case {"items": inner} | {"values": inner}:
                self.restore(inner)

    def _of(self, tree: Type) -> Any:
        match tree.base:
            case "record":
                name = self._name()
                fields = [{"name": item.name, "type": self._of(item.type)} for item in tree.fields]
                return {"type": "record", "name": name, "fields": fields}
            case "union":
                return [self._of(branch) for branch in tree.branches]
            case "array" | "map":
                inner = self._of(tree.item or Type("null"))
                return {"type": tree.base, "items" if tree.base == "array" else "values": inner}
            case "enum":
                name = self._name()
                self._symbols[name] = tree.symbols
                symbols = [f"S{number}" for number in range(len(tree.symbols))]
                return {"type": "enum", "name": name, "symbols": symbols}
            case "fixed":
                own = {"name": self._name(), "size": tree.size}
                return {"type": "fixed", **own, **self._annotate(tree)}
            case _:
                # fastavro reads a bare name faster.
                more = self._annotate(tree)
                return {"type": tree.base, **more} if more else tree.base

    def _name(self) -> str:
        self._names += 1
        return f"fraud_worker.N{self._names}"


def decimals(declared: Type) -> Mapping[str, Any]:
    """Attributes of a decimal, with the largest precision; empty for another type."""
    digits = _MAX_DIGITS
    if declared.base == "fixed":
        digits = int((8 * declared.size - 1) * 0.30103)
    if declared.logical != "decimal" or not 0 <= declared.scale <= digits or digits <= 0:
        return {}
    return {"logicalType": "decimal", "precision": digits, "scale": declared.scale}
