"""Delivery of a micro-batch: members to the store, then scores and offsets to Kafka.

This module orders the steps. The decisions of exactly-once are elsewhere: `worker.consume.poll`
captures the group metadata, `worker.loop` compares the assignment epoch, and
`worker.delivery.exactly_once` commits and settles unknown outcomes.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from confluent_kafka import KafkaException

from base.errors import BatchAbortedError
from features.history.watermarks import LogState
from worker.consume.micro_batch import Polled
from worker.consume.topics import Topics
from worker.delivery.answers import Answers
from worker.delivery.checkpoint import Checkpoint
from worker.delivery.publish import Outbox
from worker.delivery.reports import RecordsRefusedError
from worker.histories import Histories, HistoryWrites
from worker.stages.stages import Processed


@dataclass(frozen=True, slots=True)
class InFlightBatch:
    """A micro-batch that is being committed.

    Attributes:
        polled: Records of the micro-batch, as they were polled.
        answers: Scores and dead letters of these records.
        started: Start of its processing, in seconds on the loop's clock.
        outcome: Result of the commit; holds the error if it failed.
    """

    polled: Polled
    answers: Answers
    started: float
    outcome: Future[None]


class Delivery:
    """Delivers micro-batches one at a time, beside the thread of the loop.

    Args:
        histories: Histories of the input topic.
        checkpoint: Checkpoint that commits scores, dead letters and offsets.
        topics: Topics of the pipeline.
        executor: Executor of one thread, which `close` shuts down.

    Attributes:
        histories: As above.
    """

    def __init__(
        self, histories: Histories, checkpoint: Checkpoint, topics: Topics, executor: Executor
    ) -> None:
        self.histories = histories
        self._checkpoint = checkpoint
        self._topics = topics
        self._executor = executor

    @property
    def brokers(self) -> str:
        """Addresses of the brokers, for messages."""
        return self._topics.brokers

    def open_topics(self) -> None:
        """Look the topics up for the first time; errors are those of `Topics.open`."""
        self._topics.open()

    def open_histories(self) -> None:
        """Find the histories of the input topic; errors are those of `Histories.open`."""
        self.histories.open(self._topics.input)

    def open_checkpoint(self) -> None:
        """Settle open transactions; errors are those of `Checkpoint.open`."""
        self._checkpoint.open()

    def suspect_producers(self) -> None:
        """Replace each producer before its next use."""
        self._checkpoint.suspect()

    def begin(
        self, polled: Polled, processed: Processed, before: LogState, started: float
    ) -> InFlightBatch:
        """Begin to deliver a micro-batch; no other may be in flight.

        Args:
            polled: Records of the micro-batch.
            processed: Result of the stages.
            before: State of the log before it.
            started: Start of its processing, in seconds on the loop's clock.
        """
        answers = Answers(polled, processed, self._topics.input.topic_id)
        writes = self.histories.announce(
            processed.writes, before, processed.after, polled.next_offsets
        )
        delivered = self._executor.submit(self._deliver, answers.outbox(), writes, polled.at)
        return InFlightBatch(polled, answers, started, delivered)

    def handle_refusals(self, batch: InFlightBatch, error: RecordsRefusedError) -> str | None:
        """Replace the answers that a topic refused; result as of `Answers.handle_refusals`."""
        return batch.answers.handle_refusals(error, self._checkpoint.limits())

    def retry(self, batch: InFlightBatch) -> InFlightBatch:
        """Deliver the rest of a micro-batch whose histories are written."""
        outcome = self._executor.submit(self._checkpoint.deliver, batch.answers.outbox())
        return replace(batch, outcome=outcome)

    def close(self) -> None:
        """Wait for the micro-batch in flight, and close the producers."""
        self._executor.shutdown(wait=True)
        self._checkpoint.close()

    def _deliver(self, outbox: Outbox, writes: HistoryWrites, consumed_at: float) -> None:
        # Before the commit: every event before the checkpoint is then in its histories.
        self.histories.write(writes)
        try:
            self._topics.verify(consumed_at)
        except KafkaException as error:
            raise BatchAbortedError(f"the input topic's id cannot be verified: {error}") from error
        self._checkpoint.deliver(outbox)
