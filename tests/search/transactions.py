"""Simulated partitions and transaction coordinator, as strict and as lax as Kafka's.

Without KIP-890 a request names its producer by id and epoch, and not the transaction that it means.
So the coordinator takes a late one for the transaction that is open. Markers are written after the
answer to `end`, one partition after the other; until then the id can begin no transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError

from tests.support.fakes import kafka_error

Partition = tuple[str, int]
"""Topic and number of a partition."""
OFFSETS: Partition = ("offsets", 0)
"""Partition of the group's offsets."""


class ConcurrentTransactionsError(Exception):
    """The id's last transaction is not written everywhere yet; clients ask again."""


@dataclass(eq=False)
class Transaction:
    """A transaction of one id.

    Attributes:
        begun_at: Time of its first request, in seconds.
        committed: Outcome; None while it is open.
        partitions: Partitions that it writes to, in the order of their first request.
        unmarked: Partitions that have no marker yet, once it is decided.
    """

    begun_at: float
    partitions: list[Partition] = field(default_factory=list)
    committed: bool | None = None
    unmarked: list[Partition] = field(default_factory=list)


@dataclass(eq=False)
class TransactionalId:
    """State of a transactional id at its coordinator.

    Attributes:
        epoch: Epoch of its present producer.
        transaction: Its last transaction.
        owner: Process that initialised it last.
    """

    name: str
    epoch: int = -1
    transaction: Transaction | None = None
    owner: Any = None

    @property
    def ongoing(self) -> bool:
        return self.transaction is not None and self.transaction.committed is None

    def begun_before(self, time: float) -> bool:
        """True if a transaction is open that was begun before a time."""
        return self.ongoing and self.transaction is not None and self.transaction.begun_at < time

    @property
    def preparing(self) -> bool:
        return self.transaction is not None and bool(self.transaction.unmarked)


@dataclass(frozen=True)
class Entry:
    """A record of an output partition; None as its value stands for a marker."""

    transaction: Transaction
    value: bytes | None


class Transactions:
    """Output partitions and the coordinator of all transactional ids.

    Args:
        clock: Returns the time in seconds.
        end_offsets: Called with a transaction whose marker reaches the partition of offsets.
    """

    def __init__(
        self, clock: Callable[[], float], end_offsets: Callable[[Transaction], None]
    ) -> None:
        self.ids: dict[str, TransactionalId] = {}
        self.logs: dict[Partition, list[Entry]] = {}
        self._clock = clock
        self._end_offsets = end_offsets
        self._batches: set[Hashable] = set()

    def initialise(self, name: str, owner: Any) -> int:
        """Fence earlier producers of an id, and return the epoch of the new one."""
        held = self.ids.setdefault(name, TransactionalId(name))
        if held.ongoing:
            held.epoch += 1
            self._decide(held, committed=False)
        if held.preparing:
            raise ConcurrentTransactionsError
        held.epoch += 1
        held.owner = owner
        return held.epoch

    def add_partitions(self, name: str, epoch: int, partitions: Sequence[Partition]) -> None:
        held = self._of_epoch(name, epoch)
        if held.preparing:
            raise ConcurrentTransactionsError
        if not held.ongoing:
            held.transaction = Transaction(self._clock())
        assert held.transaction is not None
        known = held.transaction.partitions
        known.extend(at for at in partitions if at not in known)

    def open_in(self, name: str, epoch: int, at: Partition) -> Transaction:
        """The open transaction that writes to a partition: brokers verify it before they append."""
        held = self._of_epoch(name, epoch)
        transaction = held.transaction
        if transaction is None or not held.ongoing or at not in transaction.partitions:
            raise kafka_error(KafkaError.INVALID_TXN_STATE, txn_requires_abort=True)
        return transaction

    def produce(
        self, name: str, epoch: int, at: Partition, batch: Hashable, values: Sequence[bytes]
    ) -> None:
        """Append a batch; the same one is never appended twice."""
        transaction = self.open_in(name, epoch, at)
        if batch in self._batches:
            return
        self._batches.add(batch)
        self.logs.setdefault(at, []).extend(Entry(transaction, value) for value in values)

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        held = self._of_epoch(name, epoch)
        if held.ongoing:
            self._decide(held, committed=commit)
            return
        if held.transaction is None or held.transaction.committed != commit:
            raise kafka_error(KafkaError.INVALID_TXN_STATE, fatal=True)
        if held.preparing:
            raise ConcurrentTransactionsError

    def abort_late(self, held: TransactionalId) -> None:
        """Abort a transaction that was open for longer than its timeout; fence its producer."""
        held.epoch += 1
        self._decide(held, committed=False)

    def unmarked(self) -> list[TransactionalId]:
        """Ids whose last transaction is decided and not written to all of its partitions."""
        return [held for held in self.ids.values() if held.preparing]

    def write_marker(self, held: TransactionalId, place: int) -> Partition:
        """Write the marker of an id's decided transaction to one of its unmarked partitions."""
        transaction = held.transaction
        assert transaction is not None
        at = transaction.unmarked.pop(place)
        if at == OFFSETS:
            self._end_offsets(transaction)
        else:
            self.logs.setdefault(at, []).append(Entry(transaction, None))
        return at

    def committed(self, at: Partition) -> list[bytes]:
        """Values that a reader of a partition sees when all transactions have ended."""
        entries = self.logs.get(at, [])
        return [e.value for e in entries if e.value is not None and e.transaction.committed]

    def _of_epoch(self, name: str, epoch: int) -> TransactionalId:
        held = self.ids[name]
        if held.epoch != epoch:
            raise kafka_error(KafkaError._FENCED, fatal=True)
        return held

    def _decide(self, held: TransactionalId, *, committed: bool) -> None:
        assert held.transaction is not None
        held.transaction.committed = committed
        held.transaction.unmarked = [*held.transaction.partitions]
