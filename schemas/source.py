"""Where writer schemas come from: files that the settings name, or a schema registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
from fastavro.repository.base import SchemaRepositoryError
from fastavro.schema import SchemaParseException, load_schema

from schemas.errors import ConfigurationError, DependencyUnavailableError, ErrorCode, RecordError
from schemas.framing import SchemaId
from schemas.types import SchemaRefusedError, Type, define, parse_record_schema

_HTTP_UNKNOWN: Final = frozenset({400, 404, 422})
_MAX_UNKNOWN: Final = 10_000
# Registries count in signed integers of 32 bits; some answer larger ids with a server error.
_MAX_ID: Final = 2**31 - 1


class SchemaSource(Protocol):
    """Gives writer schemas by id."""

    @property
    def framed(self) -> bool:
        """Whether a record without a schema header names its schema in front of its body."""
        ...

    def get(self, schema_id: SchemaId) -> Type | RecordError:
        """The writer schema, or why records of it cannot be read.

        Raises DependencyUnavailableError where the answer is not known now.
        """
        ...


def read_schema_file(path: Path) -> Type:
    """The record schema in an .avsc file; what it refers to is read from files beside it.

    Raises ConfigurationError.
    """
    found: object
    try:
        # Read here first for its errors: load_schema does not say what is wrong with a file.
        json.loads(path.read_text("utf-8"))
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

    def get(self, schema_id: SchemaId) -> Type | RecordError:
        found = self._schemas.get(schema_id)
        if found is None:
            return RecordError(
                ErrorCode.SCHEMA_UNKNOWN, f"no schema file is configured for id {schema_id}"
            )
        return found


class RegistrySchemaSource:
    """Writer schemas from a schema registry, through Confluent's client.

    A schema is fetched once and kept; an id that the registry does not know is asked for again
    after ``unknown_seconds``. Every request has a timeout.
    """

    framed: Final = True

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any] | None = None,
        *,
        unknown_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """url: the registry's address, with the path under which it serves, if any.

        options: of the client, by its own names; they win over the defaults here.
        clock: seconds, never going back. Raises ConfigurationError.
        """
        defaults = {"timeout": 5, "max.retries": 1, "retries.wait.ms": 100}
        try:
            self._client = SchemaRegistryClient({**defaults, **(options or {}), "url": url})
        except (ValueError, TypeError, OSError) as error:
            raise ConfigurationError(
                f"schema registry {_without_user(url)}: {error}. Correct its address or options."
            ) from error
        self._address = _without_user(url)
        self._unknown_seconds = unknown_seconds
        self._clock = clock
        self._known: dict[SchemaId, Type | RecordError] = {}
        self._unknown: dict[SchemaId, tuple[float, RecordError]] = {}

    def get(self, schema_id: SchemaId) -> Type | RecordError:
        if schema_id is None or (isinstance(schema_id, int) and schema_id > _MAX_ID):
            return RecordError(
                ErrorCode.SCHEMA_UNKNOWN, f"{schema_id} is no schema id of a registry"
            )
        known = self._known.get(schema_id)
        if known is not None:
            return known
        until, error = self._unknown.get(schema_id, (0.0, None))
        if error is not None and self._clock() < until:
            return error
        fetched = self._fetch(schema_id)
        if isinstance(fetched, RecordError) and fetched.code is ErrorCode.SCHEMA_UNKNOWN:
            if len(self._unknown) >= _MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[schema_id] = (self._clock() + self._unknown_seconds, fetched)
        else:
            self._known[schema_id] = fetched
        return fetched

    def _fetch(self, schema_id: int | UUID) -> Type | RecordError:
        try:
            return self._parse(self._schema(schema_id))
        except SchemaRegistryError as error:
            if error.http_status_code in _HTTP_UNKNOWN:
                return RecordError(
                    ErrorCode.SCHEMA_UNKNOWN, f"the registry has no schema {schema_id}"
                )
            found = f"HTTP status {error.http_status_code}"
        except SchemaRefusedError as error:
            return RecordError(ErrorCode.SCHEMA_REFUSED, f"schema {schema_id}: {error}")
        # The client lets the errors of its HTTP library through, whichever that is.
        except Exception as error:  # noqa: BLE001
            found = f"{type(error).__name__}: {error}"
        raise DependencyUnavailableError(
            f"schema registry {self._address}, asked for schema {schema_id}: {found}"
        )

    def _schema(self, schema_id: int | UUID) -> Schema:
        if isinstance(schema_id, UUID):
            return self._client.get_schema_by_guid(str(schema_id))
        return self._client.get_schema(schema_id)

    def _parse(self, schema: Schema) -> Type:
        """A schema after those that it refers to. Raises SchemaRefusedError."""
        named: dict[str, Any] = {}
        self._add_references(schema, named, set())
        return parse_record_schema(_json(schema), named)

    def _add_references(
        self, schema: Schema, named: dict[str, Any], seen: set[tuple[str | None, int | None]]
    ) -> None:
        for reference in schema.references or []:
            key = (reference.subject, reference.version)
            if key in seen:
                continue
            seen.add(key)
            if reference.subject is None or reference.version is None:
                raise SchemaRefusedError("a reference of it has no subject or no version")
            referred = self._client.get_version(reference.subject, reference.version).schema
            self._add_references(referred, named, seen)
            define(_json(referred), named)


def _json(schema: Schema) -> object:
    if schema.schema_type != "AVRO":
        raise SchemaRefusedError(f"it is of type {schema.schema_type}, not Avro")
    try:
        return json.loads(schema.schema_str or "")
    except (ValueError, RecursionError) as error:
        raise SchemaRefusedError(f"it is not JSON: {type(error).__name__}") from error


def _without_user(url: str) -> str:
    """An address without the user and password that it may carry."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else url
