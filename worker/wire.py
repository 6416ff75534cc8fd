"""Where schemas come from, and how scores are framed: a registry, or files and fixed ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from schemas.errors import ConfigurationError, ErrorCode, RecordError
from schemas.framing import SchemaId
from schemas.source import FileSchemaSource, RegistrySchemaSource, SchemaSource, read_schema_file
from schemas.types import Type, parse_record_schema
from worker.settings import Registry, WorkerSettings, read_secret

WRITER_SCHEMAS = "writer-schemas"


def score_schema() -> dict[str, Any]:
    """``score.avsc``."""
    return _schema_of("score.avsc")


def label_schema() -> dict[str, Any]:
    """``label.avsc``."""
    return _schema_of("label.avsc")


def framed(schema_id: int) -> bytes:
    """Confluent's prefix: magic 0 and the schema id, big-endian."""
    return b"\x00" + schema_id.to_bytes(4, "big")


def schema_source(settings: WorkerSettings, reader_schema: Path) -> SchemaSource:
    """Writer schemas from the registry, or from files.

    Without a registry the schema of features.yaml stands for ``wire.schema_id``, and older or
    newer writers for the ids that files in ``writer-schemas`` beside it are named by.
    """
    if settings.registry is not None:
        return RegistrySchemaSource(settings.registry.url, registry_options(settings.registry))
    if settings.wire.framing == "none":
        return FileSchemaSource({}, default=reader_schema)
    paths: dict[int | UUID, Path] = {settings.wire.schema_id: reader_schema}
    for path in sorted((settings.features.parent / WRITER_SCHEMAS).glob("*.avsc")):
        schema_id = _named_id(path)
        if schema_id in paths:
            raise ConfigurationError(
                f"{path}: id {schema_id} already stands for {paths[schema_id]} "
                "(wire.schema_id); rename the file or change the setting"
            )
        paths[schema_id] = path
    return FileSchemaSource(paths)


def label_source(settings: WorkerSettings) -> SchemaSource:
    """Writer schemas of the labels topic: from the registry, or ``label.avsc``.

    Without a registry it stands for every id but those of events and scores, and those that files in
    ``writer-schemas`` are named by.
    """
    if settings.registry is not None:
        return RegistrySchemaSource(settings.registry.url, registry_options(settings.registry))
    own = parse_record_schema(label_schema())
    if settings.wire.framing == "none":
        return _LabelSchemas(framed=False, own=own, others={}, taken=frozenset())
    paths = sorted((settings.features.parent / WRITER_SCHEMAS).glob("*.avsc"))
    others = {_named_id(path): read_schema_file(path) for path in paths}
    taken = frozenset({settings.wire.schema_id, settings.wire.score_schema_id}) - others.keys()
    return _LabelSchemas(framed=True, own=own, others=others, taken=taken)


@dataclass(frozen=True, slots=True)
class _LabelSchemas:
    """own: of all ids but ``others``; those ``taken`` are of records that are no labels."""

    framed: bool
    own: Type
    others: Mapping[int | UUID, Type]
    taken: frozenset[int | UUID]

    def get(self, schema_id: SchemaId) -> Type | RecordError:
        if schema_id in self.taken:
            return RecordError(
                ErrorCode.SCHEMA_UNKNOWN, f"id {schema_id} is that of events or scores (wire)"
            )
        return self.own if schema_id is None else self.others.get(schema_id, self.own)


def score_prefix(settings: WorkerSettings) -> bytes:
    """What goes before each score.

    Raises ConfigurationError when the registry does not have score.avsc, or does not answer.
    """
    if settings.registry is not None:
        return framed(_registered_score_id(settings.registry, settings.kafka.output_topic))
    if settings.wire.framing == "none":
        return b""
    return framed(settings.wire.score_schema_id)


def registry_options(registry: Registry) -> dict[str, Any]:
    """Options of Confluent's client."""
    options: dict[str, Any] = {"timeout": registry.timeout_s}
    if registry.password_file is not None:
        secret = read_secret(registry.password_file, "registry.password_file")
        user = registry.username or ""
        options["basic.auth.user.info"] = f"{user}:{secret.get_secret_value()}"
    return options


def _schema_of(name: str) -> dict[str, Any]:
    text = files("schemas").joinpath(name).read_text("utf-8")
    return cast("dict[str, Any]", json.loads(text))


def _registered_score_id(registry: Registry, topic: str) -> int:
    schema, subject = Schema(json.dumps(score_schema()), "AVRO"), f"{topic}-value"
    try:
        with SchemaRegistryClient({"url": registry.url, **registry_options(registry)}) as client:
            if registry.register_score_schema:
                return cast("int", client.register_schema(subject, schema))
            return cast("int", client.lookup_schema(subject, schema).schema_id)
    except SchemaRegistryError as error:
        raise ConfigurationError(
            f"registry.url: subject {subject} does not have score.avsc ({error}); register it, or "
            "set registry.register_score_schema"
        ) from None
    # The client lets the errors of its HTTP library through, whichever that is.
    except Exception as error:  # noqa: BLE001
        raise ConfigurationError(
            f"registry.url: {registry.url} does not answer ({type(error).__name__}); see that it "
            "is up: it is needed at the start"
        ) from None


def _named_id(path: Path) -> int | UUID:
    try:
        return int(path.stem) if path.stem.isdecimal() else UUID(path.stem)
    except ValueError:
        raise ConfigurationError(
            f"{path}: its name is no schema id; name it ID.avsc or GUID.avsc"
        ) from None
