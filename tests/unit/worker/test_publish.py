"""Publish: what goes onto the producer, and what a topic would not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from base.errors import BatchAbortedError, ErrorCode
from schemas.batch import Headers, Position
from tests.support.fakes import FakeProducer, Sent, kafka_error
from worker.delivery.publish import Outbox, Publisher, SizeLimits, too_large, without_key
from worker.delivery.reports import Reports
from worker.stages.dead_letter import HEADER_PREFIX, RECORD_OVERHEAD_BYTES, DeadLetter, Stage

LIMITS = SizeLimits(1_000_000, 1_000_000)
LETTER = DeadLetter(
    Position("in", 0, 7),
    ErrorCode.BODY_TRUNCATED,
    Stage.DECODE,
    b"k",
    b"\x00bad",
    (("trace", b"\xff"),),
    ((f"{HEADER_PREFIX}code", b"body_truncated"),),
)


def outbox(
    scores: int, headers: Sequence[Headers] | None = None, letters: Sequence[DeadLetter] = ()
) -> Outbox:
    return Outbox(
        [f"k{i}".encode() for i in range(scores)],
        [f"v{i}".encode() for i in range(scores)],
        headers,
        letters,
        {0: scores},
        "metadata",
        1,
    )


def publish(producer: FakeProducer, out: Outbox, limits: SizeLimits = LIMITS) -> Reports:
    reports = Reports()
    Publisher(cast("Any", producer), "scores", "dead", reports).publish(out, limits)
    return reports


def test_scores_go_out_in_one_call_in_their_order() -> None:
    producer = FakeProducer()
    publish(producer, outbox(3))
    assert producer.sent == [Sent("scores", f"v{i}".encode(), f"k{i}".encode()) for i in range(3)]
    assert producer.calls == ["produce_batch"]


def test_scores_with_headers_keep_each_its_own() -> None:
    producer = FakeProducer()
    publish(producer, outbox(2, [[("traceparent", b"00-1")], []]))
    assert producer.sent == [
        Sent("scores", b"v0", b"k0", [("traceparent", b"00-1")]),
        Sent("scores", b"v1", b"k1", []),
    ]


def test_a_dead_letter_is_the_record_as_it_came_and_the_client_gives_it_its_time() -> None:
    producer = FakeProducer()
    publish(producer, outbox(0, None, [LETTER]))
    assert producer.sent == [Sent("dead", b"\x00bad", b"k", LETTER.headers)]
    assert producer.calls == ["produce"]


def test_a_dead_letter_takes_its_oversize_form_exactly_where_its_topic_is_too_small() -> None:
    size = LETTER.size()
    for limit, value in ((size, b"\x00bad"), (size - 1, None)):
        producer = FakeProducer()
        publish(producer, outbox(1, None, [LETTER]), SizeLimits(1_000_000, limit))
        assert [sent.topic for sent in producer.sent] == ["scores", "dead"]
        assert producer.sent[1].value == value


@pytest.mark.parametrize(
    "out",
    [
        outbox(3),
        outbox(3, [[("h", b"1")]] * 3),
        outbox(2, None, [LETTER]),
    ],
    ids=["scores", "with headers", "dead letters"],
)
def test_a_queue_that_is_too_small_aborts_and_names_the_remedy(out: Outbox) -> None:
    with pytest.raises(BatchAbortedError, match=r"queue\.buffering\.max\.kbytes"):
        publish(FakeProducer(room=2), out)
    publish(FakeProducer(room=3), out)


def test_records_that_the_client_refuses_are_reported_and_the_others_are_queued() -> None:
    producer = FakeProducer(batch_fault=KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    producer.fail("produce", kafka_error(KafkaError.MSG_SIZE_TOO_LARGE))
    reports = publish(producer, outbox(2, None, [LETTER, LETTER])).all()
    assert [(report.record, report.topic) for report in reports] == [
        (b"v0", "scores"),
        (b"v1", "scores"),
        (LETTER, "dead"),
    ]
    assert [report.partition for report in reports] == [None] * 3
    assert [sent.topic for sent in producer.sent] == ["dead"]


@pytest.mark.parametrize("headers", [None, [[("h", b"1")]]], ids=["batch", "with headers"])
def test_any_other_error_of_the_client_is_raised(headers: Sequence[Headers] | None) -> None:
    fault = kafka_error(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    producer = FakeProducer(batch_fault=fault.args[0])
    producer.fail("produce", fault)
    with pytest.raises(KafkaException) as raised:
        publish(producer, outbox(1, headers))
    assert raised.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_scores_without_a_key_are_told_where_their_topic_needs_one() -> None:
    keys = [b"k", None, b"", None]
    assert without_key(keys, SizeLimits(1, 1)) == []
    assert without_key(keys, SizeLimits(1, 1, keyed_scores=True)) == [1, 3]
    assert without_key([b"k"], SizeLimits(1, 1, keyed_scores=True)) == []


def test_rows_too_large_are_those_beyond_the_limit_key_and_overhead_counted() -> None:
    values = [b"v" * 10, b"v" * 50, b"v" * 40]
    keys = [b"k" * 45, None, b"k" * 5]
    bound = RECORD_OVERHEAD_BYTES + 50
    assert too_large(values, keys, None, SizeLimits(bound, 1)) == [0]
    assert too_large(values, keys, None, SizeLimits(bound - 1, 1)) == [0, 1]
    assert too_large(values, keys, None, SizeLimits(bound + 5, 1)) == []
    assert too_large([], [], None, SizeLimits(1, 1)) == []


def test_headers_count_too() -> None:
    headers: list[Headers] = [[("h", b"x" * 100), ("null", None)], []]
    values, keys = [b"v", b"v"], [None, None]
    assert too_large(values, keys, headers, SizeLimits(RECORD_OVERHEAD_BYTES + 100, 1)) == [0]
    assert too_large(values, keys, headers, SizeLimits(RECORD_OVERHEAD_BYTES + 200, 1)) == []
    assert too_large([], [], [], SizeLimits(1, 1)) == []
