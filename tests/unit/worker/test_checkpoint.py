"""Checkpoint: every answer of the brokers, and what the loop is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from base.errors import BatchAbortedError, DeliveryError, DeliveryFatalError, OutcomeUnknownError
from tests.support.fakes import FakeConsumer, FakeMessage, FakeProducer, Sent, kafka_error
from worker.delivery.checkpoint import AtLeastOnce, ExactlyOnce
from worker.delivery.publish import Outbox, OutputGroup, SizeLimits
from worker.delivery.reports import RecordsRefusedError
from worker.process.watchdog import Watchdog

METADATA = {0: "metadata of 0", 2: "metadata of 2"}
OUTBOX = Outbox([b"k"], [b"v"], None, [], {0: 5, 2: 9}, "metadata", 3, METADATA)
TOPICS = ("in", "scores", "dead")
LIMITS = SizeLimits(1_000_000, 1_000_000)
COMMITTED = [
    "init_transactions",
    "begin_transaction",
    "produce_batch",
    "send_offsets_to_transaction",
    "commit_transaction",
]
REFUSALS = [
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
]
Tell = Callable[[KafkaError | None, Any], None]


class Guards(Watchdog):
    """Names the calls that were guarded."""

    def __init__(self) -> None:
        super().__init__(100.0)
        self.guarded: list[str] = []

    @contextmanager
    def guard(self, call: str) -> Iterator[None]:
        self.guarded.append(call)
        with super().guard(call):
            yield


def use(producer: FakeProducer, told: Tell) -> Any:
    producer.on_delivery = told
    return producer


def exactly_once(*producers: FakeProducer, watchdog: Watchdog | None = None) -> ExactlyOnce:
    made = iter(producers)
    return ExactlyOnce(
        make_producer=lambda told: use(next(made), told),
        replica="host-0",
        topics=TOPICS,
        limits=lambda: LIMITS,
        timeout_s=5.0,
        watchdog=watchdog or Guards(),
    )


def refusal(checkpoint: ExactlyOnce | AtLeastOnce, outbox: Outbox = OUTBOX) -> DeliveryError:
    """What a delivery is refused with."""
    with pytest.raises(DeliveryError) as raised:
        checkpoint.deliver(outbox)
    return raised.value


def delivered_after(call: str, error: KafkaException) -> tuple[DeliveryError, FakeProducer]:
    """What comes of a delivery in which ``call`` raises ``error``."""
    producer = FakeProducer()
    checkpoint = exactly_once(producer)
    checkpoint.open()
    producer.fail(call, error)
    return refusal(checkpoint), producer


def test_one_transaction_holds_the_scores_and_the_offsets_under_the_batchs_own_membership() -> None:
    producer, watchdog = FakeProducer(), Guards()
    checkpoint = exactly_once(producer, watchdog=watchdog)
    checkpoint.open()
    checkpoint.deliver(OUTBOX)
    assert producer.calls == COMMITTED
    assert producer.sent == [Sent("scores", b"v", b"k")]
    assert producer.offsets == [({0: 5, 2: 9}, "metadata")]
    assert producer.offset_metadata == [METADATA]
    # Those that may not honour their timeout.
    assert watchdog.guarded == [COMMITTED[0], *COMMITTED[3:]]


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
@pytest.mark.parametrize(
    "error",
    [
        kafka_error(KafkaError.UNKNOWN_MEMBER_ID, txn_requires_abort=True),
        kafka_error(KafkaError.ILLEGAL_GENERATION),
        kafka_error(KafkaError.FENCED_INSTANCE_ID),
        kafka_error(KafkaError.REBALANCE_IN_PROGRESS),
    ],
    ids=lambda error: str(error.args[0].name()),
)
def test_the_batch_of_a_member_that_the_group_left_behind_is_aborted(
    call: str, error: KafkaException
) -> None:
    refused, producer = delivered_after(call, error)
    assert type(refused) is BatchAbortedError
    assert producer.calls[-2:] == [call, "abort_transaction"]


@pytest.mark.parametrize("call", ["begin_transaction", *COMMITTED[3:]])
@pytest.mark.parametrize(
    "error",
    [
        kafka_error(KafkaError.UNKNOWN, fatal=True),
        kafka_error(KafkaError._FENCED, fatal=True, txn_requires_abort=True),
        kafka_error(KafkaError._FENCED),
        kafka_error(KafkaError.INVALID_PRODUCER_EPOCH),
        kafka_error(KafkaError.PRODUCER_FENCED),
        kafka_error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    ],
    ids=lambda error: str(error.args[0].name()),
)
def test_a_producer_that_is_fenced_or_broken_ends_the_worker(
    call: str, error: KafkaException
) -> None:
    refused, producer = delivered_after(call, error)
    assert type(refused) is DeliveryFatalError
    assert "abort_transaction" not in producer.calls


def open_and_deliver(checkpoint: ExactlyOnce) -> None:
    checkpoint.open()
    checkpoint.deliver(OUTBOX)


FENCED = [
    kafka_error(KafkaError._FENCED, fatal=True),
    kafka_error(KafkaError.INVALID_PRODUCER_EPOCH),
    kafka_error(KafkaError.PRODUCER_FENCED),
]


@pytest.mark.parametrize("call", COMMITTED)
@pytest.mark.parametrize("error", FENCED, ids=lambda error: str(error.args[0].name()))
def test_a_fenced_worker_names_its_replica_and_the_remedy(call: str, error: KafkaException) -> None:
    producer = FakeProducer()
    checkpoint = exactly_once(producer)
    producer.fail(call, error)
    with pytest.raises(DeliveryFatalError) as raised:
        open_and_deliver(checkpoint)
    said = str(raised.value)
    assert "same replica (host-0)" in said
    assert said.endswith("give each worker a replica of its own")


def test_a_worker_that_is_fenced_while_it_aborts_says_so() -> None:
    producer = FakeProducer()
    checkpoint = exactly_once(producer)
    checkpoint.open()
    producer.fail("commit_transaction", kafka_error(KafkaError.ILLEGAL_GENERATION))
    producer.fail("abort_transaction", kafka_error(KafkaError.PRODUCER_FENCED))
    refused = refusal(checkpoint)
    assert type(refused) is DeliveryFatalError
    assert "same replica (host-0)" in str(refused)


@pytest.mark.parametrize("call", COMMITTED)
def test_a_worker_without_the_right_to_its_transactional_id_says_which(call: str) -> None:
    producer = FakeProducer()
    checkpoint = exactly_once(producer)
    producer.fail(call, kafka_error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED))
    with pytest.raises(DeliveryFatalError, match="allow Write and Describe"):
        open_and_deliver(checkpoint)


@pytest.mark.parametrize("call", ["begin_transaction", *COMMITTED[3:]])
@pytest.mark.parametrize(
    "error",
    [
        kafka_error(KafkaError._TIMED_OUT, retriable=True),
        kafka_error(KafkaError._TRANSPORT),
        kafka_error(KafkaError._STATE),
        kafka_error(KafkaError.NOT_COORDINATOR),
        kafka_error(KafkaError.NOT_ENOUGH_REPLICAS, txn_requires_abort=True),
    ],
    ids=lambda error: str(error.args[0].name()),
)
def test_after_any_other_answer_the_transaction_is_left_to_the_next_producer(
    call: str, error: KafkaException
) -> None:
    refused, producer = delivered_after(call, error)
    assert type(refused) is OutcomeUnknownError
    assert "abort_transaction" not in producer.calls


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("isolated", [False, True], ids=["at the commit", "before a group"])
def test_a_refused_record_aborts_and_is_told_with_what_the_client_said_of_it(
    code: int, isolated: bool
) -> None:
    producer = FakeProducer(refuses=lambda sent: code if sent.value == b"bad" else None)
    checkpoint = exactly_once(producer)
    checkpoint.open()
    bad = OutputGroup([b"k"], [b"bad"], None, [])
    outbox = replace(OUTBOX, values=[b"v"], isolated_groups=[bad, bad]) if isolated else OUTBOX
    if not isolated:
        outbox = replace(OUTBOX, keys=[b"k", b"k"], values=[b"v", b"bad"])
    error = refusal(checkpoint, outbox)
    assert isinstance(error, RecordsRefusedError)
    assert not error.others_written
    told = [(report.record, report.error.code(), report.topic) for report in error.reports]
    assert (
        told == [(b"bad", code, "scores")]
        if isolated
        else [(v, code, "scores") for v in (b"v", b"bad")]
    )
    assert (error.cause.code() if error.cause else None) == (None if isolated else code)
    assert producer.calls[-1] == "abort_transaction"
    assert (producer.written, len(producer.sent)) == ([], 2)


def test_groups_are_sent_one_after_the_other_in_one_transaction() -> None:
    producer = FakeProducer()
    checkpoint = exactly_once(producer)
    checkpoint.open()
    groups = [OutputGroup([None], [b"1"], None, []), OutputGroup([None], [b"2"], None, [])]
    checkpoint.deliver(replace(OUTBOX, isolated_groups=groups))
    assert producer.calls == [
        "init_transactions",
        "begin_transaction",
        *["produce_batch", "poll"] * 3,
        "send_offsets_to_transaction",
        "commit_transaction",
    ]
    assert [sent.value for sent in producer.written] == [b"v", b"1", b"2"]


def test_a_refusal_that_no_record_is_reported_with_leaves_the_outcome_unknown() -> None:
    error = kafka_error(KafkaError.INVALID_RECORD, txn_requires_abort=True)
    refused, producer = delivered_after("commit_transaction", error)
    assert type(refused) is OutcomeUnknownError
    assert producer.calls[-1] == "abort_transaction"


def test_a_record_that_the_client_refuses_aborts_before_the_offsets_are_sent() -> None:
    producer = FakeProducer(batch_fault=KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    checkpoint = exactly_once(producer)
    checkpoint.open()
    error = refusal(checkpoint)
    assert isinstance(error, RecordsRefusedError)
    assert [report.record for report in error.reports] == [b"v"]
    assert producer.calls[-2:] == ["produce_batch", "abort_transaction"]


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ],
)
def test_a_commit_without_permission_names_the_remedy(code: int) -> None:
    refused, _ = delivered_after("commit_transaction", kafka_error(code, txn_requires_abort=True))
    assert type(refused) is OutcomeUnknownError
    assert "allow this worker's user" in str(refused)


def test_a_full_queue_aborts() -> None:
    producer = FakeProducer(room=0)
    checkpoint = exactly_once(producer)
    checkpoint.open()
    assert type(refusal(checkpoint)) is BatchAbortedError
    assert producer.calls[-1] == "abort_transaction"


@pytest.mark.parametrize("first", ["full queue", "not a member"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (kafka_error(KafkaError._TIMED_OUT, retriable=True), OutcomeUnknownError),
        (kafka_error(KafkaError._FENCED, fatal=True), DeliveryFatalError),
    ],
    ids=["no answer", "fatal"],
)
def test_an_abort_that_fails_is_no_abort(
    first: str, error: KafkaException, kind: type[DeliveryError]
) -> None:
    producer = FakeProducer(room=0 if first == "full queue" else 10)
    checkpoint = exactly_once(producer)
    checkpoint.open()
    producer.fail("commit_transaction", kafka_error(KafkaError.ILLEGAL_GENERATION))
    producer.fail("abort_transaction", error)
    assert type(refusal(checkpoint)) is kind


def test_open_replaces_the_producer_without_delivering_what_it_has_queued() -> None:
    first, second = FakeProducer(), FakeProducer()
    checkpoint = exactly_once(first, second)
    checkpoint.open()
    checkpoint.open()
    checkpoint.deliver(OUTBOX)
    assert first.calls == ["init_transactions", "purge"]
    assert second.calls == COMMITTED


def test_until_a_producer_is_open_nothing_is_delivered() -> None:
    first, second, third = FakeProducer(), FakeProducer(), FakeProducer()
    checkpoint = exactly_once(first, second, third)
    checkpoint.open()
    second.fail("init_transactions", kafka_error(KafkaError._TIMED_OUT, retriable=True))
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        checkpoint.open()
    assert second.calls == ["init_transactions", "purge"]
    assert type(refusal(checkpoint)) is OutcomeUnknownError
    assert first.sent == second.sent == []
    checkpoint.open()
    checkpoint.deliver(OUTBOX)
    assert len(third.sent) == 1


def test_a_fenced_start_ends_the_worker() -> None:
    producer = FakeProducer()
    producer.fail("init_transactions", kafka_error(KafkaError._FENCED, fatal=True))
    with pytest.raises(DeliveryFatalError, match="init_transactions"):
        exactly_once(producer).open()


def test_close_delivers_nothing_and_may_be_repeated() -> None:
    producer = FakeProducer()
    producer.fail("purge", kafka_error(KafkaError._STATE))
    checkpoint = exactly_once(producer)
    checkpoint.open()
    checkpoint.close()
    checkpoint.close()
    assert producer.calls == ["init_transactions", "purge"]
    assert type(refusal(checkpoint)) is OutcomeUnknownError


class AtLeast:
    """A checkpoint at least once, opened, on fakes; ``tell`` reports on a record."""

    def __init__(self, watchdog: Watchdog | None = None) -> None:
        self.producer = FakeProducer()
        self.consumer = FakeConsumer({0: 100, 2: 100})
        self.told: list[Tell] = []

        def make(tell: Tell) -> Any:
            self.told.append(tell)
            return use(self.producer, tell)

        self.checkpoint = AtLeastOnce(
            make_producer=make,
            consumer=cast("Any", self.consumer),
            topics=TOPICS,
            limits=lambda: LIMITS,
            timeout_s=5.0,
            watchdog=watchdog or Guards(),
        )
        self.checkpoint.open()

    def fails_in_flush(self, *errors: KafkaError) -> None:
        """Each of the errors is reported while the producer flushes."""

        def report() -> None:
            for error in errors:
                self.told[-1](error, FakeMessage((0, -1001), b"v", b"k", on="scores"))

        self.producer.when_flushed = report


def test_at_least_once_commits_offsets_when_all_scores_are_acknowledged() -> None:
    watchdog = Guards()
    at_least = AtLeast(watchdog)
    at_least.checkpoint.deliver(OUTBOX)
    assert at_least.producer.calls == ["produce_batch", "flush"]
    assert at_least.consumer.commits == [{0: 5, 2: 9}]
    assert at_least.consumer.offset_metadata == METADATA
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
    at_least.told[-1](KafkaError(KafkaError._MSG_TIMED_OUT), FakeMessage())
    at_least.producer.when_flushed = lambda: at_least.told[-1](None, None)
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
    at_least.consumer.refused_commits[2] = KafkaError.OFFSET_METADATA_TOO_LARGE
    assert type(refusal(at_least.checkpoint)) is BatchAbortedError


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
