"""Simulated transactional producer, like that of confluent_kafka."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.search.group import Group, GroupMetadata
from tests.search.network import Network
from tests.search.scheduler import Scheduler
from tests.search.transactions import (
    OFFSETS,
    ConcurrentTransactionsError,
    Partition,
    Transactions,
)
from tests.support.fakes import kafka_error
from worker.delivery.reports import Reports

T = TypeVar("T")

_PATIENCE_S = 1.0


class SimulatedProducer:
    """Producer with a transactional id.

    A request that the client sends again after it lost the connection has its first copy still on
    the way. The client reports the loss when it is polled.

    Args:
        name: Transactional id.
        owner: Process that has it.
        reports: Takes reports on lost connections.
        brokers: Coordinators and the network to them.
        rng: Generator of all choices.
        partition_of: Partition of the output topics by the key of a record.

    Attributes:
        is_open: True from the begin of a transaction to its end.
    """

    def __init__(
        self,
        name: str,
        owner: Any,
        reports: Reports,
        brokers: tuple[Transactions, Group, Network, Scheduler],
        rng: random.Random,
        partition_of: Callable[[bytes], int],
    ) -> None:
        self.name = name
        self._owner = owner
        self._reports = reports
        self._transactions, self._group, self._network, self._scheduler = brokers
        self._rng = rng
        self._partition_of = partition_of
        self._epoch: int | None = None
        self.is_open = False
        self._failed: KafkaError | None = None
        self._added: list[Partition] = []
        self._queued: dict[Partition, list[bytes]] = {}
        self._connection_lost = False

    def lose_connection(self) -> None:
        self._connection_lost = True

    def list_topics(self, topic: str, timeout: float) -> None:
        self._network.request("list_topics", lambda: None)

    def init_transactions(self, timeout: float) -> None:
        self._epoch = self._ask(
            f"InitProducerId {self.name}",
            lambda: self._transactions.initialise(self.name, self._owner),
        )

    def begin_transaction(self) -> None:
        if self._failed is not None:
            raise KafkaException(self._failed)
        if self._epoch is None or self.is_open:
            raise kafka_error(KafkaError._STATE)
        self.is_open = True

    def produce_batch(self, topic: str, messages: list[dict[str, Any]]) -> int:
        for message in messages:
            self._queue(topic, message["key"], message["value"])
        return len(messages)

    def produce(self, topic: str, value: bytes, key: bytes, **_: Any) -> None:
        self._queue(topic, key, value)

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], group_metadata: GroupMetadata, timeout: float
    ) -> None:
        # The client sends records in the background, before the offsets or after them.
        if self._rng.random() < 0.5:
            self._flush()
        self._add([OFFSETS])
        sent = {at.partition: (at.offset, at.metadata or "") for at in offsets}
        epoch = self._epoch_in_use()

        def land() -> None:
            transaction = self._transactions.open_in(self.name, epoch, OFFSETS)
            self._group.commit(group_metadata, transaction, sent)

        positions = {p: offset for p, (offset, _) in sent.items()}
        self._ask(f"TxnOffsetCommit {self.name} {positions} {group_metadata}", land)

    def commit_transaction(self, timeout: float) -> None:
        self._flush()
        self._end(commit=True)

    def abort_transaction(self, timeout: float) -> None:
        self._queued.clear()
        self._failed = None
        if self._added:
            self._end(commit=False)
        self.is_open = False

    def poll(self, timeout: float) -> int:
        self._scheduler.pause()
        if self._connection_lost:
            self._connection_lost = False
            self._reports.on_connection_lost()
        return 0

    def purge(self, **_: bool) -> None:
        self._queued.clear()

    def _queue(self, topic: str, key: bytes, value: bytes) -> None:
        self._queued.setdefault((topic, self._partition_of(key)), []).append(value)

    def _flush(self) -> None:
        """Send the queued records, a request for each partition."""
        queued, self._queued = self._queued, {}
        self._add(list(queued))
        epoch = self._epoch_in_use()
        for at, values in queued.items():
            batch = object()

            def land(
                at: Partition = at, values: list[bytes] = values, batch: object = batch
            ) -> None:
                self._transactions.produce(self.name, epoch, at, batch, values)

            self._ask(f"Produce {self.name} {at} {len(values)}", land)

    def _add(self, partitions: list[Partition]) -> None:
        missing = [at for at in partitions if at not in self._added]
        if not missing:
            return
        epoch = self._epoch_in_use()
        self._ask(
            f"AddPartitionsToTxn {self.name} {missing}",
            lambda: self._transactions.add_partitions(self.name, epoch, missing),
        )
        self._added += missing

    def _end(self, *, commit: bool) -> None:
        epoch = self._epoch_in_use()
        self._ask(
            f"EndTxn {self.name} {'commit' if commit else 'abort'}",
            lambda: self._transactions.end(self.name, epoch, commit=commit),
        )
        self.is_open = False
        self._added = []

    def _epoch_in_use(self) -> int:
        assert self._epoch is not None
        return self._epoch

    def _ask(self, name: str, land: Callable[[], T]) -> T:
        """Make a request; ask again while the id's last transaction is not written everywhere."""

        def is_written() -> bool:
            return not self._transactions.ids[self.name].preparing

        while True:
            try:
                return self._network.request(name, land, on_connection_lost=self.lose_connection)
            except ConcurrentTransactionsError:
                if not self._scheduler.wait(is_written, _PATIENCE_S):
                    self._failed = KafkaError(KafkaError._TIMED_OUT)
                    raise kafka_error(KafkaError._TIMED_OUT, retriable=True) from None
            except KafkaException as error:
                self._failed = error.args[0]
                raise
