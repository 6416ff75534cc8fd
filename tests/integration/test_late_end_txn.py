"""EndTxn requests that reach the brokers late: none ends the next transaction of its id."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, KafkaError

from base.errors import DeliveryFatalError, OutcomeUnknownError
from tests.oracles.topics import open_transactions
from tests.support.delivery_testbed import DeliveryTestbed
from tests.support.end_txn_proxy import DelayedEnd, EndTxnProxy
from tools.embedded.kafka import Kafka
from tools.embedded.process import free_port
from tools.embedded.topic_admin import create_topics
from worker.delivery.checkpoint import Channel
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.producers_in_turn import PRODUCERS
from worker.delivery.publish import OutputGroup
from worker.delivery.reports import RecordsRefusedError
from worker.settings import KafkaSettings

BOUND_S = 20.0
# Bound on each call of a checkpoint. The calls also wait while a test looks at the topics.
TIMEOUT_S = 2.0
# Longer than a test may take: no transaction ends by itself.
NEVER_MS = 300_000
LARGEST = {"max.message.bytes": "2000"}
TOO_LARGE = 5_000
FENCED = KafkaError.INVALID_PRODUCER_EPOCH
ACCEPTED = KafkaError.NO_ERROR
# From version 5 on (KIP-890), each end of a transaction gives the producer a new epoch.
LIBRDKAFKAS_VERSION = 1


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndTxnProxy]:
    port = free_port()
    with EndTxnProxy(port, BOUND_S) as proxy:
        advertised = {"advertised.listeners": f"PLAINTEXT://{proxy.address}"}
        with Kafka(tmp_path_factory.mktemp("kafka"), advertised, port):
            yield proxy


class Worker:
    """A checkpoint whose brokers are behind a proxy; each of its ids has committed once.

    Attributes:
        offset: Offset of the next record to deliver.
    """

    def __init__(self, proxy: EndTxnProxy, count: int) -> None:
        name = uuid.uuid4().hex[:8]
        topics = {f"in-{name}": 1, f"out-{name}": 1, f"dead-{name}": 1}
        create_topics(proxy.address, topics, LARGEST)
        source, scores, dead_letters = topics
        kafka = KafkaSettings(
            bootstrap_servers=proxy.address,
            group=f"group-{name}",
            input_topic=source,
            output_topic=scores,
            dead_letter_topic=dead_letters,
            start_from="earliest",
        )
        self._proxy = proxy
        self._count = count
        self._scores = scores
        self.testbed = DeliveryTestbed(kafka, NEVER_MS, TIMEOUT_S)
        self.consumer: Consumer = self.testbed.consumer()
        self.checkpoint: ExactlyOnce = self.testbed.checkpoint(count)
        self.checkpoint.open()
        self.offset = 0
        for _ in range(count):
            self.deliver()

    def deliver(self) -> None:
        """Deliver the next record."""
        self._end(commit=True)
        self.offset += 1

    def end_too_late(self, *, commit: bool) -> DelayedEnd:
        """Wait in vain for the answer to a commit or abort."""
        late = self._proxy.delay_next_end()
        with pytest.raises(OutcomeUnknownError):
            self._end(commit=commit)
        assert late.is_commit is commit
        return late

    def commit_twice(self) -> DelayedEnd:
        """Commit, and lose the connection before the answer: the client sends the request again."""
        late = self._proxy.delay_next_end()
        with ThreadPoolExecutor(1) as thread:
            delivered = thread.submit(self.deliver)
            late.disconnect_client()
            delivered.result()
        return late

    def use_other_ids(self) -> None:
        """Deliver until it is the turn of the id that was used last."""
        for _ in range(self._count - 1):
            self.deliver()

    def end_next(self, late: DelayedEnd, *, commit: bool) -> bool:
        """End the next transaction of the same id, in which the late request is released.

        Returns:
            True if the transaction was still open when the late request was answered.
        """
        own = self._proxy.delay_next_end()
        with ThreadPoolExecutor(1) as thread:
            ended = thread.submit(self._end, commit=commit)
            assert own.transactional_id == late.transactional_id
            assert own.is_commit is commit
            late.release()
            is_open = bool(open_transactions(self._proxy.address, [self._scores]))
            own.release()
            ended.result()
        return is_open

    def committed(self) -> int:
        """The next offset to read, as the brokers tell it."""
        return self.testbed.committed(self.consumer)

    def close(self) -> None:
        self.checkpoint.close()
        self.consumer.close()

    def _end(self, *, commit: bool) -> None:
        """Deliver the record at ``offset``; an abort has a second record, which is refused."""
        outbox = self.testbed.outbox(self.offset, self.consumer)
        if commit:
            self.checkpoint.deliver(outbox)
            return
        refused = OutputGroup([b"k"], [os.urandom(TOO_LARGE)], None, [])
        with pytest.raises(RecordsRefusedError):
            self.checkpoint.deliver(replace(outbox, isolated_groups=[refused]))


@pytest.fixture(params=[1, PRODUCERS], ids=["one producer", "producers in turn"])
def worker(proxy: EndTxnProxy, request: pytest.FixtureRequest) -> Iterator[Worker]:
    worker = Worker(proxy, request.param)
    yield worker
    worker.close()


@pytest.mark.parametrize("commit", [True, False], ids=["late commit", "late abort"])
def test_a_late_end_does_not_end_the_next_transaction(worker: Worker, *, commit: bool) -> None:
    """Behind a late commit one that is aborted, behind a late abort one that is committed."""
    late = worker.end_too_late(commit=commit)
    worker.checkpoint.open()
    assert worker.committed() == worker.offset
    assert worker.end_next(late, commit=not commit)
    assert late.release() == FENCED
    if commit:
        worker.checkpoint.open()
    else:
        worker.offset += 1
    assert worker.committed() == worker.offset
    worker.deliver()
    assert worker.committed() == worker.offset
    assert worker.testbed.scores() == list(range(worker.offset))


def test_a_late_commit_that_the_client_has_repeated_does_not_end_the_next_transaction(
    worker: Worker,
) -> None:
    late = worker.commit_twice()
    worker.use_other_ids()
    assert worker.end_next(late, commit=False)
    assert late.release() == FENCED
    worker.checkpoint.open()
    worker.deliver()
    assert worker.committed() == worker.offset
    assert worker.testbed.scores() == list(range(worker.offset))


def test_with_the_same_producer_a_late_commit_ends_the_next_transaction(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above can fail: the brokers do not protect a client that lacks KIP-890."""
    monkeypatch.setattr(Channel, "connection_lost", lambda _: False)
    late = worker.commit_twice()
    assert late.version == LIBRDKAFKAS_VERSION
    worker.use_other_ids()
    with pytest.raises(DeliveryFatalError, match="INVALID_TXN_STATE"):
        worker.end_next(late, commit=False)
    assert late.release() == ACCEPTED
    # The score of a transaction that the worker has aborted.
    assert worker.testbed.scores() == list(range(worker.offset + 1))
    assert worker.committed() == worker.offset
