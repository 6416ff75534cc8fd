"""Consumer of answers as they arrive, like one of a downstream system, and their latency."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from base.arrays import Floats, Longs
from tools.demo.player import Played

_MOST = 20_000
_LOOK_S = 0.1
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency in ms, from sending an event until a read-committed consumer has its answer."""

    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Arrival times of N answers.

    Attributes:
        partitions: int64[N], of the input records.
        offsets: int64[N], of the input records.
        at_ms: float64[N], arrival times in milliseconds since 1970-01-01 UTC.
    """

    partitions: Longs
    offsets: Longs
    at_ms: Floats

    @classmethod
    def concatenate(cls, parts: Sequence[Arrivals]) -> Arrivals:
        """Join parts, of which there may be none."""
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(part.partitions for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.offsets for part in parts)]),
            np.concatenate([np.zeros(0), *(part.at_ms for part in parts)]),
        )

    def since(self, at_ms: float) -> Arrivals:
        """Select those after a time in milliseconds since 1970-01-01 UTC."""
        rows = self.at_ms > at_ms
        return Arrivals(self.partitions[rows], self.offsets[rows], self.at_ms[rows])

    def latency(self, played: Played) -> Latency:
        """Percentiles over all answers."""
        if not len(self.offsets):
            return Latency(None, None)
        sent_ms = played.sent_ms(self.partitions, self.offsets)
        p50, p99 = np.percentile(self.at_ms - sent_ms, [50, 99])
        return Latency(round(float(p50), 2), round(float(p99), 2))


class Reader:
    """Read-committed consumer of topics in a thread, from their beginning.

    The thread only notes when messages arrive: decoding them there would delay later ones.

    Attributes:
        answers: Number of messages since the last ``begin``.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._consumer = _follow(bootstrap, topics)
        self.answers = 0
        self._keep = False
        self._arrived: deque[tuple[float, list[Message]]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def begin(self, *, keep: bool) -> None:
        """Count anew, and keep messages for ``take`` or drop them."""
        self.answers, self._keep = 0, keep
        self._arrived.clear()

    def take(self) -> list[tuple[float, list[Message]]]:
        """Remove and return arrived messages, with the time in milliseconds since 1970 UTC."""
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def stop(self) -> None:
        """Stop reading; messages that have arrived can still be taken."""
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            messages = self._consumer.consume(1, _LOOK_S)
            if not messages:
                continue
            messages += self._consumer.consume(_MOST, 0)
            at_ms = time.time() * 1000
            messages = [message for message in messages if message.error() is None]
            if self._keep:
                self._arrived.append((at_ms, messages))
            self.answers += len(messages)


def _follow(bootstrap: str, topics: Sequence[str]) -> Consumer:
    """Consumer of all partitions of the topics, from their beginning."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "demo-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    consumer.assign(
        [
            TopicPartition(topic, partition, OFFSET_BEGINNING)
            for topic in topics
            for partition in consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic].partitions
        ]
    )
    return consumer
