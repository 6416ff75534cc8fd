"""Where schemas come from, and what goes before a score."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from base.errors import ConfigurationError, DependencyUnavailableError, RecordError
from schemas.avro.types import Type
from schemas.registry.framing import SchemaId
from tests.support.fake_registry import FakeRegistry, Odd, answer, serving
from worker.app import await_score_prefix
from worker.process.health import Health
from worker.schema_sources import (
    WRITER_SCHEMAS,
    framed,
    label_prefix,
    schema_source,
    score_prefix,
    score_schema,
)
from worker.settings import WorkerSettings, load_settings

GUID = UUID("0f0e0d0c-0b0a-0908-0706-050403020100")
Load = Callable[..., WorkerSettings]


def schema(*names: str) -> dict[str, Any]:
    fields = [{"name": name, "type": "string"} for name in names]
    return {"type": "record", "name": "Event", "fields": fields}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings of a folder with writer schemas: ``load({"12.avsc": "a"}, wire={...})``."""

    def make(writers: dict[str, str] | None = None, **sections: Any) -> WorkerSettings:
        (tmp_path / WRITER_SCHEMAS).mkdir(exist_ok=True)
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
    ).get_all([schema_id])[schema_id]
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


def test_unframed_records_have_the_schema_of_the_feature_set(load: Load) -> None:
    settings = load({"12.avsc": "older"}, wire={"framing": "none"})
    source = schema_source(settings, settings.features.parent / "event.avsc")
    assert not source.framed


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("5.avsc", r"5\.avsc: id 5 is already that of .*event\.avsc .*wire\.schema_id"),
        ("newest.avsc", r"newest\.avsc: its name is not a schema id; name it ID\.avsc"),
        ("-3.avsc", r"-3\.avsc: its name is not a schema id"),
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


def test_labels_are_framed_with_an_id_of_their_own(load: Load) -> None:
    assert label_prefix(load(), "labels") == framed(3)
    assert label_prefix(load(wire={"label_schema_id": 258}), "labels") == framed(258)
    assert label_prefix(load(wire={"framing": "none"}), "labels") == b""


def test_labels_do_not_take_the_id_of_a_writer_schema(load: Load) -> None:
    settings = load({"3.avsc": "a"})
    with pytest.raises(ConfigurationError, match=r"wire\.label_schema_id: 3 .*3\.avsc"):
        label_prefix(settings, "labels")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as fake:
        yield fake


def test_the_id_of_the_score_schema_comes_from_the_registry(
    load: Load, registry: FakeRegistry
) -> None:
    registry.answers["subjects/out-value"] = {"subject": "out-value", "id": 7, "version": 1}
    assert score_prefix(load(registry={"url": registry.url})) == framed(7)
    assert registry.asked == ["POST subjects/out-value"]


def test_the_score_schema_is_registered_where_the_settings_say_so(
    load: Load, registry: FakeRegistry
) -> None:
    registry.answers["subjects/out-value/versions"] = {"id": 7}
    settings = load(registry={"url": registry.url, "register_score_schema": True})
    assert score_prefix(settings) == framed(7)
    assert registry.asked == ["POST subjects/out-value/versions"]


def test_the_id_of_the_label_schema_comes_from_the_subject_of_its_topic(
    load: Load, registry: FakeRegistry
) -> None:
    settings = load(registry={"url": registry.url})
    with pytest.raises(ConfigurationError, match=r"label\.avsc .*registry\.register_label_schema"):
        label_prefix(settings, "labels")
    registry.answers["subjects/labels-value"] = {"id": 7}
    assert label_prefix(settings, "labels") == framed(7)
    registry.answers["subjects/labels-value/versions"] = {"id": 8}
    settings = load(registry={"url": registry.url, "register_label_schema": True})
    assert label_prefix(settings, "labels") == framed(8)


@pytest.mark.parametrize("code", [40401, 40403])
def test_only_the_registrys_own_word_is_that_it_does_not_have_the_score_schema(
    load: Load, registry: FakeRegistry, code: int
) -> None:
    registry.odd[""] = answer(404, {"error_code": code, "message": "not found"})
    with pytest.raises(ConfigurationError, match=r"does not have score\.avsc .*register it"):
        score_prefix(load(registry={"url": registry.url}))


@pytest.mark.parametrize(
    "odd",
    [
        answer(404, "<html>"),
        answer(200, "<html>"),
        answer(200, {"subject": "out-value"}),
        answer(200, {"id": "7"}),
        answer(200, {"id": 2**32}),
        answer(401, {"error_code": 401}),
        answer(302, ""),
        answer(503, ""),
    ],
)
@pytest.mark.parametrize("register", [True, False])
def test_what_is_no_answer_of_a_registry_says_nothing_of_the_score_schema(
    load: Load, registry: FakeRegistry, odd: Odd, register: bool
) -> None:
    registry.odd[""] = odd
    settings = load(registry={"url": registry.url, "register_score_schema": register})
    with pytest.raises(DependencyUnavailableError, match="asked for subjects/out-value"):
        score_prefix(settings)


def test_a_score_schema_that_the_registry_refuses_is_a_fault_of_the_settings(
    load: Load, registry: FakeRegistry
) -> None:
    registry.odd[""] = answer(409, {"error_code": 409, "message": "incompatible"})
    settings = load(registry={"url": registry.url, "register_score_schema": True})
    with pytest.raises(ConfigurationError, match=r"refuses score\.avsc \(incompatible"):
        score_prefix(settings)


def test_the_start_waits_for_a_registry_that_is_away(load: Load, registry: FakeRegistry) -> None:
    health = Health(60.0)
    told = []

    def away(handler: BaseHTTPRequestHandler) -> None:
        told.append(health.ready())
        if len(told) == 3:
            registry.odd.clear()
        answer(503, "")(handler)

    registry.odd[""] = away
    registry.answers["subjects/out-value"] = {"id": 7}
    assert await_score_prefix(load(registry={"url": registry.url}), health) == framed(7)
    assert all("registry is away" in reasons[0] for reasons in told[1:])
    assert not [reason for reason in health.ready() if "away" in reason]


def test_the_registrys_password_is_read_from_its_file(
    load: Load, registry: FakeRegistry, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    registry.answers["subjects/out-value"] = {"id": 7}
    password = str(tmp_path / "password")
    section = {"url": registry.url, "username": "user", "password_file": password}
    score_prefix(load(registry=section))
    assert registry.heads[0]["Authorization"] == "Basic dXNlcjpzM2NyZXQ="


def test_the_score_schema_is_the_file_that_ships() -> None:
    found = score_schema()
    assert found["name"] == "Score"
    found["name"] = "changed"
    assert score_schema()["name"] == "Score"
