"""Player of event files into a topic, at a given rate or as fast as possible."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Producer

from features.tables.event_records import EventRecordReader
from schemas.avro.paths import PathType
from schemas.batch import Column, Kind, Records

_TICK_S = 0.01
_UNLIMITED_SLICE = 5_000


@dataclass(slots=True)
class Played:
    """Events that the player sent: their number, and their labels by event id for the audit."""

    events: int = 0
    event_ids: list[pa.StringArray] = field(default_factory=list)
    labels: list[npt.NDArray[np.int64]] = field(default_factory=list)
    refused: int = 0
    """Rows of the file that are not valid events, and were not sent."""


class Player:
    """Sender of a file's events, in its own thread."""

    def __init__(
        self,
        bootstrap: str,
        source: EventRecordReader,
        path: Path,
        *,
        event_id: str,
        label: str | None,
    ) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "log_level": 0,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 500_000,
                "delivery.report.only.error": True,
                "on_delivery": self._on_failure,
            }
        )
        self._source, self._path = source, path
        self._event_id, self._label = event_id, label
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._limit = 0
        self._rate: float | None = None
        self.played = Played()

    def start(self, events: int, rate: float | None) -> None:
        """Start sending the first ``events`` at ``rate`` a second; None: as fast as possible."""
        self._limit, self._rate = events, rate
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """True once all events are acknowledged. Raises the exception that stopped the player."""
        if self._thread is None or self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def _run(self) -> None:
        try:
            self._play()
            self._producer.flush()
            self._producer.close()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread by `done`
            self._error = error

    def _play(self) -> None:
        started = time.monotonic()
        for records in _slices(self._chunks(), self._rate):
            if self._rate is not None:
                due = started + self.played.events / self._rate
                time.sleep(max(0.0, due - time.monotonic()))
            messages = [
                {"value": v, "key": k} for v, k in zip(records.values, records.keys, strict=True)
            ]
            while messages:
                queued = self._producer.produce_batch(records.topic, messages)
                messages = [m for m in messages if "_error" in m]
                for message in messages:
                    del message["_error"]
                self.played.events += queued
                self._producer.poll(0.1 if messages else 0)

    def _chunks(self) -> Iterator[Records]:
        extra = {self._label: PathType(Kind.LONG, scale=0, nullable=True)} if self._label else {}
        left = self._limit
        for chunk in self._source.read(self._path, extra):
            rows = np.arange(min(left, len(chunk.records)))
            self._keep_labels(chunk.columns, rows)
            self.played.refused += len(chunk.errors)
            yield chunk.records.take(rows)
            left -= len(rows)
            if left == 0:
                return

    def _keep_labels(self, columns: Mapping[str, Column], rows: npt.NDArray[np.intp]) -> None:
        if self._label is not None and self._label in columns:
            self.played.event_ids.append(columns[self._event_id].take(rows).values)
            self.played.labels.append(columns[self._label].take(rows).values)

    def _on_failure(self, error: object, _message: object) -> None:
        if error is not None:
            self._error = RuntimeError(f"the brokers did not accept an event: {error}")


def _slices(chunks: Iterable[Records], rate: float | None) -> Iterator[Records]:
    size = _UNLIMITED_SLICE if rate is None else max(1, int(rate * _TICK_S))
    for records in chunks:
        for first in range(0, len(records), size):
            yield records.take(np.arange(first, min(first + size, len(records))))
