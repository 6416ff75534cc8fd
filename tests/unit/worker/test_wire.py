"""Where schemas come from, and what goes before a score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.errors import ConfigurationError, RecordError
from schemas.framing import SchemaId
from schemas.types import Type
from worker import wire
from worker.settings import Registry, WorkerSettings, load_settings
from worker.wire import (
    WRITER_SCHEMAS,
    framed,
    registry_options,
    schema_source,
    score_prefix,
    score_schema,
)

GUID = UUID("0f0e0d0c-0b0a-0908-0706-050403020100")
Load = Callable[..., WorkerSettings]


def schema(*names: str) -> dict[str, Any]:
    fields = [{"name": name, "type": "string"} for name in names]
    return {"type": "record", "name": "Event", "fields": fields}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings of a folder with writer schemas: ``load({"12.avsc": "a"}, wire={...})``."""

    def make(writers: dict[str, str] | None = None, **sections: Any) -> WorkerSettings:
        (tmp_path / WRITER_SCHEMAS).mkdir()
        for name, field in (writers or {}).items():
            (tmp_path / WRITER_SCHEMAS / name).write_text(json.dumps(schema(field)))
        (tmp_path / "event.avsc").write_text(json.dumps(schema("reader")))
        settings = {
            "kafka": {
                "bootstrap_servers": "127.0.0.1:1",
                "group": "g",
                "input_topic": "in",
                "output_topic": "out",
                "dead_letter_topic": "dead",
                "start_from": "earliest",
            },
            "model": {"bundle": "model"},
            **sections,
        }
        (tmp_path / "worker.yaml").write_text(yaml.safe_dump(settings))
        return load_settings(tmp_path)

    return make


def fields(settings: WorkerSettings, schema_id: SchemaId) -> list[str]:
    found: Type | RecordError = schema_source(
        settings, settings.features.parent / "event.avsc"
    ).get(schema_id)
    assert isinstance(found, Type)
    return [field.name for field in found.fields]


def test_the_prefix_is_magic_zero_and_the_id_most_significant_byte_first() -> None:
    assert framed(1) == b"\x00\x00\x00\x00\x01"
    assert framed(0x01020304) == b"\x00\x01\x02\x03\x04"


def test_the_schema_of_features_stands_for_its_id_and_writer_schemas_for_theirs(load: Load) -> None:
    settings = load({"12.avsc": "older", f"{GUID}.avsc": "newer"}, wire={"schema_id": 5})
    assert fields(settings, 5) == ["reader"]
    assert fields(settings, 12) == ["older"]
    assert fields(settings, GUID) == ["newer"]


def test_without_framing_every_record_has_the_schema_of_features(load: Load) -> None:
    settings = load({"12.avsc": "older"}, wire={"framing": "none"})
    source = schema_source(settings, settings.features.parent / "event.avsc")
    assert not source.framed


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("5.avsc", r"5\.avsc: id 5 already stands for .*event\.avsc .*wire\.schema_id"),
        ("newest.avsc", r"newest\.avsc: its name is no schema id; name it ID\.avsc"),
        ("-3.avsc", r"-3\.avsc: its name is no schema id"),
    ],
)
def test_a_writer_schema_whose_name_is_no_id_of_its_own_is_refused(
    name: str, refusal: str, load: Load
) -> None:
    settings = load({name: "a"}, wire={"schema_id": 5})
    with pytest.raises(ConfigurationError, match=refusal):
        schema_source(settings, settings.features.parent / "event.avsc")


def test_scores_are_framed_as_the_events_are(load: Load) -> None:
    assert score_prefix(load(wire={"score_schema_id": 258})) == b"\x00\x00\x00\x01\x02"


def test_scores_are_bare_where_the_events_are(load: Load) -> None:
    assert score_prefix(load(wire={"framing": "none"})) == b""


def test_a_registry_that_does_not_answer_is_named_with_the_remedy(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(SchemaRegistryClient):
        def lookup_schema(self, *_: Any, **__: Any) -> Any:
            raise TimeoutError("http://user:s3cret@127.0.0.1:1")

    monkeypatch.setattr(wire, "SchemaRegistryClient", Silent)
    settings = load(registry={"url": "http://127.0.0.1:1"})
    with pytest.raises(ConfigurationError) as refused:
        score_prefix(settings)
    assert str(refused.value) == (
        "registry.url: http://127.0.0.1:1 does not answer (TimeoutError); see that it is up: it is "
        "needed at the start"
    )


def test_the_registrys_password_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    registry = Registry(
        url="http://127.0.0.1:1", username="u", password_file=tmp_path / "password", timeout_s=2.0
    )
    assert registry_options(registry) == {"timeout": 2.0, "basic.auth.user.info": "u:s3cret"}
    assert registry_options(Registry(url="http://127.0.0.1:1")) == {"timeout": 5.0}


def test_the_score_schema_is_the_file_that_ships() -> None:
    found = score_schema()
    assert found["name"] == "Score"
    found["name"] = "changed"
    assert score_schema()["name"] == "Score"
