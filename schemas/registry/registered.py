"""Schemas as a registry returns them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from base.errors import SchemaRefusedError
from schemas.registry.client import Answer, subject_path
from schemas.registry.framing import SchemaId

_AVRO: Final = "AVRO"


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as the registry returns it.

    Attributes:
        kind: Type of the schema, as the registry names it.
        schema: JSON values of an Avro schema; None for another type.
        references: Paths of the schema versions that it refers to.
    """

    kind: str
    schema: object
    references: tuple[str, ...]

    @property
    def avro(self) -> object:
        """JSON values of an Avro schema.

        Raises:
            SchemaRefusedError: The schema is of another type.
        """
        if self.kind != _AVRO:
            name = {"JSON": "JSON Schema", "PROTOBUF": "Protobuf"}.get(self.kind, self.kind)
            raise SchemaRefusedError(f"it is {name}; only Avro is supported")
        return self.schema


def read_registered(answer: Answer) -> RegisteredSchema:
    """Parse the registry's response to a request for a schema.

    Raises:
        ValueError: The response is not that of a registry.
    """
    kind, text = answer.get("schemaType") or _AVRO, answer.get("schema")
    if not isinstance(text, str) or not text or not isinstance(kind, str):
        raise ValueError("no schema in the answer")
    if kind != _AVRO:
        return RegisteredSchema(kind, None, ())
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        schema = None
    if not schema or not isinstance(schema, str | list | dict):
        raise ValueError("a broken schema in the answer")
    references = answer.get("references") or []
    try:
        paths = tuple(
            subject_path(item["subject"], "versions", int(item["version"])) for item in references
        )
    except (TypeError, KeyError) as error:
        raise ValueError("broken references in the answer") from error
    return RegisteredSchema(kind, schema, paths)


def schema_path(schema_id: SchemaId) -> str:
    """Path of the schema with this id or GUID."""
    form = "guids" if isinstance(schema_id, UUID) else "ids"
    return f"schemas/{form}/{schema_id}"
