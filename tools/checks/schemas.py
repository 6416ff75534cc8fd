"""Checks of schemas: each writer schema against the reader schema, and the score schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from base.errors import (
    DependencyUnavailableError,
    IncompatibleError,
    NotInRegistryError,
    RecordError,
    RegistryRefusedError,
)
from features.definition import FeatureSet
from models.policy import Rules
from schemas.avro.paths import targets
from schemas.avro.resolution import project
from schemas.avro.types import Type, parse_record_schema
from schemas.registry.client import Answer, subject_path
from schemas.registry.source import read_schema_file
from tools.checks.finding import Finding, failed, ok, warning
from worker.schema_sources import (
    WRITER_SCHEMAS,
    fields_read,
    read_id,
    registry_client,
    registry_source,
    schema_source,
    score_prefix,
    score_schema,
)
from worker.settings import Registry, WorkerSettings

WRITERS, SCORES = "writer schemas", "score schema"
_OTHER_TOPIC = "write the scores to another topic, or change its compatibility"
_REACHABLE = "see that it is up, and check registry.url, username and password_file"


def check_writers(
    settings: WorkerSettings, feature_set: FeatureSet, rules: Rules | None
) -> list[Finding]:
    """Check that records of each known writer schema can be decoded to columns.

    Args:
        settings: The settings of the worker.
        feature_set: The feature set.
        rules: The policy; None if it is invalid.
    """
    read = fields_read(settings, feature_set, rules)
    if settings.registry is not None:
        return _registered_writer(settings, settings.registry, feature_set, read)
    # Refuses files that are not schemas, and names that are not ids.
    schema_source(settings, feature_set.schema_path)
    folder = settings.features.parent / WRITER_SCHEMAS
    framed = settings.wire.framing == "confluent"
    paths = [feature_set.schema_path, *(sorted(folder.glob("*.avsc")) if framed else ())]
    return _resolved(feature_set, read, ((p.name, read_schema_file(p)) for p in paths))


def _registered_writer(
    settings: WorkerSettings,
    registry: Registry,
    feature_set: FeatureSet,
    read: frozenset[str],
) -> list[Finding]:
    subject = f"{settings.kafka.input_topic}-value"
    try:
        client = registry_client(registry)
        version, schema_id = client.ask(
            "GET", subject_path(subject, "versions", "latest"), _read_version
        )
        writer = registry_source(registry).get_all([schema_id])[schema_id]
    except NotInRegistryError:
        remedy = "ignore it if no event was written yet, or if producers use other subject names"
        return [warning(WRITERS, f"the registry has no subject {subject}", remedy)]
    except DependencyUnavailableError as error:
        return [failed(WRITERS, str(error), _REACHABLE)]
    name = f"{subject}, version {version}, id {schema_id}"
    if isinstance(writer, RecordError):
        return [failed(WRITERS, f"{name}: {writer.message}", "register a valid schema")]
    return _resolved(feature_set, read, [(name, writer)])


def _read_version(answer: Answer) -> tuple[int, int]:
    version = answer.get("version")
    if not isinstance(version, int):
        raise ValueError("no version in the answer")  # noqa: TRY004 - what `ask` expects
    return version, read_id(answer)


def _resolved(
    feature_set: FeatureSet, read: frozenset[str], writers: Iterable[tuple[str, Type]]
) -> list[Finding]:
    names, findings = [], []
    for name, why in _resolve(feature_set, read, writers):
        names.append(name)
        if why:
            remedy = (
                f"give {feature_set.schema_path.name} a default, or a type that Avro resolves the "
                "writer's to; or delete the writer's schema"
            )
            findings.append(failed(WRITERS, f"{name}: {why}", remedy))
    return findings or [
        ok(WRITERS, f"{', '.join(names)}: all {len(read)} fields in use can be decoded")
    ]


def _resolve(
    feature_set: FeatureSet, read: frozenset[str], writers: Iterable[tuple[str, Type]]
) -> Iterator[tuple[str, str]]:
    """Yield the name of each writer, and why its records cannot be decoded ("" where they can)."""
    reader = parse_record_schema(feature_set.reader_schema)
    wanted = targets(reader, read)
    for name, writer in writers:
        try:
            project(writer, reader, wanted)
        except IncompatibleError as error:
            yield name, str(error)
        else:
            yield name, ""


def check_scores(settings: WorkerSettings) -> list[Finding]:
    """Check that consumers of the scores can find score.avsc."""
    registry, wire = settings.registry, settings.wire
    if registry is not None:
        try:
            if registry.register_score_schema:
                return [_registrable(registry, f"{settings.kafka.output_topic}-value")]
            schema_id = int.from_bytes(score_prefix(settings)[1:], "big")
        except DependencyUnavailableError as error:
            return [failed(SCORES, str(error), _REACHABLE)]
        return [ok(SCORES, f"score.avsc is registered with id {schema_id}")]
    if wire.framing == "none":
        return [ok(SCORES, "scores are written without framing; give consumers score.avsc")]
    return [
        ok(SCORES, f"scores are framed with id {wire.score_schema_id}; give consumers score.avsc")
    ]


def _registrable(registry: Registry, subject: str) -> Finding:
    """Check that score.avsc may be registered at the start, without registering it."""
    body = {"schema": json.dumps(score_schema())}
    path = f"compatibility/{subject_path(subject, 'versions', 'latest')}"
    try:
        compatible = registry_client(registry).ask("POST", path, _read_compatible, body)
    except NotInRegistryError:
        return ok(SCORES, f"subject {subject} is new; the worker registers score.avsc at its start")
    except RegistryRefusedError as error:
        found = f"subject {subject} refuses score.avsc: {error}"
        return failed(SCORES, found, _OTHER_TOPIC)
    if compatible:
        return ok(
            SCORES,
            f"score.avsc is compatible with subject {subject}; the worker registers it at its start",
        )
    found = f"subject {subject} holds a schema that score.avsc is not compatible with"
    return failed(SCORES, found, _OTHER_TOPIC)


def _read_compatible(answer: Answer) -> bool:
    compatible = answer.get("is_compatible")
    if not isinstance(compatible, bool):
        raise ValueError("no is_compatible in the answer")  # noqa: TRY004 - what `ask` expects
    return compatible
