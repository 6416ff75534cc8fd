"""Exactly-once delivery: scores, dead letters and offsets of a micro-batch in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from base.errors import BatchAbortedError, DeliveryError, DeliveryFatalError, OutcomeUnknownError
from worker.delivery.checkpoint import Channel, Destination, metadata_refused, with_remedy
from worker.delivery.producers_in_turn import PRODUCERS, ProducersInTurn
from worker.delivery.publish import Outbox, SizeLimits
from worker.delivery.reports import REFUSED_CODES, RecordsRefusedError, Reports
from worker.kafka import NOT_A_MEMBER

_POLL_S = 0.05
_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001 - confluent_kafka has no public name for it
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
)


class ExactlyOnce:
    """One transaction per micro-batch, fenced by the group metadata of its own poll.

    Args:
        destination: Topics and bounds.
        make_producer: Makes the producer with a number, which reports to its second argument.
        replica: Name of the worker in its group; part of the transactional ids.
        count: Number of producers used in turn.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        *,
        destination: Destination,
        make_producer: Callable[[int, Reports], Producer],
        replica: str,
        count: int = PRODUCERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.destination: Final = destination
        self._replica = replica

        def make(number: int) -> Channel:
            return destination.channel(lambda reports: make_producer(number, reports))

        self.producers: Final = ProducersInTurn(make, self._initialise, count, clock)

    def limits(self) -> SizeLimits:
        return self.destination.limits()

    def open(self) -> None:
        """Settle open transactions: the brokers complete or abort those of earlier producers.

        Raises:
            KafkaException: The brokers do not answer.
            DeliveryFatalError: A producer is fenced.
        """
        # All of them: the others keep to limits that may have changed.
        self.producers.suspect()
        self.destination.refresh_limits()
        self.producers.open()

    def suspect(self) -> None:
        self.producers.suspect()

    def close(self) -> None:
        self.producers.close()

    def deliver(self, outbox: Outbox) -> None:
        with self.producers.transaction() as channel:
            try:
                self._transact(channel, outbox)
            except (BatchAbortedError, RecordsRefusedError):
                self._abort(channel.producer)
                raise
            except KafkaException as error:
                raise self._failed(channel, error) from error

    def _initialise(self, producer: Producer) -> None:
        destination = self.destination
        try:
            with destination.watchdog.guard("list_topics"):
                # Waits for a broker. Without one, init_transactions looks for the coordinator only
                # every 500 ms. The first transaction needs the topic's metadata anyway.
                producer.list_topics(destination.topics[1], destination.timeout_s)
            with destination.watchdog.guard("init_transactions"):
                producer.init_transactions(destination.timeout_s)
        except KafkaException as error:
            if _is_final(error.args[0]):
                raise self._final("init_transactions", error.args[0]) from error
            raise

    def _transact(self, channel: Channel, outbox: Outbox) -> None:
        producer, timeout_s = channel.producer, self.destination.timeout_s
        producer.begin_transaction()
        self._publish(channel, outbox)
        with self.destination.watchdog.guard("send_offsets_to_transaction"):
            producer.send_offsets_to_transaction(
                self.destination.offsets(outbox), outbox.group_metadata, timeout_s
            )
        with self.destination.watchdog.guard("commit_transaction"):
            producer.commit_transaction(timeout_s)

    def _publish(self, channel: Channel, outbox: Outbox) -> None:
        """Queue the outbox, and raise RecordsRefusedError if any record is refused so far."""
        limits, reports = self.limits(), channel.reports
        channel.publisher.publish(outbox, limits)
        for group in outbox.isolated_groups:
            self._await_reports(channel)
            if reports.refusals:
                break
            channel.publisher.publish(group, limits)
        if outbox.isolated_groups:
            self._await_reports(channel)
        if reports.refusals:
            raise RecordsRefusedError(reports.all(), None, others_written=False)

    def _await_reports(self, channel: Channel) -> None:
        """Wait until all queued records are acknowledged, or one is refused.

        `flush` is not usable: after a refused record the client stops sending.
        """
        producer, until = channel.producer, time.monotonic() + self.destination.timeout_s
        while len(producer) and not channel.reports.all():
            if time.monotonic() > until:
                raise OutcomeUnknownError(f"{len(producer)} records were not acknowledged in time")
            producer.poll(_POLL_S)

    def _failed(self, channel: Channel, error: KafkaException) -> DeliveryError:
        reason: KafkaError = error.args[0]
        producer, reports = channel.producer, channel.reports
        if reason.code() == KafkaError._STATE:  # noqa: SLF001 - confluent_kafka has no public name for it
            # A refusal may have caused the state, and be reported after it.
            producer.poll(_POLL_S)
            reason = _cause_of_state(producer, reason)
        if _is_final(reason):
            return self._final("the transaction was refused permanently", reason)
        if final := metadata_refused(reason):
            return final
        if reason.code() in REFUSED_CODES or reports.refusals:
            # The abort calls back with the reports that are still missing.
            self._abort(producer)
            if reports.refusals:
                return RecordsRefusedError(reports.all(), reason, others_written=False)
        if reason.code() in NOT_A_MEMBER:
            self._abort(producer)
            return BatchAbortedError(str(reason))
        # Abortable or not: a producer that lost its brokers may hang forever in its next
        # transaction (measured: send_offsets_to_transaction, librdkafka issue 5456).
        return OutcomeUnknownError(with_remedy(reason))

    def _abort(self, producer: Producer) -> None:
        """Abort now: during a drain, no new producer would do it before the next start."""
        try:
            with self.destination.watchdog.guard("abort_transaction"):
                producer.abort_transaction(self.destination.timeout_s)
        except KafkaException as error:
            if _is_final(error.args[0]):
                raise self._final("abort_transaction", error.args[0]) from error
            raise OutcomeUnknownError(f"abort_transaction: {error}") from error

    def _final(self, what: str, reason: KafkaError) -> DeliveryFatalError:
        if reason.code() in _FENCED:
            return DeliveryFatalError(
                f"{what}: this worker is fenced ({reason.str()}): another worker of the group has the "
                f"same replica ({self._replica}), or this one stood still for longer than "
                "transaction.timeout.ms; give each worker a replica of its own"
            )
        if reason.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return DeliveryFatalError(
                f"{what}: {reason.str()}; allow Write and Describe on transactional ids that begin "
                "with kafka.group and a slash: `fraud-worker check` prints the prefix"
            )
        return DeliveryFatalError(f"{what}: {reason}")


def _cause_of_state(producer: Producer, state: KafkaError) -> KafkaError:
    """The error that made a transaction fail while another call waited.

    None can begin in a failed one: the client answers with its error, and asks no broker.
    """
    try:
        producer.begin_transaction()
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        return cause
    return state


def _is_final(reason: KafkaError) -> bool:
    """Return True if the brokers will refuse this producer and each one after it."""
    final = (*_FENCED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    return bool(reason.fatal()) or reason.code() in final
