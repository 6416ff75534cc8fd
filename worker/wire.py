"""Where schemas come from, and how scores are framed: a registry, or files and fixed ids."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from schemas.errors import ConfigurationError
from schemas.source import FileSchemaSource, RegistrySchemaSource, SchemaSource
from worker.settings import Registry, WorkerSettings, read_secret

WRITER_SCHEMAS = "writer-schemas"


def score_schema() -> dict[str, Any]:
    """``score.avsc``."""
    text = files("schemas").joinpath("score.avsc").read_text("utf-8")
    return cast("dict[str, Any]", json.loads(text))


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
