"""Consumer of scores and dead letters as they arrive, like one of a downstream system."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from schemas.batch import Records
from tools.topics.score_decoder import ScoreDecoder
from tools.topics.topic_log import ignore_error, local_brokers
from worker.consume.micro_batch import records_of
from worker.kafka import make_consumer

SCORE_PATHS = ("event_id", "decision", "score", "source.partition", "source.offset")
_MOST = 20_000
_LOOK_S = 0.1
_ANSWER_S = 10.0
_RECENT_S = 3.0
_SUSPICIOUS = 6


@dataclass(frozen=True, slots=True, eq=False)
class DemoScores:
    """Columns of N scores, in the order of ``SCORE_PATHS``.

    Attributes:
        event_ids: StringArray[N].
        decisions: StringArray[N].
        scores: float64[N].
        partitions: int64[N], of the input records.
        offsets: int64[N], of the input records.
    """

    event_ids: pa.StringArray
    decisions: pa.StringArray
    scores: npt.NDArray[np.float64]
    partitions: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def decode(cls, decoder: ScoreDecoder, records: Records) -> DemoScores:
        """Decode records of the output topic. Raises ConfigurationError if one is not a score."""
        decoded = decoder.decode(records)
        return cls(*(decoded[path] for path in SCORE_PATHS))


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Arrival times of N scores.

    Attributes:
        partitions: int64[N], of the input records.
        offsets: int64[N], of the input records.
        at_ms: float64[N], arrival times in milliseconds since 1970-01-01 UTC.
    """

    partitions: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    at_ms: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suspicious:
    """Score whose decision is not the default."""

    event_id: str
    score: float
    decision: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts since the last ``begin``; rate and latency are those of the last seconds."""

    events: int
    scores: int
    dead_letters: int
    events_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    decisions: dict[str, int]
    suspicious: list[Suspicious]

    @property
    def answers(self) -> int:
        return self.scores + self.dead_letters


class _SentTimes:
    """Timestamps of input records, by partition and offset."""

    def __init__(self) -> None:
        self._by_partition: dict[int, dict[int, int]] = {}
        self.count = 0

    def add(self, messages: Sequence[Message]) -> None:
        for m in messages:
            partition, offset = cast("tuple[int, int]", (m.partition(), m.offset()))
            self._by_partition.setdefault(partition, {})[offset] = m.timestamp()[1]
        self.count += len(messages)

    def pop(self, scores: DemoScores) -> npt.NDArray[np.float64]:
        """Remove and return timestamps of the scores' input records.

        Returns:
            float64[N], milliseconds since 1970-01-01 UTC; NaN for records not seen yet.
        """
        return np.array(
            [
                self._by_partition.get(p, {}).pop(o, np.nan)
                for p, o in zip(scores.partitions.tolist(), scores.offsets.tolist(), strict=True)
            ],
            np.float64,
        )


class Watch:
    """Reader of all three topics in a thread, from before the first event.

    Latency runs from the input record's timestamp, which the player's producer set, to the moment
    at which a read-committed consumer holds the score.
    """

    def __init__(self, bootstrap: str, topics: tuple[str, str, str], default: str) -> None:
        self._input, self._output, self._dead_letter = topics
        self._default = default
        self._consumer = _follow(bootstrap, topics)
        self._decoder = ScoreDecoder(SCORE_PATHS)
        self._lock = threading.Lock()
        self.begin()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Reset all counts and arrivals."""
        with self._lock:
            self._sent = _SentTimes()
            self._arrivals: list[Arrivals] = []
            self._recent: deque[tuple[float, npt.NDArray[np.float64]]] = deque()
            self._decisions: Counter[str] = Counter()
            self._suspicious: deque[Suspicious] = deque(maxlen=_SUSPICIOUS)
            self._scores = self._dead_letters = 0

    def snapshot(self) -> Snapshot:
        with self._lock:
            now = time.monotonic()
            while self._recent and self._recent[0][0] < now - _RECENT_S:
                self._recent.popleft()
            latencies = [ms for _, ms in self._recent]
            known = np.concatenate(latencies) if latencies else np.zeros(0)
            rate = len(known) / _RECENT_S
            known = known[~np.isnan(known)]
            p50, p99 = np.percentile(known, [50, 99]) if len(known) else (None, None)
            return Snapshot(
                self._sent.count,
                self._scores,
                self._dead_letters,
                rate,
                p50,
                p99,
                dict(self._decisions),
                list(self._suspicious),
            )

    def stop(self) -> Arrivals:
        """Stop reading, and return the arrivals since the last ``begin``."""
        self._stopping.set()
        self._thread.join()
        self._consumer.close()
        parts = self._arrivals or [Arrivals(*(np.zeros(0, np.int64),) * 2, np.zeros(0))]
        return Arrivals(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("partitions", "offsets", "at_ms")
            )
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            messages = self._consumer.consume(1, _LOOK_S)
            messages += self._consumer.consume(_MOST, 0) if messages else []
            messages = [message for message in messages if message.error() is None]
            at_ms = time.time() * 1000
            if messages:
                with self._lock:
                    self._take(messages, at_ms)

    def _take(self, messages: Sequence[Message], at_ms: float) -> None:
        by_topic: dict[str, list[Message]] = {}
        for message in messages:
            by_topic.setdefault(message.topic() or "", []).append(message)
        self._sent.add(by_topic.get(self._input, []))
        self._dead_letters += len(by_topic.get(self._dead_letter, []))
        if self._output in by_topic:
            records = records_of(self._output, by_topic[self._output])
            self._take_scores(DemoScores.decode(self._decoder, records), at_ms)

    def _take_scores(self, scores: DemoScores, at_ms: float) -> None:
        n = len(scores.scores)
        self._scores += n
        self._arrivals.append(Arrivals(scores.partitions, scores.offsets, np.full(n, at_ms)))
        self._recent.append((time.monotonic(), at_ms - self._sent.pop(scores)))
        decisions = scores.decisions.to_pylist()
        self._decisions.update(decisions)
        for row, decision in enumerate(decisions):
            if decision != self._default:
                self._suspicious.append(
                    Suspicious(scores.event_ids[row].as_py(), float(scores.scores[row]), decision)
                )


def _follow(bootstrap: str, topics: Sequence[str]) -> Consumer:
    """Consumer of all partitions of the topics, from their beginning."""
    consumer = make_consumer(local_brokers(bootstrap), ignore_error)
    consumer.assign(
        [
            TopicPartition(topic, partition, OFFSET_BEGINNING)
            for topic in topics
            for partition in consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic].partitions
        ]
    )
    return consumer
