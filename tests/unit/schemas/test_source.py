"""Where writer schemas come from: files, and a registry behind a stand-in for its client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import (
    RegisteredSchema,
    Schema,
    SchemaReference,
    SchemaRegistryError,
)

from schemas import source
from schemas.errors import ConfigurationError, DependencyUnavailableError, ErrorCode, RecordError
from schemas.source import FileSchemaSource, RegistrySchemaSource
from schemas.types import Type

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
EVENT = {"type": "record", "name": "Event", "fields": [{"name": "id", "type": "string"}]}
NODE = {"type": "record", "name": "Node", "fields": [{"name": "n", "type": ["null", "Node"]}]}


def code_of(found: Type | RecordError) -> ErrorCode:
    assert isinstance(found, RecordError)
    return found.code


# Files


def test_files_by_id_and_guid(tmp_path: Path) -> None:
    path = tmp_path / "event.avsc"
    path.write_text(json.dumps(EVENT))
    files = FileSchemaSource({7: path, GUID: path})
    assert files.framed
    for schema_id in (7, GUID):
        found = files.get(schema_id)
        assert isinstance(found, Type)
        assert found.fields[0].name == "id"
    assert code_of(files.get(8)) is ErrorCode.SCHEMA_UNKNOWN
    assert code_of(files.get(None)) is ErrorCode.SCHEMA_UNKNOWN


def test_a_default_file_is_for_records_without_framing(tmp_path: Path) -> None:
    path = tmp_path / "event.avsc"
    path.write_text(json.dumps(EVENT))
    files = FileSchemaSource({}, default=path)
    assert not files.framed
    assert isinstance(files.get(None), Type)


def test_a_file_may_refer_to_files_beside_it(tmp_path: Path) -> None:
    inner = {"type": "record", "name": "shop.Card", "fields": [{"name": "pan", "type": "string"}]}
    outer = {"type": "record", "name": "shop.Tx", "fields": [{"name": "c", "type": "shop.Card"}]}
    (tmp_path / "shop.Card.avsc").write_text(json.dumps(inner))
    path = tmp_path / "shop.Tx.avsc"
    path.write_text(json.dumps(outer))
    found = FileSchemaSource({1: path}).get(1)
    assert isinstance(found, Type)
    assert found.fields[0].type.fields[0].name == "pan"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("{", "JSON"),
        ('"string"', "top level is string"),
        (json.dumps(NODE), "Node contains itself"),
        ('{"type": "record", "name": "A", "fields": [{"name": "b", "type": "Beyond"}]}', "Beyond"),
        ('{"type": "wreckord", "name": "A", "fields": []}', "wreckord"),
    ],
)
def test_a_file_that_does_not_hold_names_itself(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "event.avsc"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        FileSchemaSource({1: path})
    assert str(path) in str(caught.value)


def test_no_files_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no writer schema is configured"):
        FileSchemaSource({})


# A registry


class Client:
    """Stands in for Confluent's client; counts what is asked of it."""

    def __init__(self, conf: dict[str, Any]) -> None:
        self.conf = conf
        self.calls: list[object] = []
        self.schemas: dict[object, Schema] = {1: Schema(json.dumps(EVENT), "AVRO")}
        self.error: Exception | None = None

    def get_schema(self, schema_id: object) -> Schema:
        self.calls.append(schema_id)
        if self.error is not None:
            raise self.error
        if schema_id not in self.schemas:
            raise SchemaRegistryError(404, 40403, "Schema not found")
        return self.schemas[schema_id]

    get_schema_by_guid = get_schema

    def get_version(self, subject: str, version: int) -> RegisteredSchema:
        schema = self.get_schema((subject, version))
        return RegisteredSchema(
            subject=subject, version=version, schema_id=None, guid=None, schema=schema
        )


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> RegistrySchemaSource:
    monkeypatch.setattr(source, "SchemaRegistryClient", Client)
    return RegistrySchemaSource("http://user:secret@registry:8081/apis/v7", clock=clock)


def client_of(registry: RegistrySchemaSource) -> Client:
    return cast("Client", registry._client)


def test_the_address_keeps_its_path_and_every_request_a_timeout(
    registry: RegistrySchemaSource,
) -> None:
    conf = client_of(registry).conf
    assert conf["url"] == "http://user:secret@registry:8081/apis/v7"
    assert conf["timeout"] > 0


