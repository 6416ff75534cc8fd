"""Testbed of the online part: a topic full of events, and a model trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features.source import Source
from benchmarks.play import CHUNK, Messages, play
from benchmarks.programs import ROOT
from benchmarks.testbed import EVENT_SCHEMA_ID, INPUT_TOPIC, Testbed, note, open_servers
from features.definition import FeatureSet, load_feature_set
from features.tables.event_records import EventRecordReader
from models.backend.threads import available_threads
from models.bundle import Bundle, load_bundle, write_bundle
from models.training.fit import fit
from worker.schema_sources import framed

PIPELINE = ROOT / "examples" / "handbook"
TRAINING_EVENTS = 200_000


@contextmanager
def open_testbed(
    folder: Path, source: Source, built: Path, partitions: int = 1
) -> Iterator[Testbed]:
    """Train on the table ``built``, and start the servers."""
    feature_set = load_feature_set(PIPELINE / "features.yaml")
    bundle = train(folder / "model", feature_set, source, built)
    note("starting Apache Kafka and Valkey …")
    with open_servers(folder, partitions) as (kafka, valkey):
        yield Testbed(
            folder=folder,
            pipeline=PIPELINE,
            kafka=kafka,
            valkey=valkey,
            feature_set=feature_set,
            bundle=bundle,
            events=source.rows,
            partitions=partitions,
        )


def train(folder: Path, feature_set: FeatureSet, source: Source, built: Path) -> Bundle:
    """Train 100 trees of depth 6 on events with full histories."""
    columns = [*feature_set.names, "label"]
    table = pq.read_table(built, columns=columns).slice(source.history, TRAINING_EVENTS)
    matrix = np.column_stack([table[name].to_numpy() for name in feature_set.names])
    labels = table["label"].cast(pa.int64()).to_numpy()
    booster = fit(
        np.ascontiguousarray(matrix, np.float32), labels, threads=available_threads(), rounds=100
    )
    features = feature_set.features
    write_bundle(folder, booster, name=feature_set.name, version="bench", features=features)
    return load_bundle(folder)


def fill(testbed: Testbed, source: Source) -> None:
    """Produce all events to the input topic."""
    note(f"playing {source.rows:,} events …")
    messages = read_messages(testbed.feature_set, source.path)
    play(testbed.kafka.bootstrap, INPUT_TOPIC, messages)


def read_messages(feature_set: FeatureSet, path: Path) -> Iterator[Messages]:
    """Read a file of events as values and keys of records.

    Raises:
        ValueError: No record can hold an event.
    """
    events = EventRecordReader(feature_set, INPUT_TOPIC, framed(EVENT_SCHEMA_ID))
    for chunk in events.read(path, chunk=CHUNK):
        if chunk.errors:
            raise ValueError(f"{path}: {next(iter(chunk.errors.values()))}")
        yield chunk.records.values, chunk.records.keys
