"""The schema of a score: documented throughout, readable by older and newer consumers."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

import schemas

SCHEMA: dict[str, Any] = json.loads(
    (Path(schemas.__file__).parent / "score.avsc").read_text(encoding="utf-8")
)
SCORE = {
    "event_id": "tx-1",
    "event_time": 1_530_000_000_000_000,
    "decision": "review",
    "score": 0.61,
    "margin": 0.5,
    "reasons": [
        {"code": "R01", "contribution": 1.5, "features": [{"name": "amount", "value": 9.5}]}
    ],
    "segment": "ecom",
    "model": {"name": "cards", "version": "7"},
    "policy_version": "2026-11-23.1",
    "feature_set": "ab" * 32,
    "device": "cpu",
    "flags": ["stale:merchant_risk"],
    "source": {"topic": "transactions", "partition": 3, "offset": 12},
    "scored_at": 1_530_000_000_500_000,
    "carried": {"amount": "9.50"},
    "vector": {"merchant_risk": 0.25},
}


def fields_of(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of every record inside, with its path."""
    if isinstance(schema, list):
        for branch in schema:
            yield from fields_of(branch, path)
    elif isinstance(schema, dict):
        for field in schema.get("fields", []):
            yield f"{path}/{field['name']}", field
            yield from fields_of(field["type"], f"{path}/{field['name']}")
        yield from fields_of(schema.get("items"), path)
        yield from fields_of(schema.get("values"), path)


def transcode(writer: dict[str, Any], reader: dict[str, Any], score: dict[str, Any]) -> Any:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(writer)), score)
    out.seek(0)
    return fastavro.schemaless_reader(
        out, fastavro.parse_schema(copy.deepcopy(writer)), fastavro.parse_schema(reader)
    )


def test_every_field_has_a_sentence_that_says_what_it_is() -> None:
    docs = {path: field.get("doc", "") for path, field in fields_of(SCHEMA)}
    assert len(docs) == 26
    assert [path for path, doc in docs.items() if not doc.endswith(".")] == []


def test_a_score_survives_the_wire() -> None:
    read = transcode(SCHEMA, SCHEMA, SCORE)
    assert {name: read[name] for name in SCORE if not name.endswith(("_time", "_at"))} == {
        name: value for name, value in SCORE.items() if not name.endswith(("_time", "_at"))
    }
    assert read["scored_at"].timestamp() == 1_530_000_000.5


@pytest.mark.parametrize("name", ["reasons", "carried", "vector"])
def test_an_older_consumer_reads_it_and_a_newer_one_reads_older_scores(name: str) -> None:
    older = copy.deepcopy(SCHEMA)
    older["fields"] = [field for field in older["fields"] if field["name"] != name]
    old_score = {key: value for key, value in SCORE.items() if key != name}

    by_older = transcode(SCHEMA, copy.deepcopy(older), SCORE)
    assert by_older.keys() == old_score.keys()
    assert by_older["event_id"] == "tx-1"
    by_newer = transcode(older, copy.deepcopy(SCHEMA), old_score)
    assert by_newer[name] == type(SCORE[name])()


def test_a_field_to_come_is_invisible_to_the_consumers_of_today() -> None:
    newer = copy.deepcopy(SCHEMA)
    newer["fields"].insert(3, {"name": "later", "type": ["null", "long"], "default": None})
    assert transcode(newer, copy.deepcopy(SCHEMA), {**SCORE, "later": 7})["event_id"] == "tx-1"
    assert transcode(SCHEMA, newer, SCORE)["later"] is None
