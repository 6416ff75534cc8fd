"""Player of event files into a topic, at a given rate or as fast as possible."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Producer

from base.arrays import Floats, Longs
from features.tables.event_files import partitions_of
from features.tables.event_records import EventRecordReader
from schemas.avro.paths import PathType
from schemas.batch import Column, Kind

Messages = list[dict[str, Any]]

_TICK_S = 0.01
_UNLIMITED_SLICE = 5_000
_ANSWER_S = 10.0


@dataclass(slots=True)
class Played:
    """Events that a player sent into the P partitions of a topic that nothing else writes.

    Attributes:
        first: int64[P], offset of the first event in each partition.
        end: int64[P], offset after the last event so far in each partition.
        batches: Time of sending of each batch in milliseconds since 1970-01-01 UTC, and ``end``
            before it.
        event_ids: Ids of the events that have a label.
        labels: Their labels.
        refused: Number of rows of the file that are not valid events, and were not sent.
    """

    first: Longs
    end: Longs
    batches: list[tuple[float, ...]] = field(default_factory=list)
    event_ids: list[pa.StringArray] = field(default_factory=list)
    labels: list[npt.NDArray[np.int64]] = field(default_factory=list)
    refused: int = 0

    @property
    def events(self) -> int:
        """Number of events so far."""
        return int((self.end - self.first).sum())

    def sent_ms(self, partitions: Longs, offsets: Longs) -> Floats:
        """Times of sending of the events at these positions, in ms since 1970-01-01 UTC."""
        sent = np.empty(len(offsets))
        times, *starts = np.array(self.batches, np.float64).reshape(-1, 1 + len(self.first)).T
        for partition, start in enumerate(starts):
            rows = partitions == partition
            sent[rows] = times[np.searchsorted(start, offsets[rows], side="right") - 1]
        return sent


class Player:
    """Sender of a file's events, in its own thread."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        source: EventRecordReader,
        path: Path,
        *,
        event_id: str,
        label: str | None,
        first: Longs,
    ) -> None:
        """Take ``first`` as the end of each partition of the topic, int64[P]."""
        self._bootstrap, self._topic = bootstrap, topic
        self._source, self._path = source, path
        self._event_id, self._label = event_id, label
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.played = Played(first, first)

    def start(self, events: int, rate: float | None) -> None:
        """Start sending the first ``events`` at ``rate`` a second; None: as fast as possible.

        Returns when the connection stands and the first chunk of the file is encoded, so that
        neither takes CPU while events are on their way.
        """
        chunks = self._chunks(events)
        ready = chain([next(chunks)], chunks)
        producer = self._connected(rate)
        self._thread = threading.Thread(
            target=self._run, args=(producer, ready, rate), name="player", daemon=True
        )
        self._thread.start()

    @property
    def done(self) -> bool:
        """True once all events are acknowledged. Raises the exception that stopped the player."""
        if self._thread is None or self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def _connected(self, rate: float | None) -> Producer:
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "log_level": 0,
                # The same as `_partitions`: produce_batch of confluent-kafka 2.16 ignores the
                # partition of a message.
                "partitioner": "murmur2_random",
                # Idempotence would do the same on a connection that holds, but librdkafka 2.16 then
                # spins while five requests have no answer: a core taken from what is measured.
                "retries": 0,
                # The events of a tick are sent at once; to wait for more would be latency.
                "linger.ms": 5 if rate is None else 0,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 500_000,
                "delivery.report.only.error": True,
                "on_delivery": self._on_failure,
            }
        )
        producer.list_topics(self._topic, timeout=_ANSWER_S)
        return producer

    def _run(self, producer: Producer, chunks: Iterator[Messages], rate: float | None) -> None:
        try:
            self._play(producer, chunks, rate)
            producer.flush()
            producer.close()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread by `done`
            self._error = error

    def _play(self, producer: Producer, chunks: Iterator[Messages], rate: float | None) -> None:
        size = _UNLIMITED_SLICE if rate is None else max(1, int(rate * _TICK_S))
        started = time.monotonic()
        for messages in chunks:
            for first in range(0, len(messages), size):
                if rate is not None:
                    due = started + self.played.events / rate
                    time.sleep(max(0.0, due - time.monotonic()))
                self._send(producer, messages[first : first + size])

    def _send(self, producer: Producer, messages: Messages) -> None:
        while messages:
            played = self.played
            played.batches.append((time.time() * 1000, *played.end.tolist()))
            producer.produce_batch(self._topic, messages)
            queued = [m["partition"] for m in messages if "_error" not in m]
            played.end = played.end + np.bincount(queued, minlength=len(played.end))
            messages = [m for m in messages if m.pop("_error", None)]
            producer.poll(0.1 if messages else 0)

    def _chunks(self, events: int) -> Iterator[Messages]:
        extra = {self._label: PathType(Kind.LONG, scale=0, nullable=True)} if self._label else {}
        left = events
        for chunk in self._source.read(self._path, extra):
            rows = np.arange(min(left, len(chunk.records)))
            self._keep_labels(chunk.columns, rows)
            self.played.refused += len(chunk.errors)
            records = chunk.records.take(rows)
            partitions = self._partitions(records.keys).tolist()
            yield [
                {"value": value, "key": key, "partition": partition}
                for value, key, partition in zip(
                    records.values, records.keys, partitions, strict=True
                )
            ]
            left -= len(rows)
            if left == 0:
                return

    def _partitions(self, keys: Sequence[bytes | None]) -> npt.NDArray[np.int32]:
        """Partition of each key as a producer with Kafka's default partitioner would choose it."""
        partitions = len(self.played.first)
        if partitions == 1:
            return np.zeros(len(keys), np.int32)
        return partitions_of(pa.array(keys, pa.string()), partitions)

    def _keep_labels(self, columns: Mapping[str, Column], rows: npt.NDArray[np.intp]) -> None:
        if self._label is not None and self._label in columns:
            self.played.event_ids.append(columns[self._event_id].take(rows).values)
            self.played.labels.append(columns[self._label].take(rows).values)

    def _on_failure(self, error: object, _message: object) -> None:
        if error is not None:
            self._error = RuntimeError(f"the brokers did not accept an event: {error}")
