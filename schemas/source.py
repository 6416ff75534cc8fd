"""Writer schemas by id, and those that come from files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol
from uuid import UUID

from fastavro.repository.base import SchemaRepositoryError
from fastavro.schema import SchemaParseException, load_schema

from schemas.errors import ConfigurationError, ErrorCode, RecordError
from schemas.framing import SchemaId
from schemas.types import SchemaRefusedError, Type, looks_like_json_schema, parse_record_schema


class SchemaSource(Protocol):
    """Gives writer schemas by id."""

    @property
    def framed(self) -> bool:
        """Whether a record without a schema header names its schema in front of its body."""
        ...

    def get_all(self, schema_ids: Collection[SchemaId]) -> Mapping[SchemaId, Type | RecordError]:
        """The writer schema of each id, or why records of it cannot be read.

        Raises DependencyUnavailableError where the answer for one is not known now.
        """
        ...


def read_schema_file(path: Path) -> Type:
    """The record schema in an .avsc file; what it refers to is read from files beside it.

    Raises ConfigurationError.
    """
    found: object
    try:
        # Read here first for its errors: load_schema does not say what is wrong with a file.
        if looks_like_json_schema(json.loads(path.read_text("utf-8"))):
            raise SchemaRefusedError("it looks like JSON Schema; Avro is read")
        return parse_record_schema(load_schema(str(path), _write_hint=False))
    except OSError as error:
        found = error.strerror
    except json.JSONDecodeError as error:
        found = f"it is not JSON: {error}"
    except (ValueError, RecursionError, SchemaRefusedError) as error:
        found = error
    except (SchemaParseException, SchemaRepositoryError) as error:
        found = f"it is not valid Avro: {error}"
    raise ConfigurationError(
        f"schema file {path}: {found}. Name a file with an Avro record schema."
    )


class FileSchemaSource:
    """Writer schemas from files, read once.

    paths: by id or GUID. default: the schema of records that name none; with it, a record without
    a schema header is taken to be all body. Raises ConfigurationError.
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
