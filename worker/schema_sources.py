"""Schemas and framing of a worker's records, from a registry or from files and fixed ids."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from base.errors import (
    ConfigurationError,
    ErrorCode,
    NotInRegistryError,
    RecordError,
    RegistryRefusedError,
)
from features.definition import FeatureSet
from models.policy import Rules
from schemas.avro.decoder import Decoder
from schemas.avro.types import Type, parse_record_schema
from schemas.registry.client import Answer, RegistryClient, subject_path
from schemas.registry.framing import SchemaId
from schemas.registry.registry_source import RegistrySchemaSource
from schemas.registry.source import (
    FileSchemaSource,
    FixedSchemaSource,
    SchemaSource,
    read_schema_file,
)
from worker.settings import Registry, WorkerSettings, read_secret

WRITER_SCHEMAS = "writer-schemas"
# An id has four bytes in Confluent's prefix.
_END_OF_IDS = 2**32
_OF_TRACES = ("traceparent", "tracestate")
"""Headers of W3C Trace Context, which hold random ids."""


def score_schema() -> dict[str, Any]:
    """Schema of scores, ``score.avsc``."""
    return _schema_of("score.avsc")


def label_schema() -> dict[str, Any]:
    """Schema of labels, ``label.avsc``."""
    return _schema_of("label.avsc")


def framed(schema_id: int) -> bytes:
    """Confluent's prefix of a record: magic byte 0, and the schema id in big-endian order."""
    return b"\x00" + schema_id.to_bytes(4, "big")


def fields_read(
    settings: WorkerSettings, feature_set: FeatureSet, rules: Rules | None
) -> frozenset[str]:
    """Paths of the fields that a worker reads: of features, policy and ``output.carry``.

    A record becomes a dead letter if its writer's schema cannot give one of these fields.

    Args:
        settings: Settings of the worker.
        feature_set: Feature set of the worker.
        rules: Compiled policy; None if no policy is valid.
    """
    of_policy = frozenset() if rules is None else rules.paths
    return feature_set.paths | of_policy | frozenset(settings.output.carry)


def event_decoder(
    settings: WorkerSettings, feature_set: FeatureSet, rules: Rules | None
) -> Decoder:
    """Make the decoder of the input topic, for the worker and all commands that read its events.

    Arguments are those of `fields_read`.

    Raises:
        ConfigurationError: Schemas or registry settings are invalid, ``output.carry`` names a field
            that cannot be read, or ``output.headers`` a header that may hold what has a token.
    """
    unsafe = [name for name in settings.output.headers if name not in _OF_TRACES]
    if unsafe and feature_set.bindings.token_key is not None:
        raise ConfigurationError(
            f"output.headers: {unsafe[0]} may hold a value that has a token in features.yaml, and "
            f"headers are copied as they are: remove it; only {' and '.join(_OF_TRACES)} are taken"
        )
    return Decoder(
        schema_source(settings, feature_set.schema_path),
        feature_set.reader_schema,
        fields_read(settings, feature_set, rules),
        max_record_bytes=settings.wire.max_record_bytes,
        max_collection_items=settings.wire.max_collection_items,
    )


def schema_source(settings: WorkerSettings, reader_schema: Path) -> SchemaSource:
    """Make the source of writer schemas of the input topic: the registry, or files.

    Without a registry, ``wire.schema_id`` is the id of the schema in features.yaml. Files in
    ``writer-schemas`` beside features.yaml, each named after its id, hold the schemas of older or
    newer writers.
    """
    if settings.registry is not None:
        return registry_source(settings.registry)
    if settings.wire.framing == "none":
        return FileSchemaSource({}, default=reader_schema)
    paths: dict[int | UUID, Path] = {settings.wire.schema_id: reader_schema}
    for path in sorted((settings.features.parent / WRITER_SCHEMAS).glob("*.avsc")):
        schema_id = _named_id(path)
        if schema_id in paths:
            raise ConfigurationError(
                f"{path}: id {schema_id} is already that of {paths[schema_id]} "
                "(wire.schema_id); rename the file or change the setting"
            )
        paths[schema_id] = path
    return FileSchemaSource(paths)


