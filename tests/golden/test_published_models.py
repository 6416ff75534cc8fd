"""Models of others, packed from their files, give the predictions that others published of them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
import yaml
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from base.errors import BundleRefusedError
from models.backend import open_backend
from models.bundle import load_bundle
from models.calibration import logistic
from tests.conftest import MakeTopic, SharedKafka
from tests.support.worker_process import read_until, worker
from tools.cli.model import app
from tools.replay import replay_file
from worker.pipeline import load_pipeline
from worker.schema_sources import framed, score_schema

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FRAUD_WORKER_DATA", ROOT.parent / "shared" / "data"))
MODELS = DATA / "conformance" / "xgb_models"
LEAVES = MODELS / "leaves_mit"
AGARICUS, DERMATOLOGY = 127, 33
TOLERANCE = 1e-6  # of the score: the published ones are float32

pytestmark = pytest.mark.skipif(not MODELS.exists(), reason="the models are not in the data folder")


def rows_of(name: str, columns: int) -> np.ndarray:
    """float32[N, columns] of a file of `<label> <column>:<value> ...`; what it leaves out is NaN."""
    lines = (LEAVES / f"{name}_test.libsvm").read_text().splitlines()
    matrix = np.full((len(lines), columns), np.nan, dtype=np.float32)
    for row, line in enumerate(lines):
        for pair in line.split()[1:]:
            column, value = pair.split(":")
            matrix[row, int(column)] = float(value)
    return matrix


def published(name: str) -> np.ndarray:
    return np.loadtxt(LEAVES / f"xg{name}_true_predictions.txt")


def pack(model: Path, out: Path, *options: object) -> Result:
    arguments = ("pack", "--model", model, "--name", model.stem, "--version", 1, "--out", out)
    return CliRunner().invoke(app, [*map(str, (*arguments, *options))])


def schema_of(columns: int) -> dict[str, Any]:
    moment = {"type": "long", "logicalType": "timestamp-micros"}
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "string"},
        {"name": "at", "type": moment},
    ]
    fields += [
        {"name": f"f{column}", "type": ["null", "float"], "default": None}
        for column in range(columns)
    ]
    return {"type": "record", "name": "Row", "fields": fields}


def records_of(matrix: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "id": str(row),
            "at": 1_780_000_000_000_000 + row,
            **{f"f{column}": float(values[column]) for column in np.flatnonzero(~np.isnan(values))},
        }
        for row, values in enumerate(matrix)
    ]


def agaricus_pipeline(folder: Path, model: Path, **kafka: str) -> Path:
    """A pipeline whose features are the columns of agaricus, called as `model pack` calls them."""
    features = [{"name": f"f{column}", "field": f"f{column}"} for column in range(AGARICUS)]
    names = ("bootstrap_servers", "group", "input_topic", "output_topic", "dead_letter_topic")
    files: Mapping[str, Any] = {
        "features.yaml": {
            "name": "agaricus",
            "events": {"schema": "row.avsc", "id": "id", "time": "at"},
            "features": features,
        },
        "policy.yaml": {"version": "1", "bands": {"review": 0.5}},
        "worker.yaml": {
            "kafka": {**{name: name for name in names}, "start_from": "earliest", **kafka},
            "model": {"bundle": "model", "device": "cpu"},
            "http": {"host": "127.0.0.1", "port": 0},
        },
    }
    folder.mkdir(exist_ok=True)
    (folder / "row.avsc").write_text(json.dumps(schema_of(AGARICUS)))
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content))
    options = ("--generate-names", "--features-from", folder / "features.yaml")
    packed = pack(model, folder / "model", *options)
    assert packed.exit_code == 0, packed.exception
    return folder


@pytest.mark.parametrize("kind", ["json", "ubj"])
def test_agaricus_through_the_stations(tmp_path: Path, kind: str) -> None:
    folder = agaricus_pipeline(tmp_path, LEAVES / f"xgagaricus.{kind}")
    events = tmp_path / "events.avro"
    with events.open("wb") as file:
        fastavro.writer(
            file, schema_of(AGARICUS), records_of(rows_of("agaricus", AGARICUS)), codec="deflate"
        )
    replayed = [*replay_file(load_pipeline(folder), events, None)]
    assert [row for each in replayed for row in each.refused] == []
    scores = [score["score"] for each in replayed for score in each.scores]
    np.testing.assert_allclose(scores, published("agaricus"), rtol=0, atol=TOLERANCE)


def test_agaricus_through_the_worker(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topics = make_topic("rows"), make_topic("scores"), make_topic("dead")
    folder = agaricus_pipeline(
        tmp_path,
        LEAVES / "xgagaricus.ubj",
        bootstrap_servers=kafka.bootstrap,
        group=topics[0],
        input_topic=topics[0],
        output_topic=topics[1],
        dead_letter_topic=topics[2],
    )
    schema = fastavro.parse_schema(schema_of(AGARICUS))
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True})
    expected = published("agaricus")
    for record in records_of(rows_of("agaricus", AGARICUS)):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema, record)
        producer.produce(topics[0], framed(1) + body.getvalue())
    assert producer.flush(30) == 0
    with worker(folder):
        messages = read_until(kafka.bootstrap, [*topics[1:]], len(expected))
    written = fastavro.parse_schema(score_schema())
    scores = np.full(len(expected), np.nan)
    for message in messages:
        value = message.value()
        assert message.topic() == topics[1], message.headers()
        assert value is not None
        score: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), written, None)
        assert score["model"]["name"] == "xgagaricus"
        scores[int(score["event_id"])] = score["score"]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("fraud_class", range(6))
@pytest.mark.parametrize("kind", ["json", "ubj"])
def test_dermatology_scores_the_probability_of_the_named_class(
    tmp_path: Path, kind: str, fraud_class: int
) -> None:
    """Six margins a row are published; the softmax of them is the score of each class."""
    model, out = LEAVES / f"xgdermatology.{kind}", tmp_path / "out"
    packed = pack(model, out, "--generate-names", "--fraud-class", fraud_class)
    assert packed.exit_code == 0, packed.exception
    rows, margins = rows_of("dermatology", DERMATOLOGY), published("dermatology")
    assert margins.shape == (len(rows), 6) == (110, 6)
    expected = np.exp(margins[:, fraud_class]) / np.exp(margins).sum(axis=1)
    backend = open_backend(load_bundle(out), "cpu", threads=2)
    found = backend.margins(rows)
    np.testing.assert_allclose(logistic(found), expected, rtol=0, atol=TOLERANCE)
    contributions = backend.contributions(rows)
    np.testing.assert_allclose(contributions.sum(axis=1), found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["json", "ubj"])
def test_a_published_model_of_ten_classes_is_packed(tmp_path: Path, kind: str) -> None:
    model = MODELS / "kserve_apache2" / f"model.{kind}"
    packed = pack(model, tmp_path / "out", "--generate-names", "--fraud-class", 9)
    assert packed.exit_code == 0, packed.exception
    assert "scores are the probability of class 9" in packed.stdout


def test_a_model_of_several_classes_needs_the_one_that_is_fraud(tmp_path: Path) -> None:
    result = pack(LEAVES / "xgdermatology.json", tmp_path / "out", "--generate-names")
    assert isinstance(result.exception, BundleRefusedError)
    assert "the model has 6 classes, 0 to 5, and none is given as the class that is fraud" in str(
        result.exception
    )
    assert not (tmp_path / "out").exists()
