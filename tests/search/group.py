"""Simulated group coordinator: members, cooperative rebalances, and offsets.

An offset is accepted by the member and the generation that its request names, never by who owns the
partition. Offsets of a transaction are pending until its marker is written. They then replace those
that were sent before them, and no later ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import KafkaError

from tests.search.transactions import Transaction
from tests.support.fakes import kafka_error


class GroupMetadata(NamedTuple):
    """Membership that a consumer states: generation -1 and no member outside of the group."""

    generation: int
    member: str


OUTSIDE = GroupMetadata(-1, "")


class Offset(NamedTuple):
    """A committed offset, its metadata, and its place among all that were sent."""

    offset: int
    metadata: str
    place: int


@dataclass(eq=False)
class Member:
    """A member as the coordinator knows it.

    Attributes:
        owned: Partitions that it owned when it last joined.
        joined: True if it takes part in the rebalance under way.
        assigned: Partitions of the last assignment, which it may not have heard of yet.
    """

    owned: tuple[int, ...] = ()
    joined: bool = False
    assigned: tuple[int, ...] = ()


class Group:
    """The one consumer group.

    Args:
        partitions: Number of partitions of its topic.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.rebalancing = False
        self.offsets: dict[int, Offset] = {}
        self._pending: dict[Transaction, dict[int, Offset]] = {}
        self._joins = 0
        self._sent = 0

    def join(self, member: str, owned: Sequence[int]) -> str:
        """Join or rejoin; return the id of the member."""
        if not member:
            self._joins += 1
            member = f"m{self._joins}"
            self.members[member] = Member()
        known = self.members.get(member)
        if known is None:
            raise kafka_error(KafkaError.UNKNOWN_MEMBER_ID)
        known.owned, known.joined = tuple(owned), True
        self._begin()
        self._complete()
        return member

    def remove(self, member: str) -> None:
        """Take out a member that leaves, or that was not heard of for too long."""
        if self.members.pop(member, None) is not None:
            self._begin()
            self._complete()

    def commit(
        self,
        metadata: GroupMetadata,
        transaction: Transaction,
        offsets: Mapping[int, tuple[int, str]],
    ) -> None:
        """Take offsets into a transaction."""
        # A request without a member is that of an old client, and is not checked (measured).
        if metadata != OUTSIDE:
            if metadata.member not in self.members:
                raise kafka_error(KafkaError.UNKNOWN_MEMBER_ID, txn_requires_abort=True)
            if metadata.generation != self.generation:
                raise kafka_error(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True)
        pending = self._pending.setdefault(transaction, {})
        self._sent += 1
        for partition, (offset, text) in offsets.items():
            pending[partition] = Offset(offset, text, self._sent)

    def end(self, transaction: Transaction) -> None:
        """Apply or drop the offsets of a transaction whose marker is written."""
        for partition, sent in self._pending.pop(transaction, {}).items():
            before = self.offsets.get(partition)
            if transaction.committed and (before is None or before.place < sent.place):
                self.offsets[partition] = sent

    def stable(self, partitions: Sequence[int]) -> bool:
        """True if no transaction holds offsets of these partitions."""
        return not any(p in pending for pending in self._pending.values() for p in partitions)

    def _begin(self) -> None:
        if not self.rebalancing:
            self.rebalancing = True

    def _complete(self) -> None:
        """Assign the partitions when all members have joined."""
        if not all(member.joined for member in self.members.values()):
            return
        self.rebalancing = False
        self.generation += 1
        owners = {p: name for name, at in self.members.items() for p in at.owned}
        for name, at in self.members.items():
            fair = self._fair(name)
            # A partition that another member owns is assigned after that one has given it up.
            at.assigned = tuple(p for p in fair if owners.get(p, name) == name)
            at.joined = False

    def _fair(self, name: str) -> list[int]:
        """The partitions that a member is to have in the end: it keeps what it owns."""
        shares: dict[str, list[int]] = {member: [] for member in self.members}
        most = -(-self._partitions // len(shares))
        left = set(range(self._partitions))
        for member, at in self.members.items():
            kept = [p for p in at.owned if p in left][:most]
            shares[member] = kept
            left -= set(kept)
        for p in sorted(left):
            min(shares.values(), key=len).append(p)
        return shares[name]
