"""Replay of an event file through the worker's stages, without Kafka."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import fastavro
import numpy as np

from base.errors import ConfigurationError
from base.file_path import FilePath
from features.compute.matrix import Enriched
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import OnlineStore
from features.tables.event_records import EventRecordReader
from features.windows.order import InputTimes
from schemas.batch import EventBatch, Records
from worker.delivery.publish import SizeLimits
from worker.pipeline import Pipeline, make_stages
from worker.schema_sources import framed, score_schema
from worker.stages.dead_letter import HEADER_PREFIX, DeadLetter
from worker.stages.stages import Enrich, Processed, Stages

_NO_LIMIT = SizeLimits(2**31, 2**31)


@dataclass(frozen=True, slots=True, order=True)
class RefusedRow:
    """A row without a score, and the reason."""

    row: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """Scores and refused rows of one chunk of a file.

    Attributes:
        scores: Scores as plain records.
        refused: Rows without a score, in order.
        flags: Number of scores by flag.
        times: Counts of the event times of all chunks so far.
    """

    scores: list[dict[str, Any]]
    refused: list[RefusedRow]
    flags: Mapping[str, int]
    times: InputTimes


@dataclass(frozen=True, slots=True, eq=False)
class _Counting(Enrich):
    """Enrich stage for a file; counts events whose times say that the file may be wrong."""

    times: InputTimes

    def __call__(self, batch: EventBatch, log: LogState) -> Enriched:
        """Count the events, then compute their features."""
        self.times.add(batch)
        return Enrich.__call__(self, batch, log)


class Serial:
    """Stages that process a log by chunks; each chunk is in the store before the next begins."""

    def __init__(self, stages: Stages, store: OnlineStore) -> None:
        self._stages = stages
        self._store = store
        self._log_state = LogState()

    def __call__(self, records: Records) -> Processed:
        """Process the records that follow those of the last call."""
        processed = self._stages(records, self._log_state)
        self._log_state = processed.after
        if processed.writes:
            self._store.append(processed.writes.appends, processed.writes.compactions)
        return processed


def replay_file(
    pipeline: Pipeline, path: FilePath, limit: int | None, record_time: str | None = None
) -> Iterator[Replayed]:
    """Score the events of a file with the worker's own stages and an in-memory store.

    Args:
        pipeline: The pipeline.
        path: File of events.
        limit: Number of rows to read; None for all.
        record_time: The column with the timestamps of the records.
    """
    wire = pipeline.settings.wire
    if pipeline.settings.registry is not None:
        raise ConfigurationError(
            "registry: a file is scored with the schema of features.yaml alone; leave registry "
            "out of the pipeline folder that you score with"
        )
    store = MemoryStore()
    stages = make_stages(pipeline, pipeline.decoder(), store, b"", lambda: _NO_LIMIT)
    times, enrich = InputTimes(pipeline.feature_set.histories.rules), stages.enrich
    counting = _Counting(enrich.feature_set, enrich.store, enrich.histories, times)
    run = Serial(replace(stages, enrich=counting), store)
    schema = fastavro.parse_schema(score_schema())
    source = EventRecordReader(
        pipeline.feature_set,
        pipeline.settings.kafka.input_topic,
        framed(wire.schema_id) if wire.framing == "confluent" else b"",
        record_time,
    )
    left = limit
    for chunk in source.read(path):
        records = chunk.records
        refused = [
            RefusedRow(row, error.code.value, error.message) for row, error in chunk.errors.items()
        ]
        if left is not None and left <= len(records):
            records = records.take(np.arange(left))
            refused = [row for row in refused if row.row < records.offsets[-1]]
        processed = run(records)
        yield Replayed(
            [_decoded(schema, value) for value in processed.values],
            sorted([*refused, *(_refused(letter) for letter in processed.dead_letters)]),
            processed.flagged,
            times,
        )
        if left is not None:
            left -= len(records)
            if left == 0:
                return


def _decoded(schema: Any, value: bytes) -> dict[str, Any]:
    """Decode a score into values that JSON can hold."""
    record = cast("dict[str, Any]", fastavro.schemaless_reader(io.BytesIO(value), schema, None))
    for name in ("event_time", "scored_at"):
        record[name] = record[name].isoformat()
    # JSON has no NaN.
    record["vector"] = {k: None if math.isnan(v) else v for k, v in record["vector"].items()}
    for feature in [feature for reason in record["reasons"] for feature in reason["features"]]:
        feature["value"] = None if math.isnan(feature["value"]) else feature["value"]
    return record


def _refused(letter: DeadLetter) -> RefusedRow:
    message = dict(letter.headers)[f"{HEADER_PREFIX}message"] or b""
    return RefusedRow(letter.position.offset, letter.code.value, message.decode())
