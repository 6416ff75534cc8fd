"""Writer schemas from files."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from base.errors import ConfigurationError, ErrorCode, RecordError
from schemas.avro.types import Type
from schemas.registry.source import FileSchemaSource

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
EVENT = {"type": "record", "name": "Event", "fields": [{"name": "id", "type": "string"}]}

JSON_SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}


def code_of(found: Type | RecordError) -> ErrorCode:
    assert isinstance(found, RecordError)
    return found.code


def test_files_by_id_and_guid(tmp_path: Path) -> None:
    path = tmp_path / "event.avsc"
    path.write_text(json.dumps(EVENT))
    files = FileSchemaSource({7: path, GUID: path})
    assert files.framed
    given = files.get_all([7, GUID, 8, None])
    for schema_id in (7, GUID):
        found = given[schema_id]
        assert isinstance(found, Type)
        assert found.fields[0].name == "id"
    assert code_of(given[8]) is ErrorCode.SCHEMA_UNKNOWN
    assert code_of(given[None]) is ErrorCode.SCHEMA_UNKNOWN


def test_a_default_file_is_for_records_without_framing(tmp_path: Path) -> None:
    path = tmp_path / "event.avsc"
    path.write_text(json.dumps(EVENT))
    files = FileSchemaSource({}, default=path)
    assert not files.framed
    assert isinstance(files.get_all([None])[None], Type)


def test_a_file_may_refer_to_files_beside_it(tmp_path: Path) -> None:
    inner = {"type": "record", "name": "shop.Card", "fields": [{"name": "pan", "type": "string"}]}
    outer = {"type": "record", "name": "shop.Tx", "fields": [{"name": "c", "type": "shop.Card"}]}
    (tmp_path / "shop.Card.avsc").write_text(json.dumps(inner))
    path = tmp_path / "shop.Tx.avsc"
    path.write_text(json.dumps(outer))
    found = FileSchemaSource({1: path}).get_all([1])[1]
    assert isinstance(found, Type)
    assert found.fields[0].type.fields[0].name == "pan"


def test_files_may_refer_to_one_another_and_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    fields = [{"name": "a", "type": "A"}, {"name": "b", "type": "B"}]
    a = {"type": "record", "name": "A", "fields": [{"name": "b", "type": ["null", "B"]}]}
    b = {"type": "record", "name": "B", "fields": [{"name": "id", "type": "string"}]}
    for name, schema in {"A": a, "B": b}.items():
        (tmp_path / f"{name}.avsc").write_text(json.dumps(schema), "utf-8-sig")
    path = tmp_path / "event.avsc"
    path.write_text(json.dumps({**EVENT, "fields": fields}), "utf-8-sig")
    found = FileSchemaSource({1: path}).get_all([1])[1]
    assert isinstance(found, Type)
    assert [field.type.name for field in found.fields] == ["A", "B"]
    # Two files that each need the other first define nothing.
    b["fields"][0]["type"] = "A"  # type: ignore[index]
    (tmp_path / "B.avsc").write_text(json.dumps(b))
    with pytest.raises(ConfigurationError, match="which is not defined"):
        FileSchemaSource({1: path})


def test_a_file_may_have_faults_that_reading_does_not_meet(tmp_path: Path) -> None:
    node = {"type": "record", "name": "Node", "fields": [{"name": "n", "type": ["null", "Node"]}]}
    channel = {"type": "enum", "name": "Channel", "symbols": ["card-present"], "default": "x"}
    fields = [{"name": "n", "type": node}, {"name": "c", "type": channel, "default": 7}]
    path = tmp_path / "event.avsc"
    path.write_text(json.dumps([{**EVENT, "fields": fields}, "null"]))
    found = FileSchemaSource({1: path}).get_all([1])[1]
    assert isinstance(found, Type)
    assert found.branches[0].fields[1].type.symbols == ("card-present",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps(JSON_SCHEMA), "it looks like JSON Schema; only Avro is supported"),
        (None, "No such file"),
        ("{", "JSON"),
        ('"string"', "top level is string"),
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
