"""At-least-once delivery: every answer of the brokers, and the error that the loop gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from base.errors import BatchAbortedError, DeliveryError, DeliveryFatalError, OutcomeUnknownError
from tests.support.checkpoints import OUTBOX, Guards, destination, refusal, use
from tests.support.fakes import FakeConsumer, FakeMessage, FakeProducer, kafka_error
from worker.delivery.at_least_once import AtLeastOnce
from worker.delivery.publish import OutputGroup
from worker.delivery.reports import RecordsRefusedError, Reports
from worker.process.watchdog import Watchdog


class AtLeast:
    """A checkpoint at least once, opened, on fakes; ``reports`` are those of each producer."""

    def __init__(self, watchdog: Watchdog | None = None) -> None:
        self.producer = FakeProducer()
        self.consumer = FakeConsumer({0: 100, 2: 100})
        self.reports: list[Reports] = []

        def make(reports: Reports) -> Any:
            self.reports.append(reports)
            return use(self.producer, reports)

        self.checkpoint = AtLeastOnce(
            destination=destination(watchdog),
            make_producer=make,
            consumer=cast("Any", self.consumer),
        )
        self.checkpoint.open()

    def fails_in_flush(self, *errors: KafkaError) -> None:
        """Each of the errors is reported while the producer flushes."""

        def report() -> None:
            for error in errors:
                self.reports[-1].on_score(error, FakeMessage((0, -1001), b"v", b"k", on="scores"))

        self.producer.when_flushed = report


def test_at_least_once_commits_offsets_when_all_scores_are_acknowledged() -> None:
    watchdog = Guards()
    at_least = AtLeast(watchdog)
    at_least.checkpoint.deliver(OUTBOX)
    assert at_least.producer.calls == ["produce_batch", "flush"]
    assert at_least.consumer.commits == [{0: 5, 2: 9}]
    assert at_least.consumer.offset_metadata == OUTBOX.offset_metadata
    assert watchdog.guarded == ["flush", "commit"]


def test_at_least_once_commits_nothing_while_scores_are_unacknowledged() -> None:
    at_least = AtLeast()
    at_least.producer.unacknowledged = 1
    assert type(refusal(at_least.checkpoint)) is OutcomeUnknownError
    assert at_least.consumer.commits == []


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([KafkaError(KafkaError._MSG_TIMED_OUT)], OutcomeUnknownError),
        ([KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)], RecordsRefusedError),
        (
            [KafkaError(KafkaError.INVALID_RECORD), KafkaError(KafkaError._MSG_TIMED_OUT)],
            OutcomeUnknownError,
        ),
        (
            [KafkaError(KafkaError._MSG_TIMED_OUT), KafkaError(KafkaError.UNKNOWN, fatal=True)],
            DeliveryFatalError,
        ),
    ],
    ids=["lost", "too large", "refused and lost", "fatal"],
)
def test_at_least_once_commits_nothing_when_a_score_was_not_accepted(
    errors: list[KafkaError], kind: type[DeliveryError]
) -> None:
    at_least = AtLeast()
    at_least.fails_in_flush(*errors)
    assert type(refusal(at_least.checkpoint)) is kind
    assert at_least.consumer.commits == []


def test_at_least_once_forgets_what_an_earlier_batch_failed_with() -> None:
    at_least = AtLeast()
    at_least.reports[-1].on_score(KafkaError(KafkaError._MSG_TIMED_OUT), FakeMessage())
    at_least.producer.when_flushed = lambda: at_least.reports[-1].on_score(None, None)
    at_least.checkpoint.deliver(OUTBOX)
    assert at_least.consumer.commits == [{0: 5, 2: 9}]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (kafka_error(KafkaError.ILLEGAL_GENERATION), BatchAbortedError),
        (kafka_error(KafkaError.UNKNOWN_MEMBER_ID), BatchAbortedError),
        (kafka_error(KafkaError.REBALANCE_IN_PROGRESS), BatchAbortedError),
        (kafka_error(KafkaError._TIMED_OUT), OutcomeUnknownError),
        (kafka_error(KafkaError.UNKNOWN, fatal=True), DeliveryFatalError),
    ],
    ids=lambda given: str(given.args[0].name()) if isinstance(given, KafkaException) else None,
)
def test_at_least_once_tells_a_refused_commit_from_one_without_an_answer(
    error: KafkaException, kind: type[DeliveryError]
) -> None:
    at_least = AtLeast()
    at_least.consumer.fail("commit", error)
    assert type(refusal(at_least.checkpoint)) is kind


def test_at_least_once_notices_one_partition_whose_commit_was_refused() -> None:
    at_least = AtLeast()
    at_least.consumer.refused_commits[2] = KafkaError.UNKNOWN_TOPIC_OR_PART
    assert type(refusal(at_least.checkpoint)) is BatchAbortedError


def test_at_least_once_ends_where_the_brokers_refuse_the_metadata_of_an_offset() -> None:
    of_all, of_one = AtLeast(), AtLeast()
    of_all.consumer.fail("commit", kafka_error(KafkaError.OFFSET_METADATA_TOO_LARGE))
    of_one.consumer.refused_commits[2] = KafkaError.OFFSET_METADATA_TOO_LARGE
    for at_least in (of_all, of_one):
        refused = refusal(at_least.checkpoint)
        assert type(refused) is DeliveryFatalError
        assert "offset.metadata.max.bytes of the brokers to 1,000" in str(refused)


def test_at_least_once_tells_a_record_that_the_client_refuses_from_a_full_queue() -> None:
    at_least = AtLeast()
    at_least.producer.batch_fault = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    assert type(refusal(at_least.checkpoint)) is RecordsRefusedError
    at_least.producer.batch_fault = None
    at_least.producer.room = 0
    assert type(refusal(at_least.checkpoint)) is BatchAbortedError
    assert at_least.consumer.commits == []


def test_at_least_once_open_replaces_the_producer() -> None:
    at_least = AtLeast()
    first, at_least.producer = at_least.producer, FakeProducer()
    at_least.checkpoint.open()
    assert first.calls == ["purge"]
    at_least.checkpoint.deliver(OUTBOX)
    assert (len(first.sent), len(at_least.producer.sent)) == (0, 1)
    at_least.checkpoint.close()
    assert type(refusal(at_least.checkpoint)) is OutcomeUnknownError


def test_at_least_once_replaces_a_suspect_producer_without_the_brokers() -> None:
    at_least = AtLeast()
    first, at_least.producer = at_least.producer, FakeProducer()
    at_least.checkpoint.suspect()
    assert first.calls == ["purge"]
    at_least.checkpoint.deliver(OUTBOX)
    assert len(at_least.producer.sent) == 1
    at_least.checkpoint.close()
    at_least.checkpoint.suspect()
    assert type(refusal(at_least.checkpoint)) is OutcomeUnknownError


def test_at_least_once_tells_which_records_of_a_refused_batch_are_written() -> None:
    at_least = AtLeast()
    at_least.producer.refuses = lambda sent: (
        KafkaError.INVALID_TIMESTAMP if sent.value == b"bad" else None
    )
    groups = [OutputGroup([b"k"], [b"bad"], None, []), OutputGroup([b"k"], [b"good"], None, [])]
    error = refusal(at_least.checkpoint, replace(OUTBOX, isolated_groups=groups))
    assert isinstance(error, RecordsRefusedError)
    assert error.others_written
    assert [report.record for report in error.reports] == [b"bad"]
    assert [sent.value for sent in at_least.producer.written] == [b"v", b"good"]
    assert at_least.consumer.commits == []
