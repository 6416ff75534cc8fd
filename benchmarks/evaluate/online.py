"""Score all events with a worker on real Kafka, with a new model for each test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition

from base.errors import DependencyUnavailableError
from benchmarks.play import Messages, play
from features.definition import FeatureSet
from features.store.redis import RedisStore
from features.tables.event_records import EventRecordReader
from tools.demo.training import load_frauds
from tools.demo.worker_process import WorkerProcess
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics
from tools.embedded.valkey import Valkey
from tools.topics.score_decoder import ScoreDecoder
from tools.topics.topic_log import read_to_end
from worker.histories.record import label_namespace
from worker.schema_sources import framed
from worker.settings import load_settings

Note = Callable[[str], None]

_INPUT, _DEAD = "transactions", "dead-letters"
_STALL_S = 120.0
_NOTE_EVERY_S = 15.0
# Maximum throughput: large micro-batches, however long one takes.
_FAST = {"DELIVERY__MAX_BATCH_EVENTS": "20000", "DELIVERY__LATENCY_BUDGET_S": "10"}
_PATHS = ("event_id", "margin", "score", "model.version")


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """N scores of a topic.

    Attributes:
        ids: StringArray[N], event ids.
        versions: StringArray[N], model versions.
        margins: float32[N].
        scores: float64[N].
    """

    ids: pa.StringArray
    versions: pa.StringArray
    margins: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]


class WorkerRuns:
    """Runs of the worker, one after the other, on the same topics and store.

    Args:
        pipeline: Pipeline folder.
        feature_set: Feature set of the pipeline.
        folder: Folder for logs.
        servers: Kafka and Valkey.
        partitions: Number of partitions of the input topic.
    """

    def __init__(
        self,
        pipeline: Path,
        feature_set: FeatureSet,
        folder: Path,
        servers: tuple[Kafka, Valkey],
        partitions: int,
    ) -> None:
        self._pipeline, self._feature_set, self._folder = pipeline, feature_set, folder
        self._kafka, self._valkey = servers
        settings = load_settings(pipeline)
        self._state_name, self._group = settings.state_name, settings.kafka.group
        prefix = framed(settings.wire.schema_id) if settings.wire.framing == "confluent" else b""
        self._source = EventRecordReader(feature_set, _INPUT, prefix)
        self._played = 0
        self._partitions = partitions
        create_topics(self._kafka.bootstrap, {_INPUT: partitions, _DEAD: 1})

    def load_labels(self, raw: Path) -> None:
        """Load all labels; an event ignores labels with a later label time."""
        with closing(RedisStore(self._valkey.url)) as store:
            namespace = label_namespace(store, self._feature_set.name, self._state_name)
            load_frauds(self._feature_set, raw, store, namespace)

    def score(self, events: Path, bundle: Path, topic: str, note: Note) -> None:
        """Produce all events of a file, and score them with a worker with this bundle.

        Raises:
            DependencyUnavailableError: The worker ends, or makes no progress.
        """
        create_topics(self._kafka.bootstrap, {topic: 1})
        with self._worker(bundle, topic) as worker:
            play(self._kafka.bootstrap, _INPUT, self._messages(events))
            self._wait(worker, note)

    def read(self, topic: str) -> Scores:
        """Read the committed scores of a topic."""
        decoder = ScoreDecoder(_PATHS)
        columns: dict[str, list[Any]] = {path: [] for path in _PATHS}
        for records in read_to_end(self._kafka.bootstrap, topic):
            for path, values in decoder.decode(records).items():
                columns[path].append(values)
        return Scores(
            pa.concat_arrays(columns["event_id"]),
            pa.concat_arrays(columns["model.version"]),
            np.concatenate(columns["margin"]).astype(np.float32),
            np.concatenate(columns["score"]),
        )

    def dead_letters(self) -> int:
        return sum(map(len, read_to_end(self._kafka.bootstrap, _DEAD)))

    def _messages(self, events: Path) -> Iterator[Messages]:
        for chunk in self._source.read(events):
            self._played += len(chunk.records)
            yield chunk.records.values, chunk.records.keys

    @contextmanager
    def _worker(self, bundle: Path, topic: str) -> Iterator[WorkerProcess]:
        """Run a worker that continues at the committed offset of the previous one."""
        settings = {
            "KAFKA__BOOTSTRAP_SERVERS": self._kafka.bootstrap,
            "KAFKA__INPUT_TOPIC": _INPUT,
            "KAFKA__OUTPUT_TOPIC": topic,
            "KAFKA__DEAD_LETTER_TOPIC": _DEAD,
            "STORE__URL": self._valkey.url,
            "MODEL__BUNDLE": str(bundle),
            "MODEL__DEVICE": "cpu",
            "OUTPUT__VECTOR": "off",
            "REPLICA": "evaluate",
            **_FAST,
        }
        environment = {f"FRAUD_WORKER_{name}": value for name, value in settings.items()}
        worker = WorkerProcess(self._pipeline, environment, self._folder / f"{topic}.log")
        worker.wait_ready()
        yield worker
        worker.drain()

    def _wait(self, worker: WorkerProcess, note: Note) -> None:
        """Wait until the worker has committed all produced events."""
        last, moved = -1, time.monotonic()
        asked = [TopicPartition(_INPUT, partition) for partition in range(self._partitions)]
        noted_at = moved
        of_group = {"bootstrap.servers": self._kafka.bootstrap, "group.id": self._group}
        with closing(Consumer(of_group)) as consumer:
            while True:
                worker.require_running()
                scored = sum(max(0, at.offset) for at in consumer.committed(asked, timeout=10))
                now = time.monotonic()
                if scored >= self._played:
                    return
                if scored != last:
                    last, moved = scored, now
                if now - moved > _STALL_S:
                    raise DependencyUnavailableError(
                        f"{scored:,} of {self._played:,} events are scored, and no more for "
                        f"{_STALL_S:g} s"
                    )
                if now - noted_at > _NOTE_EVERY_S:
                    noted_at = now
                    note(f"scored {scored:,} of {self._played:,} events")
                time.sleep(0.2)


def matching(expected_ids: pa.StringArray, scores: Scores) -> npt.NDArray[np.intp] | None:
    """Index of each expected event's score, intp[N]; None unless each event has exactly one."""
    if len(scores.ids) != len(expected_ids):
        return None
    order = np.argsort(_numbers(scores.ids))
    wanted = np.argsort(np.argsort(_numbers(expected_ids)))
    places: npt.NDArray[np.intp] = order[wanted]
    return places if scores.ids.take(pa.array(places)).equals(expected_ids) else None


def _numbers(ids: Sequence[Any] | pa.StringArray) -> npt.NDArray[Any]:
    return np.asarray(pa.array(ids).to_numpy(zero_copy_only=False), dtype=str)
