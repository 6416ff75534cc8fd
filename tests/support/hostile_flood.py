"""Write hostile records to the input topic, and remember the kinds of each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from confluent_kafka import Message, Producer

from tests.support.hostile_records import HostileRecord, RecordMaker
from tests.support.raw_produce import CODECS, RawProducer, RefusedError

_LONGEST_BATCH = 30
_LARGE = 50_000
_LARGEST_BATCH_BYTES = 4_000_000
_TRANSACTION_S = 30.0


class Flood:
    """Write records to random partitions, in batches of random length and compression.

    Attributes:
        kinds: Kinds of each record that the broker accepted, by partition and offset.
        refused: Number of records that the input topic refused; they need no answer.
        aborted: Number of records in aborted transactions; they need no answer.
    """

    def __init__(
        self, draw: random.Random, bootstrap: str, topic: str, partitions: int, maker: RecordMaker
    ) -> None:
        self._draw = draw
        self._bootstrap, self._topic, self._partitions = bootstrap, topic, partitions
        self._maker = maker
        self.kinds: dict[tuple[int, int], tuple[str, ...]] = {}
        self.refused = self.aborted = 0

    def send(self, count: int, large_bytes: int) -> None:
        """Write ``count`` records; large ones take at most ``large_bytes`` together."""
        with RawProducer(self._bootstrap) as producer:
            for batch in self._batches(count, large_bytes):
                partition = self._draw.randrange(self._partitions)
                codec = self._draw.choice([*CODECS])
                self._append(producer, partition, batch, codec)

    def transactions(self, outcomes: Sequence[bool]) -> None:
        """Write a transaction for each outcome: True to commit it, False to abort it."""
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "transactional.id": f"{self._topic}-flood",
                "compression.type": self._draw.choice(("none", "lz4", "snappy", "zstd")),
                "log_level": 0,
            }
        )
        producer.init_transactions(_TRANSACTION_S)
        for committed in outcomes:
            self._transaction(producer, committed=committed)

    def sent(self) -> Counter[str]:
        """Number of records of each kind that the broker accepted."""
        return Counter(kind for kinds in self.kinds.values() for kind in kinds)

    def _transaction(self, producer: Producer, *, committed: bool) -> None:
        delivered: dict[tuple[int, int], tuple[str, ...]] = {}
        producer.begin_transaction()
        for _ in range(self._draw.randint(1, 20)):
            hostile = self._maker()

            def on_delivery(
                _error: object, message: Message, kinds: tuple[str, ...] = hostile.kinds
            ) -> None:
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                delivered[partition, offset] = (*kinds, "writer: transaction")

            # Hostile headers and timestamps need the raw producer.
            value = (hostile.record.value or b"")[:100_000]
            partition = self._draw.randrange(self._partitions)
            producer.produce(self._topic, value, b"t", partition, on_delivery=on_delivery)
        producer.flush(_TRANSACTION_S)
        if committed:
            producer.commit_transaction(_TRANSACTION_S)
            self.kinds |= delivered
        else:
            producer.abort_transaction(_TRANSACTION_S)
            self.aborted += len(delivered)

    def _append(
        self, producer: RawProducer, partition: int, batch: Sequence[HostileRecord], codec: str
    ) -> None:
        """Append a batch; if the broker refuses it, append its records one by one."""
        try:
            first = producer.produce(self._topic, partition, [h.record for h in batch], codec)
        except RefusedError:
            if len(batch) == 1:
                self.refused += 1
                return
            for hostile in batch:
                self._append(producer, partition, [hostile], codec)
        else:
            for at, hostile in enumerate(batch):
                self.kinds[partition, first + at] = (*hostile.kinds, f"writer: {codec}")

    def _batches(self, count: int, large_bytes: int) -> Iterator[list[HostileRecord]]:
        batch: list[HostileRecord] = []
        longest, batch_bytes = self._draw.randint(1, _LONGEST_BATCH), 0
        while count > 0:
            hostile = self._maker()
            size = hostile.record.size()
            if size > _LARGE:
                if size > large_bytes:
                    continue
                large_bytes -= size
            batch.append(hostile)
            batch_bytes += size
            count -= 1
            if count == 0 or len(batch) == longest or batch_bytes > _LARGEST_BATCH_BYTES:
                yield batch
                batch = []
                longest, batch_bytes = self._draw.randint(1, _LONGEST_BATCH), 0
