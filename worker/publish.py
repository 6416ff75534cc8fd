"""Publish: scores and dead letters of one micro-batch to their topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Producer

from features.matrix import Writes
from schemas.batch import Headers
from worker.dead_letter import RECORD_OVERHEAD_BYTES, DeadLetter, record_size
from worker.errors import BatchAbortedError


@dataclass(frozen=True, slots=True, eq=False)
class Outbox:
    """All that one micro-batch leaves behind, and the membership that may commit it.

    keys, values and headers are parallel: one score each. next_offsets: for each input partition
    the offset after its last record; notes: what is committed with that offset, as its metadata.
    writes: what the online store has to hold before.
    """

    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    headers: Sequence[Headers] | None
    dead_letters: Sequence[DeadLetter]
    next_offsets: Mapping[int, int]
    group_metadata: Any
    epoch: int
    notes: Mapping[int, str] = field(default_factory=dict)
    writes: Writes = field(default_factory=Writes)


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Largest record that each topic takes, in bytes (``max.message.bytes``)."""

    scores: int
    dead_letters: int


class Publisher:
    """Queues an outbox on a producer; delivery is the checkpoint's business."""

    def __init__(self, producer: Producer, score_topic: str, dead_letter_topic: str) -> None:
        self._producer = producer
        self._score_topic = score_topic
        self._dead_letter_topic = dead_letter_topic

    def publish(self, outbox: Outbox, limits: SizeLimits) -> None:
        """Queue all scores and dead letters. Raises BatchAbortedError if the queue is too small."""
        try:
            if outbox.headers is None:
                self._publish_scores(outbox)
            else:
                self._publish_with_headers(outbox, outbox.headers)
            for letter in outbox.dead_letters:
                self._publish_dead_letter(letter, limits)
        except BufferError as error:
            raise BatchAbortedError(
                f"the producer's queue is full ({error}); raise queue.buffering.max.kbytes in "
                "kafka.producer, or lower delivery.max_batch_events"
            ) from error

    def _publish_scores(self, outbox: Outbox) -> None:
        messages: list[dict[str, Any]] = [
            {"value": value, "key": key}
            for value, key in zip(outbox.values, outbox.keys, strict=True)
        ]
        if not messages:
            return
        queued = self._producer.produce_batch(self._score_topic, messages)
        if queued < len(messages):
            errors = [m["_error"] for m in messages if "_error" in m]
            _raise_queueing(errors[0] if errors else None)

    def _publish_with_headers(self, outbox: Outbox, headers: Sequence[Headers]) -> None:
        """produce_batch takes no headers (librdkafka issue 5559): one call each."""
        for key, value, own in zip(outbox.keys, outbox.values, headers, strict=True):
            self._producer.produce(self._score_topic, value, key, headers=cast("Any", own))

    def _publish_dead_letter(self, letter: DeadLetter, limits: SizeLimits) -> None:
        fits = letter if letter.size() <= limits.dead_letters else letter.oversize()
        self._producer.produce(
            self._dead_letter_topic,
            fits.value,
            fits.key,
            headers=cast("Any", fits.headers),
            timestamp=max(fits.timestamp, 0),
        )


def too_large(
    values: Sequence[bytes],
    keys: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
    limits: SizeLimits,
) -> list[int]:
    """Rows whose score would not fit the output topic."""
    if headers is None:
        longest = max(map(len, values), default=0) + max((len(k) for k in keys if k), default=0)
        if longest + RECORD_OVERHEAD_BYTES <= limits.scores:
            return []
    rows = zip(keys, values, headers or [()] * len(values), strict=True)
    return [row for row, record in enumerate(rows) if record_size(*record) > limits.scores]


def _raise_queueing(error: KafkaError | None) -> None:
    if error is not None and error.code() != KafkaError._QUEUE_FULL:  # noqa: SLF001 - its public name
        raise KafkaException(error)
    raise BufferError("local queue full")