def test_a_schema_is_fetched_once_by_id_or_guid(registry: RegistrySchemaSource) -> None:
    client = client_of(registry)
    client.schemas[str(GUID)] = client.schemas[1]
    for _ in range(3):
        assert isinstance(registry.get(1), Type)
        assert isinstance(registry.get(GUID), Type)
    assert client.calls == [1, str(GUID)]


def test_an_unknown_id_is_asked_for_again_after_a_minute(
    registry: RegistrySchemaSource, clock: Clock
) -> None:
    client = client_of(registry)
    for _ in range(50):
        assert code_of(registry.get(9)) is ErrorCode.SCHEMA_UNKNOWN
    assert client.calls == [9]
    client.schemas[9] = client.schemas[1]
    clock.now += 59
    assert code_of(registry.get(9)) is ErrorCode.SCHEMA_UNKNOWN
    clock.now += 2
    assert isinstance(registry.get(9), Type)
    assert client.calls == [9, 9]


def test_an_id_that_no_registry_gives_is_not_asked_for(registry: RegistrySchemaSource) -> None:
    assert code_of(registry.get(2**31)) is ErrorCode.SCHEMA_UNKNOWN
    assert code_of(registry.get(None)) is ErrorCode.SCHEMA_UNKNOWN
    assert client_of(registry).calls == []


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("refused"),
        TimeoutError("timed out"),
        SchemaRegistryError(503, -1, "starting"),
        SchemaRegistryError(401, -1, "who are you"),
        ValueError("no JSON"),
    ],
)
def test_a_registry_that_is_away_is_no_fault_of_the_record(
    registry: RegistrySchemaSource, error: Exception
) -> None:
    client = client_of(registry)
    assert isinstance(registry.get(1), Type)
    client.error = error
    with pytest.raises(DependencyUnavailableError, match="schema 2") as caught:
        registry.get(2)
    assert "secret" not in str(caught.value)
    assert "registry:8081/apis/v7" in str(caught.value)
    assert isinstance(registry.get(1), Type), "what is known needs no registry"
    client.error = None
    client.schemas[2] = client.schemas[1]
    assert isinstance(registry.get(2), Type)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (Schema(json.dumps(NODE), "AVRO"), "Node contains itself"),
        (Schema('{"type": "object"}', "JSON"), "JSON, not Avro"),
        (Schema("{", "AVRO"), "not JSON"),
        (Schema("[" * 100_000, "AVRO"), "not JSON"),
        (Schema('"bytes"', "AVRO"), "top level is bytes"),
    ],
)
def test_a_registered_schema_that_is_not_read(
    registry: RegistrySchemaSource, schema: Schema, reason: str
) -> None:
    client = client_of(registry)
    client.schemas[2] = schema
    for _ in range(2):
        found = registry.get(2)
        assert code_of(found) is ErrorCode.SCHEMA_REFUSED
        assert isinstance(found, RecordError)
        assert reason in found.message
    assert client.calls == [2]


def refers(name: str, *others: str) -> Schema:
    fields = [{"name": f"f{n}", "type": other} for n, other in enumerate(others)]
    schema = {"type": "record", "name": name, "fields": [*fields, {"name": "x", "type": "int"}]}
    references = [SchemaReference(name=other, subject=f"s-{other}", version=1) for other in others]
    return Schema(json.dumps(schema), "AVRO", references)


def test_references_are_resolved_each_once(registry: RegistrySchemaSource) -> None:
    client = client_of(registry)
    client.schemas |= {
        2: refers("Top", "Left", "Right"),
        ("s-Left", 1): refers("Left", "Base"),
        ("s-Right", 1): refers("Right", "Base"),
        ("s-Base", 1): refers("Base"),
    }
    found = registry.get(2)
    assert isinstance(found, Type)
    left, right, _ = found.fields
    assert left.type.fields[0].type.name == right.type.fields[0].type.name == "Base"
    assert client.calls.count(("s-Base", 1)) == 1


def test_references_in_a_circle_are_refused(registry: RegistrySchemaSource) -> None:
    client = client_of(registry)
    client.schemas |= {
        2: refers("A", "B"),
        ("s-B", 1): refers("B", "C"),
        ("s-C", 1): refers("C", "B"),
    }
    assert code_of(registry.get(2)) is ErrorCode.SCHEMA_REFUSED


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("registry:8081", {}, "Invalid url"),
        ("http://registry:8081", {"time.out": 3}, "time.out"),
        ("http://u:secret@registry:8081", {"max.retries": "x"}, "max.retries"),
    ],
)
def test_options_that_the_client_does_not_take(
    url: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        RegistrySchemaSource(url, options)
    assert "secret" not in str(caught.value)
