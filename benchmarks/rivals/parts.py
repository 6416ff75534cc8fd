"""Common parts of the hand-written loops: Avro by record, the model, codes of categories."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt
import xgboost as xgb
from confluent_kafka import Message

from benchmarks.rivals.task import LookupTask, Task

if TYPE_CHECKING:
    # Peers have an environment of their own, without what the project's packages need.
    from base.arrays import Floats

CHANNELS = {"pos": 0.0, "ecom": 1.0, "atm": 2.0, "other": 3.0}
CURRENCIES = {"EUR": 0.0, "USD": 1.0, "GBP": 2.0, "CHF": 3.0}
OTHER_CURRENCY = 4.0
COUNTRIES = {"DE": 0.0, "FR": 1.0, "NL": 2.0, "GB": 3.0, "US": 4.0, "CH": 5.0}
OTHER_COUNTRY = 6.0
FEATURES = 32

Event = dict[str, Any]
Place = tuple[int | None, int | None]
"""Partition and offset of an event."""


class Scored(NamedTuple):
    """Score of one event.

    Attributes:
        margin: Raw output of the model, in log-odds.
        score: Probability of fraud.
        vector: Feature values that the score carries.
        missing: Bit i is set if lookup i of the task has no value.
    """

    margin: float
    score: float
    vector: Sequence[float]
    missing: int


class EventReader:
    """Decode events from framed Avro bodies."""

    def __init__(self, schema_file: str) -> None:
        schema = json.loads(Path(schema_file).read_text())
        for field in schema["fields"]:
            # Without a logical type, fastavro returns milliseconds instead of a slower datetime.
            if field["name"] == "tx_time":
                field["type"] = "long"
        self._schema = fastavro.parse_schema(schema)

    def read(self, value: bytes | None) -> Event:
        stream = io.BytesIO(value or b"")
        stream.seek(5)
        event: Any = fastavro.schemaless_reader(stream, self._schema, None)
        return dict(event) if not isinstance(event, dict) else event


class Profiles:
    """Decode the stored values of one lookup."""

    def __init__(self, lookup: LookupTask) -> None:
        names = len(lookup.names)
        self._layout = np.dtype([("updated_at", "<i8"), ("values", "<f8", (names,))])
        self._blank = np.array([(0, lookup.defaults)], self._layout).tobytes()

    def table(self, stored: list[bytes | None]) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Decode N stored values; None is a missing profile.

        Returns:
            float64[N, values] with defaults for missing profiles, and int64[N], 1 where missing.
        """
        present = [self._blank if value is None else value for value in stored]
        missing = np.array([value is None for value in stored], dtype=np.int64)
        return np.frombuffer(b"".join(present), self._layout)["values"], missing


class Model:
    """XGBoost model with the threads of the task."""

    def __init__(self, task: Task) -> None:
        self._booster = xgb.Booster(model_file=task.model_file)
        self._booster.set_param({"nthread": task.threads})

    def margins(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Margins, float32[N], of a matrix float32[N, F]."""
        margins: npt.NDArray[np.float32] = self._booster.inplace_predict(
            matrix, predict_type="margin", validate_features=False
        )
        return margins


class ScoreWriter:
    """Encode scores to framed Avro bodies."""

    def __init__(self, task: Task) -> None:
        given = task.score
        self._given = given
        self._topic = task.input_topic
        flags = [f"lookup_missing:{lookup.name}" for lookup in task.lookups]
        self._flags = [
            [flag for bit, flag in enumerate(flags) if missing >> bit & 1]
            for missing in range(1 << len(flags))
        ]
        self._schema = fastavro.parse_schema(json.loads(Path(given.schema_file).read_text()))
        self._prefix = b"\x00" + given.schema_id.to_bytes(4, "big")
        self._model = {"name": given.model_name, "version": given.model_version}
        self._names = list(given.vector)
        self._stream = io.BytesIO()

    def write(
        self, event: Event, partition: int | None, offset: int | None, scored: Scored, now_us: int
    ) -> bytes:
        """Encode the score of the event at this position."""
        stream, given = self._stream, self._given
        stream.seek(0)
        stream.truncate()
        stream.write(self._prefix)
        fastavro.schemaless_writer(
            stream,
            self._schema,
            {
                "event_id": event["transaction_id"],
                "event_time": event["tx_time"] * 1000,
                "decision": self._decision(scored.score),
                "score": scored.score,
                "margin": scored.margin,
                "reasons": [],
                "segment": given.segment,
                "model": self._model,
                "policy_version": given.policy_version,
                "feature_set": given.feature_set,
                "device": given.device,
                "flags": self._flags[scored.missing],
                "source": {"topic": self._topic, "partition": partition, "offset": offset},
                "scored_at": now_us,
                "carried": {},
                "vector": dict(zip(self._names, scored.vector, strict=True)),
            },
        )
        return stream.getvalue()

    def _decision(self, score: float) -> str:
        for decision, threshold in self._given.bands:
            if score >= threshold:
                return decision
        return self._given.default


class BatchScorer:
    """Score a batch of events from their features, with one prediction."""

    def __init__(self, task: Task) -> None:
        self._model, self._writer = Model(task), ScoreWriter(task)
        self._vector = list(task.score.vector.values())

    def score(
        self,
        messages: list[Message],
        events: list[Event],
        matrix: npt.NDArray[np.float32],
        missing: Sequence[int],
    ) -> Iterator[bytes]:
        """Score N events with the features float32[N, F]."""
        margins = self._model.margins(matrix)
        scores = 1.0 / (1.0 + np.exp(-margins.astype(np.float64)))
        vectors = matrix[:, self._vector].tolist()
        scored = map(Scored, margins.tolist(), scores.tolist(), vectors, missing)
        now_us = time.time_ns() // 1000
        for message, event, one in zip(messages, events, scored, strict=True):
            yield self._writer.write(event, message.partition(), message.offset(), one, now_us)


class OneScorer:
    """Score one event from its features."""

    def __init__(self, task: Task) -> None:
        self._model, self._writer = Model(task), ScoreWriter(task)
        self._vector = list(task.score.vector.values())

    def score(self, place: Place, event: Event, row: list[float], missing: int) -> bytes:
        """Score the event at this place with these features."""
        matrix = np.array([row], np.float32)
        margin = float(self._model.margins(matrix)[0])
        vector = matrix[0, self._vector].tolist()
        scored = Scored(margin, 1.0 / (1.0 + math.exp(-margin)), vector, missing)
        return self._writer.write(event, *place, scored, time.time_ns() // 1000)
