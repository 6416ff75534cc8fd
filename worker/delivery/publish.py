"""Publish: queue the scores and dead letters of one micro-batch for their topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Producer

from base.errors import BatchAbortedError
from schemas.batch import Headers
from worker.delivery.reports import REFUSED_CODES, Reports
from worker.stages.dead_letter import RECORD_OVERHEAD_BYTES, DeadLetter, record_size


@dataclass(frozen=True, slots=True, eq=False)
class OutputGroup:
    """Scores and dead letters to send.

    Attributes:
        keys: Key of each score; parallel to ``values``.
        values: Framed scores.
        headers: Headers of each score, parallel to ``values``; None if there are none.
        dead_letters: Dead letters, with keys and headers of their own.
    """

    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    headers: Sequence[Headers] | None
    dead_letters: Sequence[DeadLetter]


@dataclass(frozen=True, slots=True, eq=False)
class Outbox(OutputGroup):
    """Output of one micro-batch, and the group membership that may commit it.

    Attributes:
        next_offsets: For each input partition, the offset to commit, after its last record.
        group_metadata: The consumer's group metadata, as of the poll.
        epoch: Counter of assignment changes, as of the poll.
        offset_metadata: For each input partition, the metadata that is committed with its offset.
        isolated_groups: Further groups. Each is sent after everything before it is acknowledged, so
            that no batch of records holds records of two groups.
    """

    next_offsets: Mapping[int, int]
    group_metadata: Any
    epoch: int
    offset_metadata: Mapping[int, str] = field(default_factory=dict)
    isolated_groups: Sequence[OutputGroup] = ()


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Largest record that each topic accepts, in bytes (``max.message.bytes``).

    Attributes:
        scores: Limit of the topic of scores.
        dead_letters: Limit of the dead-letter topic.
        keyed_scores: True if the topic of scores accepts no record without a key, as a compacted
            topic does.
    """

    scores: int
    dead_letters: int
    keyed_scores: bool = False


class Publisher:
    """Queues groups on a producer; the checkpoint waits for their delivery.

    Args:
        producer: Producer to queue on.
        score_topic: Topic of scores.
        dead_letter_topic: Topic of dead letters.
        reports: Takes a report on each record that the client refuses.
    """

    def __init__(
        self, producer: Producer, score_topic: str, dead_letter_topic: str, reports: Reports
    ) -> None:
        self._producer = producer
        self._score_topic = score_topic
        self._dead_letter_topic = dead_letter_topic
        self._reports = reports

    def publish(self, group: OutputGroup, limits: SizeLimits) -> None:
        """Queue all scores and dead letters.

        Raises:
            BatchAbortedError: The queue of the producer is too small.
        """
        try:
            if group.headers is None:
                self._publish_scores(group)
            else:
                self._publish_with_headers(group, group.headers)
            for letter in group.dead_letters:
                self._publish_dead_letter(letter, limits)
        except BufferError as error:
            raise BatchAbortedError(
                f"the producer's queue is full ({error}); raise queue.buffering.max.kbytes in "
                "kafka.producer, or lower delivery.max_batch_events"
            ) from error

    def _publish_scores(self, group: OutputGroup) -> None:
        messages: list[dict[str, Any]] = [
            {"value": value, "key": key}
            for value, key in zip(group.values, group.keys, strict=True)
        ]
        if not messages:
            return
        queued = self._producer.produce_batch(self._score_topic, messages)
        if queued < len(messages):
            unsent = [m for m in messages if "_error" in m]
            if not unsent:
                raise BufferError("local queue full")
            for message in unsent:
                self._unsent(message["value"], message["_error"], self._score_topic)

    def _publish_with_headers(self, group: OutputGroup, headers: Sequence[Headers]) -> None:
        """Queue each score by itself: `produce_batch` has no headers (librdkafka issue 5559)."""
        for key, value, own in zip(group.keys, group.values, headers, strict=True):
            try:
                self._producer.produce(self._score_topic, value, key, headers=cast("Any", own))
            except KafkaException as error:
                self._unsent(value, error.args[0], self._score_topic)

    def _publish_dead_letter(self, letter: DeadLetter, limits: SizeLimits) -> None:
        fits = letter if letter.size() <= limits.dead_letters else letter.oversize()
        try:
            self._producer.produce(
                self._dead_letter_topic,
                fits.value,
                fits.key,
                headers=cast("Any", fits.headers),
                on_delivery=self._reports.on_letter(fits),
            )
        except KafkaException as error:
            self._unsent(fits, error.args[0], self._dead_letter_topic)

    def _unsent(self, record: DeadLetter | bytes, error: KafkaError, topic: str) -> None:
        """Report a record that the client refuses; raise any other error."""
        if error.code() == KafkaError._QUEUE_FULL:  # noqa: SLF001 - confluent_kafka has no public name for it
            raise BufferError("local queue full")
        if error.code() not in REFUSED_CODES:
            raise KafkaException(error)
        self._reports.refused_here(record, error, topic)


def too_large(
    values: Sequence[bytes],
    keys: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
    limits: SizeLimits,
) -> list[int]:
    """Rows whose score is too large for the output topic, in order."""
    if headers is None:
        longest = max(map(len, values), default=0) + max(map(len, filter(None, keys)), default=0)
        if longest + RECORD_OVERHEAD_BYTES <= limits.scores:
            return []
    rows = zip(keys, values, headers or [()] * len(values), strict=True)
    return [row for row, record in enumerate(rows) if record_size(*record) > limits.scores]


def without_key(keys: Sequence[bytes | None], limits: SizeLimits) -> list[int]:
    """Rows whose score the output topic refuses for its missing key, in order."""
    if not limits.keyed_scores or None not in keys:
        return []
    return [row for row, key in enumerate(keys) if key is None]
