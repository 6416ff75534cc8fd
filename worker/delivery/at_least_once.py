"""At-least-once delivery: the scores are written first, then the offsets are committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from base.errors import BatchAbortedError, DeliveryFatalError, OutcomeUnknownError
from worker.delivery.checkpoint import Channel, Destination, metadata_refused, with_remedy
from worker.delivery.publish import Outbox, SizeLimits
from worker.delivery.reports import (
    FAILED_BY_ANOTHER_RECORD,
    RecordsRefusedError,
    Reports,
)
from worker.kafka import NOT_A_MEMBER


@dataclass(slots=True, kw_only=True, eq=False)
class AtLeastOnce:
    """Scores first, then the offsets.

    A crash between the two steps may repeat scores, but loses none.

    Attributes:
        destination: Topics and bounds.
        make_producer: Makes a producer, which reports to the argument.
        consumer: Consumer that commits the offsets.
    """

    destination: Destination
    make_producer: Callable[[Reports], Producer]
    consumer: Consumer
    _channel: Channel | None = field(default=None, init=False)

    def limits(self) -> SizeLimits:
        return self.destination.limits()

    def open(self) -> None:
        """Replace the producer.

        Raises:
            KafkaException: The brokers do not answer.
        """
        self.close()
        self.destination.refresh_limits()
        self._channel = self.destination.channel(self.make_producer)

    def suspect(self) -> None:
        if self._channel is not None:
            self.close()
            self._channel = self.destination.channel(self.make_producer)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.discard()
        self._channel = None

    def deliver(self, outbox: Outbox) -> None:
        if self._channel is None:
            raise OutcomeUnknownError("no producer is open")
        producer, reports = self._channel.producer, self._channel.reports
        reports.clear()
        limits, timeout_s, watchdog = (
            self.limits(),
            self.destination.timeout_s,
            self.destination.watchdog,
        )
        try:
            for group in (outbox, *outbox.isolated_groups):
                self._channel.publisher.publish(group, limits)
                with watchdog.guard("flush"):
                    left = producer.flush(timeout_s)
                if left:
                    raise OutcomeUnknownError(f"{left} records were not acknowledged in time")
            _raise_failures(reports)
            with watchdog.guard("commit"):
                self._commit(outbox)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.fatal():
                raise DeliveryFatalError(str(reason)) from error
            raise OutcomeUnknownError(with_remedy(reason)) from error

    def _commit(self, outbox: Outbox) -> None:
        offsets = self.destination.offsets(outbox)
        try:
            answers = self.consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in NOT_A_MEMBER:
                raise BatchAbortedError(str(error)) from error
            if final := metadata_refused(error.args[0]):
                raise final from error
            raise
        for answer in answers or ():
            if answer.error:
                raise metadata_refused(answer.error) or BatchAbortedError(str(answer.error))


def _raise_failures(failed: Reports) -> None:
    reports = failed.all()
    for report in sorted(reports, key=lambda report: not report.error.fatal()):
        if not report.is_refusal and report.error.code() != FAILED_BY_ANOTHER_RECORD:
            raise KafkaException(report.error)
    if reports:
        raise RecordsRefusedError(reports, None, others_written=True)
