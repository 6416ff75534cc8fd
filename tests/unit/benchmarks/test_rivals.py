"""The rivals compute what the worker computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from benchmarks import population
from benchmarks.rivals import hand_written, per_event
from benchmarks.rivals.parts import Event, EventReader, Profiles
from benchmarks.rivals.task import LookupTask, ScoreTask, Task
from benchmarks.testbed import EVENT_SCHEMA_ID, PIPELINE, encoder
from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from schemas.avro.decoder import Decoder
from schemas.batch import Column, EventBatch, Records
from schemas.registry.source import FileSchemaSource

EVENTS = 2_000


@pytest.fixture(scope="module")
def feature_set() -> FeatureSet:
    return load_feature_set(PIPELINE / "features.yaml")


@pytest.fixture(scope="module")
def values(feature_set: FeatureSet) -> list[bytes]:
    return encoder(feature_set).encode(EVENTS, population.payments(0, EVENTS))


def profiles(feature_set: FeatureSet) -> dict[str, pa.Table]:
    """A profile for every card and merchant of the events but the unknown ones."""
    merchants = population.merchant_profiles(population.MERCHANTS)
    columns = population.payments(0, EVENTS)
    cards = population.card_profiles(EVENTS).set_column(0, "card", columns["customer_id"].values)
    return {"card_profile": cards, "merchant_profile": merchants}


@pytest.fixture(scope="module")
def store(feature_set: FeatureSet) -> MemoryStore:
    filled = MemoryStore()
    for name, table in profiles(feature_set).items():
        lookup = feature_set.lookups[name]
        packed = np.empty(table.num_rows, lookup.layout)
        packed["updated_at"] = 0
        for place, value in enumerate(lookup.names):
            packed["values"][:, place] = table[value].to_numpy()
        keys = lookup.keys(table[0].combine_chunks())
        filled.write(zip(keys, (row.tobytes() for row in packed), strict=True))
    return filled


@pytest.fixture(scope="module")
def expected(
    feature_set: FeatureSet, values: list[bytes], store: MemoryStore
) -> npt.NDArray[np.float32]:
    return enrich(feature_set, bound(feature_set, values), store).matrix


def bound(feature_set: FeatureSet, values: list[bytes]) -> EventBatch:
    zeros = np.zeros(len(values), np.int64)
    records = Records("t", [None] * len(values), values, zeros.astype(np.int32), zeros, zeros)
    decoder = Decoder(
        FileSchemaSource({EVENT_SCHEMA_ID: feature_set.schema_path}),
        feature_set.reader_schema,
        feature_set.paths,
        max_record_bytes=1_000_000,
        max_collection_items=100,
    )
    batch, errors = bind(feature_set, records, decoder.decode(values, None))
    assert not errors
    return batch


def events_of(feature_set: FeatureSet, values: list[bytes]) -> list[Event]:
    reader = EventReader(str(feature_set.schema_path))
    return [reader.read(value) for value in values]


def tables(
    feature_set: FeatureSet, store: MemoryStore, events: list[Event]
) -> Mapping[str, npt.NDArray[np.float64]]:
    found = {}
    for name, field in (("card_profile", "customer_id"), ("merchant_profile", "merchant_id")):
        lookup = feature_set.lookups[name]
        task = LookupTask(name, lookup.prefix.decode(), list(lookup.names), list(lookup.defaults))
        keys = [lookup.prefix + str(event[field]).encode() for event in events]
        found[name], _ = Profiles(task).table(store.read(keys))
    return found


def test_the_batch_loop_computes_the_features_of_the_pipeline(
    feature_set: FeatureSet,
    values: list[bytes],
    store: MemoryStore,
    expected: npt.NDArray[np.float32],
) -> None:
    events = events_of(feature_set, values)
    found = tables(feature_set, store, events)
    matrix = hand_written.features(events, found["card_profile"].T, found["merchant_profile"].T)
    np.testing.assert_allclose(matrix, expected, rtol=1e-6)


def test_the_per_event_loop_computes_the_features_of_the_pipeline(
    feature_set: FeatureSet,
    values: list[bytes],
    store: MemoryStore,
    expected: npt.NDArray[np.float32],
) -> None:
    events = events_of(feature_set, values)
    found = tables(feature_set, store, events)
    rows = [
        per_event.features(event, card, merchant)
        for event, card, merchant in zip(
            events,
            found["card_profile"].tolist(),
            found["merchant_profile"].tolist(),
            strict=True,
        )
    ]
    np.testing.assert_allclose(np.array(rows, np.float32), expected, rtol=1e-6)


def test_events_exercise_missing_values(expected: npt.NDArray[np.float32]) -> None:
    missing = np.isnan(expected).mean(axis=0)
    assert 0.01 < missing.max() < 0.06


def test_the_same_numbers_give_the_same_events() -> None:
    def text(columns: Mapping[str, Column]) -> list[object]:
        return [column.values.tolist() for column in columns.values()]

    assert text(population.payments(700, 50)) == text(population.payments(700, 50))
    assert text(population.payments(700, 50)) != text(population.payments(750, 50))


def test_a_task_survives_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    lookup = LookupTask("card", "p:", ["a", "b"], [0.0, 1.5])
    score = ScoreTask("s", 2, "m", "1", "p1", "default", "approve", [], "f", "cpu", {"A": 3})
    task = Task("b:1", "g", "in", "out", "r", "e", "m", 2, [lookup, lookup], score)
    path = tmp_path_factory.mktemp("task") / "task.json"
    task.write(path)
    assert Task.read(path) == dataclasses.replace(task)
