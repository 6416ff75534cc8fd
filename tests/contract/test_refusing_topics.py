"""Reports of a producer to a topic that refuses records: the fake one reports as the client does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.conftest import MakeTopic, SharedKafka
from tests.support.fakes import FakeProducer, Sent
from worker.delivery.publish import OutputGroup, Publisher, SizeLimits
from worker.delivery.reports import Reports

LIMITS = SizeLimits(2**20, 2**20)
Made = tuple[Any, Reports, str]
Make = Callable[[str, bool], Made]

FAILED_BY_ANOTHER_RECORD = KafkaError._INVALID_DIFFERENT_RECORD
INVALID, LARGE = KafkaError.INVALID_RECORD, KafkaError.MSG_SIZE_TOO_LARGE
GOOD, KEYLESS, HUGE = (b"k", b"good"), (None, b"keyless"), (b"k", b"h" * 3000)


def _refuses(sent: Sent) -> int | None:
    if sent.topic == "keyed" and sent.key is None:
        return INVALID
    if sent.topic == "small" and len(sent.value or b"") > 2000:
        return LARGE
    return None


@pytest.fixture(params=["fake", "kafka"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a producer to a topic, with its reports."""
    if request.param == "fake":

        def fake(topic: str, transactional: bool) -> Made:
            reports = Reports()
            producer = FakeProducer(refuses=_refuses, on_delivery=reports.on_score)
            if transactional:
                producer.init_transactions(5.0)
            return producer, reports, topic

        return fake
    kafka: SharedKafka = request.getfixturevalue("kafka")
    make_topic: MakeTopic = request.getfixturevalue("make_topic")
    settings = {"keyed": {"cleanup.policy": "compact"}, "small": {"max.message.bytes": "2000"}}

    def real(topic: str, transactional: bool) -> Made:
        reports = Reports()
        options: dict[str, Any] = {
            "bootstrap.servers": kafka.bootstrap,
            # All that is queued is one batch, as the fake has it.
            "linger.ms": 500,
            "log_level": 0,
            "enable.idempotence": True,
            "delivery.report.only.error": True,
            "on_delivery": reports.on_score,
        }
        if transactional:
            options["transactional.id"] = uuid.uuid4().hex
        producer = Producer(options)
        if transactional:
            producer.init_transactions(30.0)
        return producer, reports, make_topic(topic, settings=settings.get(topic))

    return real


def told(reports: Reports, topic: str) -> list[tuple[int, Any]]:
    found = reports.all()
    assert {report.topic for report in found} <= {topic}
    assert {report.partition for report in found} <= {0}
    return [(report.error.code(), report.record) for report in found]


def group(records: Sequence[tuple[bytes | None, bytes]]) -> OutputGroup:
    return OutputGroup([key for key, _ in records], [value for _, value in records], None, [])


CASES = [
    ("plain", [GOOD, KEYLESS, HUGE], []),
    ("keyed", [GOOD, KEYLESS, GOOD], [INVALID] * 3),
    ("keyed", [KEYLESS], [INVALID]),
    (
        "keyed",
        [GOOD, KEYLESS, KEYLESS, GOOD],
        [FAILED_BY_ANOTHER_RECORD, INVALID, INVALID, FAILED_BY_ANOTHER_RECORD],
    ),
    ("keyed", [KEYLESS, KEYLESS], [INVALID] * 2),
    ("small", [GOOD, HUGE, GOOD], [LARGE] * 3),
]
IDS = ["none", "one of three", "one alone", "two of four", "all", "too large"]


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("transactional", [True, False], ids=["transaction", "idempotent"])
def test_the_reports_of_a_refused_batch_name_its_records(
    make: Make, case: tuple[str, list[Any], list[int]], *, transactional: bool
) -> None:
    kind, records, codes = case
    producer, reports, topic = make(kind, transactional)
    if transactional:
        producer.begin_transaction()
    Publisher(cast("Any", producer), topic, "dead", reports).publish(group(records), LIMITS)
    until = time.monotonic() + 30
    while len(producer) and not reports.all() and time.monotonic() < until:
        producer.poll(0.05)
    if not transactional:
        assert producer.flush(30) == 0
    elif codes:
        with pytest.raises(KafkaException) as raised:
            producer.commit_transaction(30)
        assert raised.value.args[0].code() == (LARGE if kind == "small" else INVALID)
        assert raised.value.args[0].txn_requires_abort()
        producer.abort_transaction(30)
    assert told(reports, topic) == list(zip(codes, [v for _, v in records], strict=False))