def label_source(settings: WorkerSettings) -> SchemaSource:
    """Make the source of writer schemas of the labels topic: the registry, or ``label.avsc``.

    Without a registry, every id is that of ``label.avsc``, except the ids of events and scores, and
    those of the files in ``writer-schemas``.
    """
    if settings.registry is not None:
        return registry_source(settings.registry)
    own = parse_record_schema(label_schema())
    if settings.wire.framing == "none":
        return FixedSchemaSource(own, framed=False)
    others: dict[SchemaId, Type | RecordError] = {
        schema_id: RecordError(
            ErrorCode.SCHEMA_UNKNOWN, f"id {schema_id} is that of events or scores (wire)"
        )
        for schema_id in (settings.wire.schema_id, settings.wire.score_schema_id)
    }
    for path in sorted((settings.features.parent / WRITER_SCHEMAS).glob("*.avsc")):
        others[_named_id(path)] = read_schema_file(path)
    return FixedSchemaSource(own, framed=True, others=others)


def score_prefix(settings: WorkerSettings) -> bytes:
    """Get the bytes that precede each score: Confluent's prefix, or none.

    Raises:
        ConfigurationError: The registry does not have score.avsc, or refuses it.
        DependencyUnavailableError: The registry does not answer.
    """
    if settings.registry is not None:
        register = settings.registry.register_score_schema
        return framed(
            _registered_id(
                settings.registry, "score", settings.kafka.output_topic, register=register
            )
        )
    if settings.wire.framing == "none":
        return b""
    return framed(settings.wire.score_schema_id)


def label_prefix(settings: WorkerSettings, topic: str) -> bytes:
    """Get the bytes that precede each label in ``topic``: Confluent's prefix, or none.

    Raises:
        ConfigurationError: The registry does not have label.avsc, or refuses it; without a
            registry, ``wire.label_schema_id`` is the id of another schema.
        DependencyUnavailableError: The registry does not answer.
    """
    if settings.registry is not None:
        register = settings.registry.register_label_schema
        return framed(_registered_id(settings.registry, "label", topic, register=register))
    if settings.wire.framing == "none":
        return b""
    schema_id = settings.wire.label_schema_id
    for path in sorted((settings.features.parent / WRITER_SCHEMAS).glob("*.avsc")):
        if _named_id(path) == schema_id:
            raise ConfigurationError(
                f"wire.label_schema_id: {schema_id} is the id of {path}, so readers would decode "
                "labels with that schema; give labels another id"
            )
    return framed(schema_id)


def registry_client(registry: Registry) -> RegistryClient:
    """Make a client of the registry. Raises ConfigurationError for an unreadable password."""

    def credentials() -> tuple[str, str] | None:
        if registry.password_file is None:
            return None
        secret = read_secret(registry.password_file, "registry.password_file")
        return registry.username or "", secret.get_secret_value()

    # At the start, a file that cannot be read is an error of the settings; later, it is an outage.
    credentials()
    return RegistryClient(registry.url, credentials=credentials, timeout_s=registry.timeout_s)


def registry_source(registry: Registry) -> RegistrySchemaSource:
    """Make a source of the registry's schemas; errors are those of `registry_client`."""
    return RegistrySchemaSource(registry_client(registry), give_up_s=registry.give_up_s)


def read_id(answer: Answer) -> int:
    """Read the schema id of an answer. Raises ValueError if it has none."""
    schema_id = answer.get("id")
    if not isinstance(schema_id, int) or not 0 <= schema_id < _END_OF_IDS:
        raise ValueError("no schema id in the answer")
    return schema_id


def _schema_of(name: str) -> dict[str, Any]:
    text = files("schemas").joinpath(name).read_text("utf-8")
    return cast("dict[str, Any]", json.loads(text))


def _registered_id(registry: Registry, records: str, topic: str, *, register: bool) -> int:
    """Id of the schema of ``records`` (score or label) under the subject of their topic."""
    file = f"{records}.avsc"
    subject, body = f"{topic}-value", {"schema": json.dumps(_schema_of(file))}
    path = subject_path(subject, *(["versions"] if register else []))
    try:
        return registry_client(registry).ask("POST", path, read_id, body)
    except NotInRegistryError as error:
        raise ConfigurationError(
            f"registry.url: subject {subject} does not have {file} ({error}); register it, or set "
            f"registry.register_{records}_schema"
        ) from None
    except RegistryRefusedError as error:
        raise ConfigurationError(
            f"registry.url: subject {subject} refuses {file} ({error}); write the {records}s to "
            "another topic, or change its compatibility"
        ) from None


def _named_id(path: Path) -> int | UUID:
    try:
        return int(path.stem) if path.stem.isdecimal() else UUID(path.stem)
    except ValueError:
        raise ConfigurationError(
            f"{path}: its name is not a schema id; name it ID.avsc or GUID.avsc"
        ) from None
