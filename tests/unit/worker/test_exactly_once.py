"""Exactly-once delivery by one producer: every answer of the brokers, and the loop's error."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import KafkaError, KafkaException

from base.errors import BatchAbortedError, DeliveryError, DeliveryFatalError, OutcomeUnknownError
from tests.support.checkpoints import METADATA, OUTBOX, Guards, destination, refusal, use
from tests.support.fakes import FakeProducer, Sent, kafka_error
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.publish import OutputGroup
from worker.delivery.reports import RecordsRefusedError
from worker.process.watchdog import Watchdog

COMMITTED = [
    "list_topics",
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


def exactly_once(*producers: FakeProducer, watchdog: Watchdog | None = None) -> ExactlyOnce:
    made = iter(producers)
    return ExactlyOnce(
        destination=destination(watchdog),
        make_producer=lambda _, reports: use(next(made), reports),
        replica="host-0",
        count=1,
    )


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
    assert producer.calls == [*COMMITTED[:2], "poll", *COMMITTED[2:]]
    assert producer.sent == [Sent("scores", b"v", b"k")]
    assert producer.offsets == [({0: 5, 2: 9}, "metadata")]
    assert producer.offset_metadata == [METADATA]
    # Those that may not honour their timeout.
    assert watchdog.guarded == [*COMMITTED[:2], *COMMITTED[4:]]


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


@pytest.mark.parametrize("call", ["begin_transaction", *COMMITTED[4:]])
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


@pytest.mark.parametrize("call", ["begin_transaction", *COMMITTED[4:]])
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
        *COMMITTED[:2],
        "poll",
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


def test_metadata_that_the_brokers_refuse_ends_the_worker_with_the_remedy() -> None:
    error = kafka_error(KafkaError.OFFSET_METADATA_TOO_LARGE, txn_requires_abort=True)
    refused, _ = delivered_after("send_offsets_to_transaction", error)
    assert type(refused) is DeliveryFatalError
    assert "offset.metadata.max.bytes of the brokers to 1,000" in str(refused)


def test_a_call_refused_for_the_state_of_the_transaction_has_the_transactions_own_error() -> None:
    own = kafka_error(KafkaError.TOPIC_AUTHORIZATION_FAILED, txn_requires_abort=True)

    class Failing(FakeProducer):
        """Its transaction fails while the offsets are sent."""

        def send_offsets_to_transaction(self, *_: object) -> None:
            self.fail("begin_transaction", own)
            raise kafka_error(KafkaError._STATE)

    producer = Failing()
    checkpoint = exactly_once(producer)
    checkpoint.open()
    refused = refusal(checkpoint)
    assert type(refused) is OutcomeUnknownError
    assert "TOPIC_AUTHORIZATION_FAILED" in str(refused)
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
    assert first.calls == ["list_topics", "init_transactions", "purge"]
    assert second.calls == COMMITTED


def test_until_a_producer_is_open_nothing_is_delivered() -> None:
    first, second, third = FakeProducer(), FakeProducer(), FakeProducer()
    checkpoint = exactly_once(first, second, third)
    checkpoint.open()
    first.fail("begin_transaction", kafka_error(KafkaError._STATE))
    assert type(refusal(checkpoint)) is OutcomeUnknownError
    second.fail("init_transactions", kafka_error(KafkaError._TIMED_OUT, retriable=True))
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        checkpoint.open()
    assert second.calls == ["list_topics", "init_transactions"]
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
    assert producer.calls == ["list_topics", "init_transactions", "purge"]
    assert type(refusal(checkpoint)) is OutcomeUnknownError
