"""Schemas from a real registry, by Confluent's own serializer and client."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from base.errors import ConfigurationError, DependencyUnavailableError, ErrorCode
from schemas.avro.decoder import Decoder
from schemas.batch import Decoded
from schemas.registry.client import RegistryClient
from schemas.registry.registry_source import RegistrySchemaSource
from tests.support.registry_server import SchemaRegistry
from worker.schema_sources import framed, score_prefix, score_schema
from worker.settings import load_settings

TIMEOUT_S = 10

READER: dict[str, Any] = {
    "type": "record",
    "name": "Transaction",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": "long"},
        {"name": "channel", "type": "string", "default": "unknown"},
    ],
}
OLDER: dict[str, Any] = {
    "type": "record",
    "name": "Transaction",
    "fields": [{"name": "amount", "type": "int"}, {"name": "id", "type": "string"}],
}
RECURSIVE: dict[str, Any] = {
    "type": "record",
    "name": "Transaction",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": "long"},
        {"name": "parent", "type": ["null", "Transaction"]},
    ],
}


@pytest.fixture(scope="module")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("FRAUD_WORKER_TEST_REGISTRY"):
        yield given
        return
    with SchemaRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.url


@pytest.fixture
def client(registry_url: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry_url, "timeout": TIMEOUT_S}) as client:
        yield client


@pytest.fixture
def subject(request: pytest.FixtureRequest, seed: int) -> str:
    # A registry from the environment may know the subjects of earlier runs.
    return f"{request.node.name}-{seed}"


def serialized(
    client: SchemaRegistryClient, subject: str, schema: dict[str, Any], event: dict[str, Any]
) -> bytes:
    serialize = AvroSerializer(
        client, json.dumps(schema), conf={"subject.name.strategy": lambda *_: subject}
    )
    value = serialize(event, SerializationContext("transactions", MessageField.VALUE))
    assert isinstance(value, bytes)
    return value


def decoder(url: str) -> Decoder:
    source = RegistrySchemaSource(RegistryClient(url, timeout_s=TIMEOUT_S))
    return Decoder(source, READER, ["id", "amount", "channel"], 1_000_000, 1_000)


def values(decoded: Decoded, path: str) -> list[Any]:
    column = decoded.columns[path].values
    return list(column.tolist() if isinstance(column, np.ndarray) else column.to_pylist())


def test_records_of_several_writers_decode_in_one_batch(
    registry_url: str, client: SchemaRegistryClient, subject: str
) -> None:
    newer = serialized(client, subject, READER, {"id": "a", "amount": 5, "channel": "web"})
    older = serialized(client, f"{subject}-older", OLDER, {"id": "b", "amount": 7})
    decoded = decoder(registry_url).decode([newer, older] * 20)
    assert not decoded.errors
    assert values(decoded, "id") == ["a", "b"] * 20
    assert values(decoded, "amount") == [5, 7] * 20
    assert values(decoded, "channel") == ["web", "unknown"] * 20


def test_an_id_the_registry_does_not_know_is_an_error_of_its_record(
    registry_url: str, client: SchemaRegistryClient, subject: str
) -> None:
    known = serialized(client, subject, READER, {"id": "a", "amount": 5, "channel": "web"})
    unknown = framed(2_000_000_000) + known[5:]
    decoded = decoder(registry_url).decode([unknown, known])
    assert {row: error.code for row, error in decoded.errors.items()} == {
        0: ErrorCode.SCHEMA_UNKNOWN
    }


def test_a_recursive_record_is_passed_over(
    registry_url: str, client: SchemaRegistryClient, subject: str
) -> None:
    schema_id = client.register_schema(subject, Schema(json.dumps(RECURSIVE), "AVRO"))
    bodies = [b"\x02a\x02\x00", b"\x02b\x04\x02" + b"\x02a\x02\x00", b"\x02c\x02\x02"]
    decoded = decoder(registry_url).decode([framed(schema_id) + body for body in bodies])
    assert decoded.columns["id"].values.tolist() == ["a", "b", ""]
    assert {row: error.code for row, error in decoded.errors.items()} == {
        2: ErrorCode.BODY_TRUNCATED
    }


def test_a_schema_may_refer_to_another(
    registry_url: str, client: SchemaRegistryClient, subject: str
) -> None:
    channel = {"type": "enum", "name": "Channel", "symbols": ["web", "shop"]}
    client.register_schema(f"{subject}-channel", Schema(json.dumps(channel), "AVRO"))
    fields = [*OLDER["fields"], {"name": "at", "type": "Channel"}]
    schema_id = client.register_schema(
        subject,
        Schema(
            json.dumps({**OLDER, "fields": fields}),
            "AVRO",
            [SchemaReference("Channel", f"{subject}-channel", 1)],
        ),
    )
    decoded = decoder(registry_url).decode([framed(schema_id) + b"\x0e\x02b\x02"])
    assert not decoded.errors
    assert values(decoded, "amount") == [7]


def test_a_registry_away_costs_only_schemas_not_yet_known(tmp_path: Path) -> None:
    registry = SchemaRegistry(tmp_path)
    with registry:
        reader = decoder(registry.url)
        with SchemaRegistryClient({"url": registry.url, "timeout": TIMEOUT_S}) as client:
            known = serialized(client, "known", READER, {"id": "a", "amount": 5, "channel": "web"})
            other = serialized(client, "other", OLDER, {"id": "b", "amount": 7})
        assert not reader.decode([known]).errors
        registry.stop()
        assert not reader.decode([known]).errors
        with pytest.raises(DependencyUnavailableError, match="schema registry"):
            reader.decode([known, other])


WORKER = """
kafka:
  bootstrap_servers: localhost:9092
  group: fraud
  input_topic: transactions
  output_topic: {topic}
  dead_letter_topic: dead-letters
  start_from: earliest
registry:
  url: {url}
  register_score_schema: {register}
model:
  bundle: model
"""


@pytest.fixture
def prefix(registry_url: str, tmp_path: Path, subject: str) -> Callable[[bool], bytes]:
    def read(register: bool) -> bytes:
        text = WORKER.format(topic=subject, url=registry_url, register=str(register).lower())
        (tmp_path / "worker.yaml").write_text(text)
        return score_prefix(load_settings(tmp_path))

    return read


def test_scores_name_their_registered_schema(
    prefix: Callable[[bool], bytes], client: SchemaRegistryClient, subject: str
) -> None:
    with pytest.raises(ConfigurationError, match="register_score_schema"):
        prefix(False)
    registered = prefix(True)
    assert prefix(False) == registered
    schema = client.get_latest_version(f"{subject}-value")
    assert framed(schema.schema_id or -1) == registered
    assert json.loads(schema.schema.schema_str or "")["name"] == score_schema()["name"]
