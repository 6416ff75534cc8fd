"""Sources of writer schemas by id, and the source that reads them from files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol
from uuid import UUID

from base.errors import (
    ConfigurationError,
    ErrorCode,
    RecordError,
    SchemaRefusedError,
    UndefinedNameError,
)
from schemas.avro.definitions import Definitions
from schemas.avro.types import Type, parse_writer_schema
from schemas.registry.framing import SchemaId


class SchemaSource(Protocol):
    """A source of writer schemas by id."""

    @property
    def framed(self) -> bool:
        """True if a record without a schema header has its schema id before its body."""
        ...

    def get_all(self, schema_ids: Collection[SchemaId]) -> Mapping[SchemaId, Type | RecordError]:
        """Return the writer schema of each id, or the error of its records.

        Raises:
            DependencyUnavailableError: The schema of an id is not known now.
        """
        ...


def read_schema_file(path: Path) -> Type:
    """Read the writer schema in an .avsc file, with the schema files beside it that it refers to.

    Raises:
        ConfigurationError: The file cannot be read, or contains no Avro record schema.
    """
    reason: object
    try:
        known = Definitions()
        schema = _add(path, known, set())
        return parse_writer_schema(schema, known)
    except OSError as error:
        reason = error.strerror
    except json.JSONDecodeError as error:
        reason = f"it is not JSON: {error}"
    except (ValueError, RecursionError, SchemaRefusedError) as error:
        reason = error
    raise ConfigurationError(
        f"schema file {path}: {reason}. Name a file with an Avro record schema."
    )


def _add(path: Path, known: Definitions, seen: set[str]) -> object:
    """Add the types that a file defines, and those of the files beside it that it refers to.

    Args:
        path: The .avsc file.
        known: Definitions that the types are added to.
        seen: Names of the types whose files were read before.

    Returns:
        JSON values of the file.
    """
    schema = json.loads(path.read_text("utf-8-sig"))
    while True:
        try:
            known.add(schema)
            return schema
        except UndefinedNameError as error:
            beside = path.with_name(f"{error.name}.avsc")
            if error.name in seen or not beside.is_file():
                raise
            seen.add(error.name)
            _add(beside, known, seen)


class FileSchemaSource:
    """Writer schemas from files, read once.

    Args:
        paths: Schema files by id or GUID.
        default: Schema file for records without a schema id. With a default, the whole value of a
            record without a schema header is the body.

    Raises:
        ConfigurationError: A file is invalid, or no file is given.
    """

    def __init__(self, paths: Mapping[int | UUID, Path], default: Path | None = None) -> None:
        self._schemas: dict[SchemaId, Type] = {
            schema_id: read_schema_file(path) for schema_id, path in paths.items()
        }
        if default is not None:
            self._schemas[None] = read_schema_file(default)
        if not self._schemas:
            raise ConfigurationError(
                "no writer schema is configured: name schema files by id, or one default file."
            )

    @property
    def framed(self) -> bool:
        return None not in self._schemas

    def get_all(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, Type | RecordError]:
        return {
            schema_id: self._schemas.get(schema_id)
            or RecordError(
                ErrorCode.SCHEMA_UNKNOWN, f"no schema file is configured for id {schema_id}"
            )
            for schema_id in schema_ids
        }
