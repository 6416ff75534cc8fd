"""Fields of the reader schema that bindings and features can use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from base.errors import ConfigurationError, SchemaRefusedError
from schemas.avro.paths import PathType, describe, targets, without_null
from schemas.avro.types import Type, parse_record_schema


class SchemaFields:
    """The reader schema of a feature set, and the types of its paths."""

    def __init__(self, schema: dict[str, Any], root: Type) -> None:
        self.schema = schema
        self._root = root
        self.known = {path: self.type_of(path) for path in _usable(root, "")}

    @classmethod
    def read(cls, path: Path) -> SchemaFields:
        """The schema file at ``path``; ConfigurationError where it is missing or refused."""
        try:
            schema = json.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ConfigurationError(f"schema {path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"schema {path} is not JSON: {error}") from error
        try:
            return cls(schema, parse_record_schema(schema))
        except SchemaRefusedError as error:
            raise ConfigurationError(f"schema {path} cannot be used: {error}") from error

    def type_of(self, path: str) -> PathType:
        """The type that ``path`` decodes to; ConfigurationError if it has no column kind."""
        return targets(self._root, (path,))[0].type

    def describe_unusable(self, path: str) -> str:
        """Reason that the type of the field at ``path`` cannot be used; "" for an unknown field."""
        here, passed = self._root, ""
        for name in path.split("."):
            if here.base != "record":
                return f"{passed} is of type {describe(here)}, which has no fields to name"
            field = next((field for field in here.fields if field.name == name), None)
            if field is None:
                return ""
            passed = f"{passed}.{name}" if passed else name
            here, _ = without_null(field.type)
        inner = next(iter(here.fields), None)
        hint = "" if inner is None else f": name a field in it, such as {path}.{inner.name}"
        return f"{path} is of type {describe(here)}, not a value that a column holds{hint}"


def _usable(record: Type, prefix: str) -> Iterator[str]:
    """Dotted paths, through records and nullable records, whose leaf has a column kind."""
    for field in record.fields:
        path = f"{prefix}{field.name}"
        inner = field.type
        if inner.base == "union":
            others = [branch for branch in inner.branches if branch.base != "null"]
            if len(others) != 1:
                continue
            inner = others[0]
        if inner.base == "record":
            yield from _usable(inner, f"{path}.")
        elif inner.base in _LEAVES or inner.logical == "decimal":
            yield path


_LEAVES = frozenset({"boolean", "int", "long", "float", "double", "string", "enum"})
