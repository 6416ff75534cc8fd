"""Protocol of an online store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from features.store.stored_values import StoredValues
from features.values.keys import Keys

Row = list[bytes | None]
"""Values of a hash at the requested fields, None for a missing field."""


class Hashes(NamedTuple):
    """Hashes to read, and the fields of each."""

    keys: Sequence[bytes]
    fields: Sequence[bytes]


class ReadResult(NamedTuple):
    """Answers to one read.

    Attributes:
        values: Value of each key, in the order of the keys.
        hashes: Fields of each key of each ``Hashes``, all None if there is no such hash; None if
            the key holds something other than a hash.
    """

    values: StoredValues
    hashes: list[list[Row | None]]


class Compaction(NamedTuple):
    """Replacement of the first bytes of the value at ``key``.

    Attributes:
        key: Key of the value.
        prefix: First bytes as they were read, not empty.
        kept: Bytes that replace them; may be empty.
    """

    key: bytes
    prefix: bytes
    kept: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Writes:
    """Writes that the online store must have before a micro-batch is committed.

    Attributes:
        appends: Pairs of a key and the members to append to its history.
        compactions: Histories with members that no later event can see.
    """

    appends: Collection[tuple[bytes, bytes]] = ()
    compactions: Collection[Compaction] = ()

    def __bool__(self) -> bool:
        return bool(self.appends or self.compactions)


class OnlineStore(Protocol):
    """Binary values by binary keys, and hashes that other programs write.

    Every method raises DependencyUnavailableError if the store does not answer now; the same call
    may succeed later. It raises ConfigurationError if an operator must act first: a missing
    permission, or a key that holds something other than a binary value.
    """

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, None where there is none; in one round trip."""
        ...

    def read_all(self, keys: Sequence[Keys], hashes: Sequence[Hashes] = ()) -> ReadResult:
        """Values and hashes together, in one round trip, as columns."""
        ...

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set each key to its value. Idempotent: a write that failed may be repeated."""
        ...

    def replace(self, key: bytes, expected: bytes | None, value: bytes) -> bool:
        """Set the key to ``value`` if its value is still ``expected``; return True if it was set.

        ``expected`` is None for a missing key; an empty value counts as missing. The call is atomic
        and never retried by itself: after DependencyUnavailableError it may have been done.
        """
        ...

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
    ) -> None:
        """Apply the compactions, then append bytes to each key; one round trip.

        A compaction applies if the value still begins with exactly its prefix, which ``kept`` then
        replaces; else it is skipped, as the value has changed since it was read. A key whose value
        becomes empty is removed. A key that is written expires ``expire_ms`` milliseconds from now;
        with None, never.

        The call is not idempotent and never retried by itself. After DependencyUnavailableError any
        part of it may have been done; the caller may repeat all of it if its readers drop repeated
        members.
        """
        ...

    def ping(self) -> None:
        """Return once the store answers."""
        ...

    def close(self) -> None:
        """Close connections; the store can be used again afterwards."""
        ...
