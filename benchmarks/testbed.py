"""Testbed of all programs: Kafka, Valkey, a model, and an input topic full of events."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import population
from benchmarks.latency.events import Events
from benchmarks.play import CHUNK, Messages, play
from benchmarks.rivals.task import BATCH_EVENTS
from features.compute.bind import bind
from features.compute.enrich import enrich
from features.compute.matrix import Enriched
from features.definition import FeatureSet, load_feature_set
from features.loading.lookup_files import load_lookup
from features.store.protocol import OnlineStore
from features.store.redis import RedisStore
from models.backend.threads import available_threads
from models.bundle import Bundle, load_bundle, write_bundle
from models.training.fit import fit
from schemas.avro.decoder import Decoder
from schemas.avro.encode.encoder import RecordEncoder
from schemas.batch import Column, EventBatch, Records
from schemas.registry.source import FileSchemaSource
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics
from tools.embedded.valkey import Valkey
from worker.schema_sources import framed

PIPELINE = Path(__file__).with_name("pipeline")
INPUT_TOPIC = "transactions"
DEAD_LETTERS = "dead-letters"
"""Topic that the worker requires; no event of the benchmarks goes there."""
PARTITIONS = 4
EVENT_SCHEMA_ID, SCORE_SCHEMA_ID = 1, 2
TRAINING_EVENTS = 60_000
# Far from the event numbers of the common topic.
_FIRST_PLAYED = 500_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Testbed:
    """Running servers with data, and the pipeline and model that run on them.

    Attributes:
        folder: Folder for logs and files.
        pipeline: Pipeline folder of the worker.
        kafka: The broker, with the input topic.
        valkey: The online store, with the lookups.
        feature_set: Feature set of the pipeline.
        bundle: Trained model.
        events: Number of events in the input topic.
        partitions: Number of partitions of the input topic.
        threads: XGBoost threads of each program.
    """

    folder: Path
    pipeline: Path
    kafka: Kafka
    valkey: Valkey
    feature_set: FeatureSet
    bundle: Bundle
    events: int
    partitions: int
    threads: int = field(default_factory=available_threads)

    def setting(self, rounds: int) -> dict[str, Any]:
        """Return the settings that are written to the result."""
        return {
            "events_in_topic": self.events,
            "partitions": self.partitions,
            "features": len(self.feature_set.features),
            "trees": self.bundle.trees,
            "xgboost_threads": self.threads,
            "batch_events": BATCH_EVENTS,
            "rounds": rounds,
        }


def note(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def open_servers(folder: Path, partitions: int) -> Iterator[tuple[Kafka, Valkey]]:
    """Start Kafka, with the input and the dead-letter topic, and Valkey."""
    with Kafka(folder / "kafka") as kafka, Valkey(folder / "valkey") as valkey:
        create_topics(kafka.bootstrap, {INPUT_TOPIC: partitions, DEAD_LETTERS: 1})
        yield kafka, valkey


@contextmanager
def open_testbed(folder: Path, events: int) -> Iterator[Testbed]:
    """Start the servers, load the lookups, train the model and fill the input topic."""
    feature_set = load_feature_set(PIPELINE / "features.yaml")
    note("starting Apache Kafka and Valkey …")
    with open_servers(folder, PARTITIONS) as (kafka, valkey):
        started = time.monotonic()
        note(f"loading {population.CARDS:,} cards, playing {events:,} events, training …")
        with ThreadPoolExecutor(1) as pool:
            filled = pool.submit(play, kafka.bootstrap, INPUT_TOPIC, _payments(feature_set, events))
            store = RedisStore(valkey.url)
            load_lookups(folder, feature_set, store, population.CARDS)
            bundle = _train(folder / "model", feature_set, store)
            store.close()
            filled.result()
        note(f"ready after {time.monotonic() - started:.0f} s")
        yield Testbed(
            folder=folder,
            pipeline=PIPELINE,
            kafka=kafka,
            valkey=valkey,
            feature_set=feature_set,
            bundle=bundle,
            events=events,
            partitions=PARTITIONS,
        )


def encoder(feature_set: FeatureSet) -> RecordEncoder:
    """Encoder of framed events."""
    return RecordEncoder(feature_set.reader_schema, framed(EVENT_SCHEMA_ID))


def event_keys(columns: Mapping[str, Column]) -> list[bytes]:
    """Record keys of the events: their cards."""
    cards = cast("pa.StringArray", columns["customer_id"].values)
    return cast("list[bytes]", cards.cast(pa.binary()).to_pylist())


def played_payments(feature_set: FeatureSet, count: int) -> Events:
    """Payments of the synthetic cards, none of which the common topic holds."""
    columns = population.payments(_FIRST_PLAYED, count)
    return Events(event_keys(columns), encoder(feature_set).encode(count, columns))


def enriched_payments(
    feature_set: FeatureSet, store: OnlineStore, first: int, count: int
) -> tuple[EventBatch, Enriched]:
    """Decode and enrich ``count`` payments from number ``first`` on, with the worker's code."""
    values = encoder(feature_set).encode(count, population.payments(first, count))
    zeros = np.zeros(count, np.int64)
    records = Records(INPUT_TOPIC, [None] * count, values, zeros.astype(np.int32), zeros, zeros)
    decoder = Decoder(
        FileSchemaSource({EVENT_SCHEMA_ID: feature_set.schema_path}),
        feature_set.reader_schema,
        feature_set.paths,
        max_record_bytes=1_000_000,
        max_collection_items=10_000,
    )
    batch, _ = bind(feature_set, records, decoder.decode(values, None))
    return batch, enrich(feature_set, batch, store)


def load_lookups(folder: Path, feature_set: FeatureSet, store: OnlineStore, cards: int) -> None:
    """Load the profiles of ``cards`` cards and of all merchants, by files in ``folder``."""
    tables = {
        "card_profile": population.card_profiles(cards),
        "merchant_profile": population.merchant_profiles(population.MERCHANTS),
    }
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path)
        load_lookup(feature_set, name, path, store)


def _train(folder: Path, feature_set: FeatureSet, store: RedisStore) -> Bundle:
    """Train 100 trees of depth 6 on computed features."""
    _, enriched = enriched_payments(feature_set, store, 0, TRAINING_EVENTS)
    labels = population.labels(enriched.matrix, feature_set.names)
    booster = fit(enriched.matrix, labels, threads=available_threads(), rounds=100)
    write_bundle(folder, booster, name="bench", version="1", features=feature_set.features)
    return load_bundle(folder)


def _payments(feature_set: FeatureSet, events: int) -> Iterator[Messages]:
    encode = encoder(feature_set)
    for first in range(0, events, CHUNK):
        count = min(CHUNK, events - first)
        columns = population.payments(first, count)
        yield encode.encode(count, columns), event_keys(columns)
