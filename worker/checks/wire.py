"""Schemas: those of the writers against the reader's, and that of the scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from features.definition import FeatureSet
from schemas.errors import RecordError
from schemas.projection import IncompatibleError, project
from schemas.source import RegistrySchemaSource, read_schema_file
from schemas.targets import targets
from schemas.types import Type, parse_record_schema
from worker.checks.finding import Finding, failed, ok, warning
from worker.settings import Registry, WorkerSettings
from worker.wire import WRITER_SCHEMAS, registry_options, schema_source, score_prefix, score_schema

WRITERS, SCORES = "writer schemas", "score schema"
_UNKNOWN = 404
_REACHABLE = "see that it is up and that registry.url, username and password_file are right"


def check_writers(settings: WorkerSettings, feature_set: FeatureSet) -> list[Finding]:
    """That records of each known writer schema can be decoded on columns."""
    if settings.registry is not None:
        return _registered_writer(settings, settings.registry, feature_set)
    # Refuses files that are no schemas, and names that are no ids.
    schema_source(settings, feature_set.schema_path)
    folder = settings.features.parent / WRITER_SCHEMAS
    framed = settings.wire.framing == "confluent"
    paths = [feature_set.schema_path, *(sorted(folder.glob("*.avsc")) if framed else ())]
    return _resolved(settings, feature_set, ((p.name, read_schema_file(p)) for p in paths))


def _registered_writer(
    settings: WorkerSettings, registry: Registry, feature_set: FeatureSet
) -> list[Finding]:
    subject = f"{settings.kafka.input_topic}-value"
    try:
        newest = _client(registry).get_latest_version(subject)
    except SchemaRegistryError as error:
        if error.http_status_code != _UNKNOWN:
            return [failed(WRITERS, f"{registry.url}: {error}", _REACHABLE)]
        remedy = "nothing, if no event was written yet or producers name their subjects otherwise"
        return [warning(WRITERS, f"the registry has no subject {subject}", remedy)]
    # The client lets the errors of its HTTP library through, whichever that is.
    except Exception as error:  # noqa: BLE001
        found = f"{registry.url} does not answer: {type(error).__name__}"
        return [failed(WRITERS, found, _REACHABLE)]
    if newest.schema_id is None:
        return [failed(WRITERS, f"{registry.url} gives subject {subject} no id", _REACHABLE)]
    writer = RegistrySchemaSource(registry.url, registry_options(registry)).get(newest.schema_id)
    name = f"{subject}, version {newest.version}, id {newest.schema_id}"
    if isinstance(writer, RecordError):
        return [failed(WRITERS, f"{name}: {writer.message}", "register a schema that can be read")]
    return _resolved(settings, feature_set, [(name, writer)])


def _resolved(
    settings: WorkerSettings, feature_set: FeatureSet, writers: Iterable[tuple[str, Type]]
) -> list[Finding]:
    names, findings = [], []
    for name, why in _resolve(settings, feature_set, writers):
        names.append(name)
        if why:
            remedy = (
                f"give {feature_set.schema_path.name} a default or a type that Avro resolves, or "
                "take the writer's schema away"
            )
            findings.append(failed(WRITERS, f"{name}: {why}", remedy))
    fields = len(feature_set.paths)
    return findings or [ok(WRITERS, f"{', '.join(names)}: {fields} fields in use, on columns")]


def _resolve(
    settings: WorkerSettings, feature_set: FeatureSet, writers: Iterable[tuple[str, Type]]
) -> Iterator[tuple[str, str]]:
    """The name of each writer, and why its records cannot be decoded ("" where they can)."""
    reader = parse_record_schema(feature_set.reader_schema)
    wanted = targets(reader, feature_set.paths.union(settings.output.carry))
    for name, writer in writers:
        try:
            project(writer, reader, wanted)
        except IncompatibleError as error:
            yield name, str(error)
        else:
            yield name, ""


def check_scores(settings: WorkerSettings) -> list[Finding]:
    """That consumers of the scores can find score.avsc."""
    registry, wire = settings.registry, settings.wire
    if registry is not None:
        if registry.register_score_schema:
            return [_registrable(registry, f"{settings.kafka.output_topic}-value")]
        schema_id = int.from_bytes(score_prefix(settings)[1:], "big")
        return [ok(SCORES, f"score.avsc is registered with id {schema_id}")]
    if wire.framing == "none":
        return [ok(SCORES, "bare bodies; consumers need score.avsc itself")]
    return [ok(SCORES, f"framed with id {wire.score_schema_id}; consumers need score.avsc itself")]


def _registrable(registry: Registry, subject: str) -> Finding:
    """Whether score.avsc may be registered at the start; nothing is registered here."""
    schema = Schema(json.dumps(score_schema()), "AVRO")
    try:
        compatible = _client(registry).test_compatibility(subject, schema)
    except SchemaRegistryError as error:
        if error.http_status_code == _UNKNOWN:
            return ok(SCORES, f"subject {subject} is new; the start registers score.avsc")
        return failed(SCORES, f"{registry.url}: {error}", _REACHABLE)
    except Exception as error:  # noqa: BLE001 - as above
        return failed(SCORES, f"{registry.url} does not answer: {type(error).__name__}", _REACHABLE)
    if compatible:
        return ok(SCORES, f"score.avsc fits subject {subject}; the start registers it")
    found = f"subject {subject} holds a schema that score.avsc is not compatible with"
    return failed(SCORES, found, "write the scores to another topic, or change its compatibility")


def _client(registry: Registry) -> SchemaRegistryClient:
    options: dict[str, Any] = {"max.retries": 0, **registry_options(registry)}
    return SchemaRegistryClient({**options, "url": registry.url})
